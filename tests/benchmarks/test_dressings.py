"""A right answer is right in any dress, a wrong one never, and several at once are none."""

import asyncio
import re

import pytest
from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.scorer import Target
from inspect_ai.solver import TaskState
from inspect_ai.solver._multiple_choice import parse_answers
from inspect_evals.utils.aime_common import aime_scorer
from benchmarks.judging import rating_of
from benchmarks.suite import aime, bigcodebench, gpqa
from support import dressings

FASTCHAT = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))  # the published one, and its fallback


def number_of(shown):
    number = aime.final_answer(shown)
    return None if number is None else str(number)


def state_of(shown, choices=()):
    state = TaskState(ModelName("none/none"), "", 1, "", [], choices=list(choices))
    state.output = ModelOutput.from_content("", shown)
    return state


def test_aime_reads_the_number_in_every_dress():
    wrong = [(shown, n, number_of(shown)) for shown, n in dressings.aime() if number_of(shown) != n]
    assert not [entry for entry in wrong if entry[1] is not None or aime.is_right(entry[0], "73")]
    for shown, number in list(dressings.aime())[:: dressings.FEW // 50]:
        other = str((int(number) + 1) % 1000) if number else "73"
        assert number is None or aime.is_right(shown, number), shown
        assert not aime.is_right(shown, other), shown


def test_gpqa_reads_the_letter_in_every_dress():
    wrong = [
        (shown, letter, gpqa.final_answer(shown))
        for shown, letter in dressings.gpqa()
        if gpqa.final_answer(shown) != letter
    ]
    assert wrong == []


def test_a_judges_conclusion_is_read_in_every_dress():
    wrong = [(text, rating, rating_of(text)) for text, rating in dressings.ratings() if rating_of(text) != rating]
    assert wrong == []
    assert not any(rating_of(text, "length") for text, _ in dressings.ratings())


def test_a_program_is_found_in_every_dress():
    for shown, right in dressings.programs():
        space = {}
        assert bigcodebench.has_program(shown, {"head": ""}) == bool(right), shown
        if right:
            exec(bigcodebench.code_of(shown, "task_func"), space)
            assert space["task_func"](3) == 6, shown


def test_what_inspect_reads_of_a_letter_we_read_too():
    told = 0
    for shown, letter in dressings.gpqa():
        theirs = parse_answers(state_of(shown, "ABCD"), multiple_correct=False)
        # Inspect knows one word and one colon for a conclusion, and so may take an earlier one
        if theirs and letter and "wait" not in shown:
            told += 1
            assert theirs == {gpqa.final_answer(shown)}, shown
    assert told > 10


def test_what_inspect_evals_finds_right_of_a_number_we_find_right_too():
    told = 0
    for shown, number in dressings.aime():
        if number and asyncio.run(aime_scorer()(state_of(shown), Target(number))).value == "C":
            told += 1
            assert number_of(shown) == number, shown
    assert told > 50


def test_a_plain_verdict_is_read_as_fastchat_reads_it():
    told = 0
    for text, rating in dressings.ratings():
        found = FASTCHAT[0].findall(text) or FASTCHAT[1].findall(text)
        if rating and found and text.isascii() and len(re.findall(r"\[\s*\d", text)) == 1:
            told += 1
            assert rating_of(text) == float(found[0]), text
    assert told > 30


@pytest.mark.parametrize(
    "shown",
    [
        r"\boxed{73°}",
        r"\boxed{73\degree}",
        r"\boxed{73.}",
        r"\boxed{73 residents}",
        r"\boxed{\underline{73}}",
        r"\boxed{73\ \text{cm}^2}",
        r"\boxed{\text{The answer is }73}",
        r"\boxed{73 \pmod{1000}}",
        r"\boxed{m+n=73}",
        r"\boxed{\frac{146}{2}}",
        r"\boxed{\color{blue}73}",
        r"\boxed{\$73}",
        r"\boxed{٧٣}",
        "Answer：73",
        "ANSWER: `73`",
        "ANSWER: __73__",
        "ANSWER: 73 because 72 is odd",
        "答案：73。",
        "\\boxed{73\u200b}",
    ],
)
def test_a_right_number_is_right(shown):
    assert aime.is_right(shown, "73")


@pytest.mark.parametrize(
    "shown",
    [
        r"\boxed{72 \text{ or } 73}",
        r"\boxed{72, 73}",
        r"\boxed{x=72 \text{ or } x=73}",
        r"\boxed{\pm73}",
        r"\boxed{730}",
        r"\boxed{73.4}",
        r"\boxed{-73}",
        r"\boxed{73x}",
        r"\boxed{73!}",
        r"\boxed{73/2}",
        r"\boxed{73 \text{ million}}",
        r"\boxed{73\pi}",
        r"\boxed{7 3}",
        r"\boxed{7 residents of 3}",
        "ANSWER: 73, 74",
        "ANSWER: not 73",
        "ANSWER: 73 or so",
    ],
)
def test_a_wrong_number_is_wrong(shown):
    assert not aime.is_right(shown, "73")
