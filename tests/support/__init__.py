"""What tests share: clones of the workflow, small checkpoints, servers, a cluster."""
