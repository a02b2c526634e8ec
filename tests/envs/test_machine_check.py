"""What a machine lacks for the set-up is said in one sentence, on any Python."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.clones import ROOT

SCRIPT = ROOT / "envs/machine_check.py"
specification = importlib.util.spec_from_file_location("machine_check", SCRIPT)
machine_check = importlib.util.module_from_spec(specification)
specification.loader.exec_module(machine_check)
GOOD = {
    "python": (3, 12, 1),
    "implementation": "CPython",
    "free_threaded": False,
    "system": "Linux",
    "machine": "x86_64",
    "bits": 64,
    "glibc": (2, 36),
    "venv": True,
    "compiler": "/usr/bin/cc",
    "headers": True,
    "memory_gb": 16.0,
    "folder": ".venv",
    "disk_gb": 50.0,
    "disk_wanted_gb": 3,
}
NEW = {"python": (3, 14, 0)}
PYENV = Path("~/.pyenv/versions").expanduser()


@pytest.mark.parametrize(
    "facts, word",
    [
        ({"python": (3, 10, 13)}, "Python 3.10 is too old"),
        ({"python": (2, 7, 18)}, "Python 2.7 is too old"),
        ({"python": (3, 15, 0)}, "Python 3.15 is too new"),
        ({"python": (3, 9, 18), "venv": False, "glibc": (2, 17)}, "Python 3.9 is too old"),
        ({"implementation": "PyPy"}, "PyPy"),
        ({"free_threaded": True}, "free-threaded"),
        ({"system": "Darwin", "machine": "aarch64", "glibc": None}, "Darwin"),
        ({"system": "Windows"}, "Windows"),
        ({"system": "CYGWIN_NT-10.0"}, "CYGWIN"),
        ({"machine": "i686", "bits": 32}, "i686"),
        ({"bits": 32}, "32 bits"),
        ({"machine": "ppc64le"}, "ppc64le"),
        ({"machine": "riscv64"}, "riscv64"),
        ({"glibc": None}, "musl"),
        ({"glibc": (2, 28)}, "glibc 2.28 is too old"),
        ({"venv": False}, "apt install python3.12-venv"),
        (NEW | {"compiler": None}, "No C compiler"),
        (NEW | {"headers": False}, "apt install python3.14-dev"),
        ({"disk_gb": 1.2}, "1.2 GB free for .venv"),
        ({"disk_gb": 5.0, "disk_wanted_gb": 6.0}, "needs 6 GB"),
    ],
)
def test_what_is_lacking_is_said_in_a_sentence(facts, word):
    sentence = machine_check.lack(GOOD | facts)
    assert word in sentence and "\n" not in sentence and len(sentence) < 160


@pytest.mark.parametrize(
    "facts",
    [
        {},
        NEW,
        {"python": (3, 11, 0)},
        {"machine": "aarch64"},
        {"glibc": (2, 31)},
        {"memory_gb": 2.0},
        {"memory_gb": None, "disk_gb": None},
        {"compiler": None},
        {"headers": False},
    ],
)
def test_what_is_not_needed_is_not_asked_for(facts):
    assert machine_check.lack(GOOD | facts) is None


def test_what_is_doubtful_is_warned_of():
    assert list(machine_check.doubts(GOOD)) == [] == list(machine_check.doubts(GOOD | {"memory_gb": None}))
    (sentence,) = machine_check.doubts(GOOD | {"memory_gb": 3.14})
    assert "3.1 GB of memory" in sentence
    assert ["compiler" in s for s in machine_check.doubts(GOOD | {"compiler": None, "headers": False})] == [True]
    assert ["Python.h" in s for s in machine_check.doubts(GOOD | {"headers": False})] == [True]


def test_this_machine_lacks_nothing(tmp_path):
    facts = machine_check.look(str(tmp_path / "not/there"))
    assert machine_check.lack(facts | {"disk_gb": None}) is None
    assert facts["glibc"] == tuple(map(int, platform.libc_ver()[1].split(".")))
    assert abs(facts["disk_gb"] - shutil.disk_usage(tmp_path).free / 1e9) < 1
    assert facts["memory_gb"] > 0.1


def test_an_environment_that_is_there_needs_no_more_space(tmp_path):
    assert machine_check.look(str(tmp_path))["disk_wanted_gb"] == machine_check.ENVIRONMENT_GB
    write(tmp_path, {"bin/pip": ""})
    assert machine_check.look(str(tmp_path))["disk_wanted_gb"] == 0
    assert machine_check.look(str(tmp_path), 6.0)["disk_wanted_gb"] == 6


def test_which_compiler_is_taken(tmp_path):
    (tmp_path / "gcc").touch(mode=0o755)
    (tmp_path / "icc").touch(mode=0o755)
    (tmp_path / "cc").touch(mode=0o644)  # no program
    path = f"/nowhere:{tmp_path}"
    assert machine_check.compiler({"PATH": path}) == str(tmp_path / "gcc")
    assert machine_check.compiler({"PATH": path, "CC": "icc -O2"}) == str(tmp_path / "icc")
    assert machine_check.compiler({"PATH": path, "CC": str(tmp_path / "icc")}) == str(tmp_path / "icc")
    assert machine_check.compiler({"PATH": path, "CC": "gone"}) is None
    assert machine_check.compiler({}) is None


@pytest.mark.parametrize("release", ["2.7.18", "3.6.15", "3.8.18"])
def test_an_old_python_is_told(release):
    python = PYENV / release / "bin/python"
    if not python.exists():
        pytest.skip(f"pyenv has no Python {release}")
    ran = subprocess.run([python, SCRIPT, "."], capture_output=True, encoding="utf-8")
    assert ran.returncode == 1 and ran.stdout == "" and ran.stderr.count("\n") == 1
    assert f"Python {release.rpartition('.')[0]} is too old, 3.11 to 3.14 is needed" in ran.stderr


def test_make_says_it_before_anything_is_installed(tmp_path):
    for name in ("Makefile", "requirements.lock", "envs/machine_check.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    script = "import runpy, sys; sys.version_info = (3, 10, 2); sys.argv = sys.argv[1:]; "
    script += "runpy.run_path(sys.argv[0], run_name='__main__')"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    for named, said in ((python, "Python 3.10 is too old"), ("no-such-python", "There is no no-such-python")):
        command = ["make", "run", f"PYTHON={named}", "MEMORY_MB=1", "--no-print-directory"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
        assert ran.returncode == 2 and ran.stdout == ""
        assert said in ran.stderr and "Traceback" not in ran.stderr
        assert not (tmp_path / ".venv").exists()


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


MEMINFO = "MemTotal: 20971520 kB\nMemFree: 1 kB\nMemAvailable:   10485760 kB\n"  # 10 GiB
GIB = 1 << 30


@pytest.mark.parametrize(
    "files, mib",
    [
        ({}, 10 * 1024),
        ({"proc/self/cgroup": "0::/\n"}, 10 * 1024),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 10 * 1024),
        (  # a container sees its own group as the root
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
                "sys/fs/cgroup/memory.current": f"{2 * GIB}\n",
                "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            },
            3 * 1024,
        ),
        (  # the limit of a group above
            {
                "proc/self/cgroup": "0::/user/job\n",
                "sys/fs/cgroup/user/memory.max": f"{2 * GIB}\n",
                "sys/fs/cgroup/user/memory.current": "0\n",
                "sys/fs/cgroup/user/job/memory.max": "max\n",
                "sys/fs/cgroup/user/job/memory.current": "0\n",
            },
            2 * 1024,
        ),
        (  # cgroups v1
            {
                "proc/self/cgroup": "5:cpu,memory:/docker/1\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{5 * GIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 0\n",
            },
            4 * 1024,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
            },
            10 * 1024,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "100\n",
                "sys/fs/cgroup/memory.current": "200\n",
            },
            0,
        ),
    ],
)
def test_the_memory_of_a_container(tmp_path, files, mib):
    write(tmp_path, {"proc/meminfo": MEMINFO} | files)
    assert machine_check.memory_mb(str(tmp_path)) == mib


def test_memory_that_nothing_tells(tmp_path):
    assert machine_check.memory_mb(str(tmp_path)) is None


def test_pages_and_environments_name_the_same_pythons():
    span = "{}.{} to {}.{}".format(*machine_check.OLDEST, *machine_check.NEWEST)
    assert f"On a machine with Python {span}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"for Python {span} on" in (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for file in (ROOT / "envs").glob("*.yaml"):
        (minor,) = re.findall(r"^  - python =3\.(\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert machine_check.OLDEST[1] <= int(minor) <= machine_check.NEWEST[1], file.name
