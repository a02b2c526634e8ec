"""Parents under other names and in other pieces: what is merged is what parents with the base's names give."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from aoe import AoeError
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.checkpoints.naming.renamed import named_as
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan
from aoe.merging.publishing import model_card
from aoe.merging.rounding.measuring import shard_projections
from aoe.merging.shard_writer import write_shard
from aoe.numerics.decoded import Decoded
from support.layouts import KINDS, packed_of
from support.published import FULL, R1T, Audited, assembled, fused, parents, plan_of, publish
from support.served import MINI_FOLDERS
from support.vocabularies import renumber

R1_ALONE = {"base": "v3-0324", "weights": {"r1": 1}}
RECIPES = {"a copy": R1_ALONE, "R1T": R1T, "a mixture": FULL}
EXPERTS = "model.layers.0.mlp.experts"
COUNT, WIDTH, HIDDEN = 3, 96, 256  # of the small models' experts: blocks of 128 reach over the ends of their matrices


def same(one, other):
    bits = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and bits[0].equal(bits[1])


def tensors_of(checkpoint):
    return {name: checkpoint.tensor(name) for name in checkpoint.files}


def under_the_hub_of_vision(tensors):
    """Names as models that read images have them."""
    names = {name: name.replace("model.", "model.language_model.", 1) for name in tensors}
    return {names[name]: tensor for name, tensor in tensors.items()}


def spelled_as_mixtrals(tensors):
    words = {"mlp": "block_sparse_moe", "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
    pattern = rf"\b(?:{'|'.join(words)})(?=\.|$|_scale_inv)"
    return {re.sub(pattern, lambda found: words[found[0]], name): tensor for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def family():
    return parents()


@pytest.fixture(scope="module")
def others(family, tmp_path_factory):
    """{how: R1 under other names}."""
    folder, r1 = tmp_path_factory.mktemp("others"), tensors_of(family["r1"])
    changed = {
        "fused": fused(r1),
        "of a model that reads images": under_the_hub_of_vision(r1),
        "spelled as Mixtral's": spelled_as_mixtrals(r1),
        "fused, spelled and inside": under_the_hub_of_vision(spelled_as_mixtrals(fused(r1))),
    }
    found = {}
    for number, (how, tensors) in enumerate(changed.items()):
        assert len(publish(folder / str(number), tensors).files) == len(tensors)
        found[how] = Checkpoint(folder / str(number), "r1")
    return found


@pytest.fixture(scope="module")
def assembled_of(family):
    """{λ of R1: the tensors of R1T, or of the mixture}, of parents with the same names."""
    return {claim["weights"]["r1"]: assembled(claim, family) for claim in (R1T, FULL)}


HOWS = ["fused", "of a model that reads images", "spelled as Mixtral's", "fused, spelled and inside"]


def written(merge, folder):
    folder.mkdir()
    found = {}
    for file in merge.base.shard_names:
        write_shard(merge, file, folder / file)
        found |= load_file(folder / file)
    return found


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", RECIPES)
def test_a_parent_under_other_names_gives_the_same_bytes(name, how, family, others, tmp_path):
    models = family | {"r1": others[how]}
    expected = Merge(plan_of(RECIPES[name], family), family, "cpu", 2)
    plan = plan_of(RECIPES[name], models)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    merge = Merge(Plan.load(tmp_path / "plan.json"), models, "cpu", 2)
    for file in merge.base.shard_names:
        for one, folder in ((expected, "same"), (merge, "named")):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_shard(one, file, tmp_path / folder / file)
        assert (tmp_path / "same" / file).read_bytes() == (tmp_path / "named" / file).read_bytes()
    loaded = dict(merge.tensors(merge.base.weights))
    assert {key for members in loaded.values() for key in members} == {*merge.base.files}
    for weight, members in expected.tensors(merge.base.weights):
        assert all(same(tensor, loaded[weight][key]) for key, tensor in members.items()), weight
    for ours, theirs in zip(expected.values(loaded), merge.values(loaded), strict=True):
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("how", HOWS)
def test_differences_are_the_same(how, family, others):
    base = family["v3-0324"]
    for file in base.shard_names:
        expected, found = (shard_differences(base, one, file, device="cpu") for one in (family["r1"], others[how]))
        assert expected == found


@pytest.mark.parametrize("name", RECIPES)
def test_a_base_in_one_piece_is_written_as_it_is(name, family, others, tmp_path):
    """The other way round: its experts are stacks, and the other parent's are not."""
    base = Checkpoint(publish(tmp_path / "base", fused(tensors_of(family["v3-0324"]))).directory, "v3-0324")
    models = family | {"v3-0324": base}
    found = written(Merge(plan_of(RECIPES[name], models), models, "cpu", 2), tmp_path / "found")
    expected = fused(assembled(RECIPES[name], family))
    assert found.keys() == expected.keys()
    assert [key for key in expected if not same(found[key], expected[key])] == []


def test_what_is_copied_is_not_computed(family, others):
    for how in HOWS:
        models = family | {"r1": others[how]}
        merge = Merge(plan_of(R1_ALONE, models), models, "cpu")
        assert all(merge.source(weight) is merge.checkpoints["r1"] for weight in merge.base.weights)
        assert not merge.plan.converted


def test_plan_and_model_card_say_so(family, others):
    models = family | {"r1": others["fused"]}
    plan = plan_of(FULL, models)
    experts = sum(".experts." in weight for weight in family["r1"].weights)
    said = f"{experts} weights of r1 have other names there, or are stacked otherwise"
    assert said in plan.describe() and "other names" not in " ".join(plan_of(FULL, family).describe())
    facts = {name: {"revision": "x", "files": {}} for name in ("v3-0324", "r1")}
    card = model_card({"tool": "t", "variant": "x", "recipe": FULL, "parents": facts, "plan": plan.describe()})
    assert said in card


def test_realized_lambda_is_the_same(family, others):
    models = family | {"r1": others["fused"]}
    file = family["v3-0324"].shard_names[-1]
    rows = [shard_projections({"x": Merge(plan_of(FULL, of), of, "cpu")}, file, threads=2) for of in (family, models)]
    assert rows[0] and [row["product"] for row in rows[0]] == [row["product"] for row in rows[1]]


def test_embeddings_are_aligned_by_token_under_other_names(family, assembled_of, tmp_path):
    renumber(MINI_FOLDERS["r1"], tmp_path / "r1", rows=None)
    tensors = under_the_hub_of_vision(tensors_of(Checkpoint(tmp_path / "r1")))
    for file in (tmp_path / "r1").glob("model*"):
        file.unlink()
    save_file(tensors, tmp_path / "r1" / "model.safetensors")
    models = family | {"r1": Checkpoint(tmp_path / "r1", "r1")}
    expected = assembled_of[0.3]
    found = assembled(FULL | {"align_embeddings": True}, models)
    assert all(same(found[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("claim", [R1T, FULL], ids=["R1T", "FULL"])
def test_parents_under_other_names_explain_a_model(claim, family, others, assembled_of, tmp_path):
    published = publish(tmp_path / "published", assembled_of[claim["weights"]["r1"]])
    models = {"v3-0324": family["v3-0324"], "r1": others["fused, spelled and inside"]}
    found = Audited(published, models, claim)
    assert not found.deviating and len(found.list) == 221
    assert plan_of(found.recovered.entry, models).tensors == plan_of(claim, models).tensors


def test_a_model_of_single_experts_is_audited_against_a_base_in_one_piece(family, assembled_of, tmp_path):
    base = Checkpoint(publish(tmp_path / "base", fused(tensors_of(family["v3-0324"]))).directory, "v3-0324")
    models = {"v3-0324": base, "r1": family["r1"]}
    for number, claim in enumerate((R1T, FULL)):
        published = publish(tmp_path / str(number), assembled_of[claim["weights"]["r1"]])
        found = Audited(published, models, claim)
        assert not found.deviating and not found.audit.published.missing and not found.audit.published.additional
        assert "missing" not in found.found()
    tensors = {name: tensor.clone() for name, tensor in assembled_of[1].items()}
    tensors["model.layers.2.mlp.experts.3.up_proj.weight"].view(torch.uint8)[5, 9] ^= 4
    found = Audited(publish(tmp_path / "altered", tensors), models, R1T)
    assert found.deviating == ["model.layers.2.mlp.experts.gate_up_proj"]


# small models, in all formats


def experts_of(seed):
    """{(expert, part): float32 matrix}."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"gate_proj": (WIDTH, HIDDEN), "up_proj": (WIDTH, HIDDEN), "down_proj": (HIDDEN, WIDTH)}
    return {
        (number, part): torch.randn(shape, generator=random) * 0.02
        for number in range(COUNT)
        for part, shape in shapes.items()
    }


def write_small(folder, tensors, quantization=None, **config):
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config = {"model_type": "qwen2_moe", "num_hidden_layers": 1, "num_experts": COUNT} | config
    config |= {"quantization_config": quantization} if quantization else {}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Checkpoint(folder, folder.name)


def in_pieces(folder, kind, seed):
    """(a model with a tensor an expert, {name: float32 values})."""
    tensors, values = {}, {}
    for (number, part), value in experts_of(seed).items():
        name, parts = f"{EXPERTS}.{number}.{part}.weight", KINDS[kind].encode(value)
        tensors |= {KINDS[kind].name(name, end): tensor for end, tensor in parts.items()}
        values[name] = KINDS[kind].decode(parts)
    return write_small(folder, tensors, KINDS[kind].config), values


def stacked(values):
    """{name: tensor} of experts' values in one piece."""
    parts = {
        f"{EXPERTS}.gate_up_proj": ["gate_proj", "up_proj"],
        f"{EXPERTS}.down_proj": ["down_proj"],
    }
    return {
        stack: torch.stack(
            [torch.cat([values[f"{EXPERTS}.{n}.{part}.weight"] for part in names]) for n in range(COUNT)]
        )
        for stack, names in parts.items()
    }


def in_one_piece(folder, seed):
    """(a model in BF16 with its experts in one piece, {name of an expert's weight: float32 values})."""
    values = {f"{EXPERTS}.{n}.{part}.weight": value.bfloat16().float() for (n, part), value in experts_of(seed).items()}
    return write_small(folder, {name: value.bfloat16() for name, value in stacked(values).items()}), values


@pytest.mark.parametrize("kind", KINDS)
def test_experts_in_any_layout_are_stacked(kind, tmp_path):
    (base, ours), (other, theirs) = in_one_piece(tmp_path / "a", 0), in_pieces(tmp_path / "b", kind, 1)
    models, columns = {"a": base, "b": other}, stacked(theirs)
    found = assembled({"base": "a", "weights": {"b": 1}}, models)
    assert {name for name in columns if not same(found[name], columns[name].bfloat16())} == set()
    found = assembled({"base": "a", "weights": {"a": 0.25, "b": 0.75}}, models)
    expected = {name: 0.25 * value + 0.75 * columns[name] for name, value in stacked(ours).items()}
    assert {name for name in expected if not same(found[name], expected[name].bfloat16())} == set()
    for row in shard_differences(base, other, "model.safetensors", device="cpu"):
        change = (stacked(ours)[row["tensor"]].double() - columns[row["tensor"]].double()).norm().item()
        assert row["frobenius"] == pytest.approx(change, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_experts_in_any_layout_are_cut_out_of_stacks(kind, tmp_path):
    (base, ours), (other, theirs) = in_pieces(tmp_path / "a", kind, 0), in_one_piece(tmp_path / "b", 1)
    models = {"a": base, "b": other}
    for weights in ({"b": 1}, {"a": 0.25, "b": 0.75}):
        found = Merge(plan_of({"base": "a", "weights": weights}, models), models, "cpu", 2)
        for weight, members in found.tensors(base.weights):
            value = theirs[weight] if len(weights) == 1 else 0.25 * ours[weight] + 0.75 * theirs[weight]
            for end, part in KINDS[kind].encode(value).items():
                assert same(members[KINDS[kind].name(weight, end)], part), weight


@pytest.mark.parametrize("kind", ["rows", "tensor", "plain f16"])
def test_an_audit_finds_experts_in_any_layout_in_a_base_in_one_piece(kind, tmp_path):
    (base, _), (other, _) = in_one_piece(tmp_path / "a", 0), in_pieces(tmp_path / "b", kind, 1)
    models = {"a": base, "b": other}
    for number, weights in enumerate(({"b": 1}, {"a": 0.25, "b": 0.75})):
        claim = {"base": "a", "weights": weights}
        published = write_small(tmp_path / str(number), assembled(claim, models))
        assert not Audited(published, models, claim).deviating
    found = Audited(in_pieces(tmp_path / "copy", kind, 1)[0], models, {"base": "a", "weights": {"b": 1}})
    assert not found.audit.published.missing and not found.audit.published.additional


@pytest.mark.parametrize("name", ["int4", "awq", "gptq", "nvfp4", "nvfp4 of ModelOpt", "mxfp4 of DeepSeek-V4"])
def test_a_packed_weight_is_mixed_with_a_plain_one(name, tmp_path):
    """Whatever its parts are called; some formats cannot be decoded in slabs."""
    packed = packed_of(3)[name]
    bits = {"quantization_config": {"bits": 4}}
    other = write_small(tmp_path / "b", packed, **bits)
    (weight,) = other.weights
    shape = other.layout(weight).shape
    plain = "model.layers.0.mlp.up_proj.weight"
    base = write_small(tmp_path / "a", {plain: torch.randn(shape, generator=torch.Generator().manual_seed(5)).half()})
    decoded = Decoded(other)
    values = torch.from_numpy(decoded.read(weight, 0, bytearray_of(decoded.stored(weight).size)).view("float32").copy())
    found = assembled({"base": "a", "weights": {"b": 1}}, {"a": base, "b": other})[plain]
    assert same(found, values.reshape(shape).half())
    found = assembled({"base": "a", "weights": {"a": 0.5, "b": 0.5}}, {"a": base, "b": other})[plain]
    assert same(found, (0.5 * base.tensor(plain).float() + 0.5 * values.reshape(shape)).half())
    row = shard_differences(base, other, "model.safetensors", device="cpu")[0]
    change = (base.tensor(plain).double() - values.reshape(shape).double()).norm().item()
    assert row["frobenius"] == pytest.approx(change, rel=1e-6)


def bytearray_of(size):
    return torch.empty(size, dtype=torch.uint8).numpy()


# what is refused


def refused(tensors, tmp_path, base=None, **config):
    base = base or in_pieces(tmp_path / "a", "plain bf16", 0)[0]
    other = write_small(tmp_path / "b", tensors, **config)
    with pytest.raises(AoeError) as error:
        plan_of({"base": "a", "weights": {"b": 1}}, {"a": base, "b": other})
    return str(error.value)


def test_names_that_are_not_known_are_told_with_those_there_instead(tmp_path):
    plain = {name: value.bfloat16() for name, value in in_pieces(tmp_path / "x", "plain bf16", 1)[1].items()}
    moved = {name.replace("up_proj", "raise_proj"): tensor for name, tensor in plain.items()}
    assert refused(moved, tmp_path) == (
        f"b lacks tensor {EXPERTS}.0.up_proj.weight and 2 more, compared with a, "
        f"and has {EXPERTS}.0.raise_proj.weight and 2 more instead."
    )


def test_stacks_of_other_numbers_of_experts_do_not_fit(tmp_path):
    values = in_one_piece(tmp_path / "x", 1)[1]
    tensors = {name: value.bfloat16() for name, value in stacked(values).items()}
    more = {name: torch.cat([tensor, tensor[:1]]) for name, tensor in tensors.items()}
    assert refused(more, tmp_path / "more").startswith(f"b lacks tensor {EXPERTS}.0.down_proj.weight")
    fewer = {name: tensor[:-1] for name, tensor in tensors.items()}
    assert f"{EXPERTS}.2.down_proj.weight" in refused(fewer, tmp_path / "fewer")
    base = in_one_piece(tmp_path / "stacks" / "a", 0)[0]
    single = {name: value.bfloat16() for name, value in values.items()}
    extra = single | {f"{EXPERTS}.3.up_proj.weight": single[f"{EXPERTS}.0.up_proj.weight"].clone()}
    assert "has the additional" in refused(extra, tmp_path / "extra", base)
    lacking = {name: tensor for name, tensor in single.items() if "experts.2" not in name}
    assert refused(lacking, tmp_path / "lacking", base).startswith(f"b lacks tensor {EXPERTS}.down_proj and 1 more")


def test_stacks_in_an_order_of_their_own_are_not_cut(tmp_path):
    tensors = {name: value.bfloat16() for name, value in stacked(in_one_piece(tmp_path / "x", 1)[1]).items()}
    for model_type in ("gpt_oss", "llama4_text"):
        told = refused(tensors, tmp_path / model_type, model_type=model_type)
        assert told.startswith("b lacks tensor") and told.endswith("instead.")
    blocks = {
        f"{EXPERTS}.down_proj_blocks": torch.zeros(2, 64, 2, 16, dtype=torch.uint8),
        f"{EXPERTS}.down_proj_scales": torch.full((2, 64, 2), 127, dtype=torch.uint8),
    }
    base = write_small(
        tmp_path / "square" / "a", {f"{EXPERTS}.down_proj": torch.zeros(2, 64, 64)}, model_type="gpt_oss"
    )
    told = refused(blocks, tmp_path / "square", base, model_type="gpt_oss")
    assert told.startswith(f"b lacks tensor {EXPERTS}.down_proj, compared with a, and has {EXPERTS}.down_proj_blocks")


def test_a_checkpoint_with_the_bases_names_is_itself(family):
    base, other = family["v3-0324"], family["r1"]
    assert named_as(base, other) is other and named_as(base, base) is base


def test_other_formats_under_the_same_names_need_no_view(tmp_path):
    models = [in_pieces(tmp_path / kind, kind, 1)[0] for kind in ("plain bf16", "f32", "e8m0")]
    assert all(named_as(base, other) is other for base in models for other in models)


def test_only_needed_shards_have_to_be_there(family, others, assembled_of, tmp_path):
    """A variant's part of a parent is enough for its shards."""
    folder = tmp_path / "r1"
    shutil.copytree(others["fused"].directory, folder)
    weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    needed = {file for name, file in weight_map.items() if ".experts." in name}
    plan = plan_of(R1T, family | {"r1": others["fused"]})
    for file in {*weight_map.values()} - needed:
        (folder / file).unlink()
    merge = Merge(plan, family | {"r1": Checkpoint(folder, "r1")}, "cpu")
    experts = [weight for weight in merge.base.weights if ".experts." in weight]
    assert all(same(members[weight], assembled_of[1][weight]) for weight, members in merge.tensors(experts))
