"""Chat templates of many kinds: those that keep the forced opening pass, by text and by tokens, all others are told."""

import json
import re
from datetime import datetime

import pytest
from transformers import AutoTokenizer
from aoe.serving.templates import Prompt, Template, dates_in, fault, foreseen, opening_of, rendered, template_of
from support.clones import ROOT

THINK = "<think>\n"
MINI = json.loads((ROOT / "resources/mini/r1/tokenizer_config.json").read_text(encoding="utf-8"))
NAMES = {"bos_token": MINI["bos_token"], "eos_token": MINI["eos_token"]}
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"


def template(
    answer, begin="{{ '<｜Assistant｜>' }}", head="{{ bos_token }}", question="{{ '<｜User｜>' + m.content }}"
):
    """Jinja of a template: how it begins, and what it makes of questions, answers and beginnings."""
    return (
        head
        + "{% for m in messages %}{% if m.role == 'user' %}"
        + question
        + "{% elif m.role == 'assistant' %}"
        + answer
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + begin
        + "{% endif %}"
    )


PLAIN = template("{{ '<｜Assistant｜>' + m.content + eos_token }}")
LAST = (
    "{% if loop.last %}{{ '<｜Assistant｜>' + X }}{% else %}{{ '<｜Assistant｜>' + m.content + eos_token }}{% endif %}"
)
CHATML = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
KEPT = {
    "the mini family's": MINI["chat_template"],
    "an end of the turn behind the opening": PLAIN,
    "its own beginning has the tag": template(
        "{{ '<｜Assistant｜>' + m.content }}", "{{ '<｜Assistant｜><think>\n' }}"
    ),
    "earlier reasoning is dropped": template(
        "{{ '<｜Assistant｜>' + (m.content if loop.last else m.content.split('</think>')[-1]) + eos_token }}"
    ),
    "no header of an answer": template(
        "{{ 'Answer: ' + m.content + eos_token }}", "", question="{{ '[Q]' + m.content + '[/Q]' }}"
    ),
    "a system prompt that names the tags": template(
        "{{ '<｜Assistant｜>' + m.content }}", head="{{ bos_token + 'Think in <think> and </think>.' }}"
    ),
    "ChatML": CHATML,
}
LOST = {
    "empty reasoning is shown": (
        template(LAST.replace("X", "'<think>\n\n</think>\n\n' + m.content")),
        r"ends in '<｜Assistant｜><think>\\n\\n</think>\\n\\n<think>\\n' instead of the forced '<think>\\n' alone",
    ),
    "the tag is there twice": (template(LAST.replace("X", "'<think>\n' + m.content")), "alone"),
    "the line's end is stripped": (
        template("{{ '<｜Assistant｜>' + m.content | trim }}"),
        r"<think>' instead of the forced",
    ),
    "the answer begins twice": (
        template("{{ '<｜Assistant｜>' + m.content }}", question="{{ '<｜User｜>' + m.content + '<｜Assistant｜>' }}"),
        "which begins the answer twice",
    ),
    "begun twice": (template("{{ '<｜Assistant｜>' + m.content }}", head="{{ bos_token + bos_token }}"), "twice"),
    "no thinking as a switch of the template": (
        template("{{ '<｜Assistant｜>' + ('' if thinking else '<think>\n\n</think>\n\n') + m.content }}"),
        "alone",
    ),
}
DROPPED = {
    "the tag is dropped": template("{{ '<｜Assistant｜>' + m.content.split('<think>\n')[-1].split('CONT')[0] }}"),
    "it refuses": template("{{ raise_exception('no answers here') }}"),
}


def of(text, **variables):
    return Template("chat_template.jinja", text, NAMES | variables)


@pytest.mark.parametrize("name", KEPT)
def test_templates_that_keep_the_opening_are_taken(name):
    assert foreseen("r1", of(KEPT[name]), [THINK, ""], turns=2) is None


@pytest.mark.parametrize("name", LOST)
def test_templates_that_change_the_opening_are_told(name):
    text, said = LOST[name]
    sentence = foreseen("r1", of(text), [THINK])
    assert sentence.startswith("r1: the prompt that the chat template chat_template.jinja makes ")
    assert re.search(said, sentence), sentence
    assert "serving.options.chat-template" in sentence and sentence.count("\n") == 0


@pytest.mark.parametrize("name", DROPPED)
def test_what_cannot_be_rendered_is_left_to_the_server(name):
    assert foreseen("r1", of(DROPPED[name]), [THINK]) is None


def test_where_nothing_is_forced_the_answer_is_begun_once():
    assert foreseen("r1", of(KEPT["its own beginning has the tag"]), [""]) is None
    twice = template("{{ m.content }}", question="{{ '<｜User｜>' + m.content + '<｜Assistant｜>' }}")
    assert "which begins the answer twice" in foreseen("r1", of(twice), [""])


def test_a_switch_of_the_template_is_the_studys():
    text = LOST["no thinking as a switch of the template"][0]
    assert foreseen("r1", of(text, thinking=True), [THINK]) is None
    assert foreseen("r1", of(CHATML, enable_thinking=False), [THINK, ""]) is None


def test_a_date_of_today_is_told():
    dated = template("{{ m.content }}", head="{{ 'Today is ' + (day if day else strftime_now('%d %b %Y')) }}")
    assert dates_in(of(dated), f"Today is {datetime.now():%d %b %Y}") == [f"{datetime.now():%d %b %Y}"]
    assert foreseen("r1", of(dated), [THINK]) is None  # answers can be had; the job says that they depend on the day
    assert dates_in(of("{{ strftime_now('%Y') }}"), "in 2031", datetime(2031, 1, 1)) == ["2031"]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ROOT / "resources/mini/r1")


def by_tokens(tokenizer, text, opening=THINK):
    """The fault of a template's prompt, by transformers and the mini family's tokenizer."""
    question = [{"role": "user", "content": "48+4*3=?"}]
    asked = [*question, {"role": "assistant", "content": opening}] if opening else question
    how = {"chat_template": text, "tokenize": True, "return_dict": False}
    forced = {"continue_final_message": True} if opening else {"add_generation_prompt": True}
    ids = list(tokenizer.apply_chat_template(asked, **how, **forced))
    prompt = Prompt(ids, list(tokenizer.apply_chat_template(question, **how)))
    opening_ids = tokenizer.encode(opening, add_special_tokens=False)
    return fault(prompt, opening, opening_ids, lambda ids: tokenizer.decode(ids))


@pytest.mark.parametrize("name", [name for name in KEPT if "system" not in name and "ChatML" not in name])
def test_tokens_agree_on_templates_that_keep_the_opening(tokenizer, name):
    assert by_tokens(tokenizer, KEPT[name]) is None
    assert by_tokens(tokenizer, KEPT[name], "") is None


@pytest.mark.parametrize("name", [name for name in LOST if name != "begun twice"])
def test_tokens_agree_on_templates_that_change_the_opening(tokenizer, name):
    assert by_tokens(tokenizer, LOST[name][0])


def test_an_opening_that_is_no_token_counts_by_its_text():
    letters = dict(enumerate("Q:<think>\n"))
    letters |= {20: ":<", 21: ">\n"}

    def decode(ids):
        return "".join(letters[id_] for id_ in ids)

    split = [3, 4, 5, 6, 7]
    assert fault(Prompt([0, 1, 2, *split, 21], [0, 1]), THINK, [2, *split, 8, 9], decode) is None
    assert "instead of the forced" in fault(Prompt([0, 20, *split, 8], [0]), THINK, [2, *split, 8, 9], decode)


@pytest.mark.parametrize("messages", [1, 3])
@pytest.mark.parametrize("name", KEPT)
def test_texts_are_rendered_as_transformers_does(tokenizer, name, messages):
    talk = [{"role": role, "content": f"{role}s word"} for role in ("user", "assistant", "user")][:messages]
    how = {"chat_template": KEPT[name], "tokenize": False}
    forced = tokenizer.apply_chat_template(
        [*talk, {"role": "assistant", "content": THINK}], continue_final_message=True, **how
    )
    assert rendered(of(KEPT[name]), talk, THINK) == forced
    assert rendered(of(KEPT[name]), talk) == tokenizer.apply_chat_template(talk, add_generation_prompt=True, **how)


def test_where_a_template_is_looked_for(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    assert template_of(tmp_path, {}).text == ""
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    config.write_text(
        json.dumps({"chat_template": named, "bos_token": {"content": "<s>"}, "eos_token": "</s>"}), encoding="utf-8"
    )
    found = template_of(tmp_path, {"default-chat-template-kwargs": {"thinking": True}})
    assert (found.place, found.text) == (str(config), "D")
    assert found.variables == {"bos_token": "<s>", "eos_token": "</s>", "thinking": True}
    config.write_text(json.dumps({"chat_template": named[:1]}), encoding="utf-8")
    assert template_of(tmp_path, {}).text == ""
    (tmp_path / "chat_template.jinja").write_text("J", encoding="utf-8")
    assert template_of(tmp_path, {}).text == "J"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/chat_template.jinja").write_text("O", encoding="utf-8")
    assert template_of(tmp_path, {"tokenizer": str(tmp_path / "other")}).text == "O"
    assert template_of(tmp_path, {"chat-template": str(tmp_path / "other/chat_template.jinja")}).text == "O"
    assert template_of(tmp_path, {"chat-template": "{{ messages }}"}).text == "{{ messages }}"


def test_the_opening_is_the_benchmarks():
    assert opening_of({}) == THINK and opening_of({"force_think": False}) == ""
