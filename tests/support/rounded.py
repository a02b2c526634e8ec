"""Made-up results of sweeps that differ in their rounding alone: what they asked for, what they have, what they say."""

import numpy as np
import pandas as pd

ASKED = [0.3, 0.4, 0.45, 0.475, 0.49, 0.5, 0.51, 0.525, 0.55, 0.6, 0.7]
ROUNDINGS = ("nearest", "stochastic", "unrounded")
GROUPS = ("attention", "routed_experts")


def step(position, steepness):
    """A logistic step at 0.5."""
    return 1 / (1 + np.exp(-(position - 0.5) * steepness))


def realized_lambdas(rounded, asked):
    """{group: realized λ2}: rounding to nearest makes a sharp step of attention, a gradual one of the experts."""
    if rounded != "nearest":
        return dict.fromkeys((*GROUPS, "model"), asked)
    found = {"attention": step(asked, 400), "routed_experts": (asked + step(asked, 40)) / 2}
    return found | {"model": 0.1 * found["attention"] + 0.9 * found["routed_experts"]}


def family(roundings=ROUNDINGS, name="full"):
    """A family of sweeps, as aoe.studies.families describes it; its ends are the parents."""

    def points(rounded):
        inner = [{"lambda2": asked, "delta": 0.0, "variant": f"{rounded}-{asked}"} for asked in ASKED]
        ends = [{"lambda2": float(end), "delta": 0.0, "variant": parent} for end, parent in enumerate(("v3", "r1"))]
        return [ends[0], *inner, ends[1]]

    sweeps = {f"{name}-{rounded}": {"rounded": rounded, "points": points(rounded)} for rounded in roundings}
    return {"name": name, "other": "r1", "sweeps": sweeps}


def realized_table(roundings=ROUNDINGS):
    """realized.parquet of the family: a row a variant, place and parent; the parents only copy and have none."""
    rows = []
    for rounded in roundings:
        for asked in ASKED:
            for place, value in realized_lambdas(rounded, asked).items():
                level, group = ("model", None) if place == "model" else ("group", place)
                noise = 0.0 if rounded == "unrounded" else 0.44
                shared = {"variant": f"{rounded}-{asked}", "level": level, "tensor": None, "group": group}
                shared |= {"layer": None, "noise": noise, "same": 0.5, "elements": 100, "differing": 50}
                rows.append(shared | {"parent": "v3", "asked": 1 - asked, "realized": 1 - value})
                rows.append(shared | {"parent": "r1", "asked": asked, "realized": value})
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def scores_table(share, seed=0, questions=200, roundings=ROUNDINGS):
    """scores.parquet: ``share(rounded, asked)`` of answers are closed, of hard questions fewer."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1, questions)
    shares = {f"{rounded}-{asked}": share(rounded, asked) for rounded in roundings for asked in ASKED}
    tables = []
    for variant, value in ({"v3": 0.02, "r1": 0.98} | shares).items():
        closed = rng.random(questions) < 1 / (1 + np.exp(-np.log(value / (1 - value)) - difficulty))
        row = {"variant": variant, "benchmark": "a", "question": range(questions), "sample": 1, "turn": 1}
        row |= {"right": 1.0, "tokens": 10 + 20 * closed, "closing_tags": closed.astype(int), "finish": "stop"}
        tables.append(pd.DataFrame(row))
    return pd.concat(tables, ignore_index=True)
