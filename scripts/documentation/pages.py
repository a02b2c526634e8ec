"""Pages with tables between marks: ``<!-- table: norms -->`` before a table, ``<!-- end -->`` after it."""

import re
from pathlib import Path

from aoe import AoeError
from documentation.tables import table

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKED = re.compile(r"^( *)<!-- table: (.+?) -->\n(.*?)^ *<!-- end -->$", re.MULTILINE | re.DOTALL)


def filled(text: str, page: Path) -> str:
    """Return a page's text with every marked table as it should be, indented as its mark is.

    Raises AoeError, naming the page, for a table that there is not, or a mark without its end.
    """

    def replaced(found: re.Match[str]) -> str:
        indent, name, inside = found.groups()
        if "<!-- table:" in inside:
            raise AoeError(f"{page}: the table {name!r} has no <!-- end --> before the next table.")
        lines = [f"<!-- table: {name} -->", *table(name, page), "<!-- end -->"]
        return "\n".join(f"{indent}{line}" for line in lines)

    new = MARKED.sub(replaced, text)
    if new.count("<!-- table: ") != len(MARKED.findall(new)):
        raise AoeError(f"{page}: a table has no <!-- end -->.")
    return new
