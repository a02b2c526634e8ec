"""The rooms of the house: who may import whom, and how large a module or a folder may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clones import ROOT

SCRIPTS = ROOT / "scripts"
# a package of the library imports those before it, and none after it
LIBRARY = ["files", "checkpoints", "numerics", "acquiring", "merging", "nodes", "serving", "audit", "scores", "claims"]
LIBRARY += ["studies", "document"]
# what stands beside the library, and what each of it may import
BESIDE = {
    "aoe": set(),
    "cluster": {"aoe"},
    "documentation": {"aoe", "benchmarks", "launcher"},
    "launcher": {"aoe", "cluster", "benchmarks"},
    "job": {"aoe"},
    "benchmarks": {"aoe", "mini_family"},
    "mini_family": {"aoe"},
    "performance": {"aoe", "benchmarks", "job", "launcher", "mini_family", "support"},
}
MOST_LINES = 350
MOST_MODULES = 12
MODULES = sorted(path for path in SCRIPTS.rglob("*.py") if path.parent != SCRIPTS)


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its head or in a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(SCRIPTS)) for path in paths]


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_no_import_goes_upwards(path):
    package, *inner = path.relative_to(SCRIPTS).parts
    for module in imported(path):
        other, *rest = module.split(".")
        if other in BESIDE and other != package:
            assert other in BESIDE[package], f"{package} imports {module}"
        if other == package == "aoe" and rest and rest[0] in LIBRARY and len(inner) > 1:
            assert LIBRARY.index(rest[0]) <= LIBRARY.index(inner[0]), f"{inner[0]} imports {module}"


def test_every_package_of_the_library_has_its_place():
    assert sorted(LIBRARY) == sorted(path.parent.name for path in SCRIPTS.glob("aoe/*/__init__.py"))
    assert sorted(BESIDE) == sorted(path.parent.name for path in SCRIPTS.glob("*/__init__.py"))


def test_only_the_launcher_knows_snakemake():
    """Rule scripts are given its object; of packages, the launcher and what stands at its side for a cluster."""
    knowing = {path.relative_to(SCRIPTS).parts[0] for path in MODULES if "snakemake" in {*map(head, imported(path))}}
    assert knowing <= {"launcher", "job"}


def head(module: str) -> str:
    return module.partition(".")[0]


def test_no_module_is_too_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert names([path for path, length in lengths.items() if length > MOST_LINES]) == []


def test_no_folder_is_too_full():
    folders = {path.parent for path in MODULES}
    modules = {folder: [path for path in folder.glob("*.py") if path.name != "__init__.py"] for folder in folders}
    assert names([folder for folder, inside in modules.items() if len(inside) > MOST_MODULES]) == []


def test_the_rules_only_say_what_they_need():
    """What rules ask for is written in Python, where it can be tested."""
    assert len((ROOT / "rules/common.smk").read_text(encoding="utf-8").splitlines()) <= 80
    rules = "\n".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("rules/*.smk"), ROOT / "Snakefile"])
    assert "sys.argv" not in rules
    assert "def " not in rules
    assert rules.count("lambda ") == rules.count('lambda wildcards: MINI_FAMILY["parents"][wildcards.parent]')
