"""The tensors of a checkpoint, computed from its config alone, and checkpoints that hold nothing but these.

With them everything but the arithmetic can be rehearsed at full size, on a laptop, before 689 GB are downloaded.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.architectures import definitions, with_inventory
from aoe.checkpoints.checkpoint import INDEX
from aoe.checkpoints.formats import SCALE_SUFFIX, size_of
from aoe.checkpoints.keys import experts_of, experts_per_token
from aoe.checkpoints.parts import TensorGroup, Tensors, in_bf16
from aoe.checkpoints.shard import make_header


def inventory(config: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return {tensor name: (dtype, shape)} of a checkpoint, scales included, in the order of the layers.

    config: the config.json of a model as a dict.  Projections are FP8 with scales if it has a ``quantization_config``,
    else BF16.  Raises AoeError for an architecture without an inventory, or a key that is missing.
    """
    definition = definitions().get(str(config.get("model_type")))
    if definition is None or definition.layer is None:
        names = ", ".join(with_inventory())
        raise AoeError(f"No inventory is known of the architecture {config.get('model_type')!r}, only of {names}.")
    try:
        tensors = _inventory(config, definition.layer)
    except KeyError as error:
        raise AoeError(f"The model's config.json lacks {error}, which its inventory is computed from.") from error
    except (TypeError, ValueError) as error:
        raise AoeError(f"The model's config.json has a value that is no dimension ({error}).") from error
    for name, (_, shape) in tensors.items():
        if any(type(dimension) is not int or dimension < 1 for dimension in shape):
            raise AoeError(f"The model's config.json gives {name} the dimensions {shape}, which are none.")
    return tensors


def _inventory(config, layer_of):
    tensors = in_bf16({"model.embed_tokens.weight": (config["vocab_size"], config["hidden_size"])})
    for layer in range(config["num_hidden_layers"] + config.get("num_nextn_predict_layers", 0)):
        tensors |= layer_of(config, layer)
    return tensors | in_bf16(
        {
            "model.norm.weight": (config["hidden_size"],),
            "lm_head.weight": (config["vocab_size"], config["hidden_size"]),
        }
    )


@dataclass(frozen=True)
class Parameters:
    """Numbers of weights (scales are none): of the model, of its MTP layers, and those that one token meets.

    A token meets some of the routed experts of a layer, and one row of the embeddings, which is not counted unless the
    LM head has the same weights.
    """

    total: int
    mtp: int
    active: int


def count_parameters(config: Mapping[str, Any], tensors: Tensors | None = None) -> Parameters:
    """Return the Parameters of a model, from its config alone, or from the tensors of a checkpoint, too.

    tensors: of a model without an inventory, tensor name -> (storage format, shape).  Raises AoeError if there is no
    inventory, or the model has experts and its config does not say how many, or how many of them a token meets.
    """
    architecture = Architecture(config)
    counts = dict.fromkeys(TensorGroup, 0)
    for tensor, (_, shape) in (inventory(config) if tensors is None else tensors).items():
        if not tensor.endswith(SCALE_SUFFIX):
            counts[architecture.place(tensor).group] += math.prod(shape)
    mtp = counts.pop(TensorGroup.MTP)
    total = sum(counts.values())
    routed = counts[TensorGroup.ROUTED_EXPERTS]
    rows = counts[TensorGroup.EMBEDDINGS] if counts[TensorGroup.LM_HEAD] else 0
    return Parameters(total, mtp, total - routed + _met(config, routed) - rows)


def _met(config, routed):
    """How many parameters of all routed experts a token meets."""
    experts, met = experts_of(config), experts_per_token(config)
    if routed and not (experts and met):
        raise AoeError("The model's config.json does not say how many routed experts there are, and a token meets.")
    return routed * met // experts if routed else 0


def expected_files(config: Mapping[str, Any], shards: int) -> dict[str, dict[str, Any]]:
    """Return the files of a checkpoint as a lock has them (name -> size, holds), as far as they follow from its config.

    shards: how many files of about one size the weights are in.  Where these really begin and end, and their digests,
    only the source can tell; the sizes are exact in sum.
    """
    architecture, files = Architecture(config), {}
    for file, part in _parts(config, shards).items():
        held = {}
        for place in map(architecture.place, part):
            held.setdefault(str(place.group), set()).update([] if place.layer is None else [place.layer])
        holds = {group: sorted(layers) for group, layers in sorted(held.items())}
        files[file] = {"size": sum(map(_size, part.values())) + len(_header(part)), "holds": holds}
    return files


def write_sparse_checkpoint(config: Mapping[str, Any], directory: Path | str, shards: int) -> None:
    """Write a checkpoint of ``shards`` files of about one size: true headers, and holes that take no disk for data."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    weight_map, total = {}, 0
    for file, part in _parts(config, shards).items():
        size = sum(map(_size, part.values()))
        with open(directory / file, "wb") as shard:
            shard.write(_header(part))
            shard.truncate(shard.tell() + size)
        weight_map |= dict.fromkeys(part, file)
        total += size
    (directory / INDEX).write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}), encoding="utf-8"
    )
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _parts(config, shards):
    """{file name: its part of the inventory}, in ``shards`` parts of about one size."""
    tensors = inventory(config)
    if shards > len(tensors):
        raise AoeError(f"{len(tensors)} tensors are not enough for {shards} shards.")
    total, done, parts = sum(map(_size, tensors.values())), 0, [{} for _ in range(shards)]
    for name, (dtype, shape) in tensors.items():
        parts[min(done * shards // total, shards - 1)][name] = dtype, shape
        done += _size((dtype, shape))
    return {f"model-{number:05}-of-{shards:06}.safetensors": part for number, part in enumerate(parts, start=1)}


def _header(part):
    return make_header(part, {"format": "pt"})


def _size(tensor):
    return size_of(*tensor)
