"""Hostile programs reach nothing, end as failures, and leave the others' results as they were."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aoe import AoeError
from benchmarks.sandbox import Limits, find_sandbox, run

BWRAP = shutil.which("bwrap")
SHORT = Limits(seconds=4, memory_mb=1024, processes=64, file_mb=16, output=50_000)


HOSTILE = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "threads": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()",
    "rm -rf": "import os\nos.system('rm -rf --no-preserve-root / 2>/dev/null')\nraise SystemExit(1)",
    "network": "import urllib.request\nurllib.request.urlopen('{url}', timeout=3)",
    "environment": "import os\nassert os.environ['HOSTILE_SECRET']",
    "parent's environment": "assert b'HOSTILE_SECRET' in open('/proc/1/environ', 'rb').read()",
    "home": "print(open('{secret}').read())",
    "the repository": "import os\nprint(os.listdir('{repository}'))\nopen('{repository}/README.md').read()",
    "endless output": "while True: print('x' * 1000)",
    "endless loop": "while True: pass",
    "sleep": "import time\ntime.sleep(3600)",
    "memory": "x = []\nwhile True: x.append(bytearray(50_000_000))",
    "memory of many": "import os, time\nfor _ in range(30): os.fork() or [b'x' * 9 * 10**7, time.sleep(9)]\n"
    "time.sleep(9)",
    "many files": "for i in range(99): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))",
    "shared memory": "for i in range(99): open(f'/dev/shm/{i}', 'wb').write(bytes(1 << 20))",
    "memory files": "import os\nfor i in range(99): os.write(os.memfd_create(str(i)), bytes(10**7))",
    "segments": "import ctypes\nassert ctypes.CDLL(None).shmget(0, 10**8, 0o1600) >= 0",
    "a user namespace": "import os\nos.unshare(0x10000000)" if hasattr(os, "unshare") else "raise SystemExit(1)",
    "a namespace by command": "import subprocess\nsubprocess.run(['unshare', '-Urm', 'true'], check=True)",
    "a large file": "f = open('/tmp/large', 'wb')\nwhile True: f.write(bytes(1 << 20))",
    "kill parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nwhile True: pass",
    "kill all": "import os, signal\nos.kill(-1, signal.SIGKILL)\nwhile True: pass",
    "orphans": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(3600)\nraise SystemExit(3)",
    "write to the system": "open('/usr/bin/hostile', 'w').write('x')",
    "write to Python": "import json\nopen(json.__file__, 'a').write('x')",
    "write to the program": "open(__file__, 'a').write('x')",
    "mount": "import ctypes\nassert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
}


@pytest.fixture
def bait(monkeypatch):
    """What the hostile programs are after: a server, a secret in the environment and one at home."""
    reached = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            reached.append(self.path)
            self.send_response(200)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOSTILE_SECRET", "1")
    secret = Path.home() / ".hostile-secret-of-a-test"
    secret.write_text("secret", encoding="utf-8")
    repository = Path(__file__).parents[2]
    yield {"url": f"http://127.0.0.1:{server.server_address[1]}", "secret": secret, "repository": repository}, reached
    secret.unlink()
    server.shutdown()


def processes():
    return subprocess.run(["ps", "-eo", "pid,user,args"], capture_output=True, encoding="utf-8").stdout


def test_hostile_programs_fail_and_reach_nothing(sandbox, bait):
    baits, reached = bait
    before = {path: path.stat().st_mtime_ns for path in (Path("/usr/bin"), Path(os.__file__), baits["secret"])}
    for name, program in HOSTILE.items():
        for key, value in baits.items():
            program = program.replace(f"{{{key}}}", str(value))
        start = time.monotonic()
        result = run(program, sandbox, SHORT)
        assert not result.passed, f"{name}: {result}"
        assert "secret" not in result.output.replace(str(baits["secret"]), ""), name
        assert time.monotonic() - start < SHORT.seconds + 10, name
        assert len(result.output) <= SHORT.output, name
    assert not reached
    assert before == {path: path.stat().st_mtime_ns for path in before}
    time.sleep(0.5)
    assert "/program/program.py" not in processes()


def test_honest_programs_pass_beside_hostile_ones(sandbox, bait):
    honest = "import json, math\nopen('/tmp/mine', 'w').write('x')\nassert math.gcd(12, 18) == 6\nprint('done')"
    hostile = [HOSTILE[name] for name in ("fork bomb", "kill all", "endless output", "memory")]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda code: run(code, sandbox, SHORT), [*hostile, honest, honest]))
    assert [result.passed for result in results] == [False] * 4 + [True] * 2
    assert results[-1].output == "done\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(4)", "status 4"),
        ("while True: pass", "out of time"),
        ("while 1: print(1)", "too much output"),
        (HOSTILE["memory of many"], "too much memory"),
    ],
)
def test_why_a_program_failed(sandbox, code, reason):
    assert reason in run(code, sandbox, Limits(seconds=5, memory_mb=1024, output=10_000)).reason


def test_libraries_of_this_python_are_there(sandbox):
    result = run("import numpy, pandas\nassert numpy.arange(3).sum() == 3", sandbox, Limits(seconds=60))
    assert result.passed, result


@pytest.fixture
def environment(sandbox, monkeypatch, tmp_path):
    """The `bin` of an environment with Python, and a PATH without bubblewrap."""
    tools, programs = tmp_path / "tools", tmp_path / "environment/bin"
    for folder in (tools, programs):
        folder.mkdir(parents=True)
    for name in ("sh", "prlimit", "setpriv"):
        (tools / name).symlink_to(shutil.which(name))
    (programs / "python").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr("sys.prefix", str(programs.parent))
    monkeypatch.setenv("PATH", str(tools))
    return programs


def test_bubblewrap_of_the_environment_needs_no_path(environment):
    (environment / "bwrap").symlink_to(BWRAP)
    assert run("print(1)", find_sandbox(), SHORT).passed


def test_bubblewrap_of_the_system_is_tried_too(environment, monkeypatch):
    """Some systems let no other one than their own make namespaces."""
    (environment / "bwrap").write_text(
        "#!/bin/sh\necho 'setting up uid map: Permission denied'\nexit 1\n", encoding="utf-8"
    )
    (environment / "bwrap").chmod(0o755)
    with pytest.raises(AoeError, match=r"environment/bin/bwrap does not work \(setting up uid map: Permission denied"):
        find_sandbox()
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{Path(BWRAP).parent}")
    assert run("print(1)", find_sandbox(), SHORT).passed


def test_without_a_sandbox_nothing_runs(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.prefix", "/nowhere")
    with pytest.raises(AoeError, match=r"bubblewrap is not installed\.  Install bubblewrap \(Debian"):
        find_sandbox()
    with pytest.raises(AoeError, match="apptainer is not installed; docker is not installed"):
        find_sandbox("image")
