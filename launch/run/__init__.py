"""What a run is: recipe, site, run folder, and the processes of an attempt."""
