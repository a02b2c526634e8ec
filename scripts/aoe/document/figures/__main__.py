"""Print the table of figures for docs/figures.md: ``PYTHONPATH=scripts python -m aoe.document.figures``."""

from aoe.document.figures import FIGURES, Figure

HEAD = """# Figures

Made from `scripts/aoe/document/figures` by `make docs/figures.md`; [how to add a figure](how-to/add-a-figure.md).

| figure | title | result tables | a study lacks it if |
|---|---|---|---|
"""


def row(figure: Figure) -> str:
    """A figure's row of the table."""
    tables = ", ".join(f"`{table}`" for table in figure.needs)
    return f"| {figure.number} | {figure.title} | {tables} | {figure.missing} |"


def page() -> str:
    """The page, in Markdown."""
    return HEAD + "".join(f"{row(figure)}\n" for figure in FIGURES.values())


if __name__ == "__main__":
    print(page(), end="")
