r"""Answers in hundreds of dresses: the same result in bold, in LaTeX, in other scripts, behind other words.

Each generator yields (what is shown, the result that it gives, or None if it gives none or several), the same ones each
time.
"""

import random

FEW = 500
WRAPS = (
    "{}",
    "**{}**",
    "__{}__",
    "`{}`",
    "*{}*",
    "$\\mathbf{{{}}}$",
    "\\textbf{{{}}}",
    "<b>{}</b>",
    "\u200b{}\u200b",
    "\u2060{}",
)
COLONS = (":", " :", "：", ": ", " : ", "\u00a0:\u00a0", ":\n")
TAILS = ("", ".", "\n", "  ", "\n\nThank you", "。", "\n\n---", "\ufeff")
BEFORE = ("", "So we see.\n\n", "First, A and B look alike: see [1].\n", "### Result\n\n", "It was 12, then 5, now\n\n")
BOXES = (
    "\\boxed{{{}}}",
    "$\\boxed{{{}}}$",
    "\\[\\boxed{{{}}}\\]",
    "$$\n\\boxed{{{}}}\n$$",
    "\\fbox{{{}}}",
    "**\\boxed{{{}}}**",
)
INSIDE = (
    "{}",
    " {} ",
    "\\text{{{}}}",
    "\\textbf{{{}}}",
    "\\mathrm{{{}}}",
    "\\underline{{{}}}",
    "\\text{{({})}}",
    "{}.",
    "\u200b{}",
)


def aime():
    """Whole numbers, of which the answer gives one, or no or several ones."""
    rng = random.Random("aime")
    units = (
        "",
        "°",
        "^\\circ",
        "^{\\circ}",
        "\\degree",
        " \\text{ cm}",
        "\\text{ cm}^2",
        " residents",
        "\\,",
        "\\%",
        ".0",
        "\\text{ units}",
    )
    for _ in range(FEW):
        number, other = rng.sample(range(1000), 2)
        written = rng.choice((str(number), f"{number:03}", "".join(chr(0xFF10 + int(d)) for d in str(number))))
        before, tail, unit = rng.choice(BEFORE), rng.choice(TAILS), rng.choice(units)
        kind = rng.randrange(6)
        if kind < 3:
            boxed = rng.choice(BOXES).format(rng.choice(INSIDE).format(written + (unit if kind else "")))
            yield f"{before}{boxed}{tail}", str(number)
        elif kind == 3:
            colon = rng.choice(COLONS[:-1])
            yield f"{before}{rng.choice(WRAPS).format(f'ANSWER{colon}{written}')}{tail}", str(number)
        elif kind == 4:
            earlier = rng.choice((f"\\boxed{{{other}}}", f"ANSWER: {other}"))
            yield f"{before}{earlier} is not it.\n\n{rng.choice(BOXES).format(written)}{tail}", str(number)
        else:
            joined = rng.choice((", ", " or ", " \\text{ or } ", " and ", "; ", " \\lor "))
            yield f"{before}{rng.choice(BOXES).format(f'{number}{joined}{other}')}{tail}", None


def gpqa():
    """Letters from A to D, of which the answer chooses one, or no or several ones."""
    rng = random.Random("gpqa")
    reasons = (
        "",
        ".",
        ", because the others are too small",
        " – the rate doubles",
        ") 10 eV",
        ". Oxygen",
        ": the rate doubles",
        " since B fails",
    )
    around = (
        "{}",
        "({})",
        "[{}]",
        '"{}"',
        "“{}”",
        "'{}'",
        "<{}>",
        "option {}",
        "**{}**",
        "`{}`",
        "$\\mathbf{{{}}}$",
        "{})",
    )
    words = (
        "ANSWER",
        "Answer",
        "answer",
        "**Answer**",
        "Final answer",
        "The correct answer is",
        "答案",
        "Antwort",
        "The best choice is",
    )
    for _ in range(FEW):
        letter, other = rng.sample("ABCD", 2)
        before, tail, word = rng.choice(BEFORE), rng.choice(TAILS), rng.choice(words)
        colon = " " if word.endswith("is") else rng.choice(COLONS)
        written = rng.choice((letter, chr(ord(letter) - ord("A") + 0xFF21)))
        kind = rng.randrange(6)
        if kind < 2:
            dressed = rng.choice(around).format(written)
            reason = rng.choice(reasons) if dressed in (letter, f"({letter})") else ""
            yield f"{before}{word}{colon}{dressed}{reason}{tail}", letter
        elif kind == 2:
            yield f"{before}{rng.choice(BOXES).format(rng.choice(INSIDE).format(written))}{tail}", letter
        elif kind == 3:
            yield f"{before}Answer: {other}\n\nNo, wait.\n\n{word}{colon}{written}{tail}", letter
        elif kind == 4:
            joined = rng.choice((", ", " or ", "/", " and ", " & ", "; ", " or possibly "))
            pair = f"{letter}{joined}{other}"
            dressed = rng.choice(
                (f"{word}{colon}{pair}", f"ANSWER: ({letter}){joined}({other})", rng.choice(BOXES).format(pair))
            )
            yield f"{before}{dressed}{tail}", None
        else:
            none = rng.choice(
                ("Carbon", "a reaction of the first order", "E", "none of them", "unclear", "C-H bonds", "Dysprosium")
            )
            yield f"So we see.\n\n{word}{colon}{none}", None


def ratings():
    """A judge's words, whose conclusion is a rating from 1 to 10, or none."""
    rng = random.Random("ratings")
    noise = (
        "The answer cites [3] and [4].",
        "<think>I would say [[{other}]], or so.</think>",
        'The assistant wrote "[[{other}]]".',
        "```python\nx = rows[[{other}]]\n```",
        "It indexes `rows[[{other}]]` twice.",
        "> Rating: [[{other}]]\n",
        "Compared with [[{other}]] for the first turn, it is better.",
        "It is helpful and short.",
    )
    ways = (
        "Rating: [[{}]]",
        "**Rating: [[{}]]**",
        "Rating: **[[{}]]**",
        "Rating: [[ {} ]]",
        "Rating：［［{}］］",
        "[[{}]]",
        "Rating: `[[{}]]`",
        "The rating is [[{}]].",
        "Rating: [[{}/10]]",
        "### Rating: [[{}]]",
        "Rating:\n[[{}]]",
        "Rating: \\[\\[{}\\]\\]",
        "Rating: [{}]",
        "Final rating: [[{}]]\u200b",
    )
    for _ in range(FEW):
        rating, other = rng.sample([*range(1, 11), 7.5, 8.5], 2)
        said = rng.choice(noise).format(other=other)
        kind = rng.randrange(5)
        if kind < 4:
            yield f"{said}\n\n{rng.choice(ways).format(rating)}{rng.choice(('', chr(10), ' '))}", float(rating)
        else:
            none = (
                f"I would say [[{rating}]] or [[{other}]].",
                "Rating: [[N/A]]",
                "Rating: [[11]]",
                "Rating: [[0]]",
                f"Rating: {rating}",
                f"Rating: [[{rating}-{other}]]",
                f"<think>Rating: [[{rating}]]",
                f'It ends with "Rating: [[{rating}]]" itself.',
                f"See [{int(rating)}].",
            )
            yield f"It is helpful.\n\n{rng.choice(none)}", None


def programs():
    """Answers whose program defines ``task_func``, which doubles a number, or does not."""
    rng = random.Random("programs")
    good, bad = "def task_func(x):\n    return 2 * x", "def task_func(x):\n    return x"
    helped = "def task_func(x):\n    return double(x)"
    helper = "import math\n\ndef double(x):\n    return math.prod([2, x])"
    labels = ("", "python", "py", "python3", "py3", "Python", " python", "python\t", "{.python}")
    for _ in range(FEW):
        fence, label = rng.choice(("```", "````", "~~~", "```", "  ```")), rng.choice(labels)
        block = f"{fence}{label}\n@\n{rng.choice((fence, fence, ''))}"
        closed = f"{fence}{label}\n@\n{fence}\n"
        before, after = rng.choice(("", "Here it is:\n\n", "Sure.\n")), rng.choice(("", "\n\nIt doubles x.", "\n"))
        kind = rng.randrange(7)
        if kind == 0:
            shown = before + block.replace("@", good)
        elif kind == 1:
            shown = before + closed.replace("@", helper) + "and\n\n" + closed.replace("@", helped) + after
        elif kind == 2:
            shown = (
                before
                + closed.replace("@", rng.choice((bad, "def task_func(x)\n    return")))
                + "better:\n\n"
                + closed.replace("@", good)
            )
        elif kind == 3:
            shown = (
                before
                + closed.replace("@", good)
                + "Use it:\n\n"
                + closed.replace("@", "assert task_func(2) == 4\nprint(task_func(3))")
            )
        elif kind == 4:
            shown = rng.choice(
                (
                    good,
                    f"{good}\n```",
                    f"{good}\n```\nThis doubles.",
                    f"import math\n\n{good}\n",
                    f"{before}\n{good}\n\n```\n4\n```",
                )
            )
        elif kind == 5:
            shown = (before + closed.replace("@", good) + after).replace("\n", "\r\n")
        else:
            yield (
                rng.choice(
                    (
                        closed.replace("@", "def other(x):\n    return 2 * x"),
                        "I cannot do that.",
                        closed.replace("@", "print(4)"),
                        "",
                        closed.replace("@", "def task_func(x)\n  return"),
                    )
                ),
                None,
            )
            continue
        yield shown, "right"
