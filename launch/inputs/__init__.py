"""What a run reads: what was fetched, the base model, its dimensions."""
