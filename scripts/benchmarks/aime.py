"""AIME: competition problems whose answers are whole numbers from 0 to 999 [paper, section 4.1].

The datasets differ in the names of their fields only; FIELDS says how the id, the problem and the answer are called.
"""

import re

from inspect_ai.dataset import Sample
from math_verify import parse, verify
from aoe import AoeError
from benchmarks.datasets import read_records
from benchmarks.plaintext import plain_characters, plain_text, unwrapped

FIELDS = (("ID", "Problem", "Answer"), ("id", "problem", "answer"))  # Maxwell-Jia/AIME_2024; math-ai/aime25
PROMPT = "{problem}\n\nReason step by step, and put your final answer within \\boxed{{}}."
BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?:{|(\d+))")
ANSWER_LINE = re.compile(
    r"(?i)(?:\banswer|\bantwort|\br[ée]ponse|\brespuesta|\bresposta|\brisposta|\bответ|答案|答え|정답)\s*"
    r"(?::|(?:is|ist|es|est|é|è|是|为|は|는|은|=)\s*:?\s*(?=[-+(\[\"']?\s*[\d\\]))\s*(.+)$"
)
LEAD = re.compile(
    r"(?:[A-Za-z ]*\b(?:answer|result|total|sum|value|number)\b[A-Za-z ]*\b(?:is|equals)|[A-Za-z ]+:)\s*:?\s*"
)
NUMBER = re.compile(r"[a-zA-Z]?\s*=?\s*[(\[{\"']?\s*([-+]?\d+)(?:\.0+)?(?![\d.]*\d)\s*[)\]}\"']?(.*)", re.DOTALL)
REMAINDER = re.compile(r"\(?\s*\\?[pb]?mod(?:ulo)?\s*{?\s*1000\s*}?\s*\)?")
COLOUR = re.compile(r"\\color\s*{\w+}")
DEGREES = re.compile(r"\^?\s*{?\s*(?:\\(?:degree|circ)\b|[°º˚])\s*}?")
EXPONENT = re.compile(r"\^\s*{?\s*[-\d]+\s*}?|[²³]")
REASON = re.compile(r"[\s,;.:(–—-]*(?:because|since|as|for|which|so|due|where|given)\b", re.IGNORECASE)
CONNECTORS = "or|and|oder|und|ou|et|not|but|if|unless|except"
SEVERAL = re.compile(
    rf"\b(?:{CONNECTORS})\b|\\(?:lor|vee|pm|mp|approx|neq?|sim|in|cup)\b|[≈≠±∪]|\d\s*[,;]\s*[-+]?\d", re.IGNORECASE
)
# Words after a number that make another number, or a second answer, of it: no units.
NO_UNIT = re.compile(
    rf"\b(?:{CONNECTORS}|to|minus|plus|times|over|divided|mod|modulo|point|half|halves|thirds?|quarters?|hundred|thousand"
    r"|million|billion|dozen|squared|cubed|factorial|more|less|one|two|three|four|five|six|seven|eight|nine|ten|zero)\b",
    re.IGNORECASE,
)
WORDS = re.compile(r"[A-Za-z]{2,}")
COMMAND = re.compile(r"\\[A-Za-z]+")


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
    """Return whether the visible part of an answer gives the whole number ``target``, compared by math-verify."""
    given = read(shown)
    return given is not None and verify(parse(f"\\boxed{{{target}}}"), parse(f"\\boxed{{{given}}}"))


def read(shown):
    """Return what an answer gives as its result, a number or an expression in LaTeX, or None if that cannot be told.

    It is what the last closed box holds, if anything, else what follows the last ``ANSWER:``.
    """
    given = final_answer(shown)
    return None if given is None else _one_value(given)


def final_answer(shown):
    """Return what an answer ends in, as it is set there, or None.

    It is the last closed box that holds something, else what follows the last ``ANSWER:``.
    """
    shown = plain_characters(shown)
    boxes = _boxes(shown)
    if boxes:
        return boxes[-1]
    lines = [plain_text(line) for line in shown.splitlines()]
    found = [match[1] for line in lines if (match := ANSWER_LINE.search(line))]
    return found[-1].strip() if found else None


def _one_value(given):
    """The number that a result is, without its unit; an expression as it is; None for several values or other words."""
    text = LEAD.sub("", REMAINDER.sub("", plain_text(COLOUR.sub("", given))).strip(), count=1)
    number = NUMBER.fullmatch(text)
    if number and _is_unit(number[2], glued=text.endswith(number[1] + number[2])):
        return str(int(number[1]))
    # an expression: math-verify has to read it, and would take a number out of any sentence
    expression = unwrapped(given)
    words = WORDS.search(COMMAND.sub(" ", expression)) and "=" not in text
    return None if words or SEVERAL.search(expression) else given


def _is_unit(rest, glued):
    """Whether what follows a number leaves it as it is: nothing, degrees, a unit, or the reason for it."""
    if REASON.match(rest):
        return True
    rest = EXPONENT.sub("", DEGREES.sub("", rest)).strip()
    rest = rest.replace("\\%", "").strip("%.,;:()[]{}\"' ")
    if glued and re.match(r"[A-Za-z](?![A-Za-z])", rest):  # 73x is a product
        return False
    return not re.search(r"\d|[!=<>+*/^\\|~≈≠±×÷√]", rest) and not NO_UNIT.search(rest)


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
