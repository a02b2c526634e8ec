"""How fast weights are merged, compared and attributed on a processor, against what the machine allows.

Each measurement is a function that returns Rows.  ``work``: a folder with 50 GB to spare; ``runs``: how often.
"""
