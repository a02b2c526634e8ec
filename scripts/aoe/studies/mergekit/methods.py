"""The λ that a method of mergekit gives a tensor: {model: weight}, or shares of an angle for SLERP."""

import math
from collections.abc import Callable

from aoe import AoeError
from aoe.studies.mergekit.configuration import Tensor

Mixture = dict[str, float]

SMALLEST_SUM = 1e-8  # of weights by which mergekit divides
BY_ELEMENT = "decides number by number what it takes from a parent, so that a tensor has no λ"
BY_TENSOR = "weighs parents by what their tensors are, in a way that no recipe can state"
REFUSED = {
    **dict.fromkeys(("ties", "dare_ties", "dare_linear", "della", "della_linear", "sce"), BY_ELEMENT),
    **dict.fromkeys(("breadcrumbs", "breadcrumbs_ties", "nearswap", "arcee_fusion", "ram", "ramplus_tl"), BY_ELEMENT),
    **dict.fromkeys(("model_stock", "karcher", "nuslerp", "multislerp"), BY_TENSOR),
}


def linear(tensor: Tensor) -> Mixture:
    """Weights, divided by their sum unless `normalize` is false."""
    weights = {model: tensor.number("weight", model) for model in tensor.models}
    if not tensor.value("normalize", default=True):
        return weights
    total = math.fsum(weights.values())
    if not total:
        raise AoeError(f"The weights{f' of {tensor.name}' if tensor.name else ''} sum to 0, and cannot be normalized.")
    return {model: weight / total for model, weight in weights.items()}


def task_arithmetic(tensor: Tensor) -> Mixture:
    """Weights of the others' differences from the base; the base has what they leave of 1."""
    weights = {model: tensor.number("weight", model) for model in tensor.models if model != tensor.base}
    total, scale = math.fsum(weights.values()), tensor.number("lambda", default=1)
    if tensor.value("normalize", default=False) and abs(total) >= SMALLEST_SUM:
        scale /= total
    return {tensor.base: 1 - scale * total} | {model: scale * weight for model, weight in weights.items()}


def slerp(tensor: Tensor) -> Mixture:
    """Shares of the angle between the base and the other model."""
    others = [model for model in tensor.models if model != tensor.base]
    if len(others) != 1:
        raise AoeError(f"SLERP takes the base and one other model; here are {', '.join(tensor.models)}.")
    share = tensor.number("t")
    return {tensor.base: 1 - share, others[0]: share}


def passthrough(tensor: Tensor) -> Mixture:
    """One model, with a factor if there is one."""
    if len(tensor.slice.inputs) != 1:
        raise AoeError(f"passthrough takes one model for each layer; here are {', '.join(tensor.models)}.")
    ((model, _),) = tensor.slice.inputs
    return {model: tensor.number("scale", model, default=1)}


METHODS: dict[str, Callable[[Tensor], Mixture]] = {
    "linear": linear,
    "passthrough": passthrough,
    "slerp": slerp,
    "task_arithmetic": task_arithmetic,
}


def method_of(name: str) -> Callable[[Tensor], Mixture]:
    """Return the function of a method.  Raises AoeError, with the reason, for one that no recipe can state."""
    if name not in METHODS:
        reason = REFUSED.get(name, "is not known here")
        raise AoeError(f"The merge method {name} {reason}; those that can be converted are {', '.join(METHODS)}.")
    return METHODS[name]
