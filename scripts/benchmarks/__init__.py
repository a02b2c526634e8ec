"""The benchmarks as Inspect tasks: answering needs a server, scoring needs only the logs."""
