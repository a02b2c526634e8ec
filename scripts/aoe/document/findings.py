"""What a figure shows, in a sentence or two: made of the numbers beside it, and of nothing else.

Every function is given the data of the figure's own CSV (and what is fitted to it) and returns a text.  Captions are
made of these, so that a figure never says anything but what is seen in it.
"""

import math

import pandas as pd
from aoe.benchmarks import title_of

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NEAR = 3  # points of intelligence within which a variant is called level with another
PLURAL = {"routed_experts": "routed experts", "shared_experts": "shared experts", "dense_mlp": "dense MLPs"}


def number(value, digits=3):
    """A number for people in so many significant digits, with a true minus sign and no exponent; – for none."""
    if value is None or pd.isna(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if not value:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(RAISED)}".replace("-", "−")
    return f"{value:,.{max(0, digits - 1 - size)}f}".replace("-", "−")


def fixed(value, places=1):
    """A number with so many decimals, such as a percentage or a cost; – for none."""
    return "–" if value is None or pd.isna(value) else f"{value:.{places}f}".replace("-", "−")


def interval(value, low, high, show=number):
    """``0.497 (0.494–0.499)``, and below zero ``−7.23 (−10.2 to −4.69)``."""
    to = " to " if low < 0 else "–"
    return show(value) if pd.isna(low) else f"{show(value)} ({show(low)}{to}{show(high)})"


def listed(parts):
    """``a, b and c``."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


def counted(amount, what):
    """``1 claim``, ``2 claims``."""
    return f"{amount:,} {what}{'' if amount == 1 else 's'}"


def figure2(table, space):
    """table: the mean difference of every group, layer and kind."""
    table = table.dropna(subset=space)
    if table.empty:
        return "No weights of these groups were compared."
    means = table.groupby("group")[space].mean().sort_values(ascending=False)
    ranked = listed(f"{_plural(group)} ({number(value)})" for group, value in means.items())
    top = table.loc[table[space].idxmax()]
    text = f"On average over layers and kinds, the differences are: {ranked}. "
    text += f"The largest is that of {top.kind} of the {_plural(top.group)} in layer {int(top.layer)} "
    text += f"({number(top[space])})."
    gates = table[(table.group == "shared_experts") & (table.kind == "gate_proj")].sort_values("layer")[space]
    if len(gates) > 1:
        text += f" Of the shared experts, the gate projections go from {number(gates.iloc[0])} in their first layer to "
        text += f"{number(gates.iloc[-1])} in their last."
    return text


def figure3(table, space, deltas):
    """table: one difference a tensor; deltas: numbers to say the shares for."""
    if table.empty:
        return "No weights of these groups differ."
    medians = table.groupby("group")[space].median().sort_values(ascending=False)
    text = f"Medians: {listed(f'{_plural(group)} {number(value)}' for group, value in medians.items())}."
    for delta in deltas:
        shares = (table[space] > delta).groupby(table.group).mean()
        among = listed(f"{fixed(100 * shares[group], 0)} % of the {_plural(group)}" for group in medians.index)
        text += f" A threshold δ of {delta:g} would let {among} into a merge."
    return text


def figure4(table, reference):
    """table: the summary; reference: the variant whose cost is 1."""
    graded = table.dropna(subset="intelligence").set_index("variant")
    if graded.empty:
        return "No variant has marks in every benchmark of the intelligence score."
    if reference not in graded.index:
        return f"{table.set_index('variant').label[reference]} has no marks in some benchmark, so nothing is compared."
    best = graded.loc[reference]
    near = graded[(graded.intelligence >= best.intelligence - NEAR) & (graded.cost < best.cost)]
    text = f"{best.label} reaches {fixed(best.intelligence)} %. "
    if near.empty:
        return text + f"No variant that costs less has at most {NEAR} points less."
    cheapest = near.loc[near.cost.idxmin()]
    others = len(graded) - 1
    many = f"{len(near)} of the {others} others cost" if others > 1 else "The other one costs"
    text += f"{many} less and {'has' if others == 1 else 'have'} at most {NEAR} points less; the cheapest is "
    return text + f"{cheapest.label}: {fixed(cheapest.intelligence)} % for {fixed(cheapest.cost, 2)} of its tokens."


def figure5(table):
    """table: cost over λ2, for every sweep."""
    texts = []
    for sweep, points in table.dropna(subset="cost").groupby("sweep", sort=False):
        points = points.sort_values("lambda2").reset_index(drop=True)
        first, last = points.iloc[0], points.iloc[-1]
        text = f"In the sweep {sweep}, cost goes from {fixed(first.cost, 2)} at λ2 = {first.lambda2:g} to "
        text += f"{fixed(last.cost, 2)} at λ2 = {last.lambda2:g}"
        steps = (points.cost.diff() / points.lambda2.diff()).abs()
        if len(points) > 1 and steps.max() > 0:
            steepest = steps.idxmax()
            between = f"{points.lambda2[steepest - 1]:g} and {points.lambda2[steepest]:g}"
            text += f", most steeply between {between}"
        texts.append(f"{text}.")
    return " ".join(texts) or "No variant has a cost."


def step_seen(fit, positions):
    """Whether a fitted step lies within the λ2 that were looked at, and is narrower than they are apart."""
    return min(positions) <= fit.midpoint <= max(positions) and fit.width < max(positions) - min(positions)


def figure6(table, transitions, published):
    """table: share of closed tags over λ2; transitions: their fits; published: [(λ2, whose)]."""
    texts = []
    for fit in transitions[transitions.measure == "closing"].itertuples():
        points = table[table.sweep == fit.sweep].sort_values("lambda2")
        if not step_seen(fit, points.lambda2):
            ends = listed(
                f"{fixed(100 * row.closing)} % at {row.lambda2:g}" for row in points.iloc[[0, -1]].itertuples()
            )
            texts.append(f"In the sweep {fit.sweep}, there is no step: the tag is closed in {ends}.")
            continue
        below, above = points[points.lambda2 < fit.midpoint].tail(1), points[points.lambda2 >= fit.midpoint].head(1)
        around = ""
        if len(below) and len(above):
            around = f", from {fixed(100 * below.closing.iloc[0])} % at {below.lambda2.iloc[0]:g} to "
            around += f"{fixed(100 * above.closing.iloc[0])} % at {above.lambda2.iloc[0]:g}"
        midpoint = interval(fit.midpoint, fit.midpoint_low, fit.midpoint_high)
        texts.append(f"In the sweep {fit.sweep}, the tag appears at λ2 = {midpoint}{around}; the step is ")
        texts[-1] += f"{number(fit.width)} wide."
    if published:
        said = listed(f"{position:g} (the {whose})" for position, whose in published)
        texts.append(f"Published were {said}.")
    return " ".join(texts)


def figure7(table, measure, base):
    """table: intelligence or cost over δ; base: the summary's row of the base model."""
    places, unit = (1, " %") if measure == "intelligence" else (3, "")
    points = table.sort_values("delta")
    if points[measure].isna().all():
        return "No variant has marks in every benchmark."
    said = listed(f"{fixed(row[measure], places)}{unit} at δ = {row['delta']:g}" for row in points.to_dict("records"))
    what = "Intelligence" if measure == "intelligence" else "Cost"
    return f"{what} is {said}; {base.label}, where nothing is merged, has {fixed(base[measure], places)}{unit}."


def figure8(table, assembled):
    """table: the assembled model and its parents on every benchmark; assembled: its variant."""
    row = table.set_index("variant").loc[assembled]
    others = [other for other in table.to_dict("records") if other["variant"] != assembled]

    def beside(column, places):
        found = listed(f"{other['label']} {fixed(other[column], places)}" for other in others)
        return f" ({found})" if others else ""

    parts = [
        f"{title_of(column.removesuffix('_percent'))} {fixed(row[column])} %{beside(column, 1)}"
        for column in table.columns
        if column.endswith("_percent")
    ]
    return f"{row.label}: {'; '.join(parts)}; cost {fixed(row.cost, 2)}{beside('cost', 2)}."


def figure9(table, labels):
    """table: the latencies; labels: variant -> how it is called."""
    texts = []
    for at_once, part in table.groupby("at_once"):
        told = [
            f"{labels[row.variant]} {number(row.seconds_an_answer)} s"
            + ("" if pd.isna(row.joules_an_answer) else f" and {number(row.joules_an_answer)} J")
            for row in part.itertuples()
        ]
        texts.append(f"With {counted(at_once, 'question')} at a time, an answer takes {listed(told)}")
        per_token = 1000 * part.seconds_an_answer / part.tokens_an_answer
        texts[-1] += f"; a token {number(per_token.min())} to {number(per_token.max())} ms."
    return " ".join(texts)


def _plural(group):
    return PLURAL.get(group, group.replace("_", " "))
