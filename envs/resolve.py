"""Write into environment files the exact version of everything that their pip sections need (`make pins`).

A section's own requirements stand above the mark MARK and are edited by hand; what is below it is written here, by uv's
resolver, for Linux on x86-64.  Versions of requirements.lock are kept wherever they fit, so that the environments and
the local one differ in as little as possible.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import yaml

HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements.lock"
MARK = "      # resolved on"
# The oldest glibc that the wheels run on.  vLLM's llguidance 1.7 has no wheel for older ones.
GLIBC = {"serving_cpu": "2_31", "serving_cuda": "2_31", "serving_rocm": "2_31"}
FROM_SOURCE = ("connection-pool",)  # has no wheel, and nothing to compile
# conda gives these and all they need; pip adds what is missing
BY_CONDA = {"serving_cuda12": "vllm ==0.25.1"}


def sections(text):
    """An environment file up to the mark, and its content: (text, the Python, pip's lines)."""
    head = text.split(MARK)[0]
    dependencies = yaml.safe_load(head)["dependencies"]
    (python,) = [spec.split(" =")[1] for spec in dependencies if isinstance(spec, str) and spec.startswith("python =")]
    pip = [line for spec in dependencies if isinstance(spec, dict) for line in spec["pip"]]
    return head, python, pip


def resolve(lines, python, glibc, found=()):
    """name -> version of what requirements need, on Linux with x86-64.

    lines: requirements as pip reads them; found: folders with wheels that no index has.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, pins = Path(folder) / "wanted.in", Path(folder) / "pins.txt"
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        locked = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if re.match(r"[\w.-]+==", line)]
        pins.write_text(
            "\n".join(locked) + "\n", encoding="utf-8"
        )  # uv keeps versions of the output file where they fit
        platform = f"x86_64-manylinux_{glibc}"
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--system-certs", wanted]
        command += ["--output-file", pins, "--python-version", python, "--python-platform", platform]
        command += ["--only-binary", ":all:", *(word for name in FROM_SOURCE for word in ("--no-binary", name))]
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


def main(found):
    if not shutil.which("uv"):
        sys.exit("`make pins` resolves with uv, which is not on PATH: `pip install uv`.")
    for file in sorted(HERE.glob("*.yaml")):
        before, after = file.read_text(encoding="utf-8"), pinned(file, found)
        if before.split(MARK)[-1].partition("\n")[2] != after.split(MARK)[-1].partition("\n")[2]:
            file.write_text(after, encoding="utf-8")
            print(f"{file.name} has other pins")


if __name__ == "__main__":
    main(sys.argv[1:])
