"""Generated tables: that they are up to date, and what is wrong with marks."""

from pathlib import Path

import pytest
from aoe import AoeError
from documentation.pages import PAGES, ROOT, filled

TABLE = "<!-- table: norms -->\n| old |\n<!-- end -->\n"
PAGE = Path("page.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_of_a_page_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert filled(text, page) == text, f"`make docs` brings {page.relative_to(ROOT)} up to date"


def test_a_table_is_made_anew():
    made = filled(f"before\n{TABLE}after", PAGE)
    head = "<!-- table: norms -->\n| norm | definition | unit |\n|---|---|---|\n| `normalized` |"
    assert made.startswith(f"before\n{head}")
    assert made.endswith("|\n<!-- end -->\nafter") and "old" not in made
    assert filled(made, PAGE) == made


def test_a_table_is_indented_as_its_mark():
    lines = filled("  <!-- table: norms -->\n  <!-- end -->\n", PAGE).splitlines()
    assert len(lines) > 4 and all(line.startswith("  ") for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("norms", "moods"), r"page\.md names the table 'moods'; there are .*norms"),
        ("<!-- table: norms -->\n", "a table has no <!-- end -->"),
        (f"<!-- table: norms -->\n{TABLE}", "'norms' has no <!-- end --> before the next table"),
    ],
)
def test_marks_that_are_wrong_are_named(text, message):
    with pytest.raises(AoeError, match=message):
        filled(text, PAGE)
