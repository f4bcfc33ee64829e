"""The training data: sources, rows, preparation."""
