"""What a preflight found out: checks that were tried, what each found, and what that means for a study's stages.

A check is a small JSON file, written by the job that tries something, or by the launcher on what became of the job.
"""

from __future__ import annotations

import json
import platform
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.files.replacing import replace_text

READY, WARNING, PROBLEM, UNUSED = "ready", "ready, with a warning", "not ready", "not in this study"
MARKS = {READY: "✓", WARNING: "!", PROBLEM: "✗", UNUSED: "–"}


@dataclass
class Check:
    """``title``: what was tried; ``findings``: [(sentence, whether the stage cannot work)]; ``facts``: sentences;
    ``seconds``: phase -> s; ``host``: where; ``log``: path of what there is to read, or None."""

    title: str
    findings: list[tuple[str, bool]] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    host: str = ""
    log: str | None = None

    def problem(self, sentence: str) -> None:
        """Note a finding because of which the stage cannot work."""
        if (sentence, True) not in self.findings:
            self.findings.append((sentence, True))

    def warn(self, sentence: str) -> None:
        """Note a finding with which the stage works all the same."""
        self.findings.append((sentence, False))

    def fact(self, sentence: str) -> None:
        """Note a fact that is no finding."""
        self.facts.append(sentence)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the seconds of a block."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - start, 2)

    @property
    def status(self) -> str:
        """READY, WARNING or PROBLEM, by the worst finding."""
        return worst([PROBLEM if fatal else WARNING for _, fatal in self.findings])

    def save(self, path: Path | str) -> None:
        """Write the check, all at once: whoever waits for the file never sees half of it."""
        replace_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Check:
        """Read a saved check."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


@contextmanager
def trying(title: str, path: Path | str, log: Path | str) -> Iterator[Check]:
    """Give a block that tries something its Check: whatever the block raises is a finding, and is saved."""
    check = Check(title, host=platform.node(), log=str(log))
    try:
        yield check
    except AoeError as error:
        check.problem(str(error))
    except Exception as error:
        traceback.print_exc()
        check.problem(f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}; the log has more.")
    print(*check.facts, *(sentence for sentence, _ in check.findings), sep="\n")
    check.save(path)


def worst(statuses: Sequence[str]) -> str:
    """Return the status of something that has parts."""
    return next((status for status in (PROBLEM, WARNING) if status in statuses), READY)


def judge(stages: Mapping[str, Iterable[str] | None], checks: Mapping[str, Check]) -> list[dict[str, Any]]:
    """Judge a study's stages: [{stage, status, findings, checks}].

    stages: stage -> names of the checks that it depends on, or None
    for a stage that the study does not have; checks: name -> Check."""
    judged = []
    for stage, names in stages.items():
        tried = [checks[name] for name in names or []]
        status = worst([check.status for check in tried]) if names is not None else UNUSED
        found = {tuple(finding): None for check in tried for finding in check.findings}
        findings = sorted(found, key=lambda finding: not finding[1])
        judged.append({"stage": stage, "status": status, "findings": findings, "checks": [c.title for c in tried]})
    return judged


def is_ready(judged: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether no stage has a problem."""
    return all(row["status"] != PROBLEM for row in judged)


def as_text(judged: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield lines for a terminal."""
    width = max(len(row["stage"]) for row in judged)
    for row in judged:
        yield f"{MARKS[row['status']]} {row['stage']:{width}}  {row['status']}"
        for sentence, fatal in row["findings"]:
            yield f"  {' ' * width}  {'' if fatal else 'Warning: '}{sentence}"
