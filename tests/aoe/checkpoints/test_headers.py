"""What is read as a shard opens in the safetensors library, and whatever is read, what is written does."""

import json

import pytest
import torch
from safetensors import SafetensorError, safe_open
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.shard import Shard
from aoe.merging.merge import Merge
from aoe.merging.plan import copy_plan, make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard

ONE = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
META = '{"__metadata__":%s,' + ONE[1:] + "}"


def file(text, data=8):
    content = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    return len(content).to_bytes(8, "little") + content + bytes(data)


def entry(**other):
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | other})


HEADERS = {
    "plain": file(ONE + "}"),
    "format": file(META % '{"format":"pt"}'),
    "null for metadata": file(META % "null"),
    "spaces before": file("  " + ONE + "}"),
    "line after": file(ONE + "}\n"),
    "NUL after": file(ONE + "}\0"),
    "byte-order mark": file(b"\xef\xbb\xbf" + ONE.encode() + b"}"),
    "UTF-16": file((ONE + "}").encode("utf-16")),
    "UTF-16 without mark": file((ONE + "}").encode("utf-16-le")),
    "Latin-1": file(ONE.replace('"a"', '"ä"').encode("latin-1") + b"}"),
    "half a surrogate pair": file(ONE.replace('"a"', '"\\ud800"') + "}"),
    "half a pair, raw": file(ONE.replace('"a"', '"\ud800"') + "}"),
    "line in a name": file(ONE.replace('"a"', '"a\nb"') + "}"),
    "hole": file(ONE + ',"b":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}}', 24),
    "overlap": file(ONE + ',"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', 12),
    "bytes after": file(ONE + "}", 12),
    "bytes missing": file(ONE + "}", 4),
    "nothing in a tensor": file(ONE + ',"b":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]}}'),
    "nothing, elsewhere": file(ONE + ',"b":{"dtype":"F32","shape":[0],"data_offsets":[99,99]}}'),
    "scalar": file(entry(shape=[], data_offsets=[0, 4]), 4),
    "not aligned": file(
        '{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}}', 7
    ),
    "further key": file(entry(more=1)),
    "fraction": file(entry(shape=[2.0])),
    "boolean": file(entry(dtype="U8", shape=[True], data_offsets=[0, 1]), 1),
    "minus zero": file('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}', 0),
    "beyond 64 bits": file(entry(dtype="U8", shape=[0, 1 << 64], data_offsets=[0, 0]), 0),
    "product beyond 64 bits": file(entry(dtype="U8", shape=[1 << 40, 1 << 40, 0], data_offsets=[0, 0]), 0),
    "small letters": file(entry(dtype="f32")),
    "key twice": file(ONE.replace('"dtype":"F32"', '"dtype":"F32","dtype":"F32"') + "}"),
    "comma after": file(ONE + ",}"),
}
# metadata that the library refuses, and other tools write
METADATA = ['{"step":1}', '{"a":{"b":"c"}}', '{"a":null}', "[]", '"text"', '{"a":"\\ud800"}', '{"a":NaN}']


@pytest.mark.parametrize("name", HEADERS)
def test_a_shard_is_what_the_safetensors_library_opens(name, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HEADERS[name])
    try:
        with safe_open(path, "np") as opened:
            names = set(opened.keys())
    except SafetensorError:
        names = None
    if names is None:
        with pytest.raises(AoeError, match=r"model\.safetensors"):
            Shard(path)
    else:
        shard = Shard(path)
        assert set(shard.tensors) == names
        assert shard.is_plain
        assert shard.written_header == shard.header


def with_metadata(checkpoint, metadata):
    """The first shard of a checkpoint, with other metadata in its header, written without quotes if need be."""
    path = checkpoint.directory / checkpoint.shard_names[0]
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    entries.pop("__metadata__", None)
    text = f'{{"__metadata__":{metadata},{json.dumps(entries)[1:]}'.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    return Checkpoint(checkpoint.directory, checkpoint.name)


@pytest.mark.parametrize("metadata", [*METADATA, '{"made by":"us"}'])
@pytest.mark.parametrize("how", ["copied", "combined"])
def test_what_is_written_opens_whatever_was_read(metadata, how, family, tmp_path):
    before = {name: family["v3"].tensor(name) for name in family["v3"].files}
    base = with_metadata(family["v3"], metadata)
    if metadata in METADATA:
        with pytest.raises(SafetensorError):
            safe_open(base.directory / base.shard_names[0], "pt").__enter__()
    entry_ = {"base": "v3", "weights": {"v3": 0.5, "r1": 0.5}}
    parents = {"v3": base, "r1": family["r1"]}
    plan = copy_plan(base) if how == "copied" else make_plan(read_recipe("x", entry_, parents), parents)
    merge = Merge(plan, parents, "cpu")
    written = {}
    for file_ in base.shard_names:
        write_shard(merge, file_, tmp_path / file_)
        with safe_open(tmp_path / file_, "pt") as opened:
            assert opened.metadata()["format"] == "pt"
            written |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    assert written.keys() == before.keys()
    expected = before if how == "copied" else dict(merged_tensors(merge))
    for name, tensor in written.items():
        assert torch.equal(tensor.view(torch.uint8), expected[name].view(torch.uint8)), name


def merged_tensors(merge):
    for weight, tensor, scale in merge.outputs(merge.base.weights):
        yield weight, tensor
        if scale is not None:
            yield f"{weight}_scale_inv", scale
