"""Where the clone lies, what its files are dated, and what the locale can print make no difference."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import time

import pytest
from aoe import AoeError
from launcher.run import READ_BY_RULES
from launcher.startup import check_folder, name_interpreter, undo_future_dates
from support.clones import ROOT, Clone

AHEAD = time.time() + 86400  # seconds since 1970, a day from now: the tests take most of an hour
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "$HOME", "a(b)", "a&b", "a;b", "a#b", "[a]*", "{x}", "模型"])
def test_a_shell_starts_the_interpreter_in_any_folder(name, tmp_path, monkeypatch):
    python = tmp_path / name / "python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho started\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    name_interpreter()
    assert shlex.quote(sys.executable) == sys.executable
    assert subprocess.check_output(f"{sys.executable} file", shell=True) == b"started\n"


def test_a_folder_that_snakemake_takes_for_a_pattern_is_refused():
    check_folder("/data/it's a #1 $clone")
    with pytest.raises(AoeError, match=r"/data/\{x\}/aoe has a brace in it, .*; move the clone"):
        check_folder("/data/{x}/aoe")


def test_an_ordinary_interpreter_keeps_its_path(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/python-3.11/bin/python")
    path = os.environ["PATH"]
    name_interpreter()
    assert (sys.executable, os.environ["PATH"]) == ("/opt/python-3.11/bin/python", path)


def test_what_the_locale_lacks_is_escaped_by_children_too():
    program = (
        "import subprocess, sys; from launcher.startup import print_anything\n"
        "print_anything(); print(chr(955), flush=True);"
        "subprocess.run([sys.executable, '-c', 'print(chr(955))'], check=True)"
    )
    command = [sys.executable, "-c", program]
    for encoding, written in (("ascii", rb"\u03bb"), ("latin-1:strict", rb"\u03bb"), ("utf-8", "λ".encode())):
        words = os.environ | ASCII | {"PYTHONIOENCODING": encoding}
        done = subprocess.run(command, cwd=ROOT / "scripts", env=words, capture_output=True, check=True)
        assert done.stdout.count(written) == 2


def test_files_from_the_future_are_dated_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old, script, linked, made = (tmp_path / name for name in ("src/old", "src/new", "elsewhere", "out/deep/made"))
    for path, date in ((old, 1_600_000_000), (script, AHEAD), (linked, AHEAD), (made, AHEAD)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
        os.utime(path, (date, date))
    (tmp_path / "src/link").symlink_to(linked)
    os.utime(tmp_path / "src/link", (AHEAD, AHEAD), follow_symlinks=False)
    assert undo_future_dates(["src", "src/old", "absent"], "out") == []
    assert old.stat().st_mtime == 1_600_000_000
    assert max(path.stat().st_mtime for path in (script, linked, made)) <= time.time()
    assert (tmp_path / "src/link").lstat().st_mtime <= time.time()
    assert made.stat().st_mtime > script.stat().st_mtime, "what was made is no older than what made it"


def test_what_cannot_be_dated_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lock.json").write_text("{}", encoding="utf-8")
    os.utime("lock.json", (AHEAD, AHEAD))

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("launcher.startup.os.utime", refuse)
    assert undo_future_dates(["lock.json"], "out") == ["lock.json"]


def test_make_refuses_an_environment_with_a_blank():
    done = subprocess.run(["make", "-n", "run", "VENV=a b"], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode != 0 and "make takes no blanks in the folder of the environment" in done.stderr


def test_a_home_folder_that_cannot_be_written_is_not_needed(tmp_path):
    """Snakemake's cache is below it, unless something else is said."""
    command = ["make", "--print-data-base", "--dry-run", "run"]
    for home, said in ((tmp_path / "absent", True), (tmp_path, False)):
        variables = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | {
            "HOME": str(home)
        }
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, encoding="utf-8", errors="replace")
        assert bool(re.search(r"^XDG_CACHE_HOME = .*/\.snakemake/caches$", done.stdout, re.MULTILINE)) == said


def test_files_of_the_clone_that_rules_read_are_dated():
    """Users' own files are no inputs of rules: their dates are theirs."""
    rules = [path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk")]
    files = {
        word for text in rules for word in re.findall(r'"((?!\.\.)[^"{} ]+/[^"{} ]+)"', text) if (ROOT / word).is_file()
    }
    assert len(files) > 5
    assert [file for file in files if not file.startswith(READ_BY_RULES)] == []


@pytest.mark.workflow
def test_a_clone_with_its_environment_in_an_odd_folder(tmp_path):
    """A job of a script and one of a `run`, files from the future, a locale without λ, and then nothing to be done."""
    clone = Clone(tmp_path / "a (b); # $HOME & [c]*")
    folder = clone.folder / ".venv"
    clone.run(sys._base_executable, "-m", "venv", "--without-pip", folder)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    (clone.folder / "my tmp").mkdir()
    for path in [*clone.folder.glob("resources/mini/r1/*"), *clone.folder.glob("scripts/*.py")]:
        os.utime(path, (AHEAD, AHEAD))
    variables = ASCII | {"TMPDIR": str(clone.folder / "my tmp"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = ["env", *(f"{name}={value}" for name, value in variables.items())]
    command += [".venv/bin/python", "-m", "snakemake", "--cores", "1", "--quiet", "host", "progress", "--"]
    clone.run(*command, "results/mini/plans/r1t.json", "cost")
    assert "Nothing to be done" in clone.run(*command, "results/mini/plans/r1t.json").stderr
