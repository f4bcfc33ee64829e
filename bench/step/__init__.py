"""The parts of bench/train_step.py: the slice of a model, its batch, the variants, the clock."""
