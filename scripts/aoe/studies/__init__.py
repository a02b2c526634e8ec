"""Studies: what is to be done, and what it costs."""
