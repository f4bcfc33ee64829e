"""The scheduler's side: submission, containers, and what Slurm says."""
