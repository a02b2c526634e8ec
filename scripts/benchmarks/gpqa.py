"""GPQA-Diamond: graduate-level questions with four choices [paper, section 4.1]."""

import random
import re

from inspect_ai.dataset import Sample
from inspect_ai.solver import MultipleChoiceTemplate
from benchmarks.datasets import read_records
from benchmarks.plaintext import plain_text

LETTERS = "ABCD"
# Where an answer says its conclusion: a box, or "answer", "choice" or "option", in the languages that models fall into.
CONCLUSION = re.compile(
    r"""\\(?:boxed|fbox|framebox)\s*{
    | \b(?:answer|choice|antwort|réponse|reponse|respuesta|resposta|risposta|ответ)\b
      (?:\s+(?:to\s+(?:the|this)\s+question|here|must\s+be|should\s+be|would\s+be|will\s+be))*
      \s*(?:is\b|ist\b|est\b|es\b|:|=|-+>|→|[–—])(?:\s*:)?
    | (?:答案|答え|正解|选项|정답)\s*(?:应该)?(?:是|为|は|은|는)?\s*:?
    | \b(?:choose|pick|select)\b
    | \b(?:option|choice)\b(?=\s*[(\["']?[A-D]\b[^\n]{0,40}\bis\s+(?:the\s+)?(?:correct|right|best)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
FILLERS = "definitely|clearly|therefore|simply|just|the|correct|right|option|choice|letter|answer"
OPENING = rf"""[\s("'\[{{:<.#>*-]*(?:(?:{FILLERS})\b[\s:("'\[{{]*)*"""
LETTER = re.compile(OPENING + r"(?P<letter>[A-Da-d])(?![A-Za-z0-9]|['’][A-Za-z]|-[A-Za-z])(?P<rest>[^\n]*)")
SEVERAL = re.compile(OPENING + r"(?:both\b|either\b|between\b|[A-D]{2,4}(?![A-Za-z0-9]))")
ANOTHER = re.compile(
    r"""[\s)\]}"'.]*(?:,|/|&|\+|\||;|\bor\b|\band\b|\boder\b|\bund\b|或|和|と|\\(?:lor|land|vee|wedge)\b|\s)+[\s("'\[{]*
        (?:(?:maybe|possibly|perhaps|also|or|and|option|choice|letter)\s+)*[("'\[{]*[A-D](?![A-Za-z0-9]|['’][A-Za-z]|-[A-Za-z])(?!\s+(?:is|are|was|has|would|being)\b)
    """,
    re.VERBOSE,
)
# "A" is an article, too: the letter is meant where no noun can follow
NO_NOUN = re.compile(
    r"(?:[^\s\w]|\s*$|\s+[^a-z\s]|\s+(?:because|since|as|is|due|for|which|by|given|with|it|and|or|so|but|in|per)\b)"
)
ALONE = re.compile(r"""[\s("'\[{]*(?:option\s+)?[("'\[{]*([A-D])[\s)"'\]}.]*""", re.IGNORECASE)
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


def read(shown):
    """Return the letter that an answer concludes with, or None if it names none, or several at once.

    The last conclusion counts: a later box or ``ANSWER:`` takes back an earlier one.
    """
    text = plain_text(shown)
    for found in reversed(list(CONCLUSION.finditer(text))):
        tail = text[found.end() :]
        if found[0].endswith("{"):
            tail = _inside(tail)
        if SEVERAL.match(tail):
            return None
        letter = LETTER.match(tail)
        if letter and not _is_article(letter):
            return None if ANOTHER.match(letter["rest"]) else letter["letter"].upper()
    lines = text.strip().splitlines()
    alone = ALONE.fullmatch(lines[-1]) if lines else None
    return alone[1].upper() if alone else None


def _is_article(letter):
    return letter["letter"] in "Aa" and not NO_NOUN.match(letter["rest"])


def _inside(text):
    """A text up to the brace that closes the one before it."""
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return text[:position]
    return ""
