"""A weight loader for vLLM that executes a plan while the server starts: a variant is served without being written.

``--worker-extension-cls aoe.serving.vllm_loader.PlanLoading`` imports this module in every vLLM worker before the
weights are loaded, which registers the load format ``aoe``.  Its extra config names the checkpoints' directories and a
plan, or null to load the only checkpoint as it is:

    --load-format aoe --model-loader-extra-config '{"plan": "plan.json", "checkpoints": {"r1": "models/r1"}}'

``records``: a folder for what every worker was given (see aoe.serving.loaded); ``check``: make everything a second
time, on the processor, and compare.

A model that vLLM runs in FP8 gets codes and scales, combined on the GPU if there is one.  Where the model's
``quantization_config`` is overridden with null, as for processors that cannot compute with FP8, blocks are dequantized.
A worker reads what it holds (see aoe.serving.rank); what all tensor-parallel workers need, each makes a part of and
sends it to the others.
"""

import copy
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from vllm.config import get_current_vllm_config
from vllm.distributed import get_tp_group, get_world_group
from vllm.logger import init_logger
from vllm.model_executor.layers.fused_moe.routed_experts import RoutedExperts
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.models.utils import PPMissingLayer
from vllm.platforms import current_platform
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import FORMATS
from aoe.checkpoints.layout import PLAIN
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan, copy_plan
from aoe.serving.loaded import Handing, digest_of, held_by, write_record
from aoe.serving.rank import Rank, Share, share_of

MOST_THREADS = 8  # a worker; more do not read faster
LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?:\.|$)")

logger = init_logger(f"vllm.{__name__}")


class PlanLoading:
    """vLLM's hook into its workers: with this module it imports the load format that is registered below."""

    model_runner: Any  # of the worker, which becomes a subclass of this class

    def digests(self) -> dict[str, tuple[str, list[int], str]]:
        """Return {name: (dtype, shape, SHA-256 of dtype, shape and bytes)} of this worker's parameters and buffers."""
        model = self.model_runner.model
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        return {name: (str(t.dtype), list(t.shape), digest_of(t)) for name, t in sorted(tensors.items())}


@register_model_loader("aoe")
class PlanLoader(DefaultModelLoader):
    """Yields a plan's output weights to vLLM, one at a time, in the base's order."""

    def __init__(self, load_config: Any) -> None:
        load_config = copy.copy(load_config)
        extra = dict(load_config.model_loader_extra_config or {})
        self.checkpoints = {name: Checkpoint(path, name) for name, path in extra.pop("checkpoints").items()}
        plan = extra.pop("plan")
        self.plan = Plan.load(plan) if plan else copy_plan(*self.checkpoints.values())
        self.records, self.check = extra.pop("records", None), extra.pop("check", False)
        load_config.model_loader_extra_config = extra
        super().__init__(load_config)

    def download_model(self, model_config: Any) -> None:
        """Do nothing: the checkpoints are local."""

    def load_model(self, vllm_config: Any, model_config: Any, prefix: str = "") -> torch.nn.Module:
        """Return the model with its weights, as vLLM's kernels want them; its record is written."""
        start = time.perf_counter()
        model = super().load_model(vllm_config, model_config, prefix)
        if self.records is not None:
            loaded = time.perf_counter()
            record = self.record | held_by(model, self.threads) | {"seconds": round(loaded - start, 3)}
            record |= {"seconds_hashing": round(time.perf_counter() - loaded, 3), "model": type(model).__name__}
            write_record(self.records, f"{record['model']}.rank-{record['rank']}", record)
        return model

    def get_all_weights(self, model_config: Any, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (name, tensor) of every output weight that this worker needs and, for FP8, of its scales."""
        self.counter_before_loading_weights = time.perf_counter()
        parallel = get_current_vllm_config().parallel_config
        dequantized = model_config.quantization is None
        rank = rank_of(model, parallel)
        self.threads = threads_of(parallel)
        merge = Merge(self.plan, self.checkpoints, "cuda" if current_platform.is_cuda_alike() else "cpu", self.threads)
        share = share_of(rank, merge)
        handing = Handing(self.threads, self._again(share, dequantized) if self.check else None)
        read_before = _bytes_read(self.checkpoints)
        for weight, tensors in given(share, rank, merge, dequantized):
            handing.add(weight, [*tensors.values()], shared=weight in share.makers)
            yield from tensors.items()
        read = {name: size - read_before[name] for name, size in _bytes_read(self.checkpoints).items()}
        self.record = {"rank": get_world_group().rank, "layers": sorted(rank.layers or []), **handing.finish()}
        self.record |= {"read": read, "of": {name: model.bytes_of_shards for name, model in self.checkpoints.items()}}
        logger.info(
            "Rank %d read %.3f of the parents' %.2f GB: %d weights of its own, %d that others made",
            self.record["rank"],
            sum(read.values()) / sum(self.record["of"].values()),
            sum(self.record["of"].values()) / 1e9,
            len(share.own),
            len(share.weights) - len(share.own),
        )

    def _again(self, share, dequantized):
        """The worker's own weights from a second execution of the plan: on the processor, from files opened anew."""
        checkpoints = {name: Checkpoint(model.directory, name) for name, model in self.checkpoints.items()}
        again = produced(Merge(self.plan, checkpoints, "cpu", self.threads), share.own, dequantized)
        return ((weight, [*tensors.values()]) for weight, tensors in again)


def rank_of(model: torch.nn.Module, parallel: Any) -> Rank:
    """Return the Rank of this worker, as vLLM has built its part of the model; parallel: vLLM's ParallelConfig."""
    layers, experts, elsewhere = set(), {}, []
    for name, module in model.named_modules():
        found = LAYER.search(name)
        if isinstance(module, PPMissingLayer):
            elsewhere.append(f"{name}.")
        elif found and name.endswith(found[0]):
            layers.add(int(found[1]))
        # with redundant experts (EPLB), vLLM chooses among all of them later
        if found and isinstance(module, RoutedExperts) and not parallel.enable_eplb:
            manager = module.expert_map_manager
            held = [n for n in range(manager.global_num_experts) if manager.is_local_expert(n)]
            if len(held) < manager.global_num_experts:
                experts[int(found[1])] = frozenset(held)
    group = get_tp_group()
    return Rank(group.rank_in_group, group.world_size, frozenset(layers) or None, experts, tuple(elsewhere))


def threads_of(parallel: Any) -> int:
    """Return this worker's part of the node's cores."""
    workers = max(parallel.world_size // parallel.nnodes, 1)
    return max(min(len(os.sched_getaffinity(0)) // workers, MOST_THREADS), 1)


def produced(merge: Merge, weights: Iterable[str], dequantized: bool) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield (weight, {name: tensor}) of output weights; see Merge.tensors and Merge.values."""
    if dequantized:
        for weight, tensor in merge.values(weights):
            yield weight, {merge.layout(weight).values_name: tensor}
        return
    yield from merge.tensors(weights)


def given(share: Share, rank: Rank, merge: Merge, dequantized: bool) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield (weight, {name: tensor}) of a Share's weights: made here, or received from the peer that makes them."""
    own = produced(merge, share.own, dequantized)
    for weight in share.weights:
        maker = share.makers.get(weight)
        if maker is None:
            yield next(own)
            continue
        tensors = next(own)[1] if maker == rank.place else empty_tensors(merge, weight, dequantized)
        yield weight, {name: sent(tensor, maker) for name, tensor in tensors.items()}


def empty_tensors(merge: Merge, weight: str, dequantized: bool) -> dict[str, torch.Tensor]:
    """Return room for tensors that another worker makes: {name: tensor}, in the order of Merge.tensors."""
    layout, device = merge.layout(weight), current_platform.device_type
    if dequantized and layout.storage != PLAIN:
        return {layout.values_name: torch.empty(layout.served_shape, dtype=torch.float32, device=device)}
    members = [member.stored for member in layout.members.values()]
    dtypes = [getattr(torch, FORMATS[stored.dtype].torch) for stored in members]
    return {s.name: torch.empty(s.shape, dtype=d, device=device) for s, d in zip(members, dtypes, strict=True)}


def sent(tensor: torch.Tensor, maker: int) -> torch.Tensor:
    """Return the tensor as the peer ``maker`` has it, on the worker's device."""
    tensor = tensor.to(current_platform.device_type)
    if tensor.numel():
        get_tp_group().broadcast(tensor.reshape(-1).view(torch.uint8), maker)
    return tensor


def _bytes_read(checkpoints):
    return {name: checkpoint.bytes_read for name, checkpoint in checkpoints.items()}
