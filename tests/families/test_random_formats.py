"""Random recipes over random formats, layouts and shards, rebuilt by a slow reference: the bytes are the same.

The reference decodes and encodes with torch and compressed-tensors, and sums in float32 in the order of the recipe,
every operation rounded on its own.
"""

import itertools
import json
import math
import os
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.shard_writer import write_shard
from support.layouts import E8M0, Kind, Plain
from support.packed import Int4, Mxfp4, Nvfp4, Stacked, copies
from support.published import plan_of
from support.random_recipes import entry, is_meant, mixture

RECIPES = 10  # of each family of parents
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def plain(choice):
    return Plain(choice.choice(DTYPES))


def fp8(choice):
    """FP8 with scales of any kind."""
    dtype = choice.choice([*DTYPES, torch.float32, "powers"])
    stored = choice.choice([torch.float32, E8M0]) if dtype == "powers" else None
    more = {"scale_fmt": "ue8m0"} if dtype == "powers" else {}
    shared = choice.choice(["square", "square", "blocks", "rows", "columns", "tensor", "list"])
    if shared == "square":
        return Kind((128, 128), dtype, choice.choice(["_scale_inv", "_scale", ".scale"]), stored=stored, **more)
    if shared == "blocks":
        block = choice.choice([(64, 32), (32, 64), (16, 16), (128, 64), (1, 32)])
        return Kind(block, dtype, choice.choice(["_scale_inv", "_scale"]), stored=stored, **more)
    block = {"rows": (1, None), "columns": (None, 1)}.get(shared, (None, None))
    return Kind(block, dtype, "_scale", shape={"tensor": (), "list": (1,)}.get(shared), stored=stored, **more)


def int4(choice):
    bits = choice.choice([4, 4, 4, 8])
    return Int4(choice.choice([16, 32, 64]), choice.choice(DTYPES), bits, choice.random() < 0.8)


def stacked(choice):
    if choice.random() < 0.3:
        return plain(choice)
    dtype = choice.choice([*DTYPES, "powers"])
    more = {"scale_fmt": "ue8m0"} if dtype == "powers" else {}
    kinds = [Kind((128, 128), dtype, **more), Kind((32, 32), dtype, **more), Kind((1, None), dtype, "_scale", **more)]
    return Stacked(choice.choice([*kinds, Kind((None, None), dtype, "_scale", shape=(1, 1), **more)]))


# kinds that weights of one name can have, to which they can be converted
MAKERS = {
    "weights": [plain, fp8, fp8, fp8, lambda _: Mxfp4(("", ".scale"), E8M0)],
    "packed": [int4, int4, lambda _: Mxfp4(), lambda _: Nvfp4()],
    "blocks": [lambda _: Mxfp4(("_blocks", "_scales"), blocks=True)],
    "stacked": [stacked],
}


class Family:
    """Parents with random layouts in a folder: ``kinds``, ``tensors`` {end: tensor} and ``values`` of each weight."""

    def __init__(self, choice, folder):
        self.choice, self.folder = choice, folder
        self.names = [f"p{number}" for number in range(choice.choice([2, 2, 3, 4]))]
        self.of_experts = choice.choice([*MAKERS])
        self.experts, self.layers = choice.randint(1, 3), choice.randint(1, 2)
        self.shapes = self._shapes()
        self.kinds, self.tensors, self.values = {}, {}, {}
        for name in self.names:
            self._make(name)
        self.parents = {name: self._write(name) for name in self.names}

    def _side(self):
        return self.choice.choice([32, 64, 128, 160]) if self.aligned else self.choice.randint(2, 200)

    def _shapes(self):
        """{name where nothing is packed: shape}."""
        self.aligned = self.of_experts != "weights" or self.choice.random() < 0.4
        hidden, width = self._side(), self._side()
        hidden, width = (-(-side // 64) * 64 for side in (hidden, width)) if self.aligned else (hidden, width)
        found = {"model.embed_tokens.weight": (7, hidden), "model.norm.weight": (hidden,)}
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            found[f"{prefix}self_attn.o_proj.weight"] = (hidden, self._side())
            found[f"{prefix}input_layernorm.weight"] = (hidden,)
            experts = f"{prefix}mlp.experts."
            if self.of_experts in ("blocks", "stacked"):
                rows = self.choice.choice([128, 128, 256])
                found[f"{experts}gate_up_proj"] = (self.experts, rows, hidden)
            else:
                found |= {f"{experts}{expert}.up_proj.weight": (width, hidden) for expert in range(self.experts)}
            found[f"{prefix}mlp.gate.weight"] = (self.experts, hidden)
            found[f"{prefix}mlp.gate.e_score_correction_bias"] = (self.experts,)
        return found

    def _make(self, name):
        """The kinds and numbers of a parent: some weights have the base's, or are 0."""
        choice, base = self.choice, self.names[0]
        seed = torch.Generator().manual_seed(choice.randrange(2**31))
        makers = MAKERS[self.of_experts][: None if self.aligned or self.of_experts != "weights" else 4]
        expert = choice.choice(makers)(choice)
        other = expert if self.of_experts == "weights" and choice.random() < 0.5 else plain(choice)
        if name != base and choice.random() < 0.5:
            expert, other = self.config_of[base]
        self.config_of = getattr(self, "config_of", {}) | {name: (expert, other)}
        size = choice.choice([0.02, 0.02, 1e-3, 3.0])
        self.kinds[name], self.tensors[name], self.values[name] = {}, {}, {}
        for weight, shape in self.shapes.items():
            kind = expert if ".experts." in weight else other if "_proj" in weight else Plain(torch.bfloat16)
            kind = Plain(torch.float32) if weight.endswith("bias") else kind
            same = name != base and choice.random() < 0.1 and copies(self.kinds[base][weight], kind, shape)
            value = torch.randn(shape, generator=seed) * size
            if choice.random() < 0.1:
                value[: shape[0] // 2] = 0
            parts = self.tensors[base][weight] if same and copies(kind, self.kinds[base][weight], shape) else None
            kind = self.kinds[base][weight] if parts else kind
            self.kinds[name][weight] = kind
            self.tensors[name][weight] = parts or kind.encode(value)
            self.values[name][weight] = kind.decode(self.tensors[name][weight])

    def stored(self, name):
        """{name: tensor} of a parent."""
        return {
            self.kinds[name][weight].name(weight, end): part
            for weight, parts in self.tensors[name].items()
            for end, part in parts.items()
        }

    def known_as(self, weight, name=None):
        """The name of the tensor that a weight is known by."""
        kind = self.kinds[name or self.names[0]][weight]
        return kind.name(weight, next(iter(self.tensors[name or self.names[0]][weight])))

    def _write(self, name):
        """A checkpoint in shards that its tensors are spread over by chance, scales and codes apart."""
        folder, tensors, choice = self.folder / name, self.stored(name), self.choice
        folder.mkdir()
        names = choice.sample([*tensors], len(tensors))
        count = choice.randint(1, 4)
        shards = {f"part-{number}.safetensors": names[number::count] for number in range(count)}
        for file, inside in shards.items():
            save_file({key: tensors[key].contiguous() for key in inside}, folder / file)
        files = {tensor: file for file, inside in shards.items() for tensor in inside}
        (folder / INDEX).write_text(json.dumps({"weight_map": files}), encoding="utf-8")
        quantized = next((kind.config for kind in self.config_of[name] if kind.config), None)
        config = {"model_type": "deepseek_v3", "num_hidden_layers": self.layers, "first_k_dense_replace": 0}
        config |= {"quantization_config": quantized} if quantized else {}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return Checkpoint(folder, name)


class Reference:
    """What a recipe makes of a family's parents."""

    def __init__(self, family, recipe):
        self.family, self.recipe, self.base = family, recipe, recipe["base"]
        place = Architecture({"model_type": "deepseek_v3", "num_hidden_layers": family.layers}).place
        self.places = {weight: place(family.known_as(weight)) for weight in family.shapes}
        self.mixtures = {weight: self._mixture(weight) for weight in family.shapes}
        combines = any([*shares.values()] != [1] for shares in self.mixtures.values())
        self.unrounded = recipe.get("rounding") == "none" and combines

    def norm(self, weight, other, space="normalized"):
        """Of the difference of a parent from the base."""
        ours, theirs = (self.family.values[name][weight].double() for name in (self.base, other))
        size = (ours - theirs).norm().item()
        return size / math.sqrt(ours.numel()) if space == "normalized" else size

    def _mixture(self, weight):
        shares = mixture(self.recipe, self.family.known_as(weight), self.places[weight])
        threshold = self.recipe.get("threshold")
        if threshold:
            others = parents_of(self.recipe)[1:]
            if max((self.norm(weight, other, threshold["space"]) for other in others), default=0) <= threshold["delta"]:
                return {self.base: 1}
        return {name: share for name, share in shares.items() if share}

    def tensors(self):
        """{name: tensor} of the result."""
        found = {}
        for weight, shares in self.mixtures.items():
            kind, parts = self._kind(weight), self._parts(weight, shares)
            found |= {kind.name(weight, end): part for end, part in parts.items()}
        return found

    def _kind(self, weight):
        kind = self.family.kinds[self.base][weight]
        return Plain(torch.bfloat16) if self.unrounded and not isinstance(kind, Plain) else kind

    def _parts(self, weight, shares):
        kind, first = self._kind(weight), next(iter(shares))
        if [*shares.values()] == [1] or (math.isclose(sum(shares.values()), 1) and self._same(weight, shares)):
            theirs = self.family.kinds[first][weight]
            if copies(kind, theirs, self.family.shapes[weight]):
                # names are the base's, unless it is unrounded
                ends = [""] if isinstance(kind, Plain) else self.family.tensors[self.base][weight]
                return dict(zip(ends, self.family.tensors[first][weight].values(), strict=True))
            return kind.encode(self.family.values[first][weight])
        return kind.encode(self._sum(weight, shares))

    def _same(self, weight, shares):
        first, *others = (self.family.tensors[name][weight] for name in shares)
        return all(one is first for one in others)

    def _sum(self, weight, shares):
        total, in_bf16 = None, self.recipe.get("arithmetic") == "bfloat16"
        for name, share in shares.items():
            value = self.family.values[name][weight]
            product = (value.bfloat16() * share).float() if in_bf16 else value * share
            total = product if total is None else total + product
        return total.bfloat16().float() if in_bf16 else total


def parents_of(recipe):
    names = [recipe["base"], *recipe["weights"]]
    names += [name for override in recipe["overrides"] for name in override["weights"]]
    return [*dict.fromkeys(names)]


def made(choice, family):
    """A random recipe, with a threshold between two norms, another arithmetic, or λ that sum to anything."""
    places = Reference(family, {"base": family.names[0], "weights": {}, "subset": {}, "overrides": []}).places
    recipe = entry(choice, family.names, {family.known_as(weight): place for weight, place in places.items()})
    packed = [kind for kind in family.kinds[recipe["base"]].values() if isinstance(kind, (Int4, Mxfp4, Nvfp4))]
    if choice.random() < 0.2 and not packed:
        recipe["rounding"] = "none"
    if choice.random() < 0.2:
        recipe["arithmetic"] = "bfloat16"
    if choice.random() < 0.2:
        recipe["convex"] = False
        recipe["weights"] = {name: round(choice.uniform(-1, 2), 2) or 1 for name in recipe["weights"]}
    if choice.random() < 0.3:
        space, reference = choice.choice(["normalized", "frobenius"]), Reference(family, recipe)
        others = parents_of(recipe)[1:]
        norms = sorted({reference.norm(w, other, space) for w in family.shapes for other in others} | {0})
        steps = [(one, other) for one, other in itertools.pairwise(norms) if other > 1.001 * one]
        if steps:
            low, high = choice.choice(steps)
            recipe["threshold"] = {"delta": (low + high) / 2, "space": space}
    return recipe


def different(ours, wanted):
    """The names of tensors that differ in their dtype, shape or bytes, or that one of them lacks."""
    return [
        name
        for name in sorted(ours.keys() | wanted.keys())
        if name not in ours
        or name not in wanted
        or ours[name].dtype != wanted[name].dtype
        or ours[name].shape != wanted[name].shape
        or not bits(ours[name]).equal(bits(wanted[name]))
    ]


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("seed", range(int(os.environ.get("AOE_FUZZ", 100))))
def test_random_recipes_are_what_a_slow_reference_makes(seed, tmp_path):
    choice, done = random.Random(seed), 0
    family = Family(choice, tmp_path)
    while done < RECIPES:
        recipe = made(choice, family)
        try:
            plan = plan_of(recipe, family.parents)
        except AoeError as error:
            assert is_meant(error), error
            continue
        merge, wanted = Merge(plan, family.parents, "cpu", threads=2), Reference(family, recipe).tensors()
        if choice.random() < 0.3:
            ours = {name: one for _, members in merge.tensors(merge.base.weights) for name, one in members.items()}
        else:
            ours, folder = {}, tmp_path / f"result-{done}"
            folder.mkdir()
            for file in merge.base.shard_names:
                write_shard(merge, file, folder / file)
                ours |= load_file(folder / file)
        assert not different(ours, wanted), recipe
        done += 1
