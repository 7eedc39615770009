"""Training of the small Depth Pro: synthetic furnished rooms, losses, and one training loop."""
