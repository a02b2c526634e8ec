"""What NVIDIA's GPUs have used, by the driver's own counters (NVML)."""

import time


class Meter:
    """The energy of all GPUs that the driver shows; ``joules()`` is None on a machine without any."""

    def __init__(self):
        self._gpus = []
        try:
            import pynvml
        except ImportError:  # only environments for GPUs have it
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:  # no driver, no GPU
            return
        self._nvml = pynvml
        self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]

    def joules(self):
        """Since the driver was loaded, of all GPUs together."""
        if not self._gpus:
            return None
        return sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) for gpu in self._gpus) / 1000

    def watts(self, seconds):
        """The mean power over the next ``seconds``."""
        before, start = self.joules(), time.perf_counter()
        time.sleep(seconds)
        return None if before is None else (self.joules() - before) / (time.perf_counter() - start)
