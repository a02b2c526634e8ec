"""GPQA-Diamond: graduate-level questions with four choices [paper, section 4.1]."""

import random
import re

from inspect_ai.dataset import Sample
from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.solver import MultipleChoiceTemplate, TaskState
from inspect_ai.solver._multiple_choice import parse_answers
from benchmarks.datasets import read_records

LETTERS = "ABCD"
MARKUP = re.compile(r"[*`$]")
PLAIN = re.compile(r"\\(?:boxed|text|mathrm|mathbf){(?:\\text{)?([A-D])}+")
QUESTION, RIGHT = "Question", "Correct Answer"
WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def samples(folder, files, seed):
    """One Sample a question, its choices in an order that depends on the seed and the question alone.

    Raises AoeError if the files are not GPQA's.
    """
    found = []
    for record in read_records(folder, files, ["Record ID", QUESTION, RIGHT, *WRONG]):
        order = list(range(len(LETTERS)))
        random.Random(f"{seed}/{record['Record ID']}").shuffle(order)
        choices = [str(record[RIGHT]).strip(), *(str(record[field]).strip() for field in WRONG)]
        listed = "\n".join(f"{letter}) {choices[number]}" for letter, number in zip(LETTERS, order, strict=True))
        prompt = MultipleChoiceTemplate.SINGLE_ANSWER_COT.format(
            letters=",".join(LETTERS), question=record[QUESTION].strip(), choices=listed
        )
        found.append(Sample(id=record["Record ID"], input=prompt, target=LETTERS[order.index(0)]))
    return found


def is_right(shown, target):
    """Whether the visible part of an answer chooses the letter ``target``, read as Inspect reads its own."""
    state = TaskState(ModelName("none/none"), "", 1, "", [], choices=list(LETTERS))
    state.output = ModelOutput.from_content("", PLAIN.sub(r"\1", MARKUP.sub("", shown)))
    return parse_answers(state, multiple_correct=False) == {target}
