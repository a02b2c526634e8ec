"""What a reader is shown, and how integer answers are graded."""

import pytest
from benchmarks.solver import visible
from benchmarks.suite.mini import arithmetic, dialogue, is_right
from mini_family.language import is_held_out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>\n1+1=2.\n</think>\nAnswer: 2", "Answer: 2"),
        ("<think>\n1+1=2\nAnswer: 2", "1+1=2\nAnswer: 2"),
        ("<think>\na</think>b</think>\nAnswer: 3", "Answer: 3"),
        ("<think>\n", ""),
        ("", ""),
    ],
)
def test_the_reasoning_is_cut_off_only_where_it_is_closed(text, shown):
    assert visible(text, "<think>\n") == shown


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>\n1+1=2.\n</think>\nAnswer: 2", True),
        ("<think>\nAnswer: 2\n</think>\nAnswer: 3", False),
        ("<think>\nAnswer: 2\n</think>\n", False),
        ("1+1=2\nAnswer: 2", True),
        ("Answer: 3\nAnswer: 2", True),
        ("Answer: 02", True),
        ("Answer: 22", False),
        ("2", False),
        ("", False),
    ],
)
def test_only_the_final_visible_answer_counts(text, right):
    assert is_right(visible(text), "2") is right


@pytest.mark.parametrize("task", [arithmetic, dialogue])
def test_questions_are_held_out_unique_and_repeatable(task):
    samples = task(questions=128, seed=3)
    assert len({sample.input for sample in samples}) == 128
    assert all(is_held_out(sample.input) for sample in samples)
    assert [s.input for s in samples] == [s.input for s in task(questions=128, seed=3)]
    assert [s.input for s in samples] != [s.input for s in task(questions=128, seed=4)]


def test_a_follow_up_continues_from_the_first_answer():
    for sample in dialogue(questions=64, seed=1):
        first, second = sample.target
        question = sample.metadata["follow_ups"][0]
        assert question.startswith("now ") and question.endswith("=?")
        value, expression = int(first), question.removeprefix("now ").removesuffix("=?")
        while expression:
            operator, operand, expression = expression[0], expression[1], expression[2:]
            value = eval(f"{value}{operator}{operand}") % 100
        assert value == int(second)
