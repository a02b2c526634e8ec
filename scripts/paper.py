"""The study's document, for paper and for screens, from one template."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import typst
from aoe import AoeWarning
from aoe.document.letters import is_seen, without_font
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

PROBE = b'#set text(font: "Libertinus Serif")\n#sys.inputs.letters'
WITHOUT_BOXES: Final = "a-2b"  # the standard that forbids boxes in the place of letters


def lacking(letters: str, fonts: typst.Fonts) -> list[str]:
    """Those of some letters, sorted, that no font has.  fonts: a typst.Fonts."""

    def shown(some):
        try:
            inputs = {"letters": some}
            typst.compile(PROBE, format="pdf", pdf_standards=WITHOUT_BOXES, sys_inputs=inputs, font_paths=fonts)
        except typst.TypstError:
            return False
        return True

    seen = "".join(sorted(letter for letter in set(letters) if is_seen(letter) and not letter.isascii()))
    return [] if shown(seen) else [letter for letter in seen if not shown(letter)]


with logged(snakemake.log[0]):
    style = Path(snakemake.input.style).read_text(encoding="utf-8")
    # as letters, not as escapes
    text = json.dumps(json.loads(Path(snakemake.input.facts).read_text(encoding="utf-8")), ensure_ascii=False)
    # the document looks the same on every machine, unless it needs fonts that Typst does not bring along
    fonts = typst.Fonts(include_system_fonts=False)
    if lacking(text, fonts):
        fonts = typst.Fonts(include_system_fonts=True)
        if boxes := lacking(text, fonts):
            warnings.warn(without_font(snakemake.output.pdf, boxes), AoeWarning, stacklevel=1)
    outputs: dict[Literal["pdf", "html"], str] = {"pdf": snakemake.output.pdf, "html": snakemake.output.html}
    for kind, path in outputs.items():
        inputs = {"facts": f"/{snakemake.input.facts}", "format": kind}
        made = typst.compile(snakemake.input.template, root=".", format=kind, sys_inputs=inputs, font_paths=fonts)
        if kind == "html":
            made = made.replace(b"</head>", f"<style>{style}</style></head>".encode(), 1)
        Path(path).write_bytes(made)
