"""What a server makes of questions is looked at before any is answered, by the tokens of the mini family."""

import json

import pytest
from transformers import AutoTokenizer
from aoe import AoeError
from aoe.serving.templates import Template
from benchmarks.catalog import task_of
from benchmarks.prompts import look
from support.clones import ROOT

FOLDER = ROOT / "resources/mini/r1"
TEMPLATE = json.loads((FOLDER / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
SETTINGS = {"arithmetic": {"questions": 2, "seed": 1}, "dialogue": {"questions": 2, "seed": 1, "force_think": False}}


class Rendering:
    """What benchmarks.prompts.Renderer asks a server for, by transformers."""

    def __init__(self, template):
        self.template, self.tokenizer = template, AutoTokenizer.from_pretrained(FOLDER)

    def render(self, messages, **flags):
        how = {"chat_template": self.template, "return_dict": False}
        try:
            return list(self.tokenizer.apply_chat_template(messages, **how, **flags))
        except ValueError as error:
            raise AoeError(f"the server said, with HTTP status 400: {error}") from error

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids):
        return self.tokenizer.decode(ids)


def looked(template):
    tasks = [task_of(name, settings) for name, settings in SETTINGS.items()]
    return look("r1", tasks, SETTINGS, Rendering(template), Template("T.jinja", template))


def test_the_prompts_of_one_question_a_benchmark_are_kept():
    found = looked(TEMPLATE)
    (first,) = found["arithmetic"]["turns"]
    assert first["text"].startswith("<｜begin▁of▁sentence｜><｜User｜>")
    assert first["text"].endswith("<｜Assistant｜><think>\n")
    assert first["token_ids"].split()[-2:] == ["5", "17"] and first["token_ids"].split()[0] == "1"
    second = found["dialogue"]["turns"][1]["text"]
    assert "<｜Assistant｜>42<｜end▁of▁sentence｜><｜User｜>now " in second and second.endswith("=?<｜Assistant｜>")


def test_a_prompt_with_todays_date_is_told(capsys):
    looked(TEMPLATE.replace("{{- bos_token -}}", "{{- strftime_now('%Y-%m-%d') -}}"))
    assert "Warning: r1, arithmetic: the chat template T.jinja writes today's date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "+ content + eos",
            "+ '<think>\n\n</think>\n\n' + content + eos",
            r"r1, arithmetic: .* T\.jinja makes ends in",
        ),
        ("+ content + eos", "+ content | trim + eos", "instead of the forced"),
        ("+ content + eos", "+ eos", r"does not give a prompt, which is to end in"),
        ("{{- bos_token -}}", "{{- bos_token + bos_token -}}", "begins with '<｜begin▁of▁sentence｜>' twice"),
        ("message['content'] -}}", "message['content'] + '<｜Assistant｜>' -}}", "begins the answer twice"),
    ],
)
def test_a_prompt_that_is_not_the_studys_is_refused(old, new, said):
    assert old in TEMPLATE
    with pytest.raises(AoeError, match=said):
        looked(TEMPLATE.replace(old, new))
