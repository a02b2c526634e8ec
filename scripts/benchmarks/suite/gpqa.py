"""GPQA-Diamond: graduate-level questions with four choices [paper, section 4.1]."""

import random
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.datasets import read_records
from benchmarks.reading import LABEL, plain, undressed
from benchmarks.registry import Benchmark, Compared, Question

LETTERS = "ABCD"
MARKUP = re.compile(r"[*`$]|\\[()\[\]]|(?<![^\W_])_+(?=[^\W_(\[])|(?<=[^\s_])_+(?![^\W_])")
BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?:\{([^{}]*)\}|([A-Za-z])(?![A-Za-z]))")
BOXED = "\u2991\u2992"  # brackets that stand for a box
LEFT, RIGHT = rf"[(\[{{\"'<{BOXED[0]}\s]*+", rf"[)\]}}\"'>{BOXED[1]}]*+"
LETTER = rf"{LEFT}(?i:option|choice|letter|answer)?\s*{LEFT}(?<![A-Za-z0-9])([A-Za-z]){RIGHT}(?![\w'^°])"
ARTICLE = r"(?![aA]\s+(?!or\b|and\b|is\b|are\b|to\b)[a-z])"
JOINING = r"\b(?:or|and|nor|vs|to|as well as|oder|ou|und|et)\b\.?"
BESIDE = rf"[ \t]*(?:[,;(]?[ \t]*{JOINING}|[,/&+;|-][ \t]*(?:or\b|and\b|maybe\b)*|[ \t])"
DOUBTED = rf"[ \t([{{\"'<{BOXED[0]}]*(?:(?:maybe|possibly|perhaps) )?"
NEXT = rf"{BESIDE}{DOUBTED}{ARTICLE}(?<![A-Za-z0-9])[A-Za-z]{RIGHT}(?![\w'^])"
CHOSEN = rf"{LETTER}(?:{NEXT})*+"
SAID = re.compile(
    rf"(?im)(^\W*(?:[^\W\d_]+\s){{0,4}})?(?<![^\W_]){LABEL}(?:\s+(?:choice|option|letter))?[\s\"]*[:=](?!=)"
)
TOLD = re.compile(
    rf"(?i)(?<!incorrect )(?<!wrong )(?<!another )(?<!other )(?:(?<![^\W_]){LABEL}(?:\s+(?:choice|option|letter))?|"
    r"\b(?:correct|right|best)\s+(?:option|choice|letter|one))(?:\s+(?:to|for|among)\b[^.:\n]{0,60}?)?\s*"
    r"(?:\b(?:is|must be|should be)\b|是|为|:)(?:\s+(?:thus|therefore|clearly|hence|indeed))?\s*:?"
)
CHOOSE = re.compile(
    r"(?i)\b(?:i|we)\s+(?:would\s+|will\s+|therefore\s+)?(?:choose|select|pick|go with)\s+(?:option|choice|answer)?"
)
IS_RIGHT = re.compile(
    rf"(?:\b(?:Option|option|Choice|choice)\s+)?{CHOSEN}\s+is\s+(?:the\s+)?"
    r"(?:correct|right|best|answer)(?: answer| option| choice)?[\s.!]*$"
)
ALONE = re.compile(rf"(?:(?i:option|choice)\s+)?{CHOSEN}[\s.)!]*")
# behind a letter: the end, the choice's text or a reason
REST = re.compile(
    r"(?i)(?<=[)\]:])[ \t]|[ \t]*(?:$|\n|[.,;:)!(\]]|-(?=\s)|=|\?[ \t]*(?:$|\n)|因为|"
    r"(?:because|since|as|due|for|which|is (?:the )?(?:correct|right|answer)|based|given|considering|by)\b)"
)
DOUBT = re.compile(
    r"(?i)\b(?:or|maybe|perhaps|possibly|alternatively|no|wait|actually|instead|although|though|but|unless|could be|"
    r"might be)\b(?P<then>.*)"
)
OTHER_LETTER = re.compile(r"(?<![\w'^])(?:[B-Z]|A(?!\s+[a-z]))(?![\w'^-])")
SUPPOSED = re.compile(
    r"(?i)\b(?:if|naively|might|one could|one may|would|not|tempt\w*|initially|at first|mistaken\w*)\b[^.\n]*$"
)
LAST_LINE = 300  # characters of it that are read
QUESTION, RIGHT_CHOICE = "Question", "Correct Answer"
WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def samples(folder: Path | str, files: Iterable[str], seed: int) -> list[Question]:
    """Return one Question a record, its choices in an order that depends on the seed and the question alone.

    Raises AoeError if the files are not GPQA's.
    """
    from inspect_ai.solver import MultipleChoiceTemplate

    found = []
    for record in read_records(folder, files, ["Record ID", QUESTION, RIGHT_CHOICE, *WRONG]):
        order = list(range(len(LETTERS)))
        random.Random(f"{seed}/{record['Record ID']}").shuffle(order)
        choices = [str(record[RIGHT_CHOICE]).strip(), *(str(record[field]).strip() for field in WRONG)]
        listed = "\n".join(f"{letter}) {choices[number]}" for letter, number in zip(LETTERS, order, strict=True))
        prompt = MultipleChoiceTemplate.SINGLE_ANSWER_COT.format(
            letters=",".join(LETTERS), question=record[QUESTION].strip(), choices=listed
        )
        found.append(Question(id=record["Record ID"], input=prompt, target=LETTERS[order.index(0)]))
    return found


def final_answer(shown: str) -> str | None:
    """Return the letter, A to D, that an answer concludes with, or None if there is none, or several at once.

    The last of ``ANSWER: …``, ``the answer is …`` and boxes counts.  Without any, it is a last line such as ``(C)`` or
    ``option C is correct``.
    """
    text = MARKUP.sub("", undressed(BOX.sub(rf"{BOXED[0]}\1\2{BOXED[1]}", undressed(plain(shown)))))
    found = _conclusions(text)
    if found:
        return max(found, key=lambda conclusion: conclusion[0])[1]
    last = text.strip().rsplit("\n", 1)[-1][-LAST_LINE:]
    if chosen := ALONE.fullmatch(last):
        return _letter(chosen[0])
    if told := IS_RIGHT.search(last):
        return _letter(told[0].rsplit(" is ", 1)[0])
    # a single line that begins as the list of choices does
    listed = re.fullmatch(r"[\W_]*([A-D])[)\]]*[).:]\s*\S.*", text.strip())
    return listed[1] if listed else None


def _conclusions(text):
    """[(place, letter, or None if it cannot be read)] of everything in a text that is put as its answer."""
    found = []
    for match in SAID.finditer(text):
        if not text[match.end() :].strip().startswith(("LETTER", "<letter", "[letter")):
            found.append((match.end(), _chosen(text, match.end()) or None))
    told = [*TOLD.finditer(text), *CHOOSE.finditer(text)]
    for match in told:
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        letter = _chosen(text, match.end())
        if letter is not None and not SUPPOSED.search(line.rsplit(". ", 1)[-1]):
            found.append((match.end(), letter or None))
    end = -1
    for match in re.finditer(rf"{BOXED[0]}[^{BOXED}]*{BOXED[1]}", text):
        if match.start() >= end and re.search(r"[A-Za-z]", match[0]):
            chosen = re.compile(CHOSEN).match(text, match.start())
            end = chosen.end() if chosen else match.end()
            found.append((match.start(), _letter(chosen[0]) if chosen else None))
    return found


def _chosen(text, place):
    """The letter that is put at a place, "" if that is several letters or no clear one, None if it is no letter."""
    chosen = re.compile(CHOSEN).match(text, place)
    if not chosen:
        return None
    line = text[chosen.end() :].split("\n", 1)[0]
    letter = _letter(chosen[0])
    if letter is None or not REST.match(text, chosen.end()):
        return ""
    doubt = DOUBT.search(line)
    if doubt and any(other[0] != letter for other in OTHER_LETTER.finditer(doubt["then"])):
        return ""
    return letter


def _letter(chosen):
    """The one letter, A to D, of those that stand side by side; None if they are several or another."""
    named = re.sub(r"(?i)option|choice|letter|answer", " ", chosen)
    letters = {letter.upper() for letter in re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", named)}
    return letters.pop() if len(letters) == 1 and letters <= set(LETTERS) else None


GPQA_DIAMOND = Benchmark(
    name="gpqa_diamond",
    title="GPQA-Diamond",
    summary="four choices, shuffled with the seed; answered by `ANSWER: letter`",
    questions=lambda settings, dataset: samples(dataset[0], dataset[1], settings["seed"]),
    grading=Compared(final_answer),
    short_title="GPQA-\nDiamond",
)
