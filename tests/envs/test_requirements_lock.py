"""requirements.lock: one lock for every Python and machine that README names."""

import functools
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.clones import ROOT

specification = importlib.util.spec_from_file_location("resolve", ROOT / "envs/resolve.py")
resolve = importlib.util.module_from_spec(specification)
specification.loader.exec_module(resolve)
LINES = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
LOCKED = [Requirement(line) for line in LINES if not line.startswith("#")]
TARGETS = [(python, machine) for python in resolve.PYTHONS for machine in resolve.MACHINES]
COMPILED = [("immutables", "3.14")]  # has no wheel there
NO_INDEX = re.compile("Failed to fetch|error sending request|dns error|timed out|Connection refused", re.IGNORECASE)


def environment(python, machine):
    """What markers are evaluated with, of a Python and a machine."""
    values = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine, "extra": ""}
    return values | {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


def locked(python, machine):
    """name -> version of what the lock installs there."""
    target = environment(python, machine)
    there = [line for line in LOCKED if applies(line, target)]
    versions = {canonicalize_name(line.name): next(iter(line.specifier)).version for line in there}
    assert len(versions) == len(there)
    return versions


@functools.cache
def installed(name, version):
    """The distribution of this environment, or None if there is none of that version."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if found.version == version else None


@functools.cache
def needs(distribution):
    return [Requirement(text) for text in distribution.requires or []]


def applies(requirement, target):
    return requirement.marker is None or requirement.marker.evaluate(target)


def depends_on(name, version):
    """What the installed wheel of a package was built for: "nothing", a "machine", or a machine and a "python"."""
    found = installed(name, version)
    tags = re.findall(r"^Tag: [^-]+-([^-]+)-(.+)$", (found and found.read_text("WHEEL")) or "", re.MULTILINE)
    if any(platform == "any" for _, platform in tags):
        return "nothing"
    return "machine" if any(abi in ("abi3", "none") for abi, _ in tags) else "python"


@pytest.mark.parametrize("python, machine", TARGETS)
def test_all_that_a_locked_package_needs_is_locked(python, machine):
    """Packages that are installed here are asked what they need there, and which Pythons they run on."""
    pins, target, looked_at = locked(python, machine), environment(python, machine), 0
    for name, version in pins.items():
        if not (found := installed(name, version)):
            continue
        looked_at += 1
        wanted = found.metadata.get("Requires-Python")
        assert not wanted or Requirement(f"python{wanted}").specifier.contains(f"{python}.5"), (name, wanted)
        for needed in needs(found):
            other = canonicalize_name(needed.name)
            if other in resolve.ONLY_FOR_GPUS or not applies(needed, target):
                continue
            if name == "torch" and other.startswith(("nvidia-", "cuda-")):
                continue  # the plain build's, where that is installed
            assert other in pins, f"{name} needs {needed}"
            if other not in resolve.WITH_OTHERS:
                assert needed.specifier.contains(pins[other], prereleases=True), f"{name} needs {needed}"
    assert looked_at > 0.9 * len(pins)


def test_the_lock_is_what_the_project_needs():
    """Everything that pyproject.toml names is locked, for every Python and machine, and nothing that nobody needs."""
    named = [Requirement(line) for line in resolve.requirements()]
    for target in TARGETS:
        versions = locked(*target)
        for requirement in named:
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)], prereleases=True)
    here = {canonicalize_name(line.name) for line in LOCKED if line.marker is None or line.marker.evaluate()}
    assert here - needed_by(named) == set()


def needed_by(requirements):
    """The names of packages and of all that they need, with their extras, as far as they are installed here."""
    found, left = (
        set(),
        [(canonicalize_name(line.name), extra) for line in requirements for extra in ("", *line.extras)],
    )
    while left:
        name, extra = package = left.pop()
        if package in found:
            continue
        found.add(package)
        try:
            wanted = importlib.metadata.distribution(name).requires or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in map(Requirement, wanted):
            if line.marker is None or line.marker.evaluate({"extra": extra}):
                left += [(canonicalize_name(line.name), other) for other in ("", *line.extras)]
    return {name for name, _ in found}


@pytest.mark.skipif(not importlib.util.find_spec("uv"), reason="uv is not installed: `make` does it")
def test_an_index_has_a_wheel_for_every_python_and_machine(tmp_path):
    """Those of pure packages are everybody's; those of the stable interface are looked for on one Python."""

    def check(target):
        python, machine = target
        wanted, lines = tmp_path / f"{python}-{machine}.in", []
        for name, version in locked(python, machine).items():
            built_for = depends_on(name, version)
            once = built_for == "machine" and python == resolve.PYTHONS[0]
            if (built_for == "python" or once) and (name, python) not in COMPILED:
                lines.append(f"{name}=={version.removesuffix('+cpu')}\n")  # few indexes have the CPUs' build
        wanted.write_text("".join(lines), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--no-config",
            "--system-certs",
            "--no-deps",
        ]
        command += ["--no-python-downloads", "--only-binary", ":all:", "--python-version", python, wanted]
        command += ["--python-platform", f"{machine}-manylinux_{resolve.LOCAL_GLIBC}"]
        return target, len(lines), subprocess.run(command, capture_output=True, encoding="utf-8")

    with ThreadPoolExecutor() as pool:  # the first one fetches the index's pages, which all others find in uv's cache
        done = [check(TARGETS[0]), *pool.map(check, TARGETS[1:])]
    if any(NO_INDEX.search(process.stderr) for _, _, process in done):
        pytest.skip("no package index can be reached")
    assert {target: process.stderr for target, _, process in done if process.returncode} == {}
    assert all(number > 40 for _, number, _ in done)


@pytest.mark.parametrize(
    "places, marker",
    [
        (TARGETS, ""),
        ([target for target in TARGETS if target[0] != "3.14"], 'python_version < "3.14"'),
        ([target for target in TARGETS if target[0] == "3.12"], 'python_version >= "3.12" and python_version < "3.13"'),
        ([target for target in TARGETS if target[1] == "x86_64"], 'platform_machine == "x86_64"'),
        ([("3.14", "aarch64")], 'python_version >= "3.14" and platform_machine == "aarch64"'),
        (
            [("3.11", "x86_64"), ("3.14", "aarch64")],
            '(python_version < "3.12" and platform_machine == "x86_64")'
            ' or (python_version >= "3.14" and platform_machine == "aarch64")',
        ),
    ],
)
def test_a_marker_says_where_a_package_is_needed(places, marker):
    assert resolve.marker(places) == marker
    if marker:
        parsed = Requirement(f"name; {marker}").marker
        assert [target for target in TARGETS if parsed.evaluate(environment(*target))] == places


def test_what_only_some_pythons_need():
    on_newest = locked("3.14", "x86_64")
    assert "backports-zstd" not in on_newest and "backports-zstd" in locked("3.13", "x86_64")
    assert "intel-openmp" in on_newest and "intel-openmp" not in locked("3.14", "aarch64")
    assert len(locked("3.11", "x86_64")) > 200
