"""What a server was given: any other byte, of whichever tensor, is noticed, and named."""

import json

import pytest
import torch
from aoe import AoeError
from aoe.serving.loaded import Handing, check_same, digest_of, digest_of_all, held_by, read_records, write_record

WEIGHTS = {
    "experts": [torch.arange(64, dtype=torch.uint8).view(torch.float8_e4m3fn).reshape(8, 8), torch.rand(1, 1)],
    "gate": [torch.rand(4, 4).bfloat16()],
    "bias": [torch.rand(())],
    "none": [torch.empty(0, 4)],
}


def handed(weights, reference=None, shared=()):
    handing = Handing(2, reference)
    for weight, tensors in weights.items():
        handing.add(weight, tensors, weight in shared)
    return handing.finish()


def altered(weight, place):
    """WEIGHTS with one bit of one tensor changed."""
    changed = [tensor.clone() for tensor in WEIGHTS[weight]]
    changed[place].reshape(-1).view(torch.uint8)[0] ^= 1
    return WEIGHTS | {weight: changed}


def test_the_same_tensors_have_the_same_digest_in_any_order():
    assert handed(WEIGHTS) == handed(dict(reversed(WEIGHTS.items())))
    assert handed(WEIGHTS, iter(WEIGHTS.items()))["checked"] == len(WEIGHTS)


@pytest.mark.parametrize(("weight", "place"), [("experts", 0), ("experts", 1), ("gate", 0), ("bias", 0)])
def test_one_bit_is_another_model(weight, place):
    assert handed(altered(weight, place))["handed"] != handed(WEIGHTS)["handed"]
    with pytest.raises(AoeError, match=f"other bytes for {weight} than the plan gives"):
        handed(altered(weight, place), iter(WEIGHTS.items()))


def test_a_weight_that_was_left_out_is_missed():
    less = {name: tensors for name, tensors in WEIGHTS.items() if name != "gate"}
    with pytest.raises(AoeError, match="gate"):
        handed(less, iter(WEIGHTS.items()))


def test_dtype_and_shape_belong_to_a_digest():
    zeros = torch.zeros(4, 4)
    others = [zeros.reshape(2, 8), zeros.int(), zeros[:2]]
    assert len({digest_of(tensor) for tensor in [zeros, *others]}) == 4
    assert digest_of(zeros) == digest_of(torch.zeros(8, 4)[::2])


class Absorbing(torch.nn.Module):
    """As MLA: a matrix that is neither a parameter nor a buffer, and a cache that is no weight."""

    def __init__(self):
        super().__init__()
        self.projection = torch.nn.Linear(4, 4)
        self.absorbed = [torch.ones(2, 2)]
        self.kv_cache = torch.rand(100)
        self.itself = self


def test_everything_that_a_layer_computes_with_is_held():
    layer = Absorbing()
    before = held_by(layer, 1)
    assert before["held_tensors"] == 3
    layer.kv_cache += 1
    assert held_by(layer, 1) == before
    layer.absorbed[0][0, 0] = 2
    assert held_by(layer, 1)["held"] != before["held"]


def record(rank, layers=(0, 1), model="Model", **changes):
    return {"rank": rank, "layers": layers, "model": model, "handed": "a", "held": "b", "shared": "c"} | changes


def test_what_all_workers_hold_has_to_be_the_same(tmp_path):
    for rank, shared in ((0, "c"), (10, "c"), (2, "c")):
        write_record(tmp_path, f"rank-{rank}", record(rank, shared=shared))
    write_record(tmp_path, "next-stage", record(3, layers=(2, 3), shared="another"))
    assert [found["rank"] for found in read_records(tmp_path)] == [0, 2, 3, 10]
    write_record(tmp_path, "rank-2", record(2, shared="d"))
    with pytest.raises(AoeError, match=r"Worker 2 .* other bytes than worker 0"):
        read_records(tmp_path)


@pytest.mark.parametrize(("change", "said"), [({"handed": "x"}, "was handed"), ({"held": "x"}, "computes with")])
def test_two_servers_of_a_variant_have_to_be_the_same(change, said):
    both = [record(0), record(1)]
    check_same(both, json.loads(json.dumps(both)))
    with pytest.raises(AoeError, match=f"Worker 1 {said} other bytes"):
        check_same(both, [record(0), record(1, **change)])
    with pytest.raises(AoeError, match="1 workers, and had 2"):
        check_same(both, both[:1])


def test_other_options_may_convert_otherwise():
    check_same([record(0)], [record(0, held="x")], ["handed"])


def test_the_digest_of_all_does_not_depend_on_their_order():
    assert digest_of_all({"a": "1", "b": "2"}) == digest_of_all({"b": "2", "a": "1"}) != digest_of_all({"a": "2"})
