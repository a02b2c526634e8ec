"""A weight loader for vLLM that executes a plan while the server starts: a variant is served without being written.

``--worker-extension-cls aoe.vllm_loader.PlanLoading`` imports this module in every vLLM worker before the weights are
loaded, which registers the load format ``aoe``.  Its extra config names the checkpoints' directories and a plan, or
null to load the only checkpoint as it is:

    --load-format aoe --model-loader-extra-config '{"plan": "plan.json", "checkpoints": {"r1": "models/r1"}}'

FP8 blocks are dequantized on the way, for CPUs that cannot compute with them; the model's ``quantization_config`` must
be overridden with null, or vLLM would expect scales.
"""

import copy
import time

from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from aoe.checkpoint import Checkpoint
from aoe.merge import Merge
from aoe.plan import Plan, copy_plan


class PlanLoading:
    """vLLM's hook into its workers; registering the load format below is all that is wanted from it."""


@register_model_loader("aoe")
class PlanLoader(DefaultModelLoader):
    """Yields a plan's output weights to vLLM, one at a time, in the base's order."""

    def __init__(self, load_config):
        load_config = copy.copy(load_config)
        extra = dict(load_config.model_loader_extra_config or {})
        checkpoints = {name: Checkpoint(path, name) for name, path in extra.pop("checkpoints").items()}
        plan = extra.pop("plan")
        self.merge = Merge(Plan.load(plan) if plan else copy_plan(*checkpoints.values()), checkpoints)
        load_config.model_loader_extra_config = extra
        super().__init__(load_config)

    def download_model(self, model_config):
        """Nothing to download: the checkpoints are local."""

    def get_all_weights(self, model_config, model):
        """(name, float32 tensor) for every output weight."""
        self.counter_before_loading_weights = time.perf_counter()
        for weight in self.merge.base.weights:
            yield weight, self.merge.value(weight)
