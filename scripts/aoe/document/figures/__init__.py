"""The figures of a study's document: one module each, and this registry of them.

A module ``figureN.py`` holds a ``Figure``, or several that share their number and drawing.  Everything else that lists
figures reads the registry: the rules, the report, the document, the entry page, the list of a finished study's files.
Snakemake imports the registry before it plans anything, so that modules here import matplotlib, seaborn, numpy and
pandas in their functions only.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.claims.published import annotations_of, curves_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

Settings = dict[str, Any]
Tables = Mapping[str, "pd.DataFrame"]
FOLDER = Path(__file__).parent
HOW_TO = "docs/how-to/add-a-figure.md says what a figure consists of"
REQUIRED = ("number", "title", "caption", "needs", "draw", "finding")


class ResultTables(Mapping):
    """Result tables by the names of their files without endings; a table is read when it is first asked for."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = {Path(path).stem: Path(path) for path in paths}
        self._read = cache(self._read_table)

    def _read_table(self, name: str) -> pd.DataFrame:
        from aoe.files.tables import read_table
        from aoe.scores.realized import read_realized

        read = read_realized if name == "realized" else read_table
        return read(self.paths[name])

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, from the tables that it reads to the sentence below it.

    ``number``: as the paper counts, such as ``7a``.  ``title``: plain text.  ``caption``: of Snakemake's report,
    reStructuredText; ``{key}`` stands for a setting.  ``needs``: result tables, as paths in the study's folder;
    ``optional``: those that only some studies have.
    ``draw(tables, settings)`` returns the drawing and the data frame that is saved beside it.  ``finding(table, tables,
    settings)`` says in plain text what that data frame shows.  ``settings(study)`` returns what both have to know of
    the study, as a dict that can be written as JSON.  ``applies(study)``: whether a study that asks questions has the
    figure.  ``missing``: why another study lacks it, in words behind a colon.  ``in_paper``: whether the document says
    that the figure is missing.

    Raises AoeError if a part is empty.
    """

    number: str
    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Callable[[Tables, Settings], tuple[Drawing, pd.DataFrame]]
    finding: Callable[[pd.DataFrame, Tables, Settings], str]
    settings: Callable[[Study], Settings] = lambda study: {}
    applies: Callable[[Study], bool] = lambda study: True
    missing: str = "the study asks no questions"
    in_paper: bool = True
    optional: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in REQUIRED:
            if not getattr(self, part):
                raise AoeError(f"Figure {self.number} has no {part}; {HOW_TO}.")
        if not re.fullmatch(r"\d+[a-z]?", self.number):
            raise AoeError(f"{self.number!r} is not a valid number of a figure: write digits and at most one letter.")

    @property
    def name(self) -> str:
        """The name of its rule and files, such as ``figure7a``."""
        return f"figure{self.number}"

    @property
    def module(self) -> Path:
        """The file that defines it."""
        return FOLDER / f"figure{_order(self)[0]}.py"

    def described(self, settings: Settings) -> str:
        """The caption for Snakemake's report, with the settings filled in."""
        return self.caption.format(**settings)


def settings_of(figure: Figure, study: Study, claims: Mapping[str, Any]) -> Settings:
    """The settings of a figure in a study; ``paper_values``: [(position, whose)] that ``claims.yaml`` has it show.

    claims: the content of ``config/claims.yaml``.  Where it has curves of the study's own models, ``paper_curves`` are
    these: {"sweep", "points": [[λ2, value]], "whose"}.
    """
    from aoe.acquiring.sources import open_source  # jobs that draw have no library of the Hub, and do not ask for this

    settings = {**figure.settings(study), "paper_values": annotations_of(claims, figure.name)}
    repositories = {name: open_source(parts[0]["source"]).repo for name, parts in study.sources.items()}
    curves = curves_of(claims, figure.name, study.content.get("claims", {}), repositories)
    return settings | ({"paper_curves": curves} if curves else {})


def figures_of(study: Study) -> list[Figure]:
    """The figures that a study has, in their order; a study that asks no questions has none."""
    return [figure for figure in FIGURES.values() if study.asks and figure.applies(study)]


def discover(package: str = __name__, folder: Path = FOLDER) -> dict[str, Figure]:
    """name -> Figure of every module ``figureN`` of a package, in the order of their numbers.

    Raises AoeError, naming the module, if it defines no figure, an incomplete one, two of one number, or one of another
    module's number.
    """
    modules = [module.name for module in pkgutil.iter_modules([str(folder)])]
    found: dict[str, Figure] = {}
    for name in filter(re.compile(r"figure\d+").fullmatch, modules):
        for figure in _defined_in(f"{package}.{name}", folder / f"{name}.py"):
            found[figure.name] = figure
    return dict(sorted(found.items(), key=lambda item: _order(item[1])))


def _defined_in(module: str, path: Path) -> list[Figure]:
    try:
        defined = [value for value in vars(import_module(module)).values() if isinstance(value, Figure)]
    except (AoeError, TypeError) as error:  # Python's TypeError names the parts that are missing altogether
        raise AoeError(f"{path} does not define a complete figure ({error}); {HOW_TO}.") from error
    if not defined:
        raise AoeError(f"{path} defines no Figure; {HOW_TO}.")
    if len({figure.number for figure in defined}) < len(defined):
        raise AoeError(f"{path} defines two figures of the same number; give each a letter of its own.")
    for figure in defined:
        if figure.module.name != path.name:
            raise AoeError(f"{path} defines figure {figure.number}; move it to {figure.module.name}.")
    return defined


def _order(figure: Figure) -> tuple[int, str]:
    return int(figure.number.rstrip(ascii_lowercase)), figure.number


FIGURES = discover()
