"""What it all runs in: one spec of the images, what is rendered from it, locks, engines, proof."""
