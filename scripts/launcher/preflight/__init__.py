"""Try everything that a study will need, before anything is fetched."""
