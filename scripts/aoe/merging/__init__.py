"""From a recipe to weights: plans, merges, differences."""
