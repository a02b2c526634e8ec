"""Fixtures that several folders of tests share."""

from pathlib import Path

import pytest
import torch
from benchmarks import registry  # noqa: F401 -- registers the benchmarks
from support.checkpoints import stored, weights, write_checkpoint
from support.hub import Hub

# Files whose tests share what takes minutes to make, by fixture.  With several processes (`make test`), they are one
# process's, and begin first; all others go file by file.
SMALL_STUDY = ("test_slurm.py", "test_interruption.py", "test_small_study.py", "test_preflight.py")
SHARING = {"main_job": ("test_main_job.py", "test_paper.py"), "small_job": SMALL_STUDY, "cluster": SMALL_STUDY}


def shared(nodeid):
    """The files that a test's file shares something with, or that file alone."""
    file = nodeid.split("::")[0]
    return next((files for files in SHARING.values() if Path(file).name in files), (file,))


def pytest_collection_modifyitems(config, items):
    for item in items:
        for fixture in SHARING.keys() & set(item.fixturenames):
            assert item.path.name in SHARING[fixture], f"{item.nodeid} wants {fixture}: its file is not among SHARING"
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: len(shared(item.nodeid)) == 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return " ".join(shared(nodeid))

    return Sharing(config, log)


@pytest.fixture
def family(tmp_path):
    """{"v3": …, "r1": …, "r1-0528": …}: checkpoints whose norms of layer 0 are byte-equal, all else different."""
    checkpoints = {}
    for seed, name in enumerate(("v3", "r1", "r1-0528")):
        values = weights(seed)
        values["model.layers.0.input_layernorm.weight"] = torch.ones(160)
        checkpoints[name] = write_checkpoint(tmp_path / name, stored(values), name)
    return checkpoints


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on loopback that this process, and those that it starts, take for the Hub."""
    from huggingface_hub import constants

    hub = Hub()
    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_HOME", "HUGGINGFACE_CO_URL_TEMPLATE"):
        monkeypatch.setattr(constants, name, getattr(constants, name).replace(constants._HF_DEFAULT_ENDPOINT, hub.url))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield hub
    hub.close()
