"""Letters that no font of a machine has: told in one sentence, instead of boxes without a word."""

import unicodedata
from collections.abc import Sequence

PACKAGES = {  # what a character's name begins with: the font package of Debian and Ubuntu that has it
    ("CJK ", "HIRAGANA ", "KATAKANA ", "HANGUL ", "IDEOGRAPHIC ", "FULLWIDTH "): "fonts-noto-cjk",
    ("",): "fonts-noto-core",
}
SYMBOLS = "fonts-symbola"


def is_seen(letter: str) -> bool:
    """Tell whether a character leaves a mark: no space, no control, no variation selector."""
    return unicodedata.category(letter) not in ("Cc", "Cf", "Zl", "Zp", "Zs") and not "\ufe00" <= letter <= "\ufe0f"


def without_font(name: str, letters: Sequence[str]) -> str:
    """Return the sentence on letters without a font; name: of the file that shows them; letters: sorted."""
    packages = dict.fromkeys(map(_package, letters))
    shown = " ".join(letters[:12]) + (" …" if len(letters) > 12 else "")
    return (
        f"{name} shows boxes instead of letters that no font of this machine has ({shown}): install a font with them "
        f"(on Debian and Ubuntu {', '.join(packages)}), delete the file, and run the workflow again."
    )


def _package(letter):
    if unicodedata.category(letter) == "So":
        return SYMBOLS
    name = unicodedata.name(letter, "")
    return next(package for starts, package in PACKAGES.items() if name.startswith(starts))
