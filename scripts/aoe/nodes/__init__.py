"""The machines that jobs run on: what they are, and whether a server can run there."""
