"""Benchmarks in their native schemas and how an item of them becomes a score."""
