"""One look for all figures: column width, a colour-blind-safe palette, marks that differ in grey, fixed bytes."""

from pathlib import Path

import matplotlib
from aoe.tables import write_table

matplotlib.use("agg")

import matplotlib.pyplot as plt
import seaborn as sns

COLUMN = 3.4  # inches: the width of a column in a two-column paper
FORMATS = ("svg", "pdf", "png")
# Okabe and Ito's colours, dark enough to differ in grey
INK, BLUE, ORANGE, GREEN, RED, SKY = "#222222", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
# one mark a sweep, used in every figure that shows it: colour, marker, line
MARKS = [(BLUE, "s", "-"), (RED, "o", "--"), (GREEN, "D", "-."), (ORANGE, "^", ":")]
# what was published, beside what was measured: lines that differ from the sweeps' and from one another
GREY, PUBLISHED = "#6b6b6b", [(0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 2))]
GROUPS = {
    "routed_experts": ("routed experts", BLUE, "-"),
    "shared_experts": ("shared experts", RED, "--"),
    "attention": ("attention", GREEN, "-."),
    "dense_mlp": ("dense MLP", ORANGE, ":"),
}
SPACES = {
    "normalized": "‖ΔW‖$_F$/√n, dequantized",
    "frobenius": "‖ΔW‖$_F$, dequantized",
    "codes": "‖Δcodes‖$_F$/√n, stored values",
    "relative": "‖ΔW‖$_F$/‖W‖$_F$",
}


def figure(height, columns=1, **subplots):
    """(figure, axes) of column width and the given height in inches, in the common style."""
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
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


def save(drawing, data, paths):
    """Write a figure in every format of ``paths`` (.svg, .pdf, .png) and its data beside it (.csv)."""
    for path in map(Path, paths):
        if path.suffix == ".csv":
            write_table(data, path)
        else:
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[path.suffix[1:]]
            drawing.savefig(path, dpi=300, metadata=dates)
    plt.close(drawing)


def published(axes, marks, up=1.0):
    """Thin grey lines where something was published: ``marks`` is a list of (position, whose), on the x axis.

    up: how far up they reach, as a share of the axes' height.
    """
    for (position, whose), line in zip(marks, PUBLISHED, strict=False):
        label = f"published: {position:g} ({whose})"
        axes.axvline(position, ymax=up, color=GREY, lw=0.9, ls=line, label=label, zorder=0.5)


def with_interval(axes, table, x, y, color, marker, label, **more):
    """Points with the intervals that the columns ``y``_low and ``y``_high hold."""
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
