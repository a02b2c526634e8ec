"""Tables of configuration keys, from the schemas."""

HEAD = ["key", "type, unit", "default", "meaning"]


def keys(name: str, part: str = "") -> list[list[str]]:
    return []
