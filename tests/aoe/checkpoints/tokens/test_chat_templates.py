"""Chat templates are found where transformers finds them, and their ends of turns are known."""

import json

import pytest
from transformers import AutoTokenizer
from aoe import AoeError
from aoe.checkpoints.tokens.beside import chosen, misfits
from aoe.checkpoints.tokens.chat_templates import Template, chat_templates, ends_of_turn
from aoe.checkpoints.tokens.comparison import compare_generation, compare_templates
from aoe.checkpoints.tokens.vocabulary import Vocabulary
from support.clones import ROOT
from support.vocabularies import byte_level, renumbered, write_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"


def laid(folder, files=None, **settings):
    """A tokenizer's folder with further files."""
    write_tokenizer(folder, byte_level(), **settings)
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


TWO = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": CHATML}]
PLACES = {
    "a text in the settings": ({}, {"chat_template": PLAIN}, {"default": PLAIN}),
    "named ones in the settings": ({}, {"chat_template": TWO}, {"default": PLAIN, "tool_use": CHATML}),
    "a file": ({"chat_template.jinja": PLAIN}, {}, {"default": PLAIN}),
    "a file beside the settings'": ({"chat_template.jinja": PLAIN}, {"chat_template": CHATML}, {"default": PLAIN}),
    "further files": (
        {"chat_template.jinja": PLAIN, "additional_chat_templates/rag.jinja": CHATML},
        {},
        {"default": PLAIN, "rag": CHATML},
    ),
    "none": ({}, {}, {}),
}


@pytest.mark.parametrize("place", PLACES)
def test_templates_are_those_that_transformers_finds(place, tmp_path):
    files, settings, found = PLACES[place]
    laid(tmp_path, files, **settings)
    assert chat_templates(tmp_path) == found
    theirs = AutoTokenizer.from_pretrained(tmp_path).chat_template
    assert theirs == (found.get("default") if len(found) < 2 else found)


def test_the_file_of_processors_counts_where_there_is_no_other(tmp_path):
    laid(tmp_path, {"chat_template.json": json.dumps({"chat_template": PLAIN})})
    assert chat_templates(tmp_path) == {"default": PLAIN}
    assert chat_templates(laid(tmp_path, chat_template=CHATML)) == {"default": CHATML}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(AoeError, match=r"chat_template\.jinja cannot be read"):
        chat_templates(tmp_path)


def turns(of_user, of_assistant, last=None):
    inner = f"{{{{ {of_assistant} }}}}"
    inner = f"{{% if loop.last %}}{{{{ {last} }}}}{{% else %}}{inner}{{% endif %}}" if last else inner
    return (
        f"{{% for m in messages %}}{{% if m.role == 'user' %}}{{{{ {of_user} }}}}{{% else %}}{inner}"
        "{% endif %}{% endfor %}"
    )


ENDS = {
    "ChatML": (CHATML, ["<|im_end|>"]),
    "the end of the text": (PLAIN, ["</s>"]),
    "the next turn, as GLM's": (turns("'<|user|>' + m.content", "'<|assistant|>' + m.content"), ["<|user|>"]),
    "another in the last turn, as gpt-oss's": (
        turns("'<|start|>user' + m.content + '<|end|>'", "m.content + '<|end|>'", "m.content + '<|return|>'"),
        ["<|return|>", "<|end|>"],
    ),
    "the longest": (turns("m.content", "m.content + '<|end|>x'"), ["<|end|>x"]),
    "parts of contents": ("{% for m in messages %}{{ m.content[0].text + '<|end|>' }}{% endfor %}", ["<|end|>"]),
    "nothing": (turns("m.content", "m.content"), []),
    "what refuses": ("{{ raise_exception('no') }}", []),
    "what is broken": ("{% for %}", []),
}
TOKENS = ["<|im_end|>", "<|im_start|>", "</s>", "<|user|>", "<|assistant|>", "<|end|>", "<|end|>x", "<|return|>", "\n"]


@pytest.mark.parametrize("name", ENDS)
def test_the_token_that_ends_a_turn(name):
    text, ends = ENDS[name]
    assert ends_of_turn(Template("", text, {"eos_token": "</s>"}), TOKENS) == ends


def model(folder, template, eos, text=None, **generation):
    """The Vocabulary of a model's folder, called as its folder."""
    write_tokenizer(folder, text or byte_level(), chat_template=template)
    content = {"eos_token_id": eos, **generation}
    (folder / "generation_config.json").write_text(json.dumps(content), encoding="utf-8")
    return Vocabulary(folder, folder.name)


def test_a_model_that_would_talk_on_is_said(tmp_path):
    ids = {token: number for number, token in Vocabulary(laid(tmp_path / "x"), "x").texts.items()}
    end, turn = ids["</s>"], ids["<|im_end|>"]
    base = model(tmp_path / "base", PLAIN, end)
    chat = model(tmp_path / "chat", CHATML, [end, turn])
    for one in (base, chat):
        assert list(misfits(one, one, one)) == []
    assert list(misfits(base, base, chat)) == []
    (told,) = misfits(base, chat, base)
    assert f"The chat template of chat ends a turn with '<|im_end|>' ({turn}), at which the generation_config" in told
    assert f"of base does not stop ({end}: '</s>')" in told
    (tmp_path / "base/generation_config.json").unlink()
    (tmp_path / "base/config.json").write_text(json.dumps({"eos_token_id": end}), encoding="utf-8")
    (told,) = misfits(base, chat, Vocabulary(tmp_path / "base", "base"))
    assert "at which the config.json of base does not stop" in told


def test_what_does_not_belong_to_the_tokenizer_is_said(tmp_path):
    content = json.loads(byte_level())
    content["added_tokens"] = content["added_tokens"][:2]
    plain = model(tmp_path / "plain", PLAIN, 320, json.dumps(content))
    chat = model(tmp_path / "chat", CHATML, 323)
    lacking, moved, *_ = misfits(plain, chat, chat)
    assert "The chat template of chat writes '<|im_start|>', '<|im_end|>', which the tokenizer of plain" in lacking
    assert "stops at 323, which is '<|im_end|>' there and nothing in the tokenizer of plain" in moved
    order = list(range(324))
    order[322], order[323] = 323, 322
    other = model(tmp_path / "other", CHATML, 322, renumbered(byte_level(), order))
    moved, on = misfits(chat, chat, other)
    assert "stops at 322, which is '<|im_end|>' there and '<|im_start|>' in the tokenizer of chat" in moved
    assert "the model would talk on" in on


def test_the_mini_family_stops():
    vocabulary = Vocabulary(ROOT / "resources/mini/r1", "r1")
    assert list(misfits(vocabulary, vocabulary, vocabulary)) == []
    found = ends_of_turn(
        Template("", chat_templates(vocabulary.folder)["default"], vocabulary.named()), vocabulary.added_ids()
    )
    assert [vocabulary.added_ids()[token] for token in found] == vocabulary.ends()


def test_how_templates_and_generation_configs_differ(tmp_path):
    one, other = model(tmp_path / "one", PLAIN, 1), model(tmp_path / "other", CHATML, 2, temperature=0.6, top_k=20)
    assert compare_templates(one, one) is None
    assert compare_templates(one, other) == "The chat templates of one and other differ."
    assert compare_generation(one, one) is None
    assert compare_generation(one, other) == (
        "The generation_config.json of one and other differ: temperature is nothing in one, 0.6 in other; top_k is "
        "nothing in one, 20 in other."
    )
    bare = Vocabulary(laid(tmp_path / "bare"), "bare")
    assert compare_templates(bare, other) == "other has a chat template, bare has none."
    assert compare_generation(other, bare) == "other has a generation_config.json, bare has none."
    named = Vocabulary(laid(tmp_path / "named", chat_template=TWO), "named")
    assert compare_templates(one, named) == "The chat templates of one and named differ (tool_use)."


def test_whose_files_a_recipe_gives():
    files = ("config", "tokenizer", "chat template", "generation config")
    said = {"base": "a", "tokenizer_from": "b"}
    assert chosen({"base": "a"}) == dict.fromkeys(files, "a")
    assert chosen(said) == dict(zip(files, "abbb", strict=True))
    assert chosen({"base": "a", "config_from": "c"}) == dict(zip(files, "caac", strict=True))
    assert chosen(said | {"chat_template_from": "c", "generation_config_from": "a"}) == dict(
        zip(files, "abca", strict=True)
    )
