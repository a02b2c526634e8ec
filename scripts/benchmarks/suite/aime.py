"""AIME: competition problems whose answers are whole numbers from 0 to 999 [paper, section 4.1].

The datasets differ in the names of their fields only; FIELDS says how the id, the problem and the answer are called.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from aoe import AoeError
from benchmarks.datasets import read_records
from benchmarks.reading import LABEL, plain, undressed
from benchmarks.registry import Benchmark, Compared, Question

FIELDS = (("ID", "Problem", "Answer"), ("id", "problem", "answer"))  # Maxwell-Jia/AIME_2024; math-ai/aime25
PROMPT = "{problem}\n\nReason step by step, and put your final answer within \\boxed{{}}."
BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?:{|(\d+))")
ANSWER_LINE = re.compile(rf"(?i){LABEL}[\s*_\"]*(:|=|is\b|是|为)[ \t*_]*:?(.+)")
HEADING = re.compile(rf"(?i)\W*(?:the |my )?(?:final )?{LABEL}[\s*_]*:?[\s*_]*")
STARTS_LINE = re.compile(rf"(?i)\W*(?:the |my |thus |so |therefore )*(?:final )?{LABEL}")
JOINED = re.compile(r"[\s$;*_{}]*(?:\\text\s*{\s*)?(?:or\b|and\b|,|/|&|oder\b|ou\b)(?:\s*(?:or|and)\b)?[\s$*_}]*")
SIGN = r"(?:\\(?:square|blacksquare|checkmark|qed|Box)|[✓✔✅■□\s])+"
LETTER_IN_TEXT = re.compile(r"\\(?:text|textrm|mathrm|textup|mbox)\s*{\s*[A-Za-zµμ]\s*}")
EQUALS = re.compile(r"=|\\equiv|\\approx|\\sim(?![a-z])|[≡≈]")
NUMBER = r"[-+]?\s?(?:[1-9]\d{0,2}(?:(?:,|\{,\})\d{3})+(?!\d)|\d+)(?:\.0+)?(?!\.?\d)"
WHOLE = re.compile(rf"({NUMBER})(.*)", re.DOTALL)
DEGREES = re.compile(r"\s*(?:°\s*[CF]?|\^\s*{?\s*\\(?:circ|degree)\s*}?|\\(?:degree|textdegree)(?![a-z])|\\?%|_{?10}?)")
MODULUS = re.compile(r"\s*(?:\\[bp]mod\s*(?:\{[^{}]*\}|\d+)|\(?\\?mod(?:ulo)?\.?\s*\d+\)?)\s*")
UNIT = r"(?:[^\W\d_]{2,}|(?<=[^\W\d_]/)[smhgl])(?:\s*\^\s*{?\s*[23]\s*}?|[²³])?"
UNITS = re.compile(rf"[\s-]*\(?{UNIT}(?:[\s./·-]+{UNIT}){{0,5}}\)?\s*")
NO_UNITS = re.compile(  # words after a number that make it another one, or take it back
    r"(?i)\b(?:or|and|not|no|nor|plus|minus|times|over|divided|multiplied|hundred|thousand|million|billion|dozens?|"
    r"half|halves|thirds?|quarters?|fourths|fifths|tenths|squared|cubed|factorial|choose|mod|pi|root|sqrt|is|isn|was|"
    r"wrong|incorrect|false|maybe|perhaps|possibly|approximately|roughly|to|through|less|more|unless|instead|but|"
    r"either|oder|ou|et|und)\b"
)
REASON = re.compile(
    r"(?i)\s*[.,;:(-]*\s*(?:because|since|as|which (?:is|gives|agrees|matches)|due to|by the|this|that is|so that|"
    r"hence|checked|verified|explanation|reason|note|thank|因为)\b"
)
TAKEN_BACK = re.compile(r"(?i)\b(?:or|wait|actually|no|maybe|perhaps|instead|alternatively)\b[^.]*\d")
EXPRESSION = re.compile(
    r"(?:[-+*/^(){}\[\]|!.\s\d]|\\(?:[dtc]?frac|sqrt|cdot|times|div|[dt]?binom|[lr]floor|[lr]ceil|[lr]?vert)(?![A-Za-z]))+"
)
TOO_LARGE = re.compile(r"\^[^-+*/]*\^|\^\s*[{(]*\d{4}|!\s*!|\d{3}\)*\s*!")  # to be worked out
LONGEST_EXPRESSION = 200  # characters
WRAPPED = (("(", ")"), ("[", "]"), ("{", "}"), ("\\{", "\\}"), ("\\(", "\\)"), ("\\[", "\\]"))


def samples(folder: Path | str, files: Iterable[str]) -> list[Question]:
    """Return one Question a problem.  Raises AoeError if the files are no AIME dataset."""
    first = read_records(folder, files, [])[0]
    names = max(FIELDS, key=lambda names: len(first.keys() & set(names)))
    id_, problem, answer = names
    return [
        Question(
            id=str(record[id_]),
            input=PROMPT.format(problem=record[problem]),
            target=_whole(record[answer], record[id_]),
        )
        for record in read_records(folder, files, names)
    ]


def is_right(shown: str, target: str) -> bool:
    """Return whether the visible part of an answer gives the whole number ``target``."""
    return final_answer(shown) == int(target)


def final_answer(shown: str) -> int | None:
    """Return the whole number that an answer concludes with, or None if there is none, or several at once.

    The last closed box counts, unless a line ``ANSWER: …`` comes after it.  Without a box, that line counts, else a
    last line that is nothing but a number.  An expression is worked out.
    """
    shown = plain(shown)
    boxes = [(place, text) for place, text in _boxes(shown) if not (re.fullmatch(SIGN, text) or BOX.match(text))]
    lines = list(_answer_lines(shown))
    if boxes:
        (end, text) = boxes[-1]
        later = [value for place, starts, _, value in lines if place > end and starts and value is not None]
        return later[-1] if later else None if _one_of_several(shown, boxes) else whole_number(text)
    for _, _, said_so, value in reversed(lines):
        if said_so or value is not None:
            return value
    last = shown.strip().rsplit("\n", 1)[-1]
    return whole_number(last) if re.fullmatch(rf"[\s*_$`#\"]*{NUMBER}[\s*_$`.\"]*", last) else None


def whole_number(text: str) -> int | None:
    """Return the one whole number that a text gives; an equation, a unit or a reason may be with it.

    None for any other number, for several, and for what is no number.
    """
    text = re.sub(r"\\(?:boxed|fbox|framebox)\s*\{([^{}]*)\}", r"\1", text)
    text = _unwrapped(undressed(LETTER_IN_TEXT.sub(" unit ", text.rstrip("\\"))))
    text = _unwrapped(re.sub(rf"(?i)^.*?{LABEL}\s*(?:is|:)\s*:?", "", text))
    text = MODULUS.sub("", re.sub(rf"{SIGN}$", "", text))
    if (value := _value(text)) is not None:
        return value
    *others, last = EQUALS.split(text)
    if any(re.search(r"[,;]|\b(?:or|and)\b", other) for other in others[1:]):
        return None
    values = [value for value in map(_value, others) if value is not None]
    value = _value(last)
    if value is None:
        return values[0] if len(others) == len(values) == 1 and not re.search(r"\d", last) else None
    # 72 = 73 says nothing
    plain_numbers = [_value(other) for other in others if re.fullmatch(rf"\s*{NUMBER}\s*", other)]
    return None if any(other != value for other in plain_numbers) else value


def _value(text):
    """What a side of an equation comes to, as a whole number, or None."""
    text = _unwrapped(text)
    text = re.sub(r"^\\?[$€£¥]\s*", "", text)
    if found := WHOLE.fullmatch(text):
        number, after = found.groups()
        after = DEGREES.sub("", after, count=1) if DEGREES.match(after) else after
        if _harmless(after):
            digits = re.sub(r"[\s,{}]|\.0+$", "", number)
            return int(digits) if len(digits) < 20 else None
    if EXPRESSION.fullmatch(text) and len(text) < LONGEST_EXPRESSION and re.search(r"\d", text):
        return _worked_out(text)
    return None


def _harmless(after):
    """Whether what stands behind a number leaves it as it is: nothing, a unit, or a reason."""
    if not after.strip(' .,;:*_$`"\n'):
        return True
    if REASON.match(after):
        return not TAKEN_BACK.search(after)
    return bool(UNITS.fullmatch(after.rstrip(' .,;:*_$`"\n'))) and not NO_UNITS.search(after)


def _worked_out(expression):
    """The whole number that an expression without letters comes to, or None."""
    from math_verify import parse

    if TOO_LARGE.search(expression) or re.search(r"\d\s+\d|\d\s*[({\[]|[)}\]]\s*\d", _flat(expression)):
        return None
    try:
        found = float(parse(f"\\boxed{{{expression}}}")[0].evalf())
    except (IndexError, AttributeError, TypeError, ValueError, OverflowError, ArithmeticError):
        return None
    return round(found) if abs(found - round(found)) < 1e-9 else None


def _flat(expression):
    """An expression without the braces of commands, in which numbers side by side are no product."""
    return re.sub(r"\\[a-z]+\s*(?:{[^{}]*}\s*)+|\^\s*{[^{}]*}", "", expression)


def _unwrapped(text):
    """A text without the marks and brackets around the whole of it."""
    before = None
    while text != before:
        before = text
        text = text.strip(" \t\n*_`$\"'").rstrip(".,;:") if not text.startswith("\\$") else text[2:]
        for left, right in WRAPPED:
            inside = text[len(left) : -len(right)]
            if text.startswith(left) and text.endswith(right) and left not in inside and right not in inside:
                text = inside
    return text


def _answer_lines(shown):
    """(place, whether it starts its line, whether it is said with a colon, whole number or None) of each ``ANSWER: …``.

    A line that is nothing but the label belongs to the next one with text.  Lines with a box are left out.
    """
    place, waiting = 0, False
    for line in shown.split("\n"):
        place += len(line) + 1
        if BOX.search(line):
            waiting = False
        elif HEADING.fullmatch(line):
            waiting = True
        elif found := ANSWER_LINE.search(line):
            yield place, bool(STARTS_LINE.match(line)), found[1] in ":=", whole_number(found[2])
            waiting = False
        elif waiting and line.strip():
            yield place, True, False, whole_number(line)
            waiting = False


def _one_of_several(shown, boxes):
    """Whether the last box is one of two that stand side by side, as in ``72 or 73``, and differ."""
    if len(boxes) < 2:
        return False
    (end, first), (_, last) = boxes[-2:]
    start = shown.rfind("\\", end, shown.rfind(last))
    while start > end and not BOX.match(shown, start):
        start = shown.rfind("\\", end, start)
    between = shown[end + 1 : start]
    return start > end and bool(JOINED.fullmatch(between)) and whole_number(first) != whole_number(last)


def _boxes(text):
    """(place, text) of each box that is closed and not empty, in the order in which they close; one pass."""
    found, open_braces, starts = [], [], {match.end(): match[1] for match in BOX.finditer(text)}
    for position in range(len(text) + 1):
        if starts.get(position):
            found.append((position - 1, starts[position]))
        elif position in starts:
            open_braces[-1:] = [position]
        if position < len(text) and text[position] == "{":
            open_braces.append(None)
        elif position < len(text) and text[position] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and text[start:position].strip():
                found.append((position, text[start:position].strip()))
    return found


def _whole(answer, id_):
    """A problem's answer as a whole number from 0 to 999."""
    text = str(answer).strip()
    if not re.fullmatch(r"0*\d{1,3}", text):
        raise AoeError(f"The problem {id_} has the answer {text!r}, which is no whole number from 0 to 999.")
    return str(int(text))


AIME2024, AIME2025 = (
    Benchmark(
        name=f"aime{year}",
        title=f"AIME-{year}",
        summary="problems whose answers are whole numbers, in `\\boxed{}` or a last line `ANSWER: n`",
        questions=lambda settings, dataset: samples(*dataset),
        grading=Compared(final_answer, is_right),
        short_title=f"AIME-\n{year}",
    )
    for year in (2024, 2025)
)
