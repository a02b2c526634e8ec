"""Audits: is a published model what it says it is, and which recipe do its weights reveal?

* ``counterparts``: where a published model holds what its parents hold, under whatever name and in whatever layout;
* ``storage``: what a weight of the parents becomes in the published model's format, and how far that is from it;
* ``sampling``, ``bounds``, ``least_squares``, ``fitting``: the λ that explain one weight;
* ``elsewhere``: weights that are not where they belong;
* ``attribution``: one row a weight: copied from whom, equal to whom, mixed of whom, or unexplained;
* ``recovery``: the shortest recipe that reproduces the model;
* ``verdict``, ``report``: what all of it says: verified, deviates, or cannot tell;
* ``table``: rows as a data frame.
"""

VERIFIED, DEVIATES, CANNOT_TELL = "verified", "deviates", "cannot tell"
