"""Write a study of a mergekit configuration: python -m aoe.studies.mergekit their.yaml study"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from aoe import AoeError
from aoe.files.replacing import replace_text
from aoe.studies.mergekit.study import convert

STUDIES = Path("config/studies")


class _Dumper(yaml.SafeDumper):
    """Writes lists that several subsets share in each of them, instead of anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def main(arguments: Sequence[str]) -> None:
    """Write the study, and print what is different here.  Raises AoeError if there is one of this name."""
    if len(arguments) != 2 or not all(arguments):
        raise AoeError("Name a mergekit configuration and a new study: make convert MERGEKIT=their.yaml STUDY=name.")
    theirs, study = arguments
    target = STUDIES / f"{study}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", study):
        raise AoeError(f"{study!r} is no name of a study: letters, digits, `.`, `_` and `-`, a letter or digit first.")
    if target.exists():
        raise AoeError(f"{target} is there already; choose another name.")
    content, notes = convert(theirs, study)
    head = "".join(f"# {sentence}\n" for sentence in (f"Made from mergekit's {Path(theirs).name}.", *notes))
    layout: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 100, "allow_unicode": True}
    body = yaml.dump(content, Dumper=_Dumper, **layout)
    replace_text(target, head + body)
    print(*notes, f"{target} is written.", sep="\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AoeError as error:
        sys.exit(str(error))
