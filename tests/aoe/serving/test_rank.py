"""Ranks: together they make every weight that is served, once, and each reads little more than it holds."""

import json
from pathlib import Path

import pytest
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.inventory import write_sparse_checkpoint
from aoe.checkpoints.keys import experts_of, layers_of
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan
from aoe.serving.rank import Rank, share_of
from support.served import MINI_FOLDERS

DEEPSEEK = Path(__file__).parents[3] / "resources/deepseek-v3/config.json"
HALF = ({"v3-0324": 0.5, "r1": 0.5},)


def half_of_everything(parents):
    base = parents["v3-0324"]
    return Merge(Plan(base.name, HALF, dict.fromkeys(base.files, 0)), parents, "cpu")


def expert_ranks(config, peers):
    """The Ranks of a server as vLLM places experts: in order; layers are split, and MTP is not served."""
    layers, experts = range(layers_of(config)), experts_of(config)
    if experts is None:
        return [Rank(place, peers, frozenset(layers)) for place in range(peers)]
    parts = [frozenset(range(experts * place // peers, experts * (place + 1) // peers)) for place in range(peers)]
    return [Rank(place, peers, frozenset(layers), dict.fromkeys(layers, part)) for place, part in enumerate(parts)]


@pytest.fixture(scope="module")
def mini():
    return half_of_everything({name: Checkpoint(folder, name) for name, folder in MINI_FOLDERS.items()})


@pytest.fixture(scope="module")
def deepseek(tmp_path_factory):
    """Half of each of two models of 671 B parameters, whose data are holes."""
    folder = tmp_path_factory.mktemp("deepseek")
    write_sparse_checkpoint(json.loads(DEEPSEEK.read_text(encoding="utf-8")), folder, 163)
    return half_of_everything({name: Checkpoint(folder, name) for name in ("v3-0324", "r1")})


def layer_of(merge, weight):
    return Architecture(merge.base.config).place(weight).layer


def test_alone_it_makes_everything_it_needs(mini):
    share = share_of(Rank(), mini)
    assert share.own == share.weights == mini.base.weights and not share.makers
    assert share.bytes(mini) == sum(2 * mini.base.stored(name).size for name in mini.base.files)


def test_without_mtp_its_layer_is_left_out(mini):
    layers = mini.base.config["num_hidden_layers"]
    share = share_of(Rank(layers=frozenset(range(layers))), mini)
    left = set(mini.base.weights) - set(share.weights)
    assert left and {layer_of(mini, weight) for weight in left} == {layers}


@pytest.mark.parametrize("peers", [2, 3, 4, 8])
def test_tensor_parallel_ranks_divide_what_all_need(mini, peers):
    shares = [share_of(Rank(place, peers), mini) for place in range(peers)]
    made = [weight for share in shares for weight in share.own]
    assert sorted(made) == sorted(mini.base.weights)
    assert all(share.weights == mini.base.weights and share.makers == shares[0].makers for share in shares)
    read = [share.bytes(mini) for share in shares]
    largest = max(2 * mini.base.stored(name).size for name in mini.base.files)
    assert max(read) - min(read) <= 2 * largest


@pytest.mark.parametrize("peers", [2, 3, 4, 8])
def test_routed_experts_are_read_by_those_who_hold_them(mini, peers):
    ranks = expert_ranks(mini.base.config, peers)
    shares = [share_of(rank, mini) for rank in ranks]
    place = Architecture(mini.base.config).place
    for rank, share in zip(ranks, shares, strict=True):
        experts = {place(weight).expert for weight in share.weights} - {None}
        assert experts == set().union(*rank.experts.values())
    made = [weight for share in shares for weight in share.own]
    served = [weight for weight in mini.base.weights if layer_of(mini, weight) != 4]
    assert sorted(made) == sorted(served), "every weight that is served is made once"


def test_other_stages_layers_are_left_out(mini):
    first = Rank(layers=frozenset({0, 1}), elsewhere=("model.norm.", "lm_head.", "model.layers.2."))
    second = Rank(layers=frozenset({2, 3}), elsewhere=("model.embed_tokens.", "model.layers.0."))
    both = [set(share_of(rank, mini).weights) for rank in (first, second)]
    assert not both[0] & both[1]
    assert "model.embed_tokens.weight" in both[0] and {"model.norm.weight", "lm_head.weight"} <= both[1]
    assert {layer_of(mini, weight) for weight in both[1]} == {2, 3, None}


def test_a_rank_of_eight_reads_a_seventh_of_deepseeks_parents(deepseek):
    size = sum(parent.bytes_of_shards for parent in deepseek.checkpoints.values())
    read = [share_of(rank, deepseek).bytes(deepseek) / size for rank in expert_ranks(deepseek.base.config, 8)]
    assert max(read) <= 0.2
    assert max(read) < 1.05 * min(read)
    # all of them together read every byte once, but those of the MTP layer, which is not served
    assert 0.97 < sum(read) < 1


def test_mtp_that_is_a_model_of_its_own_is_given_to_whoever_asks():
    """vLLM numbers its layers from 0 there, and drops what it does not serve."""
    place = Architecture({"num_hidden_layers": 4}).place
    for weight, needed in (("mtp.layers.0.mlp.experts.1.up_proj.weight", True), ("model.layers.4.enorm.weight", False)):
        assert Rank(layers=frozenset({0})).needs(weight, place(weight)) == needed


def test_a_model_without_experts_is_split_by_its_layers_alone():
    first, second = expert_ranks({"text_config": {"num_layers": 3}}, 2)
    assert (first, second) == (Rank(0, 2, frozenset(range(3))), Rank(1, 2, frozenset(range(3))))
