"""What a prediction says: its figure, its sentences, and its tables as texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from aoe.document import drawing
from aoe.document.findings import fixed, listed, number, plural
from aoe.merging.rounding.realized import MAIN
from aoe.scores.predicted import ALL, HALF, HIGH, LOW, SHARES, groups_in, one_sweep

Tables = Mapping[str, pd.DataFrame]

NEAREST, BALANCED = "nearest", "balanced"
NARROW = 0.02  # width of a step, in λ2, that only rounding would make
EVENLY = 0.05  # how far from a half the share of even codes may be if they do not decide
AS_ASKED = 0.01
ROW, EDGES = 1.5, 0.6  # inches: the height of a row of panels, and of what is above and below all of them
LIGHT = ("#d9d9d9", "#9ecae1", "#56B4E9", "#0072B2", "#222222")  # of the shares of codes, from equal to far apart
STEPS_APART = ("0", "1", "2", "3", "more")


def draw(tables: Tables) -> tuple[Drawing, pd.DataFrame]:
    """Draw a panel a sweep over λ2, one of nearest by group, and one of how many steps the parents' codes lie apart.

    tables: ``realized``, ``steps``, ``codes`` of aoe.scores.predicted.  Returns (the drawing, its data).
    """
    realized, codes = tables["realized"], tables["codes"]
    sweeps = _sweeps(tables)
    looks = dict(drawing.styles(list(dict.fromkeys(realized.rounded))))
    rows = math.ceil((len(sweeps) + 2) / 2)
    figure, axes = drawing.figure(EDGES + ROW * rows, nrows=rows, ncols=2, squeeze=False)
    *panels, last = list(axes.flat)[: len(sweeps) + 2]
    shown = []
    for panel, sweep in zip(panels, sweeps, strict=False):
        panel.set_title(f"{sweep}: all merged")
        part = one_sweep(realized, sweep, ALL, looks)
        for place, (rounded, (color, marker, line)) in enumerate(looks.items()):
            points = part[part.rounded == rounded]
            style = {"color": color, "ls": line, "marker": marker, "ms": drawing.smaller(place)}
            panel.plot(points.lambda2, points.realized, lw=0.9, label=rounded, **style)
        _over_lambda2(panel)
        shown.append(part)
    if sweeps:
        _draw_groups(panels[-1], realized, sweeps[0])
        shown.append(realized[(realized.sweep == sweeps[0]) & (realized.level == "group")])
    else:
        panels[-1].set_visible(False)
    _draw_codes(last, codes)
    for panel in list(axes.flat)[len(sweeps) + 2 :]:
        panel.set_visible(False)
    if sweeps:
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(figure, handles, labels, 16, loc="outside upper center", ncols=2)
    return figure, pd.concat(shown) if shown else codes


def _over_lambda2(panel: Axes) -> None:
    panel.axline((0, 0), slope=1, color=drawing.GREY, lw=0.5, zorder=0.5)
    panel.set(xlim=(0.24, 0.76), ylim=(-0.04, 1.04))
    panel.set_xlabel("asked λ$_2$", parse_math=True)
    panel.set_ylabel("realized λ$_2$", parse_math=True)


def _draw_groups(panel: Axes, realized: pd.DataFrame, sweep: str) -> None:
    panel.set_title(f"{sweep}: nearest, by group")
    for group in groups_in(realized[realized.sweep == sweep], list(drawing.GROUPS)):
        label, color, line = drawing.GROUPS[group]
        points = one_sweep(realized, sweep, group, [NEAREST])
        panel.plot(points.lambda2, points.realized, color=color, ls=line, lw=1, label=label)
    _over_lambda2(panel)
    panel.legend(fontsize=5.5, loc="lower right", borderaxespad=0.2)


def _draw_codes(panel: Axes, codes: pd.DataFrame) -> None:
    table = codes[codes.group.isin(drawing.GROUPS)].drop_duplicates("group")
    panel.set_title("steps between codes")
    left = [0.0] * len(table)
    names = [drawing.GROUPS[group][0] for group in table.group]
    for share, color, steps in zip(SHARES, LIGHT, STEPS_APART, strict=True):
        panel.barh(names, table[share], left=left, color=color, height=0.6, label=steps)
        left = [start + more for start, more in zip(left, table[share], strict=True)]
    panel.set(xlim=(0, 1), xlabel="share of the numbers", ylim=(len(table) + 0.4, -0.6))
    panel.tick_params(axis="y", labelsize=5)
    panel.legend(fontsize=5.5, loc="lower center", ncols=5, borderaxespad=0.1, handlelength=0.8, columnspacing=0.8)


def _sweeps(tables: Tables) -> list[str]:
    """The sweeps over λ2."""
    return list(dict.fromkeys(tables["steps"].sweep))


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Return {heading: sentences}: what figures 5 and 6, and figure 7, must look like if rounding decides."""
    found = {}
    steps = tables["steps"]
    for sweep in _sweeps(tables):
        rows = steps[steps.sweep == sweep]
        by_way = {row.rounded: row for row in rows[rows.group == ALL].itertuples()}
        texts = [_step(row) for row in by_way.values() if row.rounded != BALANCED]
        texts += _groups(rows[rows.rounded == NEAREST])
        if BALANCED in by_way:
            texts.append(_balanced(tables["realized"], sweep))
        found[f"Figures 5 and 6: the sweep {sweep}"] = texts
    return found | {"Figure 7: what decides at λ2 = 0.5": _ties(tables)}


def _step(row: Any) -> str:
    """What one rounding predicts of a sweep."""
    seen = f"the realized λ2 is {fixed(row.below, 3)} at {row.below_at:g} and {fixed(row.above, 3)} at {row.above_at:g}"
    if row.below <= LOW and row.above >= HIGH:
        where = f"exactly 0.5, between {row.below_at:g} and {row.above_at:g}"
        return f"If rounding decides ({row.rounded}), `</think>` and cost must jump at {where}: {seen}."
    if row.width < NARROW:
        where = f"within {number(row.width, 2)} of λ2, between {row.low:.3f} and {row.high:.3f}"
        return f"If rounding decides ({row.rounded}), `</think>` and cost must jump {where}: {seen}."
    return (
        f"Rounding alone ({row.rounded}) makes no jump of all merged weights that is narrower than {NARROW:g}: {seen}; "
        f"it rises from {LOW:g} to {HIGH:g} between {row.low:.3f} and {row.high:.3f}."
    )


def _groups(rows: pd.DataFrame) -> Iterable[str]:
    """Which groups of tensors jump and which do not, rounded to nearest."""
    parts = [row for row in rows.itertuples() if row.group in MAIN]
    jumping = [row for row in parts if row.below <= LOW and row.above >= HIGH]
    said = [
        f"{plural(row.group)} from {fixed(row.below, 3)} at {row.below_at:g} to {fixed(row.above, 3)} at "
        f"{row.above_at:g} (width {number(row.width, 2)})"
        for row in parts
    ]
    if len(said) < 2:
        return []
    text = f"By group, rounded to nearest: {listed(said)}."
    if 0 < len(jumping) < len(parts):
        where = f"exactly 0.5, between {jumping[0].below_at:g} and {jumping[0].above_at:g}"
        text += (
            f" If behaviour depends on {listed(plural(row.group) for row in jumping)}, `</think>` must jump at {where}."
        )
    return [text]


def _balanced(realized: pd.DataFrame, sweep: str) -> str:
    """What the same sweep must look like with a rounding that keeps λ."""
    points = one_sweep(realized, sweep, ALL, [BALANCED])
    off = float((points.realized - points.lambda2).abs().max())
    kept = f"within {number(max(off, AS_ASKED), 2)}"
    return (
        f"With balanced rounding the realized λ2 stays {kept} of the asked one. If rounding decides, the same sweep "
        "with balanced rounding, or unrounded, has no jump at 0.5."
    )


def _ties(tables: Tables) -> list[str]:
    """What is stored at λ2 = 0.5, and of which weights."""
    codes, realized, threshold = tables["codes"], tables["realized"], tables["threshold"]
    texts = []
    for row in codes[codes.group.isin(MAIN) & codes.tie_base.notna()].itertuples():
        between = 1 - row.tie_base - row.tie_other
        even = "decide" if abs(row.tie_even - HALF) > EVENLY else "do not decide"
        whose = f"{_percent(row.tie_base)} are the base's, {_percent(row.tie_other)} the other parent's"
        texts.append(
            f"In {plural(row.group)}, of the codes one step apart, {whose} and {_percent(between)} neither; "
            f"{_percent(row.tie_even)} of those chosen are even, so that ties to even {even}"
            f"{'' if even == 'decide' else ': the new scales of blocks do'}."
        )
    at_half = realized[(realized.lambda2 == HALF) & (realized.delta == 0) & (realized.rounded == NEAREST)]
    for row in at_half[(at_half.group == ALL) & at_half.sweep.isin(_sweeps(tables))].itertuples():
        texts.append(f"The realized λ2 of all merged weights of {row.sweep} is {fixed(row.realized, 3)} at 0.5.")
    for sweep, part in threshold[threshold.group == ALL].groupby("sweep", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        texts.append(
            f"Over δ ({sweep}), the realized λ2 of what is merged goes from {fixed(first.realized, 3)} at δ = "
            f"{first.delta:g} to {fixed(last.realized, 3)} at δ = {last.delta:g}, while the merged share of numbers "
            f"falls from {_percent(first.merged)} to {_percent(last.merged)}."
        )
    return texts


def steps(table: pd.DataFrame) -> list[list[str]]:
    """Return the rows of the table of steps as texts, the main groups and all merged weights only."""
    rows = table[table.group.isin([*MAIN, ALL])]
    return [
        [
            row.sweep,
            row.rounded,
            plural(row.group),
            f"{fixed(row.below, 3)} at {row.below_at:g}",
            f"{fixed(row.above, 3)} at {row.above_at:g}",
            fixed(row.midpoint, 3),
            fixed(row.width, 3),
        ]
        for row in rows.itertuples()
    ]


def codes(table: pd.DataFrame) -> list[list[str]]:
    """Return the rows of the table of codes as texts."""
    return [
        [
            plural(row.group),
            row.dtype,
            f"{row.compared:,}",
            f"{row.left_out:,}",
            number(row.rms_codes),
            *(_percent(getattr(row, share)) for share in SHARES),
        ]
        for row in table.itertuples()
    ]


def threshold(table: pd.DataFrame) -> list[list[str]]:
    """Return the rows of the table of δ as texts, the main groups and all merged weights only."""
    return [
        [
            row.sweep,
            f"{row.delta:g}",
            plural(row.group),
            _percent(row.merged),
            fixed(row.realized, 3),
            *(_percent(getattr(row, share)) for share in ("base_codes", "other_codes", "other_values")),
        ]
        for row in table[table.group.isin([*MAIN, ALL])].itertuples()
    ]


def _percent(share: float) -> str:
    return f"{fixed(100 * share)} %"
