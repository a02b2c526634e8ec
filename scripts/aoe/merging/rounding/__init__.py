"""What rounding does to λ: measured before merges, predicted from parents, and simulated."""
