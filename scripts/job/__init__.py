"""What every rule script does around its work."""
