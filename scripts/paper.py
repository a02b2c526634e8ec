"""The study's document, for paper and for screens, from one template."""

from pathlib import Path

import typst
from joblog import logged

with logged(snakemake.log[0]):
    style = Path(snakemake.input.style).read_text(encoding="utf-8")
    for path, kind in ((snakemake.output.pdf, "pdf"), (snakemake.output.html, "html")):
        inputs = {"facts": f"/{snakemake.input.facts}", "format": kind}
        made = typst.compile(
            snakemake.input.template, root=".", format=kind, sys_inputs=inputs, ignore_system_fonts=True
        )
        if kind == "html":
            made = made.replace(b"</head>", f"<style>{style}</style></head>".encode(), 1)
        Path(path).write_bytes(made)
