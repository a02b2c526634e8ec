"""A weight loader for vLLM that executes a plan while the server starts: a variant is served without being written.

``--worker-extension-cls aoe.vllm_loader.PlanLoading`` imports this module in every vLLM worker before the weights are
loaded, which registers the load format ``aoe``.  Its extra config names the checkpoints' directories and a plan, or
null to load the only checkpoint as it is:

    --load-format aoe --model-loader-extra-config '{"plan": "plan.json", "checkpoints": {"r1": "models/r1"}}'

A model that vLLM runs in FP8 gets codes and scales, combined on the GPU if there is one.  Where the model's
``quantization_config`` is overridden with null, as for processors that cannot compute with FP8, blocks are dequantized.
With tensor parallelism every worker executes the plan and keeps its part of each weight, as with vLLM's own loaders.
"""

import copy
import hashlib
import os
import time

import torch
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.platforms import current_platform
from aoe.checkpoint import Checkpoint, scale_of
from aoe.merge import Merge
from aoe.plan import Plan, copy_plan

MOST_THREADS = 8  # a worker; more do not read faster


class PlanLoading:
    """vLLM's hook into its workers: with this module it imports the load format that is registered below."""

    def digests(self):
        """name -> (dtype, shape, SHA-256 of the bytes) of every tensor that this worker computes with."""
        model = self.model_runner.model
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        return {name: (str(t.dtype), list(t.shape), _sha256(t)) for name, t in sorted(tensors.items())}


def _sha256(tensor):
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()


@register_model_loader("aoe")
class PlanLoader(DefaultModelLoader):
    """Yields a plan's output weights to vLLM, one at a time, in the base's order."""

    def __init__(self, load_config):
        load_config = copy.copy(load_config)
        extra = dict(load_config.model_loader_extra_config or {})
        checkpoints = {name: Checkpoint(path, name) for name, path in extra.pop("checkpoints").items()}
        plan = extra.pop("plan")
        plan = Plan.load(plan) if plan else copy_plan(*checkpoints.values())
        threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
        self.merge = Merge(plan, checkpoints, "cuda" if current_platform.is_cuda() else "cpu", threads)
        load_config.model_loader_extra_config = extra
        super().__init__(load_config)

    def download_model(self, model_config):
        """Nothing to download: the checkpoints are local."""

    def get_all_weights(self, model_config, model):
        """(name, tensor) of every output weight and, for FP8, of its scales; see Merge.outputs and Merge.values."""
        self.counter_before_loading_weights = time.perf_counter()
        if model_config.quantization is None:
            yield from self.merge.values(self.merge.base.weights)
            return
        for weight, tensor, scale in self.merge.outputs(self.merge.base.weights):
            yield weight, tensor
            if scale is not None:
                yield scale_of(weight), scale
