"""What is printed on a document's pages."""

import re

from pypdf import PdfReader


def words(pdf):
    """The text of a PDF on one line, without the hyphens that break its lines."""
    text = " ".join(page.extract_text() for page in PdfReader(pdf).pages)
    return re.sub(r"\s+", " ", text.replace("-\n", ""))
