"""Fixtures that several folders of tests share."""

import pytest
import torch
from checkpoints import stored, weights, write_checkpoint
from hub import Hub

# fixtures that take minutes, and the process that each is made in when there are several (`make test`)
STUDIES = {"main_job": "main job", "small_job": "small job", "cluster": "small job"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """What shares a finished study or the cluster stays in one process, and begins first; all else goes by file."""
    for item in items:
        (group, *others) = {STUDIES[name] for name in STUDIES if name in item.fixturenames} or {str(item.path)}
        assert not others, f"{item.nodeid} wants studies of two processes"
        item.add_marker(pytest.mark.xdist_group(group))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] not in STUDIES.values())


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
