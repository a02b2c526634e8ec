"""Serve a variant with vLLM, from files or from a plan."""
