"""Which code made results that take long to make, and what is said when that code has changed.

A job of such a rule notes the digest of its code in results/{study}/code/records when it starts, beside its results and
not in them.  What the digests stand for is in results/{study}/code/definitions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# rule -> rules whose jobs Snakemake repeats after one of its jobs; all of them take long
FOLLOWING = {
    "plan": ("merge", "complete", "answer", "latency", "judge", "programs"),
    "merge": ("complete", "answer", "latency", "judge", "programs"),
    "complete": ("answer", "latency", "judge", "programs"),
    "answer": ("judge", "programs"),
    "latency": (),
    "judge": (),
    "solvable": ("programs",),
    "programs": (),
    "mini_base": ("mini_parent",),
    "mini_parent": (),
}
MOST_NAMES = 3  # of changed definitions in a sentence


@dataclass(frozen=True)
class Record:
    """What one job noted.  code: the digest; rules: those whose scripts it covers; accepted: a later digest that a user
    took for the same."""

    path: Path
    rule: str
    wildcards: Mapping[str, str]
    outputs: tuple[str, ...]
    rules: tuple[str, ...]
    code: str
    accepted: str | None = None

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Read a record; returns None if there is none, if it is broken, or if the job's results are gone."""
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            known = noted["rule"], noted["wildcards"], tuple(noted["outputs"]), tuple(noted["rules"]), noted["code"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        record = cls(path, *known, accepted=noted.get("accepted"))
        return record if all(Path(output).exists() for output in record.outputs) else None

    def write(self) -> None:
        """Write the record to its path."""
        noted = {name: value for name, value in vars(self).items() if name != "path" and value is not None}
        write_json(self.path, noted)

    def is_made_by(self, digest: str) -> bool:
        """Whether the results are of this code, or were accepted as such."""
        return digest in (self.code, self.accepted)


def record_path(output: str) -> Path:
    """The path of the record of a job, whose first output is results/{study}/…"""
    results, study, *rest = Path(output).parts
    return Path(results, study, "code", "records", *rest[:-1], f"{rest[-1]}.json")


def definitions_path(folder: Path, digest: str) -> Path:
    """What a digest stands for, in the folder of a study's results."""
    return folder / "code/definitions" / f"{digest}.json"


def read_records(folder: Path) -> list[Record]:
    """All records in the folder of a study's results whose results are there."""
    found = map(Record.read, sorted((folder / "code/records").rglob("*.json")))
    return [record for record in found if record is not None and record.rule in FOLLOWING]


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def changed_definitions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of definitions that differ, each once; what was only renamed or moved is not among them."""
    gone: Counter[str | None] = Counter(digest for name, digest in before.items() if now.get(name) != digest)
    come: Counter[str | None] = Counter(digest for name, digest in now.items() if before.get(name) != digest)
    names = dict.fromkeys([*now, *before])
    return [
        name
        for name in names
        if before.get(name) != now.get(name)
        and (gone[before.get(name)] > come[before.get(name)] or come[now.get(name)] > gone[now.get(name)])
    ]


def repeated(changed: Iterable[Record], records: Iterable[Record]) -> dict[str, int]:
    """rule -> number of jobs that would be repeated with those of ``changed``, which are of one rule, and with them."""
    changed, everything = list(changed), {record.path: record for record in records}
    found = {record.path: record for record in changed}
    for record in changed:
        for other in everything.values():
            own = record.wildcards.get("variant")
            if other.rule in FOLLOWING[record.rule] and other.wildcards.get("variant") in (own, None):
                found[other.path] = other
        if "variant" not in record.wildcards:
            found |= {one.path: one for one in everything.values() if one.rule in FOLLOWING[record.rule]}
    counts = Counter(record.rule for record in found.values())
    return {rule: counts[rule] for rule in FOLLOWING if counts[rule]}


def sentence(rule: str, names: list[str], counts: Mapping[str, int], number: int, choice: str | None) -> str:
    """What a run says of results of a rule that other code made.

    names: of changed definitions; counts: of ``repeated``; number: of the jobs whose results they are; choice: what the
    configuration says, ``keep``, ``redo`` or nothing.
    """
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    what = ", ".join(names[:MOST_NAMES]) + more or "the order of its parts"
    results = "1 result" if number == 1 else f"{number} results"
    jobs = ", ".join(f"{count} {name}" for name, count in counts.items())
    begin = f"{rule}: the code has changed since {results} of it {'was' if number == 1 else 'were'} made ({what});"
    if choice == "redo":
        return f"{begin} made again, as `accept_code_changes=redo` says, with all that needs it (jobs: {jobs})."
    if choice == "keep":
        return f"{begin} accepted as made by the present code, as `accept_code_changes=keep` says."
    return (
        f"{begin} kept, and new results beside them are made by the present code. Accept this with `--config "
        f"accept_code_changes=keep`, or repeat these jobs with `accept_code_changes=redo`: {jobs}."
    )


def outdated(records: Iterable[Record], present: Callable[[Iterable[str]], str]) -> dict[str, list[Record]]:
    """rule -> the records of other code than the present; present: rules -> the digest of their code."""
    found: dict[str, list[Record]] = {rule: [] for rule in FOLLOWING}
    for record in records:
        if not record.is_made_by(present(record.rules)):
            found[record.rule].append(record)
    return {rule: records for rule, records in found.items() if records}
