r"""Take the dress off an answer: what is left are its letters, digits and punctuation, as a grader reads them.

An answer means the same in bold, in LaTeX's \text, in digits of another script, or with an invisible mark in it.
"""

import re
import textwrap
import unicodedata

from markdown_it import MarkdownIt

# Pairs that other scripts write for ASCII's; NFKC maps the wide forms itself.
PUNCTUATION = str.maketrans(
    {
        "。": ".",
        "｡": ".",
        "、": ",",
        "،": ",",
        "؛": ";",
        "∶": ":",
        "꞉": ":",
        "【": "[",
        "】": "]",
        "〔": "[",
        "〕": "]",
        "「": '"',
        "」": '"',
        "『": '"',
        "』": '"',
        "《": '"',
        "》": '"',
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‘": "'",
        "’": "'",
        "−": "-",
        "‐": "-",
        "‑": "-",
    }
)
TAG = re.compile(r"</?(?:b|i|u|em|strong|span|code|mark|p|br|center|font|div|big)\b[^<>]*>")
STRUCK = re.compile(r"~~(?=\S).+?~~|<(s|del|strike)>.*?</\1>", re.IGNORECASE)
MARKDOWN = re.compile(r"\*+|`+|(?<![A-Za-z0-9])_+(?=\S)|(?<=\S)_+(?![A-Za-z0-9])")
SPACES = re.compile(
    r"\\(?:quad|qquad|enspace|thinspace|displaystyle|large|Large|bf|bfseries|left|right)\b|\\[,;:!> ]|~"
)
DOLLARS = re.compile(r"(?<!\\)\$+|\\[()\[\]]")
WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|normal|up)?|math(?:rm|bf|it|sf|tt|bb|cal|normal)|mbox|hbox|emph|underline|uline|bold(?:symbol)?"
    r"|bm|operatorname|pmb|bigl?|Bigl?|tiny|color{\w+}|textcolor{\w+}|colorbox{\w+}|ensuremath)\*?\s*{((?:[^{}]|{[^{}]*})*)}"
)


def plain_characters(text):
    """Return a text without invisible characters and with ASCII for the digits, letters and marks of other forms.

    Superscripts stay: the 2 of cm² is no digit of a number.
    """
    kept = (_plain(character) for character in text if unicodedata.category(character) != "Cf")
    return "".join(kept).translate(PUNCTUATION)


def plain_text(text):
    """Return a text without the marks of Markdown, HTML and LaTeX that only set it; what was struck out is left out."""
    text = MARKDOWN.sub("", TAG.sub("", STRUCK.sub("", plain_characters(text))))
    return unwrapped(DOLLARS.sub("", SPACES.sub(" ", text)))


def fences_of(text):
    """Return (what stands in fences, what stands between them), as CommonMark reads them.

    A fence that is never closed ends with the text.
    """
    lines, blocks, prose, end = text.split("\n"), [], [], 0
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence":
            start, stop = token.map
            blocks.append(textwrap.dedent(token.content))
            prose.append("\n".join(lines[end:start]))
            end = stop
    return blocks, [*prose, "\n".join(lines[end:])]


def prose_of(text):
    """Return what stands outside of fences, in parts."""
    return fences_of(text)[1]


def unwrapped(text):
    r"""Return a LaTeX text with ``73 cm`` for ``73\text{ cm}``, whatever command sets the words, to any depth."""
    while (inner := WRAPPER.sub(r"\1", text)) != text:
        text = inner
    return text


def _plain(character):
    if character.isascii():
        return character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(character) == "Zs":
        return " "
    normal = unicodedata.normalize("NFKC", character)
    return normal if len(normal) == 1 and normal.isascii() and unicodedata.category(character) != "No" else character
