"""Measurements, run by hand: their numbers stand in bench/RESULTS.md."""
