"""The architectures of which more is known than names: a file each, named after the ``model_type`` of config.json.

A file has all of it in ``DEFINITION``.  Other models are read by the patterns of aoe.checkpoints.patterns alone.
"""

import pkgutil
from functools import cache
from importlib import import_module

from aoe import AoeError
from aoe.checkpoints.parts import Definition

HOW_TO = "docs/how-to/add-an-architecture.md"


@cache
def definitions() -> dict[str, Definition]:
    """Find all architectures: model_type -> Definition, by name.  Raises AoeError for a file that defines none."""
    found: dict[str, Definition] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        try:
            definition = getattr(import_module(f"{__name__}.{name}"), "DEFINITION", None)
        except Exception as error:  # of any kind: the file is anybody's
            raise AoeError(
                f"{__path__[0]}/{name}.py cannot be used ({error}); {HOW_TO} shows a complete one."
            ) from error
        if not isinstance(definition, Definition):
            raise AoeError(f"{__path__[0]}/{name}.py has no DEFINITION; {HOW_TO} shows one.")
        found[name] = definition
    return found


def with_inventory() -> list[str]:
    """Return the names of the architectures whose tensors follow from the config."""
    return [name for name, definition in definitions().items() if definition.layer]
