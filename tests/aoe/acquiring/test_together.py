"""Parents fit together in more than shapes: token ids, constants that weights depend on, and how weights are stored."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from aoe import AoeError
from aoe.acquiring.fetching import lock_all
from aoe.acquiring.together import check, stored_told
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.configs import contradictions, differences, true_config
from aoe.checkpoints.vocabulary import Vocabulary, compare
from aoe.merging.plan import Plan, beside
from aoe.merging.publishing import lay_beside
from aoe.merging.recipe import read_recipe
from aoe.numerics import fp8
from aoe.studies.study import read_study
from job.server import served_folder
from launcher.schemas import read_schema
from support.checkpoints import write_checkpoint
from support.clones import ROOT

MINI = ROOT / "resources/mini"
CONFIGS = {
    "mini": MINI / "r1/config.json",
    "deepseek": ROOT / "resources/deepseek-v3/config.json",
    "qwen3": ROOT / "resources/qwen3-30b-a3b/config.json",
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def pair(tmp_path):
    """name -> folder of two parents: copies of the mini family's small files."""
    for name in ("v3-0324", "r1"):
        shutil.copytree(MINI / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors*"))
    return {name: tmp_path / name for name in ("v3-0324", "r1")}


def altered(folder, file, change):
    content = read(folder / file)
    change(content)
    (folder / file).write_text(json.dumps(content), encoding="utf-8")


def union(**said):
    said = {"config_from": None, "config": [], "tokenizer_from": None, "mixed": True} | said
    return [{"who": "The variant half", "models": ["v3-0324", "r1"], **said}]


def set_to(**values):
    return lambda content: content.update(values)


COMPUTED = {
    "rope_theta": 1000000,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "topk_method": "greedy",
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": False,
    "rms_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "tie_word_embeddings": True,
    "attention_bias": True,
    "num_attention_heads": 8,
    "first_k_dense_replace": 0,
    "moe_layer_freq": 2,
    "qk_nope_head_dim": 64,
    "rope_interleave": False,
}


@pytest.mark.parametrize("key", COMPUTED)
def test_parents_that_compute_differently_are_refused_unless_the_recipe_says_how(key, pair):
    altered(pair["r1"], "config.json", set_to(**{key: COMPUTED[key]}))
    with pytest.raises(AoeError, match=rf"The variant half: .*{key}: .* in v3-0324, .* in r1.*config_from: v3-0324"):
        check(union(), pair)
    assert key in check(union(config_from="r1"), pair)[0]
    assert key in check(union(config=[key]), pair)[0]
    with pytest.raises(AoeError, match=key):
        check(union(config=["another_key"]), pair)


@pytest.mark.parametrize("scaling", [None, {"type": "linear", "factor": 4}, {"factor": 8}, {"mscale": 0.707}])
def test_other_rotations_are_refused(scaling, pair):
    stated = read(pair["r1"] / "config.json")["rope_scaling"]
    value = scaling and (scaling if "type" in scaling else stated | scaling)
    altered(pair["r1"], "config.json", set_to(rope_scaling=value))
    with pytest.raises(AoeError, match="rope_scaling"):
        check(union(), pair)
    assert check(union(config=["rope_scaling"]), pair)


@pytest.mark.parametrize(
    ("key", "value"), [("max_position_embeddings", 4096), ("eos_token_id", 5), ("something_new", 1)]
)
def test_what_may_matter_is_said(key, value, pair):
    altered(pair["v3-0324"], "config.json", set_to(something_new=0))
    altered(pair["r1"], "config.json", set_to(**{"something_new": 0, key: value}))
    told = check(union(), pair)
    assert any(key in sentence and str(value) in sentence for sentence in told)


def test_what_says_nothing_of_the_model_raises_nothing(pair):
    def change(content):
        content |= {"transformers_version": "9", "_name_or_path": "x", "use_cache": False, "auto_map": {}, "ep_size": 8}
        content |= {"architectures": ["X"], "model_type": "deepseek-v3", "head_dim": 64, "rms_norm_eps": 0.000001}
        content |= {"rope_theta": 10000.0, "dtype": content.pop("torch_dtype"), "initializer_range": 1, "unknown": 3}
        del content["hidden_act"], content["moe_layer_freq"], content["tie_word_embeddings"]
        content["rope_parameters"] = {**content.pop("rope_scaling"), "rope_type": "yarn", "rope_theta": 10000}

    altered(pair["r1"], "config.json", change)
    assert check(union(), pair) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_transformers_writes_anew_is_the_same(name, tmp_path):
    from transformers import AutoConfig

    shutil.copy(CONFIGS[name], tmp_path / "config.json")
    AutoConfig.from_pretrained(tmp_path).save_pretrained(tmp_path / "new")
    assert differences(read(CONFIGS[name]), read(tmp_path / "new/config.json")) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_a_key_that_is_left_out_has_the_value_of_transformers_class(name, tmp_path):
    """Wherever a difference is seen to a config without a key, transformers' class takes another value, too."""
    from transformers import AutoConfig

    def computed(config):
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return AutoConfig.from_pretrained(tmp_path).to_dict()

    config = read(CONFIGS[name])
    for key in config.keys() - {"model_type", "num_key_value_heads"}:
        less = {other: value for other, value in config.items() if other != key}
        if any(found.computed for found in differences(config, less)):
            assert computed(config) != computed(less), key


def test_a_nested_config_is_compared_key_by_key():
    def nested(theta, depth, version="1"):
        text = {
            "num_hidden_layers": 2,
            "rope_theta": theta,
            "model_type": "deepseek_v3",
            "transformers_version": version,
        }
        return {"model_type": "kimi_k25", "text_config": text, "vision_config": {"depth": depth, "use_cache": depth}}

    assert differences(nested(1e4, 3), nested(1e4, 3, version="2")) == []
    rotation, tower = differences(nested(1e4, 3), nested(1e6, 4))
    assert (rotation.key, rotation.ours, rotation.theirs, rotation.computed) == ("rope_theta", 1e4, 1e6, True)
    assert (tower.key, tower.computed) == ("vision_config.depth", False)
    flat = {**nested(1e4, 3)["text_config"], "vision_config": {"depth": 3}}
    assert [found.key for found in differences(nested(1e4, 3), flat)] == []


def swapped(one, other):
    def change(content):
        for token in content["added_tokens"]:
            token["content"] = {one: other, other: one}.get(token["content"], token["content"])
        vocabulary = content["model"]["vocab"]
        if one in vocabulary:
            vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]

    return change


def renamed(old, new):
    def change(content):
        for token in content["added_tokens"]:
            token["content"] = new if token["content"] == old else token["content"]
        vocabulary = content["model"]["vocab"]
        if old in vocabulary:
            vocabulary[new] = vocabulary.pop(old)

    return change


@pytest.mark.parametrize("change", [swapped("<think>", "</think>"), swapped("0", "1"), renamed("7", "seven")])
def test_token_ids_that_mean_other_text_are_refused(change, pair):
    altered(pair["r1"], "tokenizer.json", change)
    with pytest.raises(
        AoeError, match=r"The variant half: .*another meaning: \d+ is .* in v3-0324, .* in r1.*tokenizer_from"
    ):
        check(union(), pair)
    assert "another meaning" in check(union(tokenizer_from="r1"), pair)[0]
    (compared,) = [{"who": "The count of tokens", "models": ["v3-0324", "r1"], "mixed": False}]
    assert "another meaning" in check([compared], pair)[0]


def test_a_tag_that_takes_a_placeholders_id_is_said_and_one_that_moves_is_refused(pair):
    """DeepSeek-R1 has `<think>` where its base has a placeholder."""
    altered(pair["v3-0324"], "tokenizer.json", renamed("<think>", "<｜place▁holder▁no▁798｜>"))
    (told,) = check(union(), pair)
    assert "5 is '<｜place▁holder▁no▁798｜>' in v3-0324, '<think>' in r1" in told
    altered(pair["v3-0324"], "tokenizer.json", renamed("</think>", "<think>"))
    with pytest.raises(AoeError, match="6 is '<think>' in v3-0324"):
        check(union(), pair)


def test_further_added_tokens_are_said(pair):
    altered(
        pair["r1"], "tokenizer.json", lambda content: content["added_tokens"].append({"id": 500, "content": "<tool>"})
    )
    (told,) = check(union(), pair)
    assert "500 is nothing in v3-0324, '<tool>' in r1" in told


def test_other_special_tokens_and_templates(pair):
    altered(pair["r1"], "tokenizer_config.json", set_to(chat_template="{{ messages }}", tokenizer_class="X"))
    assert check(union(), pair) == []
    altered(pair["r1"], "generation_config.json", set_to(eos_token_id=[2, 6]))
    assert check(union(), pair) == [
        "The variant half: eos_token_id of generation_config.json is 2 in v3-0324, [2, 6] in r1."
    ]


def test_tokenizers_that_transformers_writes_anew_are_the_same(pair, tmp_path):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(pair["r1"]).save_pretrained(tmp_path / "new")
    shutil.copy(tmp_path / "new/tokenizer.json", pair["r1"])
    wrong, told = compare(*(Vocabulary(folder, name) for name, folder in pair.items()))
    assert (wrong, told) == (None, [])


def test_merges_are_the_same_however_they_are_written(tmp_path):
    from tokenizers import Tokenizer, models, normalizers

    vocabulary, folders = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4}, {}
    for name, merges in (("one", ["a b", "b c"]), ("same", [["a", "b"], ["b", "c"]]), ("other", ["b c", "a b"])):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        content = {"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}, "normalizer": None}
        (folders[name] / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    made = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("b", "c")]))
    made.normalizer = normalizers.Sequence([])
    (tmp_path / "made").mkdir()
    made.save(str(tmp_path / "made/tokenizer.json"))
    one, same, other = (Vocabulary(folders[name], name) for name in folders)
    assert compare(one, same) == compare(one, Vocabulary(tmp_path / "made", "made")) == (None, [])
    assert compare(one, other) == (
        None,
        ["The tokenizers of one and other split text differently: their merges differs."],
    )


def test_tokenizers_without_tokenizer_json(pair):
    for name, ranks in (("v3-0324", "YQ== 0\nYg== 1\n"), ("r1", "Yg== 0\nYQ== 1\n")):
        (pair[name] / "tokenizer.json").unlink()
        (pair[name] / "tiktoken.model").write_text(ranks, encoding="utf-8")
    with pytest.raises(AoeError, match="0 is 'a' in v3-0324, 'b' in r1"):
        check(union(), pair)
    for name in pair:
        (pair[name] / "tiktoken.model").rename(pair[name] / "tokenizer.model")
    (told,) = check(union(), pair)
    assert "cannot be compared: tokenizer.model differ" in told
    (pair["r1"] / "tokenizer.model").unlink()
    assert "is there in one of them only" in check(union(), pair)[0]


def test_a_tokenizer_that_cannot_be_read_is_said(pair):
    (pair["r1"] / "tokenizer.json").write_text("{", encoding="utf-8")
    (told,) = check(union(), pair)
    assert "tokenizer.json cannot be read" in told


def test_the_real_study_says_nothing_of_the_mini_family():
    study = read_study("mini", ROOT / "config/studies", read_schema("study"))
    assert check(study.unions(), {name: MINI / name for name in study.models}) == []
    assert all(not list(stored_told(Checkpoint(MINI / name, name))) for name in study.models)


# how weights are stored


def plain(family, config, dtype=torch.bfloat16):
    """A model without FP8 beside a config."""
    source, folder = family["v3"], family["v3"].directory.parent / "plain"
    folder.mkdir()
    tensors = {}
    for name in source.weights:
        scale = source.scale(name)
        value = fp8.dequantize(source.tensor(name), source.tensor(scale)) if scale else source.tensor(name)
        tensors[name] = value.to(dtype)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Checkpoint(folder, "plain")


FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
BASE = {"model_type": "deepseek_v3", "num_hidden_layers": 2, "first_k_dense_replace": 1}


def restated(checkpoint, **config):
    (checkpoint.directory / "config.json").write_text(json.dumps(BASE | config), encoding="utf-8")
    return Checkpoint(checkpoint.directory, checkpoint.name)


def test_a_quantization_config_that_was_left_in(family):
    model = plain(family, BASE | {"quantization_config": FP8, "torch_dtype": "bfloat16"})
    (told,) = contradictions(model)
    assert "plain: config.json has a quantization_config (fp8), but its shards hold plain weights only (BF16)" in told
    assert true_config(model, model.config, combined=True) == BASE | {"torch_dtype": "bfloat16"}


def test_a_quantization_config_that_is_lacking(family):
    (told,) = contradictions(restated(family["v3"]))
    assert "no quantization_config, but its shards hold 6 FP8 weights" in told
    assert true_config(family["v3"], BASE, combined=False)["quantization_config"] == FP8


@pytest.mark.parametrize(
    ("stated", "said", "mended"),
    [
        ({"weight_block_size": [64, 64]}, "weight_block_size is [64, 64]", {}),
        ({"weight_block_size": None}, "weight_block_size is nothing", {}),
        ({"fmt": "e5m2"}, 'fmt is "e5m2"', {}),
        ({"ignored_layers": ["lm_head", "model.layers.0.mlp"]}, "is FP8", {"ignored_layers": ["lm_head"]}),
        ({"modules_to_not_convert": ["lm_head"]}, None, {"modules_to_not_convert": ["lm_head"]}),
    ],
)
def test_a_quantization_config_that_contradicts(stated, said, mended, family):
    model = restated(family["v3"], quantization_config=FP8 | stated)
    told = contradictions(model)
    assert [said in sentence for sentence in told] == ([True] if said else [])
    assert true_config(model, model.config, combined=False)["quantization_config"] == FP8 | mended


def test_what_of_the_projections_is_not_converted_is_stated(family, tmp_path):
    tensors = {name: family["v3"].tensor(name) for name in family["v3"].files}
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = fp8.dequantize(tensors[name], tensors.pop(f"{name}_scale_inv")).bfloat16()
    model = restated(write_checkpoint(tmp_path / "mixed", tensors, "mixed"), quantization_config=FP8)
    (told,) = contradictions(model)
    assert f"{name} is BF16, and not among those that are not converted" in told
    config = true_config(model, model.config, combined=False)
    assert config["quantization_config"]["modules_to_not_convert"] == ["model.layers.0.mlp.up_proj"]
    assert contradictions(restated(model, **config)) == []


def test_a_dtype_that_contradicts(family):
    model = restated(family["v3"], quantization_config=FP8, torch_dtype="float16")
    (told,) = contradictions(model)
    assert "states torch_dtype float16, but its shards hold BF16" in told
    assert true_config(model, model.config, combined=False)["torch_dtype"] == "bfloat16"


def test_scales_that_are_made_are_no_powers_of_two(family):
    model = restated(family["v3"], quantization_config=FP8 | {"scale_fmt": "ue8m0"})
    assert true_config(model, model.config, combined=False) == model.config
    assert "scale_fmt" not in true_config(model, model.config, combined=True)["quantization_config"]


# what a recipe says


def recipe(**said):
    return read_recipe("half", {"base": "v3-0324", "weights": {"v3-0324": 0.5, "r1": 0.5}, **said}, ["v3-0324", "r1"])


def test_a_recipe_says_whose_config_and_tokenizer_the_result_has(pair, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    altered(pair["r1"], "config.json", set_to(rope_theta=50000, eos_token_id=6, quantization_config=None))
    altered(pair["r1"], "generation_config.json", set_to(eos_token_id=6))
    altered(pair["r1"], "tokenizer.json", swapped("0", "1"))
    for name in pair:
        for file in (MINI / name).glob("*.safetensors*"):
            (pair[name] / file.name).symlink_to(file)
    parents = {name: Checkpoint(folder, name) for name, folder in pair.items()}
    assert beside(recipe(), parents, combined=True) == {}
    made = beside(recipe(config_from="r1", config={"rms_norm_eps": 1e-5}, tokenizer_from="r1"), parents, combined=True)
    lay_beside(pair["v3-0324"], tmp_path, shutil.copyfile, made, pair)
    config = read(tmp_path / "config.json")
    assert config["rope_theta"] == 50000
    assert config["rms_norm_eps"] == 1e-5
    assert config["quantization_config"] == parents["v3-0324"].config["quantization_config"]
    assert AutoConfig.from_pretrained(tmp_path).eos_token_id == 6
    assert read(tmp_path / "generation_config.json")["eos_token_id"] == 6
    tokens = [AutoTokenizer.from_pretrained(folder)("0", add_special_tokens=False) for folder in (tmp_path, pair["r1"])]
    assert tokens[0]["input_ids"] == tokens[1]["input_ids"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"config_from": "r2"}, "config_from: r2"),
        ({"tokenizer_from": "r2"}, "tokenizer_from: r2"),
        ({"config": {"torch_dtype": "float32"}}, "states `torch_dtype`"),
    ],
)
def test_a_recipe_that_names_nobodys_config_is_refused(said, sentence):
    with pytest.raises(AoeError, match=sentence):
        recipe(**said)


def test_a_copy_beside_anothers_config_is_another_variant():
    copy = {"base": "v3-0324", "weights": {"v3-0324": 1, "r1": 0}}
    models = ["v3-0324", "r1"]
    assert read_recipe("x", copy | {"config_from": "v3-0324"}, models).canonical() == "v3-0324"
    assert read_recipe("x", copy | {"config_from": "r1"}, models).canonical() != "v3-0324"
    assert recipe().canonical() == recipe(config_from="v3-0324", tokenizer_from="v3-0324").canonical()
    assert recipe().canonical() != recipe(config={"rope_theta": 1}).canonical()


def test_a_server_gets_the_config_and_tokenizer_that_the_recipe_says(pair, tmp_path):
    for name in pair:
        for file in (MINI / name).glob("*.safetensors*"):
            (pair[name] / file.name).symlink_to(file)
    altered(pair["r1"], "config.json", set_to(rope_theta=50000))
    altered(pair["r1"], "tokenizer_config.json", set_to(chat_template="other"))
    first, folder = pair["v3-0324"], tmp_path / "served"
    assert served_folder(pair, None, folder) == first
    parents = {name: Checkpoint(place, name) for name, place in pair.items()}
    for said in ({}, {"config_from": "r1", "tokenizer_from": "r1"}):
        Plan("v3-0324", ({"r1": 1.0},), {}, beside(recipe(**said), parents, True)).save(tmp_path / "plan.json")
        served = served_folder(pair, tmp_path / "plan.json", folder)
    assert Plan.load(tmp_path / "plan.json").beside["tokenizer"] == "r1"
    assert served == str(folder)
    assert read(folder / "config.json")["rope_theta"] == 50000
    assert read(folder / "tokenizer_config.json")["chat_template"] == "other"
    assert (folder / "tokenizer.json").resolve() == (pair["r1"] / "tokenizer.json").resolve()


def test_a_server_is_told_of_plain_weights_and_dequantizes_as_before(family, tmp_path):
    model = plain(family, BASE | {"quantization_config": FP8, "torch_dtype": "bfloat16"})
    served = served_folder({"plain": model.directory}, None, tmp_path / "served")
    assert "quantization_config" not in read(tmp_path / "served/config.json")
    assert served == str(tmp_path / "served")
    # FP8 weights beside a config that does not say so are dequantized by the loader, on whatever processor
    assert served_folder({"v3": restated(family["v3"]).directory}, None, tmp_path / "other") == family["v3"].directory


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_nothing_is_locked_of_parents_that_do_not_fit(kind, hub, pair, tmp_path):
    altered(pair["r1"], "tokenizer.json", swapped("<think>", "</think>"))
    inputs, asked = {}, len(hub.requests)
    for name, folder in pair.items():
        for file in (MINI / name).glob("*.safetensors*"):
            shutil.copy(file, folder)
        hub.add_folder(f"owner/{name}", folder)
        source = f"file:{folder}" if kind == "folder" else f"hf://owner/{name}"
        inputs[name] = {"kind": "models", "sources": [{"source": source}]}
    with pytest.raises(AoeError, match="another meaning"):
        list(lock_all(inputs, union()))
    assert not [path for _, _, path, _ in hub.requests[asked:] if "safetensors" in path and "index" not in path]
    told = []
    assert len(list(lock_all(inputs, union(tokenizer_from="r1"), told.append))) == 2
    assert "another meaning" in told[0]


def test_what_is_mixed_audited_and_counted_is_compared(tmp_path):
    schema = read_schema("study")
    study = read_study("mini", ROOT / "config/studies", schema)
    whose = [union_["who"] for union_ in study.unions()]
    assert whose[0] == "The variant r1t"
    assert {"The audit r1t", "The count of tokens"} <= set(whose)
    (tmp_path / "own.yaml").write_text(
        "title: t\nlock: l\nmodels: {a: {label: A, path: a}, b: {label: B, path: b}, c: {label: C, path: c}}\n"
        "audits: {x: {model: c, parents: [a, b]}}\n"
        "sweeps: {s: {base: a, other: b, lambda2: [0, 0.5], config_from: b, config: {rope_theta: 5}}}\n",
        encoding="utf-8",
    )
    study = read_study("own", tmp_path, schema)
    assert [union_["who"] for union_ in study.unions()] == ["The variant s-0", "The audit x"]
    assert study.unions()[0] | {"config_from": "b", "config": ["rope_theta"]} == study.unions()[0]
    assert study.unions()[1]["models"] == ["a", "b", "c"]
