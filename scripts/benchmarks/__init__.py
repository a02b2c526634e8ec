"""The benchmarks as Inspect tasks: solving needs a server, scoring needs only the logs.

A benchmark is one file in ``benchmarks/suite``; everything else here is the same for all of them.
"""
