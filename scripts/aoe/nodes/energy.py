"""What NVIDIA's GPUs have used, by the driver's own counters (NVML)."""

import os
import time


class Meter:
    """The energy of the GPUs that this process may use; ``joules()`` is None where there are none, or no counters."""

    def __init__(self) -> None:
        self._gpus = []
        try:
            import pynvml
        except ImportError:  # only environments for GPUs have it
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._gpus = [self._handle(name) for name in visible(pynvml.nvmlDeviceGetCount())]
            self.joules()
        except pynvml.NVMLError:  # no driver, no GPU, or one without a counter, such as a part of a GPU
            self._gpus = []

    def _handle(self, name):
        if isinstance(name, int):
            return self._nvml.nvmlDeviceGetHandleByIndex(name)
        return self._nvml.nvmlDeviceGetHandleByUUID(name)

    def joules(self) -> float | None:
        """Return the energy since the driver was loaded, of all these GPUs together."""
        if not self._gpus:
            return None
        return sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) for gpu in self._gpus) / 1000

    def watts(self, seconds: float) -> float | None:
        """Return the mean power over the next ``seconds``."""
        before, start = self.joules(), time.perf_counter()
        time.sleep(seconds)
        after = self.joules()
        return None if before is None or after is None else (after - before) / (time.perf_counter() - start)


def visible(count: int, named: str | None = None) -> list[int | str]:
    """Return numbers or UUIDs of the GPUs that CUDA would use on a machine with ``count``, as NVML knows them.

    named: what the environment variable CUDA_VISIBLE_DEVICES holds; as with CUDA, an unknown number ends the list.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES") if named is None else named
    if named is None:
        return list(range(count))
    found = []
    for name in filter(None, map(str.strip, named.split(","))):
        if name.lstrip("-").isdigit() and not 0 <= int(name) < count:
            break
        found.append(int(name) if name.isdigit() else name)
    return found
