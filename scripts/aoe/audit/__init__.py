"""Audits: is a published model what it says it is, and which recipe do its weights reveal?

* ``counterparts``: where a published model holds what its parents hold, under whatever name and in whatever layout;
* ``storage``: what a weight of the parents becomes in the published model's format, and how far that is from it;
* ``fitting``: the λ that explain one weight;
* ``comparison``: one weight beside its counterpart, read slab by slab;
* ``elsewhere``: weights that are not where they belong;
* ``methods``: how the parents were combined: the arithmetic and the rounding of the model;
* ``attribution``: one row a weight: copied from whom, equal to whom, mixed of whom, or unexplained;
* ``mixtures``, ``recipes``, ``recovery``: the shortest recipe that reproduces the model;
* ``verdict``, ``report``: what all of it says: verified, deviates, or cannot tell;
* ``table``: rows as a data frame.
"""

from typing import Any

VERIFIED, DEVIATES, CANNOT_TELL = "verified", "deviates", "cannot tell"

Row = dict[str, Any]  # one weight's row; docs/audits.md describes its columns
Weights = dict[str, float]  # parent -> λ
