"""The tests' Hub on loopback in a process of its own: python -m performance.hub_server {repo: folder, as JSON}.

Digests of large files are those that their names map to in the folder's ``digests.json``, so that none is read.
"""

import json
import sys
import time
from pathlib import Path

from support.hub import Hub  # in tests/

if __name__ == "__main__":
    hub = Hub()
    for name, folder in json.loads(sys.argv[1]).items():
        digests = json.loads((Path(folder) / "digests.json").read_text(encoding="utf-8"))
        hub.add_folder(name, folder, digests=digests)
    print(hub.url, flush=True)
    time.sleep(24 * 3600)
