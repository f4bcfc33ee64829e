"""Before spending: what must be there before a run is submitted."""
