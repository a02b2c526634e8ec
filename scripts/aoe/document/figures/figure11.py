"""Figure 11: the λ2 that models have over the λ2 that was asked for, by group of tensors, beside simulated parents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aoe.document.figures import Figure, Settings, Tables, sweep
from aoe.document.findings import fixed, listed, plural
from aoe.studies.families import families, roundings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

SIMULATED = "simulated"  # the panel beside those of groups
AS_ASKED = 0.01  # the largest deviation that is called none
ROW, EDGES = 1.2, 0.75  # inches: the height of a row of panels, and of what is above and below all of them
ACROSS = 2  # panels in a row


def settings_of_study(study: Study) -> Settings:
    """The families of sweeps."""
    return {"families": families(study)}


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a panel a group of tensors, one line a rounding, and one panel of simulated parents."""
    import pandas as pd
    from aoe.document import drawing

    table, simulated = _by_group(tables, settings), tables["simulated"]
    groups = [group for group in drawing.GROUPS if group in set(table.group)]
    table = table[table.group.isin(groups)]
    looks = dict(drawing.styles(roundings(settings["families"])))
    rows = math.ceil((len(groups) + 1) / ACROSS)
    shares = {"sharex": True, "sharey": True, "squeeze": False}
    figure, axes = drawing.figure(EDGES + ROW * rows, nrows=rows, ncols=ACROSS, **shares)
    *panels, last = list(axes.flat)[: len(groups) + 1]
    for panel, group in zip(panels, groups, strict=True):
        panel.set_title(drawing.GROUPS[group][0])
        _draw_group(panel, table[table.group == group], looks)
    _draw_simulated(last, simulated)
    for place, panel in enumerate(axes.flat):
        panel.axline((0, 0), slope=1, color=drawing.GREY, lw=0.5, zorder=0.5)
        panel.set_visible(place <= len(groups))
        panel.tick_params(labelbottom=place + ACROSS > len(groups))
    last.set_xlim(0.24, 0.76)
    last.set_ylim(-0.04, 1.04)
    figure.supxlabel("asked λ$_2$", parse_math=True, fontsize=8)
    figure.supylabel("realized λ$_2$", parse_math=True, fontsize=8)
    found = {}  # label -> handle: of the roundings of any group
    for panel in panels:
        found |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    drawing.legend(figure, found.values(), found.keys(), 16, loc="outside upper center", ncols=min(3, len(found)))
    extra = simulated.rename(columns={"lambda2": "asked"}).assign(group=SIMULATED, rounded="nearest")
    return figure, pd.concat([table, extra[["rounded", "group", "asked", "realized", "difference"]]])


def _by_group(tables: Tables, settings: Settings) -> pd.DataFrame:
    """One row a rounding, group and asked λ2, once for all families: they store the same weights."""
    import pandas as pd
    from aoe.scores.realized import by_group

    every = pd.concat([by_group(family, tables["realized"]) for family in settings["families"]])
    return every.drop_duplicates(["rounded", "group", "asked"]).sort_values("asked", kind="stable")


def _draw_group(panel: Axes, table: pd.DataFrame, looks: Settings) -> None:
    from aoe.document import drawing

    for place, (rounded, (color, marker, line)) in enumerate(looks.items()):
        part = table[table.rounded == rounded]
        if len(part):
            style = {"color": color, "ls": line, "marker": marker, "ms": drawing.smaller(place)}
            panel.plot(part.asked, part.realized, lw=0.9, label=rounded, **style)


def _draw_simulated(panel: Axes, simulated: pd.DataFrame) -> None:
    from aoe.document import drawing

    panel.set_title("simulated, nearest")
    for (difference, part), line in zip(simulated.groupby("difference"), drawing.PAPER_LINES, strict=False):
        panel.plot(part.lambda2, part.realized, color=drawing.INK, ls=line, lw=1, label=f"{difference:g} codes")
    panel.legend(fontsize=6, loc="lower right", borderaxespad=0.2)


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say how far each rounding's λ2 are from the asked ones; table: one row a rounding, group and asked λ2."""
    table = table[table.group != SIMULATED]
    if table.empty:
        return "No weights of these groups were merged."
    texts = []
    for rounded in roundings(settings["families"]):
        part = table[table.rounded == rounded]
        deviation = (part.realized - part.asked).abs()
        if deviation.max() < AS_ASKED:
            texts.append(f"{rounded}: within {AS_ASKED:g} of the asked λ2 in every group")
            continue
        worst = part.loc[deviation.groupby(part.group).idxmax()].assign(deviation=deviation)
        rows = worst.sort_values("deviation", ascending=False).itertuples()
        said = listed(f"{plural(row.group)} {fixed(row.realized, 3)} at {row.asked:g}" for row in rows)
        texts.append(f"{rounded}: farthest from the asked λ2 are {said}")
    return f"By rounding: {'; '.join(texts)}."


FIGURE = Figure(
    number="11",
    title="Realized over asked λ2",
    caption="""
The λ2 that the stored weights have, over the λ2 that recipes ask for, by group of tensors: one line a rounding and
arithmetic. The diagonal is what a recipe says. The last panel is simulated: Gaussian weights in FP8 whose codes are as
far apart (root mean square) as the thresholds δ of the paper, rounded to nearest.
""",
    needs=("realized.parquet", "simulated.csv"),
    applies=sweep.has_sweep,
    missing=sweep.MISSING,
    in_paper=False,
    settings=settings_of_study,
    draw=draw,
    finding=finding,
)
