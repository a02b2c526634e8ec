"""Every broken parent ends planning in one sentence that names the parent and the tensor or file, and never in another
exception, whatever the bytes are."""

import json
import os
import random

import pytest
import torch
from aoe import AoeError
from aoe.acquiring.verification import check_structure
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from support.checkpoints import stored, weights, write_checkpoint

EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"
SHARD = "model-00001-of-00002.safetensors"


def plan_with(tmp_path, change):
    """Plan a mixture of a sound v3 and an r1 whose stored tensors ``change`` has altered."""
    tensors = stored(weights(1))
    change(tensors)
    family = {
        "v3": write_checkpoint(tmp_path / "v3", stored(weights(0)), "v3"),
        "r1": write_checkpoint(tmp_path / "r1", tensors, "r1"),
    }
    return make_plan(read_recipe("half", {"base": "v3", "weights": {"v3": 0.5, "r1": 0.5}}, family), family)


def reshape(tensors):
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:-1]


def retype(tensors):
    tensors["lm_head.weight"] = tensors["lm_head.weight"].double()


def drop(tensors):
    del tensors["lm_head.weight"]


def add(tensors):
    tensors["model.layers.1.mlp.experts.2.up_proj.weight"] = torch.zeros(2, 2)


def drop_scale(tensors):
    del tensors[f"{EXPERT}_scale_inv"]


def wrong_scale(tensors):
    tensors[f"{EXPERT}_scale_inv"] = torch.ones(3, 3)


def wide_scale(tensors):
    tensors[f"{EXPERT}_scale_inv"] = tensors[f"{EXPERT}_scale_inv"].double()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (reshape, r"lm_head\.weight is BF16 \[32, 160\] in v3, but BF16 \[31, 160\] in r1"),
        (retype, r"lm_head\.weight is BF16 in v3, but F64 in r1; F64 cannot be converted"),
        (drop, r"r1 lacks tensor lm_head\.weight, compared with v3"),
        (add, r"r1 has the additional tensor .*experts\.2\.up_proj\.weight"),
        (drop_scale, r"r1: the FP8 tensor .*experts\.0\.up_proj\.weight has no .*weight_scale_inv"),
        (wrong_scale, r"r1: the scale .*up_proj\.weight_scale_inv is F32 \[3, 3\], but its weight of shape"),
        (wide_scale, r"r1: the scale .*up_proj\.weight_scale_inv is F64 \[1, 2\], but its weight of shape"),
    ],
)
def test_parents_that_do_not_match(tmp_path, change, sentence):
    with pytest.raises(AoeError, match=sentence):
        plan_with(tmp_path, change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop_scale, r"r1: the FP8 tensor .*up_proj\.weight has no .*up_proj\.weight_scale_inv"),
        (wrong_scale, r"r1: the scale .* is F32 \[3, 3\], but its weight of shape \[128, 160\] .* needs F32 \[1, 2\]"),
        (wide_scale, r"r1: the scale .* is F64 \[1, 2\]"),
    ],
)
def test_scales_that_do_not_fit_their_weight(tmp_path, change, sentence):
    tensors = stored(weights(1))
    change(tensors)
    with pytest.raises(AoeError, match=sentence):
        check_structure(write_checkpoint(tmp_path / "r1", tensors, "r1"))


def rewritten(path, change):
    """Change a shard's header, a dict, and write it back."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def shift(header):
    header[EXPERT]["data_offsets"] = [offset + 1 for offset in header[EXPERT]["data_offsets"]]


def negative(header):
    header[EXPERT]["shape"] = [-dimension for dimension in header[EXPERT]["shape"]]


def fractional(header):
    header[EXPERT]["data_offsets"] = [float(offset) for offset in header[EXPERT]["data_offsets"]]


@pytest.mark.parametrize("change", [shift, negative, fractional])
def test_headers_that_lie_are_told_with_parent_file_and_tensor(family, change):
    rewritten(family["r1"].directory / SHARD, change)
    with pytest.raises(AoeError, match=rf"^r1: .*r1/{SHARD}: .*tensor {EXPERT}") as told:
        check_structure(family["r1"])
    assert "\n" not in str(told.value)


def test_a_truncated_parent_is_told_with_its_file(family):
    os.truncate(family["r1"].directory / SHARD, 1000)
    with pytest.raises(AoeError, match=rf"^r1: .*r1/{SHARD}"):
        check_structure(family["r1"])


@pytest.mark.parametrize(
    "file", ["../v3/x.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", 3, None, ["x"]]
)
def test_an_index_points_only_beside_itself(family, file):
    index = family["r1"].directory / INDEX
    content = json.loads(index.read_text(encoding="utf-8"))
    content["weight_map"]["lm_head.weight"] = file
    index.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(AoeError, match=rf"{INDEX} points to .*not a safetensors file beside it"):
        check_structure(Checkpoint(family["r1"].directory, "r1"))


@pytest.mark.parametrize("seed", range(int(os.environ.get("AOE_FUZZ", 300))))
def test_no_bytes_end_in_anything_but_a_sentence(tmp_path, seed):
    """Random damage to the header of a shard, or to the index: refused, or read as it is then said to be."""
    luck = random.Random(seed)
    checkpoint = write_checkpoint(tmp_path / "r1", stored(weights(0)), "r1")
    path = checkpoint.directory / luck.choice([SHARD, INDEX, "config.json"])
    raw = bytearray(path.read_bytes())
    reach = min(len(raw), 8 + int.from_bytes(raw[:8], "little")) if path.name == SHARD else len(raw)
    for _ in range(luck.randint(1, 8)):
        place = luck.randrange(reach)
        match luck.randrange(4):
            case 0:
                raw[place : place + 1] = bytes([luck.randrange(256)])
            case 1:
                raw[place : place + 1] = luck.choice(
                    [b"-", b"9", b"[", b"{", b'"', b"null", b"1e9", b"\xff", b"0" * 40]
                )
            case 2:
                del raw[place : place + luck.randint(1, 30)]
            case 3:
                other = luck.randrange(reach)
                raw[place:place] = raw[other : other + luck.randint(1, 60)]
    path.write_bytes(raw)
    try:
        damaged = Checkpoint(checkpoint.directory, "r1")
        check_structure(damaged)
        make_plan(read_recipe("copy", {"base": "r1", "weights": {"r1": 1}}, {"r1": damaged}), {"r1": damaged})
        for name in damaged.files:
            assert len(damaged.read(name)) == damaged.stored(name).size
    except AoeError as error:
        assert "\n" not in str(error)
