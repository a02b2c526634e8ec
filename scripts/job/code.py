"""Note which code makes the results of a rule that takes long, where the launcher looks when the code has changed."""

import json
import warnings
from pathlib import Path
from typing import Any

from aoe import AoeWarning


def record_code(job: Any, resumed: bool = False) -> None:
    """Write the record of the job's code, beside its results; to be called before the job makes anything.

    job: the script's ``snakemake`` object, whose param ``code`` says what the record holds; resumed: whether the job
    goes on with what an interrupted one has left, about which an AoeWarning is given if other code made that.
    """
    code = job.params.code
    path = Path(code["record"])
    before = json.loads(path.read_text(encoding="utf-8")).get("code") if resumed and path.exists() else None
    if before not in (None, code["digest"]):
        sentence = f"{job.rule}: goes on with what an interrupted job left, whose code has changed since then."
        warnings.warn(sentence, AoeWarning, stacklevel=2)
    noted = {"rule": job.rule, "wildcards": dict(job.wildcards.items()), "outputs": list(map(str, job.output))}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(
        json.dumps({**noted, "rules": code["rules"], "code": code["digest"]}, indent=0, sort_keys=True) + "\n",
        encoding="utf-8",
    )
    partial.replace(path)
