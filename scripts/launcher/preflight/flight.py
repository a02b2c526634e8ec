"""Try everything that a study will need, in minutes, and say of each stage: ready, or what is wrong and how to mend it.

Snakemake starts it instead of jobs (`snakemake --profile slurm preflight`), and it calls Snakemake in turn, for the
environments and then for the jobs of rules/preflight.smk: what fails before a job begins is a result as well.

scripts/preflight.py runs ``main``.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from markupsafe import Markup, escape
from aoe.nodes.probing import free_mib
from aoe.nodes.readiness import MARKS, PROBLEM, Check, as_text, is_ready, judge
from cluster.limits import refusals

TITLES = {
    "study": "The study's lock and models",
    "disk": "Disk",
    "node": "A job without GPUs",
    "network": "Access to all that is fetched",
    "judge": "The judge",
    "server": "A server of small models, with the study's settings",
    "sandbox": "The sandbox",
}
TEMPLATES = Path(__file__).parents[3] / "report"
SCRIPT = Path(__file__).parents[2] / "preflight.py"
PROGRESS_SECONDS = 60  # between two lines on the jobs that are still running
ERROR_LINES = 3  # of Snakemake's or a command's output that are quoted when it fails
INTERRUPT_SECONDS = 60  # in which an interrupted Snakemake ends its jobs


def title_of(name: str) -> str:
    """Return the title of a check, or of an environment."""
    kind, _, stage = name.partition(":")
    return TITLES.get(name) or (f"What {stage} asks of the cluster" if kind == "cluster" else f"Environment {name}")


def fly(plan: dict[str, Any]) -> NoReturn:
    """Become this program; does not return.

    plan: {"study", "title", "folder", "command": the call of Snakemake, "conda": whether it makes environments,
    "stages": stage -> names of checks, or None, "jobs": check -> environments that it needs, "asked", "asked_last":
    rule -> resources of a first and a last attempt, "unready": sentences, "needed": folder -> bytes, or None}
    """
    folder = Path(plan["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    sys.stdout.flush()
    os.execvp(sys.executable, [sys.executable, str(SCRIPT), str(folder / "plan.json")])


def with_targets(command: Sequence[str], targets: Sequence[str], *options: str) -> list[str]:
    """Return the call of Snakemake with other targets, and options before all others."""
    place = next(number for number, word in enumerate(command) if Path(word).name == "snakemake") + 1
    rest = [target for word in command[place:] for target in (targets if word == "preflight" else [word])]
    return [*command[:place], *options, *rest]


class Flight:
    """One preflight: ``checks`` (name -> Check) become more as it goes on."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan, self.folder = plan, Path(plan["folder"])
        self.checks: dict[str, Check] = {}
        self.interrupted = False
        self.refused: dict[str, str] = {}  # job -> why Slurm would not run it: it might wait for ever
        needed = {name for names in plan["stages"].values() for name in names or []}
        self.jobs = {name: needs for name, needs in plan["jobs"].items() if name in needed}

    def add(self, name: str, check: Check) -> None:
        """Keep a check, and print it."""
        self.checks[name] = check
        took = sum(check.seconds.values())
        print(f"{MARKS[check.status]} {check.title}{f', {took:.0f} s' if took >= 1 else ''}", flush=True)
        for sentence, fatal in check.findings:
            print(f"    {'' if fatal else 'Warning: '}{sentence}", flush=True)

    def look_around(self) -> None:
        """Check what the launcher sees by itself."""
        study = Check(title_of("study"), [(sentence, True) for sentence in self.plan["unready"]])
        self.add("study", study)
        self.add("disk", check_disk(self.plan["needed"]))
        if any(name.startswith("cluster:") for names in self.plan["stages"].values() for name in names or []):
            self.ask_cluster()

    def ask_cluster(self) -> None:
        """Check whether Slurm would take the jobs of each stage."""
        refused = refusals(self.plan["asked"], self.plan["asked_last"])
        for rule, sentence in refused:
            if rule.startswith("preflight_"):  # `download` is an environment, and a rule of the study
                self.refused[rule.removeprefix("preflight_")] = sentence
        for stage, names in self.plan["stages"].items():
            if f"cluster:{stage}" in (names or []):
                of_stage = [sentence for rule, sentence in refused if self.plan["asked"][rule]["stage"] == stage]
                found = [(sentence, True) for sentence in dict.fromkeys(of_stage)]
                self.add(f"cluster:{stage}", Check(title_of(f"cluster:{stage}"), found))

    def make_environments(self) -> None:
        """Make all environments at once; if that fails, one by one, to see which."""
        names = [name for name, needs in self.jobs.items() if needs == [name]]
        print(f"Making {len(names)} environments; what that says is in {self.folder}/environments.log", flush=True)
        code, _ = self.snakemake(names, "environments", "--conda-create-envs-only")
        if not code:
            return
        for name in names:
            with open(self.folder / "environments.log", "a", encoding="utf-8") as log:
                print(f"\n{title_of(name)}", file=log)
            code, said = self.snakemake([name], "environments", "--conda-create-envs-only")
            if self.interrupted:
                return
            if code:
                check = Check(title_of(name), log=f"{self.folder}/environments.log")
                check.problem(f"envs/{name}.yaml cannot be made: {reason_in(said)}")
                self.add(name, check)

    def run_jobs(self) -> None:
        """Run all jobs whose environments there are, and add a check for every job that leaves none."""
        failed = {name for name in self.jobs if name in self.checks}
        names = [name for name, needs in self.jobs.items() if not failed & set(needs) and name not in self.refused]
        for name, needs in self.jobs.items():
            if name not in names and name not in failed:
                check = Check(title_of(name))
                absent = " and ".join(map(title_of, failed & set(needs)))
                why = self.refused.get(name) or f"{absent[:1].lower()}{absent[1:]} cannot be made."
                check.problem(f"{title_of(name)} was not tried: {why}")
                self.add(name, check)
        if not names or self.interrupted:
            self.give_up(names)
            return
        print(f"Running {len(names)} jobs; what Snakemake says is in {self.folder}/jobs.log", flush=True)
        _, said = self.snakemake(names, "jobs", "--keep-going", "--retries", "0", seen=self.arrived(names))
        self.give_up(names, said)

    def give_up(self, names: Iterable[str], said: str = "") -> None:
        """Add a check, with the reason, for every job that has left none; said: by Snakemake meanwhile."""
        for name in [name for name in names if name not in self.checks]:
            log = self.folder / f"{name}.log"
            check = Check(title_of(name), log=str(log if log.exists() else self.folder / "jobs.log"))
            why = "the preflight was interrupted." if self.interrupted else reason_of(name, said)
            check.problem(f"The job preflight_{name} did not come to its end: {why}")
            self.add(name, check)

    def arrived(self, names: Sequence[str]) -> Callable[[], list[str]]:
        """Return a function that adds the checks which jobs have left since, and returns titles of the other jobs."""

        def look() -> list[str]:
            for name in names:
                path = self.folder / f"{name}.json"
                if name not in self.checks and path.exists():
                    self.add(name, Check.load(path))
            return [title_of(name) for name in names if name not in self.checks]

        return look

    def snakemake(
        self, names: Iterable[str], log: str, *options: str, seen: Callable[[], list[str]] = list
    ) -> tuple[int, str]:
        """Call Snakemake for some jobs' files; return its exit code, and all that it said.

        log: the name of the file that gets it; seen: is called again and again, and returns the titles of jobs that are
        still under way.
        """
        targets = [f"{self.folder}/{name}.json" for name in names]
        with open(self.folder / f"{log}.log", "ab") as out:
            begin = out.tell()
            command = with_targets(self.plan["command"], targets, *options)
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                told = time.monotonic()
                while process.poll() is None:
                    time.sleep(0.2)
                    left = seen()
                    if left and time.monotonic() - told > PROGRESS_SECONDS:
                        told = time.monotonic()
                        print(f"  waiting for: {', '.join(left)}", flush=True)
            except KeyboardInterrupt:  # Snakemake was interrupted as well, and ends its jobs
                self.interrupted = True
                print("Interrupted; the page says what was found until now.", flush=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(INTERRUPT_SECONDS)
            seen()
        said = (self.folder / f"{log}.log").read_bytes()[begin:].decode(errors="replace")
        return process.returncode, said


def check_disk(needed: Mapping[str, int | None]) -> Check:
    """Check whether there is room; a quota may be less than what is free.

    needed: folder -> bytes, or None if that is not known.
    """
    check = Check(title_of("disk"))
    devices: dict[int, dict[str, Any]] = {}
    for folder, size in needed.items():
        free = free_mib(folder)
        if free is None:
            check.problem(f"{folder} cannot be written to, or is full; name another folder, or make room.")
            continue
        device = devices.setdefault(os.stat(folder).st_dev, {"folders": [], "free": free / 1024, "size": 0})
        device["folders"].append(folder)
        device["size"] += (size or 0) / (1 << 30)
    for device in devices.values():
        sentence = f"{device['size']:,.1f} GiB are still to come into {' and '.join(device['folders'])}"
        if device["free"] < device["size"]:
            check.problem(
                f"{sentence}, where {device['free']:,.1f} GiB are free; make room, let `inputs` in "
                "profiles/slurm/site.yaml name a larger file system, or clone into one: results lie in the clone."
            )
        else:
            check.fact(f"{sentence}, where {device['free']:,.1f} GiB are free.")
    if None in needed.values():
        check.warn("How much the study takes is not known before it is locked.")
    return check


def reason_in(said: str) -> str:
    """Return Snakemake's reason for failing, on one line: the end of a command's output, if one failed."""
    _, failed, output = said.rpartition("\nOutput:")
    lines = [line.strip() for line in (output if failed else said).splitlines() if line.strip()]
    if failed:
        return " ".join(lines[-ERROR_LINES:]) or "its command said nothing."
    begin = next((number for number, line in enumerate(lines) if "Exception" in line), max(len(lines) - ERROR_LINES, 0))
    return " ".join(lines[begin:][:ERROR_LINES]) or "Snakemake said nothing."


def reason_of(name: str, said: str) -> str:
    """Return Snakemake's reason for a job's failing, on one line."""
    blocks = re.findall(rf"Error in rule preflight_{name}\b[^\n]*\n(.*?)(?=\n\[|\nError in|\Z)", said, re.DOTALL)
    message = re.search(r"message: *(.*?)(?=\n +\w+: |\Z)", "\n".join(blocks), re.DOTALL)
    words = (message[1] if message else blocks[0] if blocks else "").partition("sbatch call:")[0]
    return " ".join(words.split())[:600] or reason_in(said)


def in_code(sentence: str) -> Markup:
    """Return the HTML of a sentence, with what stands in backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def page(plan: Mapping[str, Any], checks: Mapping[str, Check], judged: Sequence[Any]) -> str:
    """Return the page for people; judged: the stages, by aoe.nodes.readiness.judge."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["in_code"] = in_code
    return pages.get_template("preflight.html.j2").render(
        study=plan["study"],
        title=plan["title"],
        ready=is_ready(judged),
        stages=judged,
        checks=list(checks.values()),
        marks=MARKS,
        problem=PROBLEM,
        when=f"{datetime.now():%Y-%m-%d %H:%M}",
        base=str(Path(plan["folder"]).parent),
        command=" ".join(["snakemake", *plan["command"][2:]]),
    )


def main(path: str) -> int:
    """Run the preflight of the plan at ``path``; return the exit code."""
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    flight = Flight(plan)
    print(f"Preflight of the study {plan['study']}", flush=True)
    flight.look_around()
    if plan["conda"]:
        flight.make_environments()
    flight.run_jobs()
    judged = judge(plan["stages"], flight.checks)
    target = Path(plan["folder"]).parent / "preflight.html"
    target.write_text(page(plan, flight.checks, judged), encoding="utf-8")
    print("", *as_text(judged), "", f"The page is {target}", sep="\n")
    return 0 if is_ready(judged) else 1
