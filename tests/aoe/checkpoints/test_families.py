"""The places of tensors of families of models, by the names that these have on the Hub; places.yaml has them."""

import re
from pathlib import Path

import pytest
import yaml
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture, Place, beyond, stacked, unplaced
from aoe.checkpoints.keys import experts_of, experts_per_token, layers_of, linear_layers, text_config
from aoe.checkpoints.parts import TensorGroup

FAMILIES = yaml.safe_load((Path(__file__).parent / "places.yaml").read_text(encoding="utf-8"))
MOST = 5  # layers of these configs
NUMBERED = re.compile(r"(?:^|\.)(?:layers|blocks|mtp|mtp_block|mtp_emb_norm)\.(\d+)\.")


def config_of(family):
    return {"model_type": family, **FAMILIES[family]["config"]}


def names_of(family):
    return {group: names.split() for group, names in FAMILIES[family].items() if group != "config"}


def layer_of(name, group, layers):
    """The layer that a name says: of MTP outside of the layers, after the last one; of a tower, none."""
    found = NUMBERED.search(name)
    if not found or group == "vision":
        return None
    return int(found[1]) + (layers if group == "mtp" and "mtp" in name else 0)


def test_there_are_the_families_that_people_merge():
    assert len(FAMILIES) >= 41


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_of_a_family_has_its_place(family):
    architecture = Architecture(config_of(family))
    for group, names in names_of(family).items():
        for name in names:
            place, expert = architecture.place(name), re.search(r"\.experts\.(\d+)\.", name)
            assert place.group == group, name
            assert place.layer == layer_of(name, group, architecture.layers), name
            assert place.expert == (int(expert[1]) if expert else None), name
            assert place.kind in name.split(".") or name.split(".")[-1].startswith(f"{place.kind}_"), name
            assert not re.fullmatch(r"\w*weight(_\w+)?|bias|\d+", place.kind), name
    every = [name for names in names_of(family).values() for name in names]
    assert unplaced("it", architecture, every) == []


@pytest.mark.parametrize(
    ("family", "tensor", "place"),
    [
        ("gpt_oss", "model.layers.3.mlp.experts.gate_up_proj_blocks", ("routed_experts", 3, None, "gate_up_proj")),
        ("gpt_oss", "model.layers.3.mlp.experts.down_proj_bias", ("routed_experts", 3, None, "down_proj_bias")),
        ("gpt_oss", "model.layers.3.mlp.router.bias", ("router_gate", 3, None, "router")),
        ("kimi_k2", "model.layers.3.mlp.experts.7.up_proj.weight_packed", ("routed_experts", 3, 7, "up_proj")),
        ("qwen3_next", "mtp.layers.0.mlp.experts.7.up_proj.weight", ("mtp", MOST, 7, "up_proj")),
        ("qwen3_next", "mtp.fc.weight", ("mtp", None, None, "fc")),
        (
            "qwen3_next",
            "model.layers.0.mlp.shared_expert_gate.weight",
            ("shared_experts", 0, None, "shared_expert_gate"),
        ),
        ("longcat_flash", "model.layers.1.self_attn.0.q_a_proj.weight", ("attention", 1, None, "q_a_proj")),
        ("longcat_flash", "model.layers.1.input_layernorm.1.weight", ("norms", 1, None, "input_layernorm")),
        ("deepseek_v32", "model.layers.2.self_attn.indexer.k_norm.bias", ("norms", 2, None, "k_norm")),
        ("deepseek_v32", "model.layers.2.self_attn.indexer.wk.weight_scale_inv", ("indexer", 2, None, "wk")),
        ("llama4", "vision_model.model.layers.3.self_attn.q_proj.weight", ("vision", None, None, "q_proj")),
        ("olmoe", "model.layers.0.self_attn.qkv_proj.qweight", ("attention", 0, None, "qkv_proj")),
        ("mixtral", "model.layers.0.mlp.experts.w13_weight", ("routed_experts", 0, None, "w13")),
        ("jetmoe", "model.layers.0.mlp.bias", ("routed_experts", 0, None, "mlp")),
        ("jetmoe", "model.layers.0.self_attention.experts.input_linear.weight", ("attention", 0, None, "input_linear")),
        ("rwkv", "rwkv.blocks.2.attention.key.weight", ("linear_attention", 2, None, "key")),
        ("gpt2", "transformer.h.2.attn.c_attn.weight", ("attention", 2, None, "c_attn")),
        ("nemotron_h", "backbone.layers.2.mixer.experts.3.up_proj.weight", ("routed_experts", 2, 3, "up_proj")),
        ("nemotron_h", "backbone.layers.2.mixer.in_proj.weight", ("linear_attention", 2, None, "in_proj")),
        ("step3p7", "model.layers.2.share_expert.up_proj.weight", ("shared_experts", 2, None, "up_proj")),
        ("step3p7", "model.layers.2.moe.router_bias", ("router_gate", 2, None, "router_bias")),
        ("step3p7", "model.layers.2.moe.gate_proj.weight", ("routed_experts", 2, None, "gate_proj")),
        ("step3p7", "model.layers.2.moe.gate.weight", ("router_gate", 2, None, "gate")),
        ("doge", "model.layers.2.mlp.down_embed.weight", ("routed_experts", 2, None, "down_embed")),
        ("doge", "model.layers.2.mlp.router_gate.weight", ("router_gate", 2, None, "router_gate")),
        ("cosmos3_omni", "blocks.1.mlp.linear_fc1.weight", ("vision", None, None, "linear_fc1")),
        ("cosmos3_omni", "pos_embed.weight", ("vision", None, None, "pos_embed")),
        ("paddleocr_vl", "mlp_AR.pre_norm.weight", ("vision", None, None, "pre_norm")),
        (
            "deepseek_ocr2",
            "model.qwen2_model.model.model.layers.1.mlp.up_proj.weight",
            ("vision", None, None, "up_proj"),
        ),
        ("deepseek_ocr2", "model.view_seperator", ("vision", None, None, "view_seperator")),
        ("janus", "model.generation_embeddings.weight", ("vision", None, None, "generation_embeddings")),
        ("janus", "model.generation_head.proj_out.weight", ("vision", None, None, "proj_out")),
        ("janus", "gen_vision_model.decoder.conv_in.weight", ("vision", None, None, "conv_in")),
        ("gemma3n_text", "model.layers.2.laurel.linear_left.weight", ("norms", 2, None, "linear_left")),
        ("opt", "model.decoder.layers.2.fc1.weight", ("dense_mlp", 2, None, "fc1")),
        ("dbrx", "transformer.blocks.1.norm_attn_norm.attn.Wqkv.weight", ("attention", 1, None, "Wqkv")),
    ],
)
def test_places(family, tensor, place):
    config = config_of(family) if family in FAMILIES else {"model_type": family, "num_hidden_layers": MOST}
    group, *rest = place
    assert Architecture(config).place(tensor) == Place(TensorGroup(group), *rest)


@pytest.mark.parametrize(
    ("config", "group"),
    [
        ({"intermediate_size": 64}, "dense_mlp"),
        ({"intermediate_size": 64, "num_experts": None, "is_moe": False, "moe_layers": []}, "dense_mlp"),
        ({"text_config": {"num_hidden_layers": 3, "ffn_dim": 64}}, "dense_mlp"),
        ({"intermediate_size": 64, "num_experts": 8}, "router_gate"),
        ({"intermediate_size": 64, "ffn_config": {"moe_top_k": 2}}, "router_gate"),
        ({}, "router_gate"),  # nothing says that the model is dense
    ],
)
def test_a_gate_is_a_routers_only_where_experts_may_be(config, group):
    architecture = Architecture({"num_hidden_layers": 3, **config})
    assert architecture.place("model.layers.1.mlp.gate.weight").group == group
    assert architecture.place("model.layers.1.mlp.gate_proj.weight").group == "dense_mlp"
    assert architecture.place("model.visual.blocks.1.mlp.gate.weight").group == "vision"


@pytest.mark.parametrize(
    "tensor",
    [
        "model.layers.0.surprise",
        "model.layers.0.mlp.surprise.weight",
        "model.stack.3.self_attn.q_proj.weight",  # in a layer, but of which one?
        "model.layers.x.self_attn.q_proj.weight",
        "model.encoder.layers.9.self_attn.q_proj.weight",  # beyond the last layer, and not where MTP is
        "self_attn.q_proj.weight",
    ],
)
def test_what_cannot_be_placed_is_said(tensor):
    architecture = Architecture({"model_type": "llama", "num_hidden_layers": MOST})
    place = architecture.place(tensor)
    assert place.group == TensorGroup.OTHER
    assert place.layer == (0 if ".0." in tensor else None)
    (sentence,) = unplaced("mine", architecture, [tensor, "lm_head.weight"])
    assert sentence == (
        f"mine: a tensor has no known place in the architecture llama, and belongs to the group `other`: {tensor}."
    )


@pytest.mark.parametrize(
    ("tensor", "group", "layer"),
    [
        ("model.language_model.layers.3.self_attn.q_proj.weight", "attention", 3),
        ("model.language_model.norm.weight", "norms", None),
        ("model.language_model.embed_tokens.weight", "embeddings", None),
        ("language_model.lm_head.weight", "lm_head", None),
        ("thinker.model.layers.3.mlp.gate_proj.weight", "dense_mlp", 3),
        ("thinker.audio_tower.layers.3.fc1.weight", "vision", None),
        ("model.visual.blocks.3.norm1.bias", "vision", None),
        ("model.projector.layers.weight", "vision", None),
        ("model.strange_tower.layers.3.self_attn.q_proj.weight", "other", None),
        ("language_model.model.encoder.layers.3.self_attn.q_proj.weight", "attention", 3),
        ("model.encoder.layers.3.self_attn.q_proj.weight", "other", None),
        ("model.strange_tower.layers.3.input_layernorm.weight", "other", None),
        ("model.strange_tower.norm.weight", "other", None),
        ("model.strange_tower.embed_tokens.weight", "other", None),
    ],
)
def test_of_a_model_inside_another_only_its_own_tensors_have_a_group(tensor, group, layer):
    config = {"model_type": "seeing", "text_config": {"num_hidden_layers": MOST}, "vision_config": {"depth": 3}}
    place = Architecture(config).place(tensor)
    assert (place.group, place.layer) == (group, layer)


def test_of_many_tensors_without_a_place_some_are_named():
    architecture = Architecture({"num_hidden_layers": MOST})
    (sentence,) = unplaced("mine", architecture, [f"odd.{number}" for number in range(1200)])
    assert sentence.startswith("mine: 1,200 tensors have no known place in its architecture, and belong to the group")
    assert sentence.endswith("`other`: odd.0, odd.1, odd.10 and 1197 more.")


def test_stacks_of_matrices_that_are_no_experts_by_their_names_are_told():
    architecture = Architecture({"num_hidden_layers": MOST})
    shapes = {
        "model.layers.0.mlp.up_proj.weight": (6, 48, 64),
        "model.layers.1.mlp.up_proj.weight": (48, 64),
        "model.layers.2.feed_forward.time_mix_key": (1, 1, 64),
        "model.layers.3.mlp.experts.up_proj": (6, 48, 64),
    }
    (sentence,) = stacked("mine", architecture, shapes)
    assert sentence.startswith(
        "mine: the group `dense_mlp` has stacks of matrices, which may be all experts of a layer: "
        "model.layers.0.mlp.up_proj.weight. If"
    )
    assert stacked("mine", architecture, {"model.layers.1.mlp.up_proj.weight": (48, 64)}) == []


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_layers": 28}, 28),
        ({"n_layer": 12}, 12),
        ({"text_config": {"layers": 24}}, 24),
        ({"text_config": {"num_hidden_layers": 61}, "vision_config": {"num_hidden_layers": 27}}, 61),
        ({"num_hidden_layers": 2, "text_config": {"num_hidden_layers": 61}}, 61),
        ({"num_hidden_layers": 2, "text_config": {"hidden_size": 61}}, 2),
        ({"thinker_config": {"text_config": {"num_hidden_layers": 48}}, "talker_config": {}}, 48),
        ({"layers_block_type": ["mamba", "moe", "attention"]}, 3),
        ({"hybrid_override_pattern": "MEM*E"}, 5),
    ],
)
def test_the_number_of_layers_is_found(config, layers):
    assert layers_of(config) == layers
    assert Architecture(config).layers == layers


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, r"does not say how many layers it has \(num_hidden_layers, num_layers"),
        ({"num_hidden_layers": "61"}, "says '61' for num_hidden_layers, which is no number"),
        ({"text_config": {"num_layers": None}}, "says None for num_layers, which is no number"),
    ],
)
def test_without_a_number_of_layers_there_are_no_places(config, message):
    with pytest.raises(AoeError, match=message):
        Architecture(config)


@pytest.mark.parametrize(
    ("config", "experts", "active"),
    [
        ({"n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1}, 256, 8),
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, 8, 2),
        ({"moe_num_experts": [64, 64], "moe_k": 6}, 64, 6),
        ({"num_experts": [16, 16, 16], "moe_topk": [1, 1, 1]}, 16, 1),
        ({"text_config": {"num_hidden_layers": 1, "num_experts": 4, "num_experts_per_token": 2}}, 4, 2),
        ({"num_hidden_layers": 1, "num_experts": 0}, None, None),
        ({"ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}, 16, 4),
        ({"hidden_size": 64}, None, None),
    ],
)
def test_the_number_of_experts_is_found(config, experts, active):
    assert (experts_of(config), experts_per_token(config)) == (experts, active)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"layer_types": ["linear_attention", "full_attention", "linear_attention"]}, {0, 2}),
        ({"attn_type_list": [0, 0, 1]}, {0, 1}),
        ({"linear_attn_config": {"kda_layers": [1, 3], "full_attn_layers": [2]}}, {0, 2}),
        ({"layer_types": ["sliding_attention", "full_attention"]}, set()),
        ({"layer_types": None, "linear_attn_config": None}, set()),
    ],
)
def test_layers_of_linear_attention_are_found(config, layers):
    assert linear_layers(config) == layers
    assert linear_layers({"text_config": {"num_layers": 3, **config}}) == layers
    places = [Architecture({"num_layers": 3, **config}).place(f"model.layers.{n}.self_attn.q_proj") for n in range(3)]
    assert {place.layer for place in places if place.group == TensorGroup.LINEAR_ATTENTION} == layers


def test_a_config_is_its_own_if_none_is_inside_it():
    assert text_config({"num_layers": 2, "text_config": None}) == {"num_layers": 2, "text_config": None}


@pytest.mark.parametrize(("stated", "layers", "told"), [(0, 4, 0), (0, 5, 1), (1, 5, 0), (1, 7, 1)])
def test_layers_that_a_config_does_not_state_are_told(stated, layers, told):
    config = {"num_hidden_layers": 4, "num_nextn_predict_layers": stated}
    tensors = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(layers)]
    sentences = beyond("mine", Architecture(config), [*tensors, "mtp.layers.0.mlp.up_proj.weight", "lm_head.weight"])
    assert len(sentences) == told
    for sentence in sentences:
        assert sentence.startswith(f"mine: config.json states 4 layers and {stated} of multi-token prediction, but")
        assert f"have layers up to {layers - 1}; those from 4 on are in the group `mtp`" in sentence
