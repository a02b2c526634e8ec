"""Published models of the mini family whose origin is known: assembled, stored otherwise, or tampered with."""

import json
import re
import shutil

import torch
from safetensors.torch import save_file
from aoe.audit.attribution import Audit
from aoe.audit.recovery import recover
from aoe.audit.table import to_frame, to_rows
from aoe.audit.verdict import judge
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import Interpolation, read_recipe
from aoe.merging.sphere import fused_cosines
from aoe.numerics import fp8
from support.clones import ROOT

NAMES = ["v3-0324", "r1", "r1-0528"]
R1T = {"base": "v3-0324", "weights": {"r1": 1}, "subset": {"groups": ["routed_experts"]}}
EXPERTS = "model.layers.2.mlp.experts"
FULL = {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.3}}
WAYS = [  # of combining parents, other than in float32, rounded to nearest
    {"arithmetic": "bfloat16"},
    {"arithmetic": "stored"},
    {"rounding": "stochastic", "seed": 3},
    {"rounding": "balanced"},
    {"rounding": "none"},
    {"arithmetic": "stored", "rounding": "stochastic"},
    {"arithmetic": "bfloat16", "rounding": "stochastic", "seed": 16},
    {"arithmetic": "bfloat16", "rounding": "balanced", "seed": 2},
    {"arithmetic": "bfloat16", "rounding": "none"},
    {"arithmetic": "deltas"},
    {"arithmetic": "deltas", "rounding": "none"},
]
THREE = {
    "base": "v3-0324",
    "weights": {"v3-0324": 0.2, "r1": 0.3, "r1-0528": 0.5},
    "overrides": [
        {"subset": {"groups": ["attention"]}, "weights": {"v3-0324": 0.65, "r1-0528": 0.35}},
        {"subset": {"groups": ["shared_experts"]}, "weights": {"r1": 0.9, "v3-0324": 0.1}},
    ],
}
THRESHOLD = {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}, "threshold": {"delta": 5, "space": "codes"}}
WEIGHT = f"{EXPERTS}.3.up_proj.weight"


def parents(names=NAMES):
    """The mini family's checkpoints."""
    return {name: Checkpoint(ROOT / "resources/mini" / name, name) for name in names}


def plan_of(entry, family):
    """The Plan of a recipe as a study writes it."""
    recipe = read_recipe("claimed", entry, family)
    needed = {name: family[name] for name in recipe.parents}
    norms, cosines = {}, {}
    if recipe.needs_differences:
        base, others = family[recipe.base], [name for name in recipe.parents if name != recipe.base]
        for other in others:
            files = (shard_differences(base, family[other], file, device="cpu") for file in base.shard_names)
            rows = [row for file in files for row in file]
            norms[other] = {row["tensor"]: row[recipe.threshold.space] for row in rows}
            cosines[other] = {row["tensor"]: row["cosine"] for row in rows}
            if recipe.interpolation == Interpolation.SLERP_FUSED:
                cosines[other] = fused_cosines(rows)
    return make_plan(recipe, needed, norms, cosines)


def assembled(entry, family):
    """{name: tensor} of a recipe's model, scales included."""
    merge, tensors = Merge(plan_of(entry, family), family, device="cpu", threads=2), {}
    for weight, tensor, scale in merge.outputs(merge.base.weights):
        tensors[weight] = tensor.clone()
        if scale is not None:
            tensors[f"{weight}_scale_inv"] = scale.clone()
    return tensors


def value(tensors, name):
    """A weight in float32."""
    scale = tensors.get(f"{name}_scale_inv")
    return tensors[name].float() if scale is None else fp8.dequantize(tensors[name], scale)


def is_fp8(row):
    """Whether an audit's row is of a weight that the parents store in FP8."""
    return row["dtype"] == "F8_E4M3"


def of_parents(family, name):
    """A weight of V3-0324 and of R1, in float32."""
    for parent in ("v3-0324", "r1"):
        yield value({key: family[parent].tensor(key) for key in (name, f"{name}_scale_inv")}, name)


def converted(tensors, dtype):
    """All FP8 weights in another dtype, without scales."""
    return {
        name: value(tensors, name).to(dtype) if f"{name}_scale_inv" in tensors else tensor
        for name, tensor in tensors.items()
        if not name.endswith("_scale_inv")
    }


def fused(tensors):
    """Routed experts as transformers has them: one tensor a layer for gates and ups, one for downs."""
    made, experts = {}, {}
    for name, tensor in tensors.items():
        if at := re.fullmatch(r"(.*\.experts)\.(\d+)\.(gate|up|down)_proj\.weight(_scale_inv)?", name):
            experts.setdefault((at[1], at[4] or ""), {})[int(at[2]), at[3]] = tensor
        else:
            made[name] = tensor
    for (prefix, scale), parts in experts.items():
        numbers = sorted({number for number, _ in parts})
        made[f"{prefix}.gate_up_proj{scale}"] = torch.stack(
            [torch.cat([parts[n, "gate"], parts[n, "up"]]) for n in numbers]
        )
        made[f"{prefix}.down_proj{scale}"] = torch.stack([parts[n, "down"] for n in numbers])
    return made


def publish(folder, tensors, shards=3, config=None):
    """A checkpoint of these tensors, in shards of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    source, names, weight_map = ROOT / "resources/mini/v3-0324", list(tensors), {}
    for number in range(shards):
        file = f"weights-{number}.safetensors"
        part = names[number::shards]
        save_file({name: tensors[name].contiguous() for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    shutil.copy(source / "config.json", folder)
    return Checkpoint(folder, "published")


class Audited:
    """An audit from beginning to end: ``rows`` by weight, ``recovered``, ``deviating`` weights.

    apart: whether every shard is audited by itself, as the workflow does.
    """

    def __init__(self, published, family, claim=None, tolerance=None, apart=False):
        plan, rows = plan_of(claim, family) if claim else None, []
        self.audit = Audit(published, family, plan, tolerance)
        weights = [self.audit.published.weights_in(file) for file in published.shard_names]
        for inside in weights if apart else [[weight for part in weights for weight in part]]:
            audit = Audit(published, family, plan, tolerance) if apart else self.audit
            rows += to_rows(to_frame(audit.rows(inside, threads=2)))  # as the workflow keeps them
        rows += self.audit.missing()
        self.recovered = recover(rows, list(family), self.audit.reproduces)
        self.list = judge(rows, self.recovered, claim is not None)
        self.rows = {row["tensor"]: row for row in self.list}

    @property
    def deviating(self):
        return sorted(name for name, row in self.rows.items() if row["status"] == "deviates")

    def found(self):
        return {row["found"] for row in self.list}
