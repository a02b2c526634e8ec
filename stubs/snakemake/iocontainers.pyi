"""The object `snakemake` of the rule scripts, for the type checker: Snakemake 9's own class declares no named items."""

from os import PathLike
from typing import Any

class Namedlist(list[Any]):
    def __getattr__(self, name: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def items(self) -> Any: ...
    def keys(self) -> Any: ...

class Wildcards(Namedlist):
    def __getattr__(self, name: str) -> str: ...

class Snakemake:
    input: Namedlist
    output: Namedlist
    params: Namedlist
    wildcards: Wildcards
    threads: int
    resources: Namedlist
    log: Namedlist
    config: dict[str, Any]
    rule: str
    bench_iteration: int | None
    scriptdir: str | PathLike[str] | None

snakemake: Snakemake
