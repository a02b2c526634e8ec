"""The server's command, and what is said of a server that does not come up."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from aoe import AoeError
from aoe.serving.sampling import NEUTRAL_OPTIONS
from aoe.serving.server import OWN_OPTIONS, OWN_VARIABLES, Server, command_line, free_port
from aoe.serving.vllm_server import part_of
from support.clones import ROOT


def test_options_become_a_command_line():
    options = {"max-model-len": 512, "enforce-eager": True, "off": False, "dtype": "float32", "x": {"a": None}}
    assert command_line(options) == [
        *("--max-model-len", "512", "--enforce-eager", "--dtype", "float32", "--x", '{"a": null}')
    ]


def test_a_study_may_not_set_what_every_server_gets_from_here(tmp_path):
    server = Server("v3", {"v3": tmp_path}, None, tmp_path / "log", {}, {})
    assert {word[2:] for word in server.command if word.startswith("--")} <= {*OWN_OPTIONS, *NEUTRAL_OPTIONS}
    assert {name for name in server.environment if name.startswith("AOE_")} <= {*OWN_VARIABLES, "AOE_ADDRESS"}
    of_a_node = [word for word in part_of("2", "1", "a", "1") if word.startswith("--")]
    assert {word[2:] for word in of_a_node} <= set(OWN_OPTIONS)


def test_a_free_port_can_be_bound():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_the_key_is_not_on_the_command_line(tmp_path):
    server = Server("v3", {"v3": tmp_path}, None, tmp_path / "log", {}, {})
    assert server.key not in " ".join(server.command)
    assert server.environment["VLLM_API_KEY"] == server.key


@pytest.mark.server
def test_the_server_of_another_job_is_not_taken_for_ones_own(tmp_path):
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self):
            ours = self.path == "/health" or self.headers["Authorization"] == "Bearer another job's key"
            self.send_response(200 if ours else 401)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        server = Server("v3", {"v3": tmp_path / "nothing"}, None, tmp_path / "server.log", {}, {})
        server.port = stranger.server_port
        with pytest.raises(AoeError, match=f"Another server listens on the port {stranger.server_port} of v3"):
            server.__enter__()
        stranger.shutdown()
    assert server.process.poll() is not None


def test_a_server_over_several_nodes_is_one_task_a_node(tmp_path):
    server = Server("v3", {"v3": tmp_path}, None, tmp_path / "log", {}, {}, nodes=2, threads=16)
    tasks = ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=16"]
    assert server.command[:6] == ["srun", *tasks, "--kill-on-bad-exit=1"]
    assert server.environment["AOE_NODES"] == "2"


def test_the_first_error_of_a_servers_process_is_told(tmp_path):
    server = Server("v3", {"v3": tmp_path}, None, tmp_path / "log", {}, {})
    earlier = "(EngineCore pid=6) ERROR 11-26 06:32:14 [core.py:1510] KeyError: 'of another run'\n"
    server.logged_before = len(earlier)
    ours = [
        "(EngineCore pid=7) ERROR 11-26 06:32:14 [core.py:1510] EngineCore failed to start.",
        '(EngineCore pid=7) ERROR 11-26 06:32:14 [core.py:1510]   File "core.py", line 1482, in run_engine_core',
        "(EngineCore pid=7) ERROR 11-26 06:32:14 [core.py:1510] RuntimeError: expect weight to be bfloat16.",
        *(f"line {number}" for number in range(20)),
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    server.log.write_text(earlier + "\n".join(ours), encoding="utf-8")
    first, *lines = server.tail().split("\n  ")
    assert first == f"its first error was 'RuntimeError: expect weight to be bfloat16.'; the end of {server.log} reads"
    assert len(lines) == 15 and lines[-1] == ours[-1]


DEAF = """
import os, signal, subprocess, sys, time
from aoe.serving.server import end_with
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
engine = subprocess.Popen([sys.executable, "-c", deaf])
end_with(os.getppid(), grace=0.5, interval=0.1)
print(os.getpid(), engine.pid, flush=True)
time.sleep(60)
"""
JOB = """
import subprocess, sys, time
from aoe.serving.server import _die_with_parent
server = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True, preexec_fn=_die_with_parent)
time.sleep(60)
"""


def test_a_server_that_does_not_hear_sigterm_ends_with_its_job_all_the_same(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    with subprocess.Popen(
        [sys.executable, "-c", JOB, DEAF], env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as job:
        pids = [int(pid) for pid in job.stdout.readline().split()]
        assert all(map(psutil.pid_exists, pids))
        job.kill()
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < deadline, "a server, or its engine, has outlived its job"
        time.sleep(0.1)


@pytest.mark.server
def test_a_server_that_dies_shows_the_end_of_its_log(tmp_path):
    server = Server("v3", {"v3": tmp_path / "nothing"}, None, tmp_path / "server.log", {}, {})
    with pytest.raises(AoeError, match=r"The vLLM server for v3 ended with status 1: the end of .*server\.log reads"):
        server.__enter__()
    assert server.process.poll() is not None


def without_networks(tmp_path, setup, code):
    """What a Python program prints in a network of its own, which a shell has set up."""
    if (
        os.geteuid()
        or not shutil.which("ip")
        or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode
    ):
        pytest.skip("only root can make a network of its own")
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    command = ["unshare", "--net", "sh", "-ec", f'{setup}\nexec "$@"', "sh", sys.executable, tmp_path / "program.py"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/scripts:{ROOT}/tests"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LOOPBACK = "ip link set lo up"
NETWORKS = f"{LOOPBACK}; ip address add 192.0.2.7/24 dev lo; ip address add 198.51.100.7/24 dev lo"


def test_a_node_is_known_by_the_address_that_it_reaches_the_first_by(tmp_path):
    """On two networks, without a default route, where vLLM finds 0.0.0.0."""
    code = """
from aoe.serving.vllm_server import own_address
from vllm.utils.network_utils import get_ip
print(get_ip(), *map(own_address, ["192.0.2.1", "198.51.100.1", "198.51.100.7", "203.0.113.1", "127.0.0.1", "no.such"]))
"""
    last = without_networks(tmp_path, NETWORKS, code).splitlines()[-1]
    assert last.split() == ["0.0.0.0", "192.0.2.7", "198.51.100.7", "198.51.100.7", "None", "None", "None"]


@pytest.mark.server
def test_a_server_starts_where_there_is_no_network_at_all(tmp_path):
    code = f"""
import pathlib, yaml
from aoe.serving.server import Server
from support.served import MINI_FOLDERS, PROMPTS, complete
serving = yaml.safe_load(pathlib.Path("config/studies/mini.yaml").read_text())["serving"]
v3, log = {{"v3-0324": MINI_FOLDERS["v3-0324"]}}, {str(tmp_path / "log")!r}
with Server("v3", v3, None, log, serving["options"], serving["environment"]) as server:
    print(complete(server, PROMPTS[1], max_tokens=8)["finish_reason"])
"""
    assert without_networks(tmp_path, LOOPBACK, code).split()[-1] in ("length", "stop")
