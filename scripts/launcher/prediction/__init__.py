"""What the rules of a prediction read: which sweeps, and which shards of their parents."""
