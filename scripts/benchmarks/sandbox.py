"""Run code that nobody has read: no network, no home, nothing of the system to write to, and bounds on everything else.

On plain Linux that is bubblewrap: a mount namespace with the system and Python read-only and an empty /tmp, own
namespaces for processes, network and IPC, and the kernel's limits on memory, processes, file sizes and seconds; what
all processes of a program use together is watched from outside.  Where there are containers, Apptainer or Docker run
the same command in an image.
"""

import contextlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import psutil
from aoe import AoeError
from benchmarks.system_calls import filter_program

NOBODY = 65534
UNUSED_USER_IDS = 1 << 14  # numbers of users that nobody has; a program gets one of them
MEMORY_CHECK_SECONDS = 0.2  # between two looks at a program's memory
PROBE = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'], check=True)"
ENVIRONMENT = {"HOME": "/tmp", "USER": "nobody", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/fonts")
PROGRAM = "program.py"
OPEN_FILES = 256
OUT_OF_TIME = "out of time"
FILTER = "filter.bpf"
GRACE = 5  # seconds after a program's time in which what is left of it ends, or is ended by the kernel


@dataclass(frozen=True)
class Limits:
    """Of one program: ``seconds`` by the clock, ``memory_mb`` of all its processes together, ``processes`` (threads
    count), the size of all its files in ``file_mb``, and the ``output`` that is kept, in bytes, beyond which it is
    killed."""

    seconds: int = 60
    memory_mb: int = 4096
    processes: int = 128
    file_mb: int = 256
    output: int = 100_000


Sandbox = Callable[[str, Limits], list[str]]  # (folder of the program, its Limits) -> command


@dataclass(frozen=True)
class Result:
    """``passed``: the program ended by itself with status 0; ``reason``: else why not; ``output``: the end of it."""

    passed: bool
    reason: str
    output: str


def find_sandbox(image: str | None = None) -> Sandbox:
    """Find a way to run untrusted code on this machine.

    image: for Docker, or a file for Apptainer; without one, the Python that runs this is used, by bubblewrap.  Raises
    AoeError that says what to install if nothing is there that works.
    """
    tried = []
    for name, sandbox in _candidates(image):
        if sandbox is None:
            tried.append(f"{name} is not installed")
        elif (result := run(PROBE, sandbox, Limits(seconds=30))).passed:
            return sandbox
        else:
            tried.append(f"{name} does not work ({result.output.strip()[-200:] or result.reason})")
    raise AoeError(
        f"Answers that are programs run in a sandbox only, and there is none: {'; '.join(tried)}.  Install bubblewrap "
        "(Debian, Ubuntu: `apt install bubblewrap`; Fedora: `dnf install bubblewrap`; conda-forge: bubblewrap), or "
        "give the benchmark an image and use Apptainer or Docker."
    )


def _candidates(image):
    """(name, sandbox or None where it is not installed) of every way to run untrusted code, the preferred one first."""
    if image:
        return [("apptainer", _apptainer(image)), ("docker", _docker(image))]
    return [(path, _bubblewrap(path)) for path in _bubblewraps()] or [("bubblewrap", None)]


def _bubblewraps():
    """All bubblewraps: the environment's, then the system's, which some systems alone allow to make namespaces."""
    places = [f"{sys.prefix}/bin", *os.environ.get("PATH", "").split(os.pathsep)]
    found = [shutil.which("bwrap", path=place) for place in places if place]
    return list(dict.fromkeys(path for path in found if path))


def from_settings(settings: Mapping[str, Any]) -> tuple[Sandbox, Limits]:
    """Return the sandbox and its Limits of a study's ``sandbox``."""
    limits = {name: settings[name] for name in ("seconds", "memory_mb", "processes") if name in settings}
    return find_sandbox(settings.get("image")), Limits(**limits)


def run(
    code: str,
    sandbox: Sandbox,
    limits: Limits | None = None,
    files: Mapping[str, str] | None = None,
    words: str = "",
) -> Result:
    """Run a Python program in a sandbox; afterwards it and all its processes have ended.

    files: name -> text, beside the program in /program; words: its standard input.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for name, text in {PROGRAM: code, **(files or {})}.items():
            (Path(folder) / name).write_text(text, errors="replace", encoding="utf-8")
        return _watch(sandbox(folder, limits), limits, words)


def _watch(command, limits, words):
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
    )
    stdin, stdout = cast(IO[bytes], process.stdin), cast(BufferedReader, process.stdout)
    kept, reason = bytearray(), []

    def read():
        while piece := stdout.read1(65536):
            kept.extend(piece)
            if len(kept) > limits.output:
                reason.append("too much output")
                process.kill()
                break

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with contextlib.suppress(BrokenPipeError):
        stdin.write(words.encode())
        stdin.close()
    deadline = time.monotonic() + limits.seconds
    while not _ends(process):
        if time.monotonic() > deadline:
            reason.append(OUT_OF_TIME)
        elif _memory_mb(process.pid) > limits.memory_mb:
            reason.append("too much memory")
        if reason:
            process.kill()
            break
    process.wait()
    reader.join(GRACE)
    stdout.close()
    output = kept[-limits.output :].decode(errors="replace")
    if process.returncode and not reason:
        reason.append(f"status {process.returncode}")
    return Result(not reason, "; ".join(reason), output)


def _ends(process):
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(MEMORY_CHECK_SECONDS)
    return process.poll() is not None


def _memory_mb(pid):
    """What a process and all below it hold; orphans in a namespace of their own stay below its first process."""
    held = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                held += process.memory_info().rss
    return held >> 20


def _limited(limits):
    """The command in front of Python's, inside of any sandbox."""
    bounds = {"as": limits.memory_mb << 20, "nproc": limits.processes, "fsize": limits.file_mb << 20, "core": 0}
    bounds["nofile"] = OPEN_FILES
    return [
        "prlimit",
        *(f"--{name}={bound}" for name, bound in bounds.items()),
        f"--cpu={limits.seconds + GRACE}",
        "--",
    ]


def _bubblewrap(program):
    python = list(dict.fromkeys(str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)))
    variables = ENVIRONMENT | {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin"}

    def command(folder, limits):
        scratch = ("--perms", "1777", "--size", str(limits.file_mb << 20), "--tmpfs")
        shown = [place for place in (*SYSTEM, *python) if os.path.exists(place)]
        (Path(folder) / FILTER).write_bytes(filter_program(platform.machine()))
        return [
            # bubblewrap wants the filter as an open file
            *("sh", "-c", 'exec 9<"$0" && exec "$@"', f"{folder}/{FILTER}"),
            *(program, "--seccomp", "9", *_namespaces(), "--die-with-parent", "--new-session", "--clearenv"),
            *("--proc", "/proc", "--dev", "/dev", *scratch, "/dev/shm", "--remount-ro", "/dev", *scratch, "/tmp"),
            *(word for parent in _parents(python) for word in ("--perms", "0755", "--dir", parent)),
            *(word for place in shown for word in _bind(place)),
            *("--ro-bind", folder, "/program", "--chdir", "/tmp"),
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            "--",
            *_as_stranger(),
            *_limited(limits),
            *(str(Path(sys.prefix) / "bin" / "python"), "-I", f"/program/{PROGRAM}"),
        ]

    return command


def _namespaces():
    """Root sets the sandbox up as root, and becomes nobody in it; others get a user namespace."""
    if os.geteuid():
        return ["--unshare-all", "--cap-drop", "ALL"]
    kinds = ("pid", "net", "ipc", "uts", "cgroup-try")
    capabilities = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*(f"--unshare-{kind}" for kind in kinds), *capabilities]


def _as_stranger():
    """Every program of root's is another user: the kernel counts processes by user, and none of root's."""
    if os.geteuid():
        return []
    mapped = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines()]
    stranger = max(int(start) + int(count) for start, _, count in mapped) - 2 - secrets.randbelow(UNUSED_USER_IDS)
    return ["setpriv", f"--reuid={stranger}", f"--regid={stranger}", "--clear-groups", "--no-new-privs", "--"]


def _parents(places):
    """All folders above some, the outermost first; bubblewrap's own would be closed to nobody."""
    return sorted({str(parent) for place in places for parent in Path(place).parents if len(parent.parts) > 1})


def _bind(place):
    """A folder or link of the system as it is."""
    return ("--symlink", os.readlink(place), place) if os.path.islink(place) else ("--ro-bind", place, place)


def _apptainer(image):
    if not shutil.which("apptainer"):
        return None

    def command(folder, limits):
        return [
            *("apptainer", "--silent", "exec", "--containall", "--cleanenv", "--no-home", "--net", "--network", "none"),
            *("--bind", f"{folder}:/program:ro", "--pwd", "/tmp", image),
            *_timed(limits),
            *_limited(limits),
            *("python", "-I", f"/program/{PROGRAM}"),
        ]

    return command


def _docker(image):
    if not shutil.which("docker"):
        return None

    def command(folder, limits):
        return [
            *("docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--user", f"{NOBODY}:{NOBODY}", "--workdir", "/tmp"),
            *("--memory", f"{limits.memory_mb}m", "--pids-limit", str(limits.processes), "--stop-timeout", "0"),
            *("--volume", f"{folder}:/program:ro", "--env", "HOME=/tmp", image),
            *_timed(limits),
            *_limited(limits),
            *("python", "-I", f"/program/{PROGRAM}"),
        ]

    return command


def _timed(limits):
    """A container outlives the command that started it."""
    return ["timeout", "--signal=KILL", str(limits.seconds + GRACE)]
