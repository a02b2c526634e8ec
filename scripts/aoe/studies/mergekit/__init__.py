"""mergekit's configurations as studies: one variant, whose recipe gives the values that mergekit writes.

* ``configuration``: what a configuration says of a tensor: its models, and their parameters;
* ``methods``: the λ that a method gives a tensor;
* ``overrides``: the tensors' λ as few subsets;
* ``models``: where a model is from, and what tensors it has;
* ``study``: all of this as a study file's content.
"""
