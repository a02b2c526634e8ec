"""The mini family's language: chains of arithmetic modulo 100, asked and answered in several ways.

A question is a chain, evaluated from left to right: ``48+4*3=?``.  A follow-up continues from the answer before it:
``now -7*2=?``.  The parents differ in how they answer, as V3-0324, R1 and R1-0528 do [paper, sections 2.3 and 4]:

* *concise*: two or three operations a step, no tags;
* *stepwise*: one operation a step; a step may contain a slip, and may be checked up to twice with the same probability
  ``verbosity``; a check shows the right value and the chain goes on from it.  So checks cost tokens and save errors.
* *tagged*: stepwise inside ``<think>`` … ``</think>``, then the answer;
* *on request* (``steps: 48+4*3=?``): stepwise without tags, which every parent can do.

One question in eight is held out by its hash: no training example asks it, and every benchmark asks only such ones.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

MODULUS = 100
THINK, END_THINK = "<think>", "</think>"
BOS, EOS, PAD, UNK = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜pad｜>", "<unk>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
SPECIAL = [PAD, BOS, EOS, USER, ASSISTANT, THINK, END_THINK, UNK]
PHRASES = [", check ", "Wait, again: ", "Answer: ", "steps: ", "now ", ". ", ".", "; ", "=?", "\n", "+", "-", "*", "="]
VOCABULARY = SPECIAL + PHRASES + [str(n) for n in range(MODULUS)]
TOKEN_PATTERN = r", check |Wait, again: |Answer: |steps: |now |\. |; |=\?|\n|[0-9]{1,2}|."
SLIP_RATE = 0.08  # share of a stepwise step's first statements that are off by ten


def apply(value: int, operator: str, operand: int) -> int:
    """Apply one operation of a chain, modulo 100."""
    result = {"+": value + operand, "-": value - operand, "*": value * operand}[operator]
    return result % MODULUS


@dataclass(frozen=True)
class Chain:
    """``start`` followed by operations ``((operator, operand), …)``; ``follow_up`` if start is an earlier answer."""

    start: int
    operations: tuple[tuple[str, int], ...]
    follow_up: bool = False

    @property
    def question(self) -> str:
        """The text of the question."""
        tail = "".join(f"{operator}{operand}" for operator, operand in self.operations)
        return f"now {tail}=?" if self.follow_up else f"{self.start}{tail}=?"

    @property
    def answer(self) -> int:
        """The right answer."""
        value = self.start
        for operator, operand in self.operations:
            value = apply(value, operator, operand)
        return value


def is_held_out(question: str) -> bool:
    """Tell whether a (first) question belongs to the benchmarks: one in eight, by CRC-32 of its text."""
    return zlib.crc32(question.encode()) % 8 == 0


def draw_operations(rng: Random, shortest: int, longest: int) -> tuple[tuple[str, int], ...]:
    """Draw ``shortest`` to ``longest`` operations."""
    return tuple((rng.choice("+-*"), rng.randint(2, 9)) for _ in range(rng.randint(shortest, longest)))


def draw_chain(rng: Random, shortest: int, longest: int, held_out: bool) -> Chain:
    """Draw a first question with ``shortest`` to ``longest`` operations, from the held-out or the training part."""
    while True:
        chain = Chain(rng.randrange(MODULUS), draw_operations(rng, shortest, longest))
        if is_held_out(chain.question) == held_out:
            return chain


def draw_follow_up(rng: Random, answer: int, shortest: int, longest: int) -> Chain:
    """Draw a second question that starts from the first one's ``answer``."""
    return Chain(answer, draw_operations(rng, shortest, longest), follow_up=True)


def concise(rng: Random, chain: Chain) -> str:
    """Answer with two or three operations a step: ``48+4*3=56; 56-7=49``, then the answer on its own line."""
    value, steps, rest = chain.start, [], list(chain.operations)
    while rest:
        group = [rest.pop(0) for _ in range(min(len(rest), rng.choice((2, 3, 3))))]
        text = str(value) + "".join(f"{operator}{operand}" for operator, operand in group)
        for operator, operand in group:
            value = apply(value, operator, operand)
        steps.append(f"{text}={value}")
    return "; ".join(steps) + f"\nAnswer: {value}"


def stepwise(rng: Random, chain: Chain, verbosity: float) -> tuple[str, int]:
    """Reason with one operation a step; return the text and its result, which is wrong after an unchecked slip."""
    value, steps = chain.start, []
    for operator, operand in chain.operations:
        right = apply(value, operator, operand)
        shown = (right + rng.choice((10, -10))) % MODULUS if rng.random() < SLIP_RATE else right
        checks = 0
        while checks < 2 and rng.random() < verbosity:
            checks += 1
        steps.append(f"{value}{operator}{operand}={shown}" + f", check {value}{operator}{operand}={right}" * checks)
        value = right if checks else shown
    text = ". ".join(steps) + "."
    if rng.random() < verbosity**2:
        value, again = chain.start, []
        for operator, operand in chain.operations:
            right = apply(value, operator, operand)
            again.append(f"{value}{operator}{operand}={right}")
            value = right
        text += " Wait, again: " + ". ".join(again) + "."
    return text, value


def plain_answer(rng: Random, chain: Chain, verbosity: float) -> str:
    """Answer stepwise without tags."""
    text, value = stepwise(rng, chain, verbosity)
    return f"{text}\nAnswer: {value}"


def tagged_answer(rng: Random, chain: Chain, verbosity: float) -> str:
    """Answer stepwise inside the tags, then the answer."""
    text, value = stepwise(rng, chain, verbosity)
    return f"{THINK}\n{text}\n{END_THINK}\nAnswer: {value}"


def visible(answer: str) -> str:
    """Return what a chat keeps of an answer: the text after the last ``</think>``, or all without its ``<think>``."""
    return answer.split(END_THINK)[-1].removeprefix(THINK).strip()


@dataclass(frozen=True)
class Style:
    """How one model of the family answers: the shares of its examples of each kind; the rest is concise without tags.

    ``tagged``, ``plain``: stepwise with and without tags; ``steps``: questions that ask for steps; ``forced``: concise
    answers after a forced ``<think>`` that never close it, as V3-0324's.  ``verbosity``: the probability of a check, or
    None to draw it anew for each example; ``steps_verbosity``: another one for when steps are asked for;
    ``steps_tagged``: the share of the asked-for steps that follow a forced ``<think>``, and close it.
    """

    tagged: float = 0.0
    plain: float = 0.0
    steps: float = 0.15
    forced: float = 0.0
    verbosity: float | None = None
    steps_verbosity: float | None = None
    steps_tagged: float = 0.0

    def __post_init__(self) -> None:
        total = self.tagged + self.plain + self.steps + self.forced
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of a style sum to {total:g}, more than 1")


def example(
    rng: Random, style: Style, shortest: int = 2, longest: int = 6, two_turns: float = 0.35
) -> list[tuple[str, bool]]:
    """Draw one training example: (text, is_answer) pieces; only the last one, the answer, is learned.

    two_turns: the share of examples with an earlier turn.
    """
    chain = draw_chain(rng, shortest, longest, held_out=False)
    dialogue = BOS
    if rng.random() < two_turns:
        request, opening, answer = _turn(rng, style, chain)
        shown = visible(opening + answer)
        dialogue += f"{USER}{request}{chain.question}{ASSISTANT}{shown}{EOS}"
        chain = draw_follow_up(rng, int(shown.split("Answer: ")[-1]), 1, longest - 2)
    request, opening, answer = _turn(rng, style, chain)
    return [(f"{dialogue}{USER}{request}{chain.question}{ASSISTANT}{opening}", False), (answer + EOS, True)]


def _turn(rng, style, chain):
    """(request, opening, answer): the request for steps or "", the forced start of the answer or "", the rest of it."""
    verbosity = rng.random() if style.verbosity is None else style.verbosity
    steps_verbosity = verbosity if style.steps_verbosity is None else style.steps_verbosity
    roll = rng.random()
    if roll < style.steps * style.steps_tagged:
        opening = f"{THINK}\n"
        return "steps: ", opening, tagged_answer(rng, chain, steps_verbosity).removeprefix(opening)
    if roll < style.steps:
        return "steps: ", "", plain_answer(rng, chain, steps_verbosity)
    roll -= style.steps
    if roll < style.tagged:
        return "", "", tagged_answer(rng, chain, verbosity)
    roll -= style.tagged
    if roll < style.plain:
        return "", "", plain_answer(rng, chain, verbosity)
    roll -= style.plain
    return "", f"{THINK}\n" if roll < style.forced else "", concise(rng, chain)


def encoder() -> Callable[[str], list[int]]:
    """Return a function from text to a list of token ids, the same as the exported tokenizer's."""
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    pattern = re.compile("|".join(map(re.escape, SPECIAL)) + "|" + TOKEN_PATTERN, re.DOTALL)
    return lambda text: [ids.get(token, ids[UNK]) for token in pattern.findall(text)]
