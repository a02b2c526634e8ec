"""Slurm: what its partitions can give, what jobs ask of it, what has become of them."""
