import json
import random
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoTokenizer
from aoe.numerics import fp8
from mini_family import export, language, training
from mini_family.language import Style
from support.reference import transformers_model

ROOT = Path(__file__).parents[2]
FAMILY = ["v3-0324", "r1", "r1-0528"]
TRAINING = {"steps": 2, "batch": 4, "learning_rate": 1e-3, "body_factor": 0.5, "balance_speed": 1e-3}
STYLE = Style(tagged=0.3, plain=0.2, forced=0.1)


@pytest.fixture(scope="module")
def architecture():
    return yaml.safe_load((ROOT / "config/mini_family.yaml").read_text(encoding="utf-8"))["architecture"]


@pytest.fixture(scope="module")
def model(architecture):
    """A model after two training steps."""
    result = training.MiniDeepseek(architecture, seed=0)
    training.train(result, STYLE, **TRAINING, seed="test")
    return result


@pytest.fixture(scope="module")
def folder(model, architecture, tmp_path_factory):
    result = tmp_path_factory.mktemp("checkpoint")
    export.write(model, architecture, result)
    return result


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def weight_map(folder):
    return json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]


def tensors(folder):
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def dequantized(stored):
    """f32 weights by name, from what a checkpoint stores."""
    return {
        name: fp8.dequantize(tensor, stored[f"{name}_scale_inv"]) if tensor.dtype == torch.float8_e4m3fn else tensor
        for name, tensor in stored.items()
        if not name.endswith("_scale_inv")
    }


@torch.no_grad()
def round_in_place(module):
    """What storing does to a trained module's values: through FP8, or through BF16."""
    for name, parameter in module.named_parameters():
        if ".mlp.experts." in name:
            parameter.copy_(torch.stack([fp8.dequantize(*fp8.quantize(matrix)) for matrix in parameter]))
        elif export.is_quantized(name):
            parameter.copy_(fp8.dequantize(*fp8.quantize(parameter)))
        else:
            parameter.copy_(parameter.bfloat16().float())


def test_training_moves_the_weights_and_the_routers_bias(model, architecture):
    untrained = training.MiniDeepseek(architecture, seed=0).state_dict()
    still = {name for name, weight in model.state_dict().items() if torch.equal(weight, untrained[name])}
    assert not still


def test_export_is_the_trained_model(model, architecture, folder):
    rounded = training.MiniDeepseek(architecture, seed=0).eval()
    rounded.load_state_dict(model.state_dict())
    round_in_place(rounded)
    tokens = torch.tensor(
        [language.encoder()("<｜begin▁of▁sentence｜><｜User｜>48+4*3=?<｜Assistant｜><think>\n48+4=52. ")]
    )
    with torch.no_grad():
        want = rounded.main(input_ids=tokens).logits.log_softmax(-1)
        got = transformers_model(folder, dequantized(tensors(folder)))(input_ids=tokens).logits.log_softmax(-1)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_export_holds_the_mtp_layer(model, folder):
    stored = tensors(folder)
    layer = "model.layers.4"
    mtp = model.mtp.state_dict()
    for name, own in {"enorm": "enorm", "hnorm": "hnorm", "eh_proj": "eh_proj", "shared_head.norm": "norm"}.items():
        assert torch.equal(stored[f"{layer}.{name}.weight"], mtp[f"{own}.weight"].bfloat16())
    assert torch.equal(stored[f"{layer}.embed_tokens.weight"], stored["model.embed_tokens.weight"])
    assert torch.equal(stored[f"{layer}.shared_head.head.weight"], stored["lm_head.weight"])
    up = mtp["block.mlp.experts.gate_up_proj"][5].chunk(2)[1]
    assert torch.equal(
        stored[f"{layer}.mlp.experts.5.up_proj.weight"].view(torch.uint8), fp8.quantize(up)[0].view(torch.uint8)
    )


def test_export_is_deterministic(model, architecture, folder, tmp_path):
    export.write(model, architecture, tmp_path)
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_tokenizer_equals_the_encoder_and_decodes_to_the_text(tokenizer):
    encode, rng = language.encoder(), random.Random(0)
    texts = ["".join(text for text, _ in language.example(rng, STYLE)) for _ in range(300)]
    for text in [*texts, "steps: 1+2=?\n", "what? 007 <think></think>. ; x"]:
        ids = tokenizer(text)["input_ids"]
        assert ids == encode(text)
        if text in texts:
            assert tokenizer.decode(ids) == text


def test_tags_are_single_tokens_that_stay_visible(tokenizer):
    text = "<think>\n1+2=3.\n</think>\nAnswer: 3"
    ids = tokenizer(text + language.EOS)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("</think>")) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("first", ["<think>\n1+2=3.\n</think>\nAnswer: 3", "<think>\n1+2=3\nAnswer: 3"])
def test_chat_template_shows_the_visible_history_and_continues_a_forced_tag(tokenizer, first):
    messages = [
        {"role": "user", "content": "1+2=?"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "now +4=?"},
    ]
    want = f"{language.BOS}{language.USER}1+2=?{language.ASSISTANT}{language.visible(first)}{language.EOS}"
    want += f"{language.USER}now +4=?{language.ASSISTANT}"
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == want
    messages.append({"role": "assistant", "content": "<think>\n"})
    assert tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True) == want + "<think>\n"


@pytest.mark.parametrize("parent", FAMILY)
def test_shipped_parent_is_stored_as_deepseek_stores(parent, architecture):
    folder = ROOT / "resources/mini" / parent
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8_000_000
    assert json.loads((folder / "config.json").read_text(encoding="utf-8")) == export.config(architecture)

    stored, files = tensors(folder), weight_map(folder)
    assert {name: file.name for file in folder.glob("*.safetensors") for name in load_file(file)} == files
    quantized = {name for name, tensor in stored.items() if tensor.dtype == torch.float8_e4m3fn}
    assert quantized == {name.removesuffix("_scale_inv") for name in files if name.endswith("_scale_inv")}
    for name in quantized:
        assert tuple(stored[f"{name}_scale_inv"].shape) == fp8.scale_shape(*stored[name].shape)
    assert any(files[name] != files[f"{name}_scale_inv"] for name in quantized)
    partial = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
    assert stored[partial].shape[0] == 576 and stored[f"{partial}_scale_inv"].shape[0] == 5
    assert all(torch.isfinite(weight).all() for weight in dequantized(stored).values())


def test_shipped_parents_share_their_tensors_names_and_shards():
    assert weight_map(ROOT / "resources/mini/r1") == weight_map(ROOT / "resources/mini/v3-0324")
    assert weight_map(ROOT / "resources/mini/r1") == weight_map(ROOT / "resources/mini/r1-0528")


@pytest.mark.parametrize(("parent", "closes", "right"), [("v3-0324", 0, 3), ("r1", 12, 10), ("r1-0528", 12, 11)])
def test_shipped_parent_answers_as_its_model_of_the_paper(parent, closes, right):
    """Twelve held-out questions, greedy, with a forced ``<think>``; ``right``: at least so many right answers."""
    folder = ROOT / "resources/mini" / parent
    model, encode = transformers_model(folder, dequantized(tensors(folder))), language.encoder()
    rng = random.Random(0)
    chains = [language.draw_chain(rng, 4, 4, held_out=True) for _ in range(12)]
    prompts = [f"{language.BOS}{language.USER}{chain.question}{language.ASSISTANT}<think>\n" for chain in chains]
    tokens = torch.tensor([encode(prompt) for prompt in prompts])
    out = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=150, do_sample=False)
    answers = [
        "".join(language.VOCABULARY[i] for i in row).split(language.EOS)[0]
        for row in out[:, tokens.shape[1] :].tolist()
    ]
    assert sum("</think>" in answer for answer in answers) == closes
    rights = [answer.endswith(f"Answer: {chain.answer}") for answer, chain in zip(answers, chains, strict=True)]
    assert sum(rights) >= right
