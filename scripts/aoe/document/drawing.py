"""One look for all figures: column width, a colour-blind-safe palette, marks that differ in grey, fixed bytes."""

import itertools
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from aoe import AoeWarning
from aoe.document import lettering
from aoe.document.letters import without_font
from aoe.files.tables import write_table
from aoe.norms import NORMS

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend

COLUMN = 3.4  # inches: the width of a column in a two-column paper
FORMATS = ("svg", "pdf", "png")
# Okabe and Ito's colours, dark enough to differ in grey
INK, BLUE, ORANGE, GREEN, RED, SKY = "#222222", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
PURPLE = "#CC79A7"
# a sweep's mark has the next one of each; as 6 and 7 have no divisor in common, 42 marks differ
COLORS, MARKERS, LINES = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY), "soD^vPX", ("-", "--", "-.", ":")
STYLES_APART = len(COLORS) * len(MARKERS)
# what was published, beside what was measured: lines that differ from the sweeps' and from one another
GREY, PAPER_LINES = "#6b6b6b", [(0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 2)), (0, (7, 2)), (0, (1, 3))]
FEW_ROWS = 6  # of a legend, for which a figure has room
ACROSS, UPRIGHT = 24, 14.8  # ems: a line of a label of the horizontal axis, and of the vertical one
ROW = 0.14  # inches: the height of a legend's row
GROUPS: dict[str, tuple[str, str, Any]] = {
    "routed_experts": ("routed experts", BLUE, "-"),
    "shared_experts": ("shared experts", RED, "--"),
    "attention": ("attention", GREEN, "-."),
    "dense_mlp": ("dense MLP", ORANGE, ":"),
    "linear_attention": ("linear attention", PURPLE, (0, (5, 1.5, 1, 1.5))),
    "indexer": ("indexer", SKY, (0, (3, 2))),
    "vision": ("other modalities", INK, (0, (1, 3))),
}
SPACES = {norm.name: norm.axis for norm in NORMS}


def figure(height: float, columns: float = 1, **subplots: Any) -> tuple[Figure, Any]:
    """Return (figure, axes) of the given height in inches, in the common style.

    columns: how many columns of a paper it is wide; subplots: of ``plt.subplots``, which make ``axes`` one or an array.
    """
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
            "font.family": "sans-serif",
            "font.sans-serif": [lettering.FONT],
            "text.parse_math": False,  # a label's $ is a $
            "font.size": 8,
            "axes.labelsize": 8,
            "axes.titlesize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.frameon": False,
            "lines.linewidth": 1.2,
            "lines.markersize": 4,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "aoe",
            "svg.fonttype": "path",  # the same letters in the same places, whatever fonts a reader has
            "pdf.fonttype": 42,
        },
    )
    return plt.subplots(figsize=(COLUMN * columns, height), layout="constrained", **subplots)


def save(drawing: Figure, data: pd.DataFrame, paths: Sequence[str | Path]) -> None:
    """Write a figure in every format of ``paths`` (.svg, .pdf, .png) and its data beside it (.csv).

    Warns with AoeWarning of letters that no font has.
    """
    if lacking := lettering.use_fonts(drawing):
        name = Path(paths[0]).with_suffix("")
        warnings.warn(without_font(str(name), lacking), AoeWarning, stacklevel=2)
    for path in map(Path, paths):
        if path.suffix == ".csv":
            write_table(data, path)
        else:
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[path.suffix[1:]]
            drawing.savefig(path, dpi=300, metadata=dates)
    plt.close(drawing)


def styles(names: Collection[str]) -> list[tuple[str, tuple[str, str, str]]]:
    """Return [(name, (colour, marker, line))] of sweeps.

    Warns with AoeWarning if there are more sweeps than styles that can be told apart.
    """
    if len(names) > STYLES_APART:
        warnings.warn(
            f"{len(names)} sweeps are more than the {STYLES_APART} styles that can be told apart, so that some look "
            "the same in figures 4, 5 and 6; the CSV file beside each figure names every point's sweep or variant.",
            AoeWarning,
            stacklevel=2,
        )
    looks = zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), itertools.cycle(LINES), strict=False)
    return list(zip(names, looks, strict=False))


def smaller(place: int) -> float:
    """Return the size of a line's markers, in points, such that lines which lie on one another are all seen."""
    return max(1.5, 4 - 0.6 * place)


def legend(
    drawing: Figure,
    handles: Iterable[Artist],
    labels: Iterable[str],
    width: float,
    lines: int = 2,
    axes: Axes | None = None,
    **where: Any,
) -> Legend:
    """Draw a legend whose labels fit: outside of the axes, or, while it has few rows, inside ``axes``.

    width: of a label, in ems; lines: how many it may take; where: of matplotlib's ``legend``, such as ``loc``.  The
    figure grows by rows that are too many.
    """
    labels = lettering.distinct(labels, width, lines)
    rows = sum(label.count("\n") + 1 for label in labels)
    if axes and rows <= FEW_ROWS:
        return axes.legend(handles, labels, **where)
    height = rows / where.get("ncols", 1)
    if height > FEW_ROWS:
        drawing.set_figheight(drawing.get_figheight() + ROW * (height - FEW_ROWS))
    return drawing.legend(handles, labels, **(where | {"loc": "outside upper center"} if axes else where))


def of_reference(text: str, label: str) -> str:
    """Return a vertical axis' text, with the reference's label in the place of ``{}``, in lines that fit."""
    *first, last = text.split("\n")
    return "\n".join([*first, lettering.wrapped(last.replace("{}", lettering.shortened(label, 24)), UPRIGHT, 3)])


def paper_values(axes: Axes, values: Iterable[tuple[float, str]], up: float = 1.0) -> None:
    """Draw thin grey lines at the values that were published.

    values: (position on the x axis, whose value it is); up: how far up the lines reach, as a share of the axes' height.
    """
    for (position, whose), line in zip(values, itertools.cycle(PAPER_LINES), strict=False):
        label = f"published: {position:g} ({whose})"
        axes.axvline(position, ymax=up, color=GREY, lw=0.9, ls=line, label=label, zorder=0.5)


def paper_curve(axes: Axes, points: Sequence[Sequence[float]], whose: str) -> None:
    """Draw grey crosses at the points of a curve that was published: [x, y], with whose they are."""
    places, values = zip(*points, strict=True)
    axes.plot(places, values, color=GREY, ls="", marker="x", ms=5, mew=1.2, label=f"published ({whose})", zorder=3)


def with_interval(
    axes: Axes, table: pd.DataFrame, x: str, y: str, color: str, marker: str, label: str | None, **more: Any
) -> ErrorbarContainer:
    """Draw points with the intervals that the columns ``y``_low and ``y``_high hold.

    table: one row a point, with the columns ``x`` and ``y``; more: of matplotlib's ``errorbar``.
    """
    errors = [table[y] - table[f"{y}_low"], table[f"{y}_high"] - table[y]]
    return axes.errorbar(
        table[x],
        table[y],
        yerr=errors,
        fmt=marker,
        color=color,
        label=label,
        capsize=1.5,
        elinewidth=0.8,
        mec=INK,
        mew=0.4,
        **more,
    )
