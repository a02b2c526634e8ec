"""The counter of energy: of which GPUs, and what it says where there are none."""

import pytest
from aoe.nodes.energy import Meter, visible


@pytest.mark.parametrize(
    ("named", "gpus"),
    [("0,2", [0, 2]), (" 1 , 0", [1, 0]), ("", []), ("-1", []), ("1,9,0", [1]), ("GPU-8f2a,1", ["GPU-8f2a", 1])],
)
def test_gpus_are_those_that_cuda_would_use(named, gpus):
    assert visible(4, named) == gpus


def test_all_are_used_unless_some_are_named(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible(2) == [0, 1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible(2) == [1]


def test_without_gpus_there_is_no_energy(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    meter = Meter()
    assert meter.joules() is None and meter.watts(0.01) is None


@pytest.mark.gpu
def test_a_gpu_uses_energy():
    pytest.importorskip("pynvml", reason="needs NVML, which only environments for GPUs have")
    meter = Meter()
    if meter.joules() is None:
        pytest.skip("needs an NVIDIA GPU with a counter of energy")
    assert 1 < meter.watts(1) < 10_000
