"""The command `mfo`."""
