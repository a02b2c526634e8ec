"""Labels in figures: lines that fit, and fonts that have the letters.

A label is any text of a study's author: long, of any script, with signs that mean something to a typesetter.  Figures
show as much of it as fits; the data beside a figure has all of it.
"""

import functools
import re
import unicodedata
import warnings
from collections.abc import Iterable

from matplotlib import font_manager, rcParams
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.text import Text
from aoe.document.letters import is_seen

FONT = "DejaVu Sans"  # matplotlib brings it along, so that figures look the same on every machine
BREAKS = re.compile(r"\s+|[^\s\-_/]+[-_/]*|[-_/]+")  # a line may end behind each of these
# of fonts that have the same number of the letters, those that were made for many scripts
PREFERRED = re.compile(r"noto ?sans|source ?han|wenquanyi|droid|dejavu", re.IGNORECASE)
BOXES = re.compile(r"last ?resort|adobe ?blank", re.IGNORECASE)  # fonts that have a box, or nothing, for every letter


def ems(text: str) -> float:
    """Measure the width of a text, as a multiple of the font's size."""
    return sum(map(_em, text))


@functools.cache
def _em(letter):
    """A letter's width; of one that only other fonts have, what they usually give it."""
    if unicodedata.combining(letter) or (not is_seen(letter) and letter != " "):
        return 0.0
    font = _own_font()
    if font.get_char_index(ord(letter)):
        return font.load_char(ord(letter), LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM
    return 1.0


@functools.cache
def _own_font():
    return FT2Font(font_manager.findfont(FONT))


def shortened(text: str, most: float) -> str:
    """Shorten a text to ``most`` ems: both ends around an ellipsis, as names differ there."""
    if ems(text) <= most:
        return text
    head = _start(text, (most - ems("…")) / 2)
    return f"{head}…{_start(text[::-1], most - ems(f'{head}…'))[::-1]}"


def wrapped(text: str, width: float, lines: int = 2) -> str:
    """Break a text into at most ``lines`` lines of at most ``width`` ems, shortened if it is longer."""
    most = width * lines
    while len(rows := _rows(shortened(text, most), width)) > lines and most > 1:  # ragged lines need more room
        most -= 1
    return "\n".join(rows)


def _rows(text, width):
    """The lines of a text; a word that is longer than a line is cut."""
    if ems(text) <= width:
        return [text]
    rows = [""]
    for piece in BREAKS.findall(text):
        if rows[-1] and ems(rows[-1] + piece.rstrip()) > width >= ems(piece.rstrip()):
            rows.append("")
            piece = piece.lstrip()
        while ems(rows[-1] + piece.rstrip()) > width:
            head = _start(piece, width - ems(rows[-1])) or piece[: not rows[-1]]  # a line has one letter at least
            rows[-1] += head
            rows.append("")
            piece = piece[len(head) :]
        rows[-1] += piece
    return [row.strip() for row in rows if row.strip()]


def distinct(texts: Iterable[str], width: float, lines: int = 1) -> list[str]:
    """Break texts as ``wrapped`` does; where two would become the same, put their number in front."""
    texts = list(texts)
    fitted = [wrapped(text, width, lines) for text in texts]
    return [
        wrapped(f"({number}) {text}", width, lines) if fitted.count(short) > 1 else short
        for number, (text, short) in enumerate(zip(texts, fitted, strict=True), start=1)
    ]


def _start(text, most):
    """As many characters as fit into so many ems."""
    while ems(text) > most:
        text = text[:-1]
    return text


def use_fonts(figure: Figure) -> list[str]:
    """Let a figure's letters be drawn with fonts of this machine where matplotlib's own has none for them.

    Returns the letters, sorted, that no font has.
    """
    texts = figure.findobj(Text)
    families, lacking = fonts_for({letter for text in texts for letter in text.get_text()})
    if families:
        rcParams["pdf.fonttype"] = 3  # OpenType's outlines are not TrueType's, which 42 would call them
    for text in texts if families else ():
        text.set_fontfamily([FONT, *families])
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # matplotlib's, one a letter and drawing
    return lacking


def fonts_for(letters: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return (families, lacking): further fonts that together have the letters, and the sorted letters of no font."""
    missing = {letter for letter in letters if is_seen(letter) and not _own_font().get_char_index(ord(letter))}
    families = []
    fonts = [font for font in map(_opened, sorted(font_manager.findSystemFonts())) if font] if missing else []
    while missing:
        best = max(fonts, key=lambda font: _rank(font, missing), default=None)
        if best is None:
            break
        found = {letter for letter in missing if best.get_char_index(ord(letter))}
        if not found:
            break
        font_manager.fontManager.addfont(best.fname)  # matplotlib's list may be older than the font
        families.append(best.family_name)
        missing -= found
    return families, sorted(missing)


def _opened(path):
    """A font with outlines, which can be drawn at any size, or None."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return None
    return font if font.scalable and not BOXES.search(font.family_name) else None


def _rank(font, letters):
    """The better a font is, the higher: letters that it has, made for many scripts, upright and of normal weight."""
    known = sum(font.get_char_index(ord(letter)) > 0 for letter in letters)
    return known, bool(PREFERRED.search(font.family_name)), font.style_name in ("Regular", "Book"), font.family_name
