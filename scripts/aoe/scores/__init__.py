"""From scored answers to the quantities of the paper."""
