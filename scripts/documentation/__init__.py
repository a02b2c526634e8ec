"""Tables of the documentation that come from the code's registries and from the schemas of the configuration."""
