"""The stages walked here or as jobs: scripts, submission, states, progress, causes."""
