"""The JSON schemas of the configuration, with the names that registries give them.

A schema says ``{"registry": "norms"}`` where the names of all norms belong: as an ``enum``, for instance.  So a name
that a study may use is written once, with what it stands for, and a study that uses another one is refused at once.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aoe import norms
from aoe.files.schema import with_registries
from benchmarks import registry as benchmarks

FOLDER = Path(__file__).parents[2] / "config" / "schemas"
# name in the schemas -> what stands in its place; a registry's module must not import anything large
REGISTRIES: dict[str, Callable[[], Any]] = {
    "norms": norms.names,
    "benchmarks": benchmarks.names,
    "benchmarks and the judge": benchmarks.names_and_judge,
    "benchmarks with datasets": benchmarks.names_with_datasets,
    "settings of benchmarks": benchmarks.settings_schemas,
}


def read_schema(name: str) -> dict[str, Any]:
    """Return the schema ``config/schemas/{name}.schema.json``, ready for aoe.files.schema.check_schema.

    Raises AoeError if it names a registry that there is not.
    """
    content = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return with_registries(content, REGISTRIES)
