"""Graders: a right answer is right in any dress, a wrong one never, and what names several answers is read as none.

Every benchmark's dressings are composed by a seeded generator: something before, a form of the conclusion, a dress of
the answer, something behind.
"""

import asyncio
import itertools
import random
import re

import pytest
from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.scorer import Target, answer, match
from inspect_ai.solver import TaskState
from inspect_evals.utils.code import defines, extract_code_block
from benchmarks.judging import Judge, judge_all, rating_of
from benchmarks.suite import aime, gpqa, mini
from benchmarks.suite.bigcodebench import code_of, has_program
from support.scripted import Reply, Scripted

MANY = 500
FENCE = "```"


def drawn(*parts):
    """500 different compositions of one of each part, which is a list of forms with {} for what is inside."""
    found = list(itertools.product(*parts))
    return random.Random(20).sample(found, min(MANY, len(found)))


BEFORE = [
    "",
    "Let us see.\n\n",
    "First I thought of {other}.\n\n",
    "Some words,\r\nthen more.\n",
    "# Solution\n1. So.\n\n",
]
AFTER = ["", "\n", ".", "\n\nThank you.", "  ", "\u200b", "。"]
BOXES = ["\\boxed{%s}", "$\\boxed{%s}$", "\\[\\boxed{%s}\\]", "**$\\boxed{%s}$**", "\\fbox{%s}", "\\boxed{\\boxed{%s}}"]
LINES = [
    "ANSWER: %s",
    "**Answer:** %s",
    "**Answer: %s**",
    "Final answer： %s",
    "答案：%s",
    "The answer is %s",
    "`ANSWER: %s`",
]
SEVERAL = ["{} or {other}", "{}, {other}", "{other}, {}", "{} and {other}", "either {} or {other}", "{other}/{}"]

NUMBERS = ["{}", " {} ", "0{}", "{wide}", "{arabic}", "{}.", "{}\u200b", "\u00a0{}", "\\text{{{}}}", "\\textbf{{{}}}"]
NUMBERS += [
    "\\underline{{{}}}",
    "{}°",
    "{}^\\circ",
    "{}\\degree",
    "{}\\ \\text{{cm}}^2",
    "{} residents",
    "n = {}",
    "\\;{}\\;",
]
NUMBERS += ["{}\\text{{ square units}}", "\\mathbf{{{}}}", "{{{}}}", "({})", "\\color{{red}}{}", "{}.0"]


def dressed_number(form, number):
    wide = "".join(chr(0xFF10 + int(digit)) for digit in str(number))
    arabic = "".join(chr(0x0660 + int(digit)) for digit in str(number))
    return form.format(number, wide=wide, arabic=arabic)


@pytest.mark.parametrize(("right", "wrong"), [(73, 74), (5, 50), (204, 24)])
def test_whole_numbers_are_read_in_any_dress(right, wrong):
    for before, line, form, after in drawn(BEFORE, BOXES + LINES, NUMBERS, AFTER):
        for number in (right, wrong):
            shown = before.format(other=999) + line.replace("%s", dressed_number(form, number)) + after
            assert aime.final_answer(shown) == number, shown
            assert aime.is_right(shown, str(right)) == (number == right), shown


def test_several_numbers_are_none():
    for before, line, several, after in drawn(BEFORE, BOXES + LINES, SEVERAL, AFTER):
        shown = before.format(other=999) + line.replace("%s", several.format(72, other=73)) + after
        assert aime.final_answer(shown) is None, shown


@pytest.mark.parametrize("shown", ["\\boxed{73°}", "\\boxed{73\\degree}", "\\boxed{73.}", "\\boxed{73 residents}"])
@pytest.mark.parametrize("around", ["{}", "So\n{}", "{}\n\nThat is all."])
def test_units_and_stops_leave_a_number_as_it_is(shown, around):
    assert aime.is_right(around.format(shown), "73")


@pytest.mark.parametrize(
    "shown",
    [
        "ANSWER: `73`",
        "ANSWER: __73__",
        "ANSWER: 73, because 70 + 3 = 73",
        "ANSWER: 73 (since 70+3=73)",
        "**Final Answer**\n\n73",
        "✅ Final Answer: **73**",
        "So it is\n**73**",
        "\\boxed{x \\equiv 73 \\pmod{1000}}",
        "\\boxed{p+q = 70+3 = 73}",
        "\\boxed{\\$73}",
        "\\boxed{73\\text{ m}}",
        "\\boxed{73℃}",
        "\\boxed{~~72~~ 73}",
        "\\boxed{\\cancel{72} 73}",
        "\\boxed{𝟕𝟑}",
        "\\boxed{7\u00ad3}",
        "\\boxed{72}. No, that is wrong.\n\nANSWER: 73",
        "\\boxed{73} \\blacksquare",
        "\\boxed{|-73|}",
        "\\boxed{\\sqrt{5329}}",
    ],
)
def test_numbers_with_more_around_them_are_read(shown):
    assert aime.is_right(shown, "73") and not aime.is_right(shown, "72")


@pytest.mark.parametrize(
    "given",
    [
        "73.4",
        "-73",
        "73x",
        "73 x",
        "73i",
        "73\\pi",
        "73!",
        "73^2",
        "73²",
        "7 3",
        "1,073",
        "73,000",
        "72=73",
        "73_8",
        "0.73",
        *[
            "7 residents of 3",
            "73 dozen",
            "73\\text{ thousand}",
            "73 \\pm 1",
            "\\le 73",
            "x\\neq 73",
            "(72,73)",
            "73:74",
        ],
        "x=72, y=73",
        "73\\sqrt{2}",
        "\\frac{73}{2}",
        "7\\cdot 3",
        "73\\text{ or seventy-four}",
        "3 73",
        "730",
        "73 - 74",
    ],
)
def test_other_numbers_stay_wrong(given):
    assert not aime.is_right(f"\\boxed{{{given}}}", "73")
    assert not aime.is_right(f"ANSWER: {given}", "73")


def test_what_is_too_large_is_not_worked_out():
    for given in ("9^{9^{9^{9}}}", "9^{99999999}", "9999!", "3!!!!", "(" * 5000, "9" * 20000, "\\frac{1}{" * 500):
        assert not aime.is_right(f"\\boxed{{{given}}}", "73")


LETTERS = ["{}", "({})", "[{}]", '"{}"', "“{}”", "「{}」", "**{}**", "*{}*", "__{}__", "`{}`", "${}$", "\\({}\\)"]
LETTERS += [
    "\\text{{{}}}",
    "\\textbf{{{}}}",
    "$\\mathrm{{{}}}$",
    "\\underline{{{}}}",
    "<b>{}</b>",
    "<u>{}</u>",
    "\u200b{}",
]
LETTERS += [
    "$\\boxed{{{}}}$",
    "\\boxed{{\\text{{{}}}}}",
    "\\boxed{{\\text{{({})}}}}",
    "\u00a0{}",
    "option {}",
    "{wide}",
]
REASONS = [
    "",
    ".",
    ", because the others fail",
    " since it is so",
    "\n\nThank you.",
    " (water)",
    "; the rest is wrong",
    "\n",
]
ASKED = [line for line in LINES if not line.startswith("`")] + ["answer : %s", "> ANSWER: %s", "## Answer: %s"]


@pytest.mark.parametrize(("right", "wrong"), list(itertools.permutations("ABCD", 2)))
def test_letters_are_read_in_any_dress(right, wrong):
    for before, line, form, after in drawn(BEFORE, ASKED, LETTERS, REASONS)[: MANY // 2]:
        shown = (
            before.format(other=wrong) + line.replace("%s", form.format(right, wide=chr(ord(right) + 0xFEE0))) + after
        )
        assert gpqa.final_answer(shown) == right, shown
        assert gpqa.final_answer(shown) != wrong


def test_several_letters_are_none():
    joined = [
        *SEVERAL,
        "{} & {other}",
        "{}{other}",
        "{} {other}",
        "({}) or ({other})",
        "\\boxed{{{}}} or \\boxed{{{other}}}",
    ]
    for before, line, several, after in drawn(BEFORE, [*ASKED, "\\boxed{%s}"], joined, ["", ".", "\n\nThank you."]):
        for one, other in ("AC", "CA", "CE"):
            shown = before.format(other="B") + line.replace("%s", several.format(one, other=other)) + after
            assert gpqa.final_answer(shown) is None, shown


@pytest.mark.parametrize(
    "given",
    [
        *("Carbon", "C-H bond", "C reaction", "CO2", "E", "None of the above", "not C", "I think so", "neither", "3"),
        *("C? No, D.", "C, or maybe D", "~~C~~", "ABCD", "A,B,C,D", "all but C"),
    ],
)
def test_what_is_no_letter_is_none(given):
    assert gpqa.final_answer(f"ANSWER: {given}") is None
    assert gpqa.final_answer(f"ANSWER: A\nNo.\nANSWER: {given}") is None


@pytest.mark.parametrize(
    "shown",
    [
        "ANSWER: A\nWait, no.\nANSWER: C",
        "ANSWER: A. No, the correct answer is C.",
        "The wrong option is A.\nANSWER: C",
        "ANSWER: C\n\nExplanation: naively the answer is A.",
        "ANSWER: C, a catalyst",
        "Answer: C. A catalyst lowers it.",
        "ANSWER: C (because A, B and D fail)",
        "Answer: C\n\n(A) is wrong.\n(B) is wrong.",
        "I reason.\n\n(C)",
        "Thus, option (C) is the correct answer.",
        "I choose C.",
        "C) water",
        "\\boxed{C. \\text{water}}",
        "The correct option is C",
    ],
)
def test_the_last_letter_that_is_concluded_with_counts(shown):
    assert gpqa.final_answer(shown) == "C"


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize("form", ["ANSWER: {}", "So.\nANSWER: {}", "Answer: {}", "ANSWER: {}\n"])
def test_where_inspect_reads_a_letter_we_agree(form, letter):
    state = TaskState(ModelName("none/none"), "", 1, "", [])
    state.output = ModelOutput.from_content("", form.format(letter))
    theirs = asyncio.run(answer("letter")(state, Target("C")))
    assert (gpqa.final_answer(form.format(letter)) == "C") == (theirs.value == "C")


@pytest.mark.parametrize("shown", ["It is 73", "ANSWER: 73", "**73**", "ANSWER: 74", "x\n73"])
def test_where_inspect_finds_no_number_we_find_none(shown):
    state = TaskState(ModelName("none/none"), "", 1, "", [])
    state.output = ModelOutput.from_content("", shown)
    theirs = asyncio.run(match(numeric=True)(state, Target("73")))
    assert theirs.value == "C" or not aime.is_right(shown, "73")


GOOD, BAD = "def task_func(x):\n    return 2 * x", "def task_func(x):\n    return 3 * x"
FENCED = [
    f"{FENCE}{label}\n{{}}\n{FENCE}"
    for label in ("", "py", "python", "python3", "Python", "py3", "{{.python}}", " python")
]
FENCED += ["````python\n{}\n````", "~~~\n{}\n~~~", "~~~~ python\n{}\n~~~~", f"{FENCE}python\n{{}}{FENCE}"]
FENCED += [f"{FENCE}python\n{{}}", f"{FENCE}\n{{}}\n", "{}", f"{{}}\n{FENCE}", f"So: {FENCE}python\n{{}}\n{FENCE}"]
FIRST = [
    "",
    "Here:\n",
    "A draft:\n```python\ndef task_func(x)\n    return\n```\nBetter:\n",
    "```bash\npip install x\n```\n",
]
FIRST += ["```python\nimport math\n```\nthen\n", f"```python\n{BAD}\n```\nNo, it doubles:\n", "```\n1 2 3\n```\n"]
LAST = ["", "\n", "\n```python\nprint(task_func(2))\n```", "\n```python\nfrom m import task_func\n```", "\n```\n6\n```"]


def doubled(program):
    space = {}
    exec(program, space)
    return space["task_func"](3)


def test_programs_are_found_in_any_dress():
    for first, fenced, last, ending in drawn(FIRST, FENCED, LAST, ["\n", "\r\n"]):
        if last and not fenced.rstrip().endswith((FENCE, "~~~")):  # a block that is never closed has nothing behind it
            continue
        if FENCE in first and fenced in ("{}", f"{{}}\n{FENCE}"):
            continue
        for program, result in ((GOOD, 6), (GOOD.replace("2", "5"), 15)):
            answer = (first + fenced.format(program) + last).replace("\n", ending)
            assert doubled(code_of(answer, "task_func")) == result, answer


@pytest.mark.parametrize(
    "answer",
    [
        f"{GOOD}\n{FENCE}\nThis doubles.",
        f"Here is it:\n{GOOD}\nThis doubles it.",
        f"1. So\n   {FENCE}python\n   def task_func(x):\n       return 2 * x\n   {FENCE}",
        f'{FENCE}python\ndef task_func(x):\n    s = """\n{FENCE}\n"""\n    return 2 * x\n{FENCE}',
        f"{FENCE}python\ndef h(x):\n    return 2 * x\n{FENCE}\n{FENCE}python\ndef task_func(x): return h(x)\n{FENCE}",
        f"{FENCE}python\nimport math\n{FENCE}\n{FENCE}py\ndef task_func(x):\n    return math.floor(2 * x)\n{FENCE}",
        f"{FENCE}python\nclass D:\n    k = 2\n{FENCE}\n{FENCE}python\ndef task_func(x):\n    return D.k * x\n{FENCE}",
        f"{FENCE}python\ntask_func = lambda x: 2 * x\n{FENCE}",
        f"> {FENCE}python\n> def task_func(x):\n>     return 2 * x\n> {FENCE}",
        f"{FENCE}python\nimport math\n{FENCE}python\n{GOOD}\n{FENCE}",
    ],
)
def test_the_block_that_defines_the_function_is_the_program(answer):
    assert doubled(code_of(answer, "task_func")) == 6
    assert has_program(answer, {"head": "def task_func(x):"})


@pytest.mark.parametrize("answer", ["", "I cannot.", f"{FENCE}python\n{FENCE}", f"{FENCE}\n" * 300, "x = (" * 3000])
def test_without_a_program_there_is_none(answer):
    assert not has_program(answer, {"head": "import math\ndef task_func(x):"})


@pytest.mark.parametrize("form", FENCED[:4])
def test_where_inspect_evals_finds_the_program_we_do(form):
    theirs = extract_code_block(form.format(GOOD), "python", accept=defines("task_func"))
    assert theirs is None or doubled(theirs) == doubled(code_of(form.format(GOOD)))


THEIRS = re.compile(r"\[\[(\d+\.?\d*)\]\]")  # as FastChat reads a rating
RATED = [
    "Rating: [[%s]]",
    "**Rating: [[%s]]**",
    "Rating: **[[%s]]**",
    "[[%s]]",
    '"Rating: [[%s]]"',
    "My rating is [[%s]]",
]
RATED += [
    "Rating: [[%s]]/10",
    "Rating: [[ %s ]]",
    "Final rating: [[%s]]",
    "Rating: [[%s/10]]",
    "Rating：［［%s］］",
    "Rating: [%s]",
]
REASONED = [
    "",
    "Good.\n\n",
    "<think>It is a [[3]].\nRating: [[3]]</think>\n",
    "maybe [[3]]</think>",
    "`x = [[3]]` is odd.\n",
]
REASONED += [
    "```\nRating: [[3]]\n```\n",
    'It says "Rating: [[3]]", which is bold.\n',
    "> Rating: [[3]]\n\n",
    "See [3].\n",
]
REASONED += ["[[3]](https://example.org) is cited.\n", "At first I thought of [[3]].\n"]


@pytest.mark.parametrize("rating", ["8", "7.5", "1", "10"])
def test_ratings_are_what_a_judgment_concludes_with(rating):
    for reasoned, rated, after in drawn(REASONED, RATED, ["", ".", "\n", "  ", "\u200b"]):
        judgment = reasoned + rated.replace("%s", rating) + after
        assert rating_of(judgment) == float(rating), judgment
        if not reasoned and THEIRS.search(judgment):
            assert rating_of(judgment) == float(THEIRS.search(judgment)[1])


def test_reasoning_code_and_quotations_hold_no_rating():
    for reasoned, after in drawn(
        [r for r in REASONED if "thought of" not in r], ["", "It is good.", "\n\nNice.", "8/10"]
    ):
        assert rating_of(reasoned + after) is None, reasoned + after


@pytest.mark.parametrize(
    ("judgment", "rating"),
    [
        ("Rating: [[8-9]]", None),
        ("[[8]]-[[9]]", None),
        ("[[10]] or [[2]]", None),
        ("Rating: [[85/100]]", None),
        ("Rating: [[rating]]", None),
        ("<think>Rating: [[3]]", None),
        ("As reference [3] shows, it is good.", None),
        ("Rating: [[3]]\nOn reflection:\nRating: [[8]]", 8),
        ("Rating: [[8]]\n\nReferences: [1] Smith", 8),
        ("Rating: [[8]]\nThe determinant of [[3]] is wrong.", 8),
        ("\\[\\[8\\]\\]", 8),
        ("评分：【【8】】", 8),
        ("Rating: [[8]]/[[10]]", 8),
    ],
)
def test_ranges_and_contradictions_are_no_rating(judgment, rating):
    assert rating_of(judgment) == rating


def test_a_judgment_that_was_cut_off_is_no_verdict(tmp_path):
    def script(request):
        return Reply("At first sight: [[3]]", finish="length" if request["seed"] < 3 else "stop")

    with Scripted(script) as server:
        asked = Judge("judge", server.url, "1", retries=1)
        (verdict,) = judge_all(asked, "key", [[{"role": "user", "content": "?"}]], tmp_path)
    assert (verdict.rating, verdict.attempts) == (None, 2)


def test_the_mini_studys_answers_end_in_an_integer():
    assert mini.final_answer("Answer: 7\nAnswer: -12") == -12
    assert mini.final_answer("Answer: x") is None
    assert mini.is_right("Answer: 7", "7") and not mini.is_right("", "0")


def test_long_answers_of_nothing_are_read_to_their_end():
    # expressions that backtrack take hours here
    for shown in ("word " * 4000, " " * 20000, "( " * 5000, "A, " * 5000, "answer: " * 2000, "[[" * 5000, "*" * 9000):
        assert (gpqa.final_answer(shown), aime.final_answer(shown), rating_of(shown)) == (None, None, None)
        assert code_of(shown) == shown
