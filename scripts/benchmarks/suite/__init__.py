"""The benchmarks, a file each: the registry finds every ``Benchmark`` at the top level of a module of this package.

Snakemake imports these modules when it starts, so they import Inspect and other large packages within functions.
"""
