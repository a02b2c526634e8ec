"""Serve one variant with vLLM's OpenAI-compatible server for as long as a ``with`` block lasts.

The server listens on a free loopback port and wants a random API key, so that jobs on one node never meet.  It gets its
weights from aoe.serving.vllm_loader, which executes the variant's plan while the model is loaded.
"""

import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from aoe import AoeError
from aoe.serving.backends import backends_in
from aoe.serving.loaded import read_records
from aoe.serving.sampling import NEUTRAL_OPTIONS

STOP_SECONDS = 20  # from SIGTERM until the server is killed
DYING_SECONDS = 10  # from a lost connection until the server's process has ended, if it ends
LOG_LINES = 15  # of a dead server's log are shown
# the last line of a traceback that a process of the server, such as the engine's, put into the log
CAUSE = re.compile(r"^(?:\([^)]*\) )?ERROR \S+ \S+ \[[^\]]*\] ([\w.]*(?:Error|Exception)\b.*)$", re.MULTILINE)
OURS = f"{AoeError.__module__}.{AoeError.__name__}: "  # how a traceback ends in what we say ourselves
# the options of vLLM that every server gets from here, its key among them, which is no option: it would be seen
OWN_OPTIONS = (
    *("host", "port", "served-model-name", "load-format", "worker-extension-cls", "model-loader-extra-config"),
    *("api-key", "nnodes", "node-rank", "master-addr", "master-port", "headless", "model", "model-tag"),
)
OWN_VARIABLES = ("VLLM_API_KEY", "PYTHONPATH", "AOE_PARENT", "AOE_NODES", "AOE_PORT")  # likewise, of the environment
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Server:
    """A running server: ``url`` (ends in /v1), ``key``, ``name`` (of the served model).

    checkpoints: model name -> directory, the one whose config and tokenizer are used first; plan: path of the plan to
    load, or None to load the only checkpoint as it is.  options: vLLM's command-line options as a dict; environment:
    further variables.  nodes: of the Slurm job that this runs in, over which the server is spread, on ``threads`` cores
    of each; this process is on the first.  check: have the weights made a second time, and compared.  model: the folder
    whose config and tokenizer are used, if it is not the first checkpoint's.  Raises AoeError if the server dies
    or is not healthy after ``patience`` seconds; the message ends with the tail of its log.
    """

    def __init__(
        self,
        name: str,
        checkpoints: Mapping[str, Path | str],
        plan: Path | str | None,
        log: Path | str,
        options: Mapping[str, Any],
        environment: Mapping[str, str],
        nodes: int = 1,
        threads: int = 1,
        patience: float = 3600,
        check: bool = False,
        model: Path | str | None = None,
    ) -> None:
        self.name, self.log, self.patience = name, Path(log), patience
        self.model = str(model or next(iter(checkpoints.values())))
        self.settings: dict[str, Any] = {"options": options, "environment": environment, "nodes": nodes}
        self.records = self.log.with_suffix(".weights")
        loading = {"plan": plan, "checkpoints": checkpoints, "records": self.records.absolute(), "check": check}
        self.key = secrets.token_urlsafe(24)
        self.port = free_port()
        self.command = [
            *(one_task_a_node(nodes, threads) if nodes > 1 else []),
            *(sys.executable, "-m", "aoe.serving.vllm_server", self.model),
            *("--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", name, "--load-format", "aoe"),
            *("--worker-extension-cls", "aoe.serving.vllm_loader.PlanLoading"),
            *("--model-loader-extra-config", json.dumps(loading, default=str)),
            *command_line({**NEUTRAL_OPTIONS, **options}),
        ]
        library = str(Path(__file__).resolve().parents[2])
        paths = [library, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "VLLM_API_KEY": self.key,  # not on the command line, where everybody on the node could read it
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "AOE_PARENT": str(os.getpid()) if nodes == 1 else "",  # over several nodes, srun ends its tasks
            "AOE_NODES": str(nodes),
            "AOE_ADDRESS": socket.gethostname(),
            "AOE_PORT": str(free_port()),
            **environment,
        }

    @property
    def url(self) -> str:
        """The address of the OpenAI-compatible interface."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        shutil.rmtree(self.records, ignore_errors=True)
        self.records.mkdir(parents=True)
        with open(self.log, "ab") as log:
            self.logged_before = log.tell()  # by servers of earlier runs
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _wait(self):
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AoeError(
                    f"The vLLM server for {self.name} ended with status {self.process.returncode}: {self.tail()}"
                )
            try:
                self._greet()
                return
            except urllib.error.HTTPError as error:
                if error.code == 401:  # not our key
                    raise AoeError(f"Another server listens on the port {self.port} of {self.name}.") from error
                time.sleep(0.2)
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AoeError(f"The vLLM server for {self.name} was not healthy after {self.patience} s: {self.tail()}")

    def _greet(self):
        """Raises OSError until the server answers, and knows the key."""
        models = urllib.request.Request(f"{self.url}/models", headers={"Authorization": f"Bearer {self.key}"})
        for request in (f"http://127.0.0.1:{self.port}/health", models):
            with urllib.request.urlopen(request, timeout=5):
                pass

    def _stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # the engine's process too, should the server have died before it
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def loaded(self) -> list[dict[str, Any]]:
        """Return what each of the server's workers was given and holds: the records of aoe.serving.loaded."""
        return read_records(self.records)

    def backends(self) -> dict[str, list[str]]:
        """Return {what: [implementation, …]} that vLLM computes with, as its log says (see aoe.serving.backends)."""
        return backends_in(self._text())

    def has_ended(self) -> bool:
        """Return whether the server has died, or is dying."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(DYING_SECONDS)
        return self.process.poll() is not None

    def tail(self) -> str:
        """Quote the server's log: the first error of one of its processes, then its last lines and where it is."""
        text = self._text()
        causes = CAUSE.findall(text)
        # what we say ourselves is the cause; other workers then miss the one that said it
        said = [cause.removeprefix(OURS) for cause in causes if cause.startswith(OURS)]
        first = f"{said[0]} " if said else f"its first error was {causes[0]!r}; " if causes else ""
        return "\n  ".join([f"{first}the end of {self.log} reads", *text.splitlines()[-LOG_LINES:]])

    def _text(self):
        return self.log.read_bytes()[self.logged_before :].decode(errors="replace")


def one_task_a_node(nodes: int, threads: int) -> list[str]:
    """Return the words that start a command on ``threads`` cores of every node of this process's Slurm job."""
    tasks = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    return ["srun", *tasks, "--kill-on-bad-exit=1"]


def free_port() -> int:
    """Return a TCP port on the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command_line(options: Mapping[str, Any]) -> list[str]:
    """Return {"max-model-len": 512, "enforce-eager": True} -> ["--max-model-len", "512", "--enforce-eager"]."""
    words = []
    for option, value in options.items():
        if value is True:
            words.append(f"--{option}")
        elif value is not False:
            words += [f"--{option}", value if isinstance(value, str) else json.dumps(value)]
    return words


def end_with(parent: int, grace: float = STOP_SECONDS, interval: float = 1) -> None:
    """End this process group ``grace`` seconds after the process ``parent``, which has started it.

    SIGTERM, which Linux sends a server when its job is killed, may be lost while vLLM starts; it would then stay.
    """

    def watch():
        while os.getppid() == parent:
            time.sleep(interval)
        time.sleep(grace)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _die_with_parent():
    """Ask Linux to end the server when its job is killed, so that no orphan keeps a GPU."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
