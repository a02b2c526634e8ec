"""AIME: competition problems whose answers are whole numbers from 0 to 999 [paper, section 4.1].

The datasets differ in the names of their fields only; FIELDS says how the id, the problem and the answer are called.
"""

import re
import unicodedata

from inspect_ai.dataset import Sample
from math_verify import parse, verify
from aoe import AoeError
from benchmarks.datasets import read_records

FIELDS = (("ID", "Problem", "Answer"), ("id", "problem", "answer"))  # Maxwell-Jia/AIME_2024; math-ai/aime25
PROMPT = "{problem}\n\nReason step by step, and put your final answer within \\boxed{{}}."
BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?:{|(\d+))")
ANSWER_LINE = re.compile(r"(?i)answer\s*:\s*(.+)$")


def samples(folder, files):
    """One Sample a problem.  Raises AoeError if the files are no AIME dataset."""
    first = read_records(folder, files, [])[0]
    names = max(FIELDS, key=lambda names: len(first.keys() & set(names)))
    id_, problem, answer = names
    return [
        Sample(
            id=str(record[id_]),
            input=PROMPT.format(problem=record[problem]),
            target=_whole(record[answer], record[id_]),
        )
        for record in read_records(folder, files, names)
    ]


def is_right(shown, target):
    """Whether the visible part of an answer gives the whole number ``target``, compared by math-verify."""
    given = final_answer(shown)
    return given is not None and verify(parse(target), parse(f"\\boxed{{{given}}}"))


def final_answer(shown):
    """What an answer ends in: what the last closed box holds, if anything, else what follows the last ``ANSWER:``, or
    None.

    Digits of other scripts are made plain ones.
    """
    shown = "".join(str(unicodedata.decimal(character, character)) for character in shown)
    boxes = _boxes(shown)
    if boxes:
        return boxes[-1]
    found = [match[1] for line in shown.splitlines() if (match := ANSWER_LINE.search(line))]
    return found[-1].strip(" $*.") if found else None


def _boxes(text):
    """What each box holds that is closed and not empty, in the order in which they close; one pass over the text."""
    found, open_braces, starts = [], [], {match.end(): match[1] for match in BOX.finditer(text)}
    for position in range(len(text) + 1):
        if starts.get(position):
            found.append(starts[position])
        elif position in starts:
            open_braces[-1:] = [position]
        if position < len(text) and text[position] == "{":
            open_braces.append(None)
        elif position < len(text) and text[position] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and text[start:position].strip():
                found.append(text[start:position].strip())
    return found


def _whole(answer, id_):
    """A problem's answer as a whole number from 0 to 999."""
    text = str(answer).strip()
    if not re.fullmatch(r"0*\d{1,3}", text):
        raise AoeError(f"The problem {id_} has the answer {text!r}, which is no whole number from 0 to 999.")
    return str(int(text))
