"""Download one file with Xet, in a process of its own: hf_xet's threads can hang where no exception reaches them.

The process reads from its standard input what to fetch, and writes to its standard output a line for all bytes that
came.  It ends with its parent.
"""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from aoe.acquiring.transfer import Pace, StallError, cause

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h
FOLDER = str(Path(__file__).parents[2])  # which this package is imported from


def download(file: Any, size: int, target: Path, stall_seconds: float) -> None:
    """Write a file that Xet stores to ``target``, from its first byte.

    file: huggingface_hub's XetFileData.  The bytes are written in their order, so that those that are there after a
    failure can be gone on from.  Raises StallError if fewer come than a Pace wants, RuntimeError if Xet fails.
    """
    wanted = {"hash": file.file_hash, "route": file.refresh_route, "size": size, "target": str(target)}
    path = os.pathsep.join(filter(None, (FOLDER, os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, "-m", "aoe.acquiring.xet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(wanted).encode())
            process.stdin.close()
            said = _watch(process, Pace(stall_seconds))
        finally:
            process.kill()  # it may be beyond any gentler signal
    if process.returncode:
        raise RuntimeError(f"Xet: {cause(said) if said else f'exit status {process.returncode}'}")


def _watch(process, pace):
    """Count the bytes that a process reports, until it ends; returns the last line of what it complained about."""
    complaint = b""
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(pace.left)
            for key, _ in ready:
                said = os.read(key.fd, 65536)
                if not said:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    pace.count(sum(int(number) for number in said.split()))
                else:
                    complaint = (complaint + said)[-2000:]
            if not ready:
                pace.count(0)
    try:
        process.wait(max(pace.left, 1))
    except subprocess.TimeoutExpired:
        raise StallError("Xet does not end") from None
    return complaint.decode(errors="replace").strip().rpartition("\n")[2]


def main() -> None:
    """Fetch what standard input says."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    from huggingface_hub.file_download import xet_get
    from huggingface_hub.utils import build_hf_headers, tqdm
    from huggingface_hub.utils._xet import XetFileData

    class Reported(tqdm):
        """A progress bar that nobody sees, and that tells how many bytes came."""

        def update(self, n=1):
            os.write(sys.stdout.fileno(), b"%d\n" % n)

    wanted = json.load(sys.stdin)
    xet_get(
        incomplete_path=Path(wanted["target"]),
        xet_file_data=XetFileData(wanted["hash"], wanted["route"]),
        headers=build_hf_headers(),
        expected_size=wanted["size"],
        tqdm_class=Reported,
    )


if __name__ == "__main__":
    main()
    os._exit(0)  # the end of the interpreter would wait for Xet's threads
