"""Names: which weights of two checkpoints are the same, where programs spell, stack and pack them differently."""
