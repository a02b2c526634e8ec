"""Normalize the text of an answer or a judgment before a grader reads it: characters, HTML and LaTeX formatting."""

import re
import unicodedata

# what models call their answer, in the languages that they fall into
LABEL = r"(?:answer|antwort|respuesta|réponse|risposta|resposta|ответ|答案|정답|答え)"
COLONS = "\u02d0\u05c3\u2236\ua789\ufe13\ufe30\ufe55"
STOPS = "\u3002\uff61\u06d4\u0964\ufe12\ufe52"
COMMAS = "\u3001\u060c\u066c\uff64\ufe10\ufe50"
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
QUOTES = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f\u2032\u2033"
SAME = {
    **dict.fromkeys(COLONS, ":"),
    **dict.fromkeys(STOPS, "."),
    **dict.fromkeys(COMMAS, ","),
    **dict.fromkeys(DASHES, "-"),
    **dict.fromkeys(QUOTES, '"'),
    "\u3010": "[",
    "\u3011": "]",
    "\u3014": "[",
    "\u3015": "]",
    "\u066b": ".",  # the Arabic decimal separator
    "\u00ba": "\u00b0",  # the ordinal sign that is typed for degrees
    "\u02da": "\u00b0",
    "\u2103": "\u00b0C",
    "\u2109": "\u00b0F",
    "\u2028": "\n",
    "\u2029": "\n",
    "\u0085": "\n",
    "\r": "\n",
}
DROPPED = ("Cf", "Mn", "Cc")  # invisible characters, variation selectors, control characters
FONTS = (
    "boldsymbol|bm|colorbox|emph|hbox|mathbb|mathbf|mathcal|mathfrak|mathit|mathnormal|mathrm|mathsf|mathtt|mbox|"
    "operatorname|overline|pmb|rm|texorpdfstring|textbf|textit|textmd|textnormal|textrm|textsc|textsf|textsl|texttt|"
    "textup|text|underbrace|underline|uline"
)
FONT = re.compile(rf"\\(?:{FONTS})\s*\*?\s*{{((?:[^{{}}]|{{[^{{}}]*}})*)}}")
COLOR = re.compile(r"\\(?:textcolor|colorbox|color)\s*(?:\[[^\]]*\])?\s*{[^{}]*}")
SPACING = re.compile(
    r"\\(?:[,;:! ]|(?:displaystyle|textstyle|quad|qquad|thinspace|left|right|big|Big|bigl|bigr|bf|bfseries|rm|it|sf|tt|"
    r"large|Large|huge|Huge|phantom{}|hspace\*?{[^{}]*})(?![A-Za-z]))|(?<!\\)~(?!~)"
)
TAGS = re.compile(r"</?(?:b|i|u|em|strong|p|span|div|code|mark|center|font|big|br|sup|sub|answer)(?:\s[^<>]*)?/?>")
STRUCK = re.compile(r"(?is)~~.*?~~|<(s|del|strike)>.*?</\1>|\\(?:cancel|sout|st|xcancel|bcancel)\s*{[^{}]*}")


def plain(text: str) -> str:
    """Replace digits, letters, colons, stops and spaces of other scripts and widths by plain ones.

    Invisible characters are dropped.  Superscripts stay as they are, so that ``73²`` does not become 732.
    """
    return "".join(map(_plain, text)) if not text.isascii() else text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(character):
    if character.isascii() and character != "\r":
        return character
    if character in SAME:
        return SAME[character]
    kind = unicodedata.category(character)
    if kind in DROPPED:
        return ""
    if kind == "Zs":
        return " "
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    same = unicodedata.normalize("NFKC", character)
    return same if kind not in ("No", "Sm") and same.isascii() else character


def undressed(text: str) -> str:
    """Return the text without its formatting: struck words, HTML tags, LaTeX fonts, colours and spaces.

    Boxes, dollars and Markdown's asterisks stay.
    """
    text = SPACING.sub(" ", COLOR.sub("", TAGS.sub("", STRUCK.sub("", text))))
    before = None
    while text != before:
        before, text = text, FONT.sub(r"\1", text)
    return text
