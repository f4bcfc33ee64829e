"""One file a stage; `launch.stages.table` lists them in order."""
