"""How fast assembling, comparing and verifying are, against other tools and against what the machine allows."""
