"""Fixtures that several folders of tests share."""

import pytest
import torch
from checkpoints import stored, weights, write_checkpoint


@pytest.fixture
def family(tmp_path):
    """{"v3": …, "r1": …, "r1-0528": …}: checkpoints whose norms of layer 0 are byte-equal, all else different."""
    checkpoints = {}
    for seed, name in enumerate(("v3", "r1", "r1-0528")):
        values = weights(seed)
        values["model.layers.0.input_layernorm.weight"] = torch.ones(160)
        checkpoints[name] = write_checkpoint(tmp_path / name, stored(values), name)
    return checkpoints
