"""What all audits of a study found, for whoever calls `snakemake audit`, and for scripts that do."""

import json
from pathlib import Path

from aoe import AoeError
from aoe.audit import VERIFIED


def show_verdicts(study, path):
    """Print every audit's verdict and write them to ``path``.  Raises AoeError unless all are verified."""
    if not study.audits:
        raise AoeError(f"The study {study.name} has no audits; config/README.md says how one is written.")
    lines, failed = [], []
    for name in study.audits:
        folder = Path(f"results/{study.name}/audits/{name}")
        found = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
        lines += [f"{name}: {found['verdict']}. {' '.join(found['summary'])}", f"  {folder}/audit.html"]
        if found["verdict"] != VERIFIED:
            failed.append(f"{name}: {found['verdict']}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if failed:
        raise AoeError(f"Not everything is verified: {'; '.join(failed)}.")
