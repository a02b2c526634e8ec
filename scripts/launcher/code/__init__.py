"""A change of the code is seen: a digest of what every rule's script executes, and what becomes of older results."""
