"""Reading checkpoints, and the sentences that broken ones end in."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from aoe import AoeError
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.checkpoints.shard import Shard
from support.checkpoints import stored, weights, write_checkpoint


def test_tensors_equal_the_safetensors_library(family):
    for checkpoint in family.values():
        for file in checkpoint.shard_names:
            for name, tensor in load_file(checkpoint.directory / file).items():
                ours = checkpoint.tensor(name)
                assert ours.dtype == tensor.dtype
                assert torch.equal(ours.view(torch.uint8), tensor.view(torch.uint8))


def test_a_scale_is_found_in_another_shard(family):
    weight = "model.layers.1.mlp.experts.0.up_proj.weight"
    scale = family["v3"].scale(weight)
    assert scale == f"{weight}_scale_inv"
    assert family["v3"].files[scale] != family["v3"].files[weight]
    assert scale not in family["v3"].weights


def test_an_fp8_weight_without_scale_is_refused(tmp_path):
    tensors = stored(weights(0))
    del tensors["model.layers.0.mlp.up_proj.weight_scale_inv"]
    with pytest.raises(AoeError, match=r"v3: the FP8 tensor model\.layers\.0\.mlp\.up_proj\.weight has no"):
        write_checkpoint(tmp_path / "v3", tensors).check_scales()


def shard_of(family):
    return family["v3"].directory / "model-00001-of-00002.safetensors"


def with_header(path, header):
    """Write a shard anew with another header (a dict, or raw text)."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def header_of(path):
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


def test_a_truncated_shard_is_refused(family):
    path = shard_of(family)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AoeError, match="its header promises"):
        Shard(path)


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 7 + b"\x7f", b"\x10" + b"\0" * 7 + b"x"])
def test_a_file_that_is_no_shard_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(AoeError, match="no complete safetensors file"):
        Shard(tmp_path / "x.safetensors")


def test_lying_headers_are_refused(family):
    path = shard_of(family)
    original = header_of(path)
    name = next(key for key in original if key != "__metadata__")
    for change, message in [
        ({"dtype": "F4"}, "unknown dtype"),
        ({"shape": [1]}, "does not fit"),
        ({"data_offsets": [1, 1 + original[name]["data_offsets"][1] - original[name]["data_offsets"][0]]}, "a gap"),
    ]:
        with_header(path, original | {name: original[name] | change})
        with pytest.raises(AoeError, match=message):
            Shard(path)
    with_header(path, '{"a": {}, "a": {}}')
    with pytest.raises(AoeError, match="twice"):
        Shard(path)
    with_header(path, "[]")
    with pytest.raises(AoeError, match="unreadable"):
        Shard(path)


def test_an_index_that_leaves_its_directory_is_refused(family):
    index = family["v3"].directory / INDEX
    content = json.loads(index.read_text(encoding="utf-8"))
    content["weight_map"]["lm_head.weight"] = "../r1/model-00002-of-00002.safetensors"
    index.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(AoeError, match="not a safetensors file beside it"):
        Checkpoint(family["v3"].directory).tensor("lm_head.weight")


def test_a_checkpoint_without_index_is_its_single_file(family, tmp_path):
    single = tmp_path / "single"
    single.mkdir()
    shutil.copy(shard_of(family), single / "model.safetensors")
    assert "model.embed_tokens.weight" in Checkpoint(single)


def test_missing_parts_are_named(family, tmp_path):
    with pytest.raises(AoeError, match="neither"):
        Checkpoint(tmp_path).files  # noqa: B018
    with pytest.raises(AoeError, match="v3 has no tensor nothing"):
        family["v3"].tensor("nothing")
    shard_of(family).unlink()
    with pytest.raises(AoeError, match="is missing"):
        Checkpoint(family["v3"].directory).tensor("model.embed_tokens.weight")
