"""From a name to verified files: sources, locks, transfers, digests."""
