"""mergekit's configurations: what a recipe says of every tensor, and the values that mergekit itself writes."""

import random
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen3MoeConfig
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.recipe import read_recipe
from aoe.studies.mergekit import __main__ as command
from aoe.studies.mergekit.configuration import read_configuration, slices_of, tensors_of
from aoe.studies.mergekit.methods import METHODS, REFUSED
from aoe.studies.mergekit.models import Outline, read_outline
from aoe.studies.mergekit.study import convert
from aoe.studies.study import read_study
from launcher.schemas import read_schema
from support.clones import ROOT
from support.published import Audited, assembled, fused

MERGEKIT = ROOT / ".venv-mergekit/bin/python"
RUN = """
import sys, yaml
from pathlib import Path
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

for path in map(Path, sys.argv[1:]):
    config = MergeConfiguration.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    run_merge(config, str(path.with_suffix("")), MergeOptions(copy_tokenizer=False, quiet=True))
"""
LAYERS = 4
PLACE = Architecture({"model_type": "qwen3_moe", "num_hidden_layers": LAYERS}).place
INSIDE = ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate", "mlp.experts.0.up_proj", "mlp.experts.1.up_proj"]
NAMES = [f"model.layers.{layer}.{kind}.weight" for layer in range(LAYERS) for kind in (*INSIDE, "input_layernorm")]
NAMES += ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
OUTLINE = Outline(LAYERS, [(name, PLACE(name).layer) for name in NAMES])
A, B, C = "org/Base@main", "org/One", "org/Two"


def models(**weights):
    """[{"model", "parameters"}] of the models a, b and c with these weights."""
    return [{"model": {"a": A, "b": B, "c": C}[name], "parameters": {"weight": w}} for name, w in weights.items()]


def converted(tmp_path, **config):
    """(the recipe, the study, notes) of a configuration."""
    path = tmp_path / "their.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    content, notes = convert(path, "ours", lambda model: OUTLINE)
    return content["variants"]["ours"], content, notes


def test_weights_are_a_recipe(tmp_path):
    recipe, content, notes = converted(tmp_path, merge_method="linear", models=models(a=1, b=3), dtype="bfloat16")
    assert recipe == {"base": "base", "weights": {"base": 0.25, "one": 0.75}, "publish": True}
    assert content["models"] == {
        "base": {"label": "Base", "source": "hf://org/Base@main"},
        "one": {"label": "One", "source": "hf://org/One"},
    }
    assert content["audits"] == {"ours": {"model": "ours", "parents": ["base", "one"], "claim": "ours"}}
    assert not notes


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"merge_method": "linear", "models": models(a=0.7, b=0.6), "parameters": {"normalize": False}},
            {"weights": {"base": 0.7, "one": 0.6}, "convex": False},
        ),
        (
            {"merge_method": "task_arithmetic", "base_model": A, "models": models(b=0.3, c=0.5)},
            {"weights": {"base": 0.2, "one": 0.3, "two": 0.5}, "arithmetic": "deltas"},
        ),
        (
            {"merge_method": "task_arithmetic", "base_model": A, "dtype": "float32", "models": models(b=1.5, c=-0.5)},
            {"weights": {"one": 1.5, "two": -0.5}, "convex": False},
        ),
        (
            {
                "merge_method": "task_arithmetic",
                "base_model": A,
                "models": models(a=9, b=1, c=3),
                "parameters": {"normalize": True, "lambda": 0.8},
            },
            {"weights": {"base": 0.2, "one": 0.2, "two": 0.6}, "arithmetic": "deltas"},
        ),
        (
            {"merge_method": "slerp", "base_model": A, "models": [{"model": B}], "parameters": {"t": 0.4}},
            {"weights": {"base": 0.6, "one": 0.4}, "interpolation": "slerp_fused"},
        ),
        (
            {"merge_method": "passthrough", "models": [{"model": A, "parameters": {"scale": 0.5}}]},
            {"weights": {"base": 0.5}, "convex": False},
        ),
    ],
    ids=str,
)
def test_methods_are_recipes(tmp_path, config, expected):
    recipe, _, _ = converted(tmp_path, **config)
    assert recipe == {"base": "base", **expected, "publish": True}


def test_filters_and_gradients_are_overrides(tmp_path):
    value = [{"filter": "self_attn", "value": [0, 0.3]}, {"filter": "layernorm", "value": 1}, {"value": 0.5}]
    config = {"merge_method": "slerp", "base_model": A, "models": [{"model": A}, {"model": B}]}
    recipe, _, _ = converted(tmp_path, **config, parameters={"t": value})
    assert recipe["weights"] == {"base": 0.5, "one": 0.5}
    assert recipe["overrides"] == [
        {"subset": {"names": ["*self_attn*"], "layers": [0]}, "weights": {"base": 1.0}},
        {"subset": {"names": ["*self_attn*"], "layers": [1]}, "weights": {"base": 0.9, "one": 0.1}},
        {"subset": {"names": ["*self_attn*"], "layers": [2]}, "weights": {"base": 0.8, "one": 0.2}},
        {"subset": {"names": ["*self_attn*"], "layers": [3]}, "weights": {"base": 0.7, "one": 0.3}},
        {"subset": {"names": ["*layernorm*"], "layers": ["0-3"]}, "weights": {"one": 1.0}},
    ]


def test_layers_of_different_models_are_overrides(tmp_path):
    """The head comes with the last layers, the embeddings with the first ones."""
    slices = [{"sources": [{"model": model, "layer_range": at}]} for model, at in ((A, [0, 1]), (B, [1, 4]))]
    recipe, _, _ = converted(tmp_path, merge_method="passthrough", slices=slices)
    assert recipe["weights"] == {"one": 1.0}
    assert recipe["overrides"] == [
        {"subset": {"layers": [0]}, "weights": {"base": 1.0}},
        {"subset": {"names": ["model.embed_tokens.weight"]}, "weights": {"base": 1.0}},
    ]


def drawn(chance, depth=0):
    """A parameter of any form."""
    if depth < 2 and chance.random() < 0.5:
        filters = chance.sample(["self_attn", "q_proj", "mlp", "experts", "experts.1", "lm_head", "norm", "e"], 3)
        values = [{"filter": text, "value": drawn(chance, 2)} for text in filters]
        return [*values, {"value": drawn(chance, 2)}]
    if chance.random() < 0.5:
        return [round(chance.uniform(0.1, 1), 1) for _ in range(chance.randrange(1, 5))]
    return round(chance.uniform(0.1, 1), 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_recipe_gives_every_tensor_what_the_configuration_says(tmp_path, seed):
    chance = random.Random(seed)
    method = chance.choice(["linear", "task_arithmetic", "slerp"])
    config = {"merge_method": method, "base_model": A}
    given = models(a=drawn(chance), b=drawn(chance), **({"c": drawn(chance)} if method != "slerp" else {}))
    if chance.random() < 0.5:
        cut = chance.randrange(1, LAYERS)
        ranges = ((0, cut), (cut, LAYERS))
        config["slices"] = [{"sources": [{**item, "layer_range": [*at]} for item in given]} for at in ranges]
        config["slices"][1]["parameters"] = {"t": drawn(chance)}
    else:
        config["models"] = given
    config["parameters"] = {"t": drawn(chance), "normalize": chance.random() < 0.5}
    entry, content, _ = converted(tmp_path, **config)
    recipe, found = read_recipe("ours", entry, content["models"]), read_configuration(tmp_path / "their.yaml")
    names = {A: "base", B: "one", C: "two"}
    for tensor, _ in tensors_of(found, slices_of(found), OUTLINE):
        expected = {names[model]: weight for model, weight in METHODS[method](tensor).items() if abs(weight) > 1e-9}
        assert recipe.weights_for(tensor.name, PLACE(tensor.name)) == pytest.approx(expected), tensor.name


@pytest.mark.parametrize("method", REFUSED)
def test_methods_without_a_lambda_are_refused_with_the_reason(tmp_path, method):
    with pytest.raises(AoeError, match=rf"The merge method {method} (decides number by number|weighs parents by)"):
        converted(tmp_path, merge_method=method, base_model=A, models=models(b=1))


def stacked(*ranges):
    return {"merge_method": "passthrough", "slices": [{"sources": [{"model": A, "layer_range": at}]} for at in ranges]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (stacked([0, 3], [1, 4]), "gives the result's layers from 3 on has the layers 1 to 3; here every layer keeps"),
        (stacked([0, 3]), "The slices give 3 layers, and the base has 4"),
        ({"merge_method": "linear", "models": models(a=1), "modules": {}}, "modules"),
        ({"merge_method": "linear", "models": [{"model": A, "weight": 1}]}, "at models.0: .*'weight' was unexpected"),
        ({"merge_method": "linear"}, "needs either `models` or `slices`"),
        ({"merge_method": "linear", "models": [{"model": A}]}, "The parameter `weight` of org/Base@main is missing"),
        ({"merge_method": "linear", "models": models(a="x")}, "`weight` of org/Base@main is 'x', which is no number"),
        ({"merge_method": "linear", "models": models(a=1, b=-1)}, "sum to 0, and cannot be normalized"),
        ({"merge_method": "slerp", "models": models(a=1), "parameters": {"t": 1}}, "has no `base_model`"),
        ({"merge_method": "slerp", "base_model": A, "models": models(b=1, c=1)}, "SLERP takes the base and one other"),
        ({"merge_method": "passthrough", "models": models(a=1, b=1)}, "passthrough takes one model for each layer"),
        ({"merge_method": "linear", "models": [{"model": "org/a+org/lora", "parameters": {"weight": 1}}]}, "LoRA"),
        ({"merge_method": "linear", "models": models(a=1), "tokenizer_source": "union"}, "a vocabulary that no parent"),
        (
            {"merge_method": "linear", "models": models(a=1), "tokenizer_source": C},
            "org/Two, which gives the result no",
        ),
        ({"merge_method": "linear", "models": models(a=1), "tokenizer": {"tokens": {"x": {}}}}, "of single tokens"),
        ({"merge_method": "passthrough", "models": [{"model": A, "parameters": {"scale": 0}}]}, "no weight but 0"),
        ({"merge_method": "mean"}, "The merge method mean is not known here; those that can be converted are linear"),
    ],
    ids=str,
)
def test_what_no_recipe_can_state_is_refused(tmp_path, config, message):
    with pytest.raises(AoeError, match=message):
        converted(tmp_path, **config)


def test_what_is_different_is_said(tmp_path):
    weights = models(a=1, b=[{"filter": "block_sparse", "value": 2}, {"value": 1}])
    config = {"merge_method": "linear", "dtype": "float16", "chat_template": "auto", "tokenizer_source": B}
    recipe, _, notes = converted(tmp_path, **config, models=weights)
    assert recipe["tokenizer_from"] == "one"
    assert [note.split()[0] for note in notes] == ["The", "`chat_template`", "The"]
    assert "not in float16" in notes[0] and "'block_sparse' matches the name of no tensor" in notes[2]


def test_models_of_one_name_are_told_apart(tmp_path):
    given = [{"model": model, "parameters": {"weight": 1}} for model in ("a/Ours", "b/ours", "c/ours@v1")]
    _, content, _ = converted(tmp_path, merge_method="linear", models=given)
    assert [*content["models"]] == ["ours-2", "ours-3", "ours-4"], "and from the variant"


# against mergekit itself


def bf16_step(values):
    """The distance between BF16 numbers of this size."""
    return torch.exp2(torch.frexp(values.float())[1] - 8.0)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A folder with the models base, one and two: Qwen3-MoE's, in BF16, as transformers writes them."""
    folder = tmp_path_factory.mktemp("models")
    config = Qwen3MoeConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        moe_intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=128,
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for number, name in enumerate(("base", "one", "two")):
        torch.manual_seed(number)
        apart = 0.02 if number else 0.0
        model.float().load_state_dict({key: one + apart * torch.randn_like(one) for key, one in state.items()})
        model.bfloat16().save_pretrained(folder / name)
    return folder


T = [{"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, {"filter": "mlp", "value": [1, 0.3]}, {"value": 0.5}]
W = [{"filter": "self_attn", "value": [0.2, 0.5, 1]}, {"filter": "mlp", "value": 0.3}, {"value": 0.7}]
CASES = {
    "linear": {"merge_method": "linear", "models": [("base", 0.4), ("one", 0.6)]},
    "linear of three": {"merge_method": "linear", "models": [("base", 1), ("one", 1), ("two", 1)]},
    "linear, by parts": {"merge_method": "linear", "models": [("base", [0.1, 0.9]), ("one", W)]},
    "not normalized": {
        "merge_method": "linear",
        "models": [("base", 0.7), ("one", 0.6)],
        "parameters": {"normalize": False},
    },
    "scaled": {"merge_method": "passthrough", "models": [("base", None)], "parameters": {"scale": 0.7}},
    "layers": {"merge_method": "passthrough", "slices": [("base", [0, 2]), ("one", [2, LAYERS])]},
    "task": {"merge_method": "task_arithmetic", "base_model": "base", "models": [("one", 0.3), ("two", 0.5)]},
    "task without base": {
        "merge_method": "task_arithmetic",
        "base_model": "base",
        "models": [("one", 0.6), ("two", 0.4)],
    },
    "task of one": {"merge_method": "task_arithmetic", "base_model": "base", "models": [("one", 1.0)]},
    "task by parts": {
        "merge_method": "task_arithmetic",
        "base_model": "base",
        "models": [("one", W), ("two", [-0.2, 1])],
    },
    "slerp": {"merge_method": "slerp", "base_model": "base", "models": [("one", None)], "parameters": {"t": 0.4}},
    "slerp by parts": {
        "merge_method": "slerp",
        "base_model": "base",
        "models": [("one", None)],
        "parameters": {"t": T},
    },
}
EXACT = {"layers", "scaled", "task", "task without base", "task of one", "task by parts"}


def as_mergekit_has_it(case, family):
    """A case with folders for models."""
    config = {"dtype": "bfloat16", **CASES[case]}
    if "base_model" in config:
        config["base_model"] = str(family / config["base_model"])
    if "models" in config:
        weights = [(name, {} if weight is None else {"weight": weight}) for name, weight in config["models"]]
        config["models"] = [{"model": str(family / name), "parameters": settings} for name, settings in weights]
    else:
        sources = [{"model": str(family / name), "layer_range": at} for name, at in config["slices"]]
        config["slices"] = [{"sources": [source]} for source in sources]
    return yaml.safe_dump(config)


def tensors_of_folder(folder):
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.fixture(scope="module")
def merged(family, tmp_path_factory):
    """case -> its configuration, beside which mergekit has made a folder."""
    if not MERGEKIT.exists():
        pytest.skip("needs mergekit: make .venv-mergekit/installed")
    folder = tmp_path_factory.mktemp("merged")
    paths = {case: folder / f"{case.replace(' ', '-').replace(',', '')}.yaml" for case in CASES}
    for case, path in paths.items():
        path.write_text(as_mergekit_has_it(case, family), encoding="utf-8")
    subprocess.run([MERGEKIT, "-c", RUN, *paths.values()], check=True, capture_output=True)
    return paths


@pytest.mark.parametrize("case", CASES)
def test_values_are_mergekits(case, family, merged):
    """Equal where both sum alike; else the same sums, in float32, to a last bit before they are rounded to BF16."""
    content, _ = convert(merged[case], "ours")
    theirs_folder = merged[case].with_suffix("")
    recipe, parents = content["variants"]["ours"], content["models"]
    checkpoints = {name: Checkpoint(entry["path"], name) for name, entry in parents.items()}
    ours, theirs = fused(assembled(recipe, checkpoints)), tensors_of_folder(theirs_folder)
    assert ours.keys() == theirs.keys()
    differing = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
    if case in EXACT:
        assert not differing
        if "arithmetic" in recipe:
            whole = {name: Checkpoint(family / name, name) for name in ("base", "one", "two")}
            found = Audited(Checkpoint(theirs_folder, "published"), whole)
            assert not found.deviating and found.recovered.entry["arithmetic"] == "deltas"
        return
    assert differing < 0.02 * sum(tensor.numel() for tensor in ours.values())
    for name in ours:
        near = torch.maximum(bf16_step(torch.maximum(ours[name].abs(), theirs[name].abs())), torch.tensor(2.0**-24))
        assert ((ours[name].float() - theirs[name].float()).abs() <= near).all(), name


def test_a_base_is_read_where_parameters_differ(family):
    layers, tensors = read_outline(str(family / "base"))
    assert layers == LAYERS
    assert dict(tensors)["model.layers.3.mlp.experts.1.up_proj.weight"] == 3
    assert dict(tensors)["lm_head.weight"] is None


def test_the_command_writes_a_study(family, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("config/studies").mkdir(parents=True)
    Path("their.yaml").write_text(as_mergekit_has_it("slerp by parts", family), encoding="utf-8")
    command.main(["their.yaml", "ours"])
    assert capsys.readouterr().out == "config/studies/ours.yaml is written.\n"
    study = read_study("ours", "config/studies", read_schema("study"))
    assert study.variants["ours"].needs_differences and study.audits["ours"]["claim"] == "ours"
    for words, message in (
        (["their.yaml", "ours"], "ours.yaml is there already"),
        (["their.yaml", "a/b"], "is no name of a study"),
        (["none.yaml", "other"], "none.yaml cannot be read"),
        (["", "other"], "Name a mergekit configuration"),
    ):
        with pytest.raises(AoeError, match=message):
            command.main(words)
