"""Bring the tables of all pages up to date, and say which pages changed: ``make docs``."""

import sys

from aoe import AoeError
from documentation.pages import PAGES, ROOT, filled

try:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (new := filled(text, page)) != text:
            page.write_text(new, encoding="utf-8")
            print(page.relative_to(ROOT))
except AoeError as error:
    sys.exit(str(error))
