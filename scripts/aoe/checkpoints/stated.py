"""Does a config.json tell how the shards of its checkpoint store their weights, and what is written if it does not?"""

from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.configs import STORED, written
from aoe.checkpoints.formats import FORMATS, SCALED
from aoe.checkpoints.keys import NESTED, quantization_of
from aoe.checkpoints.layout import SCALE, Scales, groups_of
from aoe.checkpoints.storage.fp8 import are_powers

PLAIN = {name: one.torch for name, one in FORMATS.items() if one.plain}
STRATEGIES = ("tensor", "channel", "block")  # compressed-tensors' words
SKIPPED = ("modules_to_not_convert", "ignored_layers")  # as different writers call them


def contradictions(checkpoint: Checkpoint) -> list[str]:
    """Return sentences on what the config.json of a Checkpoint says of its weights, and its shards do not bear out."""
    return [*(sentence for sentence, _ in _contradicting(checkpoint)), *_in_another_layout(checkpoint)]


def true_config(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config like ``config`` for weights stored as a Checkpoint's are: contradictions to headers are mended.

    What is made here is stored as the base's config says, with powers of two for scales if it says so.
    """
    stated = _with_storage_of(config, checkpoint.config)
    for _, mend in _contradicting(checkpoint):
        stated = mend(stated)
    return stated


def unquantized(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config, and the one inside it, without a ``quantization_config``."""
    inside = {key: unquantized(config[key]) for key in NESTED if isinstance(config.get(key), Mapping)}
    return {key: value for key, value in config.items() if key != "quantization_config"} | inside


def _with_storage_of(config, other):
    """A config, and the one inside it, with what another says of the storage of weights."""
    nested = [key for key in NESTED if isinstance(config.get(key), Mapping) and isinstance(other.get(key), Mapping)]
    kept = {key: value for key, value in config.items() if key not in STORED}
    stored = {key: other[key] for key in STORED if key in other}
    return kept | stored | {key: _with_storage_of(config[key], other[key]) for key in nested}


def _in_another_layout(checkpoint):
    """Yields sentences on layouts of FP8 weights that config.json denies, or does not state, and nothing mends."""
    quantized, odd = quantization_of(checkpoint.config), {}
    layouts = [layout for layout in map(checkpoint.layout, _scaled(checkpoint)) if layout.codes.elements]
    others = [one for one in layouts if not _in_blocks(one)]
    if others and not quantized:
        yield (
            f"{checkpoint.name}: config.json has no quantization_config, but {others[0].weight} is stored as "
            f"{others[0].words()}; servers cannot load what is published from it before one is added."
        )
    groups = groups_of(quantized)
    strategy = groups[0].get("strategy") if len(groups) == 1 else None  # of several, each is of other modules
    wrong = [one for one in layouts if strategy in STRATEGIES and one.shape[0] > 1 and strategy != one.strategy]
    if wrong:
        yield (
            f"{checkpoint.name}: config.json states the strategy {strategy}, but {wrong[0].weight} is stored as "
            f"{wrong[0].words()}; what is stored counts."
        )
    for layout in layouts:
        if layout.scales == Scales.POWERS and layout.weight.split(".")[-2:-1] and layout.codes.dtype in SCALED:
            odd.setdefault(layout.weight.split(".")[-2], layout)  # a weight of each kind
    odd = {kind: layout for kind, layout in odd.items() if not _has_powers(checkpoint, layout)}
    if odd:
        weight = next(iter(odd.values())).weight
        yield (
            f"{checkpoint.name}: config.json states scales that are powers of two (scale_fmt ue8m0), but those of "
            f"{', '.join(sorted(odd))} are none, such as {weight}'s; copies keep them, and scales that are made here "
            "are powers of two."
        )


def _has_powers(checkpoint, layout):
    """Whether the scales of a weight are powers of two, as far as they are there; E8M0 are."""
    stored = layout.members[SCALE].stored
    return checkpoint.shard_of(stored.name).outline or are_powers(checkpoint.read(stored.name), stored.dtype)


def _scaled(checkpoint):
    """The FP8 weights that have a scale that fits; what is wrong with others is told where they are read."""
    for weight in checkpoint.weights:
        try:
            if checkpoint.stored(weight).dtype in SCALED and SCALE in checkpoint.layout(weight).members:
                yield weight
        except AoeError:
            continue


def _in_blocks(layout):
    """Whether the scales have the name of those that are stored in blocks, and are not one for all numbers."""
    scale = layout.members[SCALE].stored
    return scale.name.endswith(("_inv", ".scale")) and len(scale.shape) > 1


def _contradicting(checkpoint):
    """Yields (sentence, what makes a config true: a function of one) of each contradiction."""
    quantized = quantization_of(checkpoint.config)
    dtypes = {weight: checkpoint.stored(weight).dtype for weight in checkpoint.weights}
    layouts = [layout for layout in map(checkpoint.layout, _scaled(checkpoint)) if _in_blocks(layout)]
    scaled = [layout.weight for layout in layouts]
    block = [*max(Counter(layout.block for layout in layouts).items(), key=itemgetter(1))[0]] if layouts else []
    if quantized and set(dtypes.values()) <= set(PLAIN):
        sentence = (
            f"{checkpoint.name}: config.json has a quantization_config ({_method(quantized)}), but its shards hold "
            f"plain weights only ({_kinds(dtypes)}); what is published from them is written without."
        )
        yield sentence, unquantized
    elif scaled and not quantized:
        sentence = (
            f"{checkpoint.name}: config.json has no quantization_config, but its shards hold {len(scaled):,} FP8 "
            "weights with scales; what is published from them is written with one."
        )
        yield sentence, lambda config: config | {"quantization_config": _block_format(dtypes, scaled, {}, block)}
    elif scaled and isinstance(quantized, dict) and quantized.get("quant_method") == "fp8":
        wrong = _wrong_in(quantized, dtypes, scaled, block)
        if wrong:
            mended = _block_format(dtypes, scaled, quantized, block)
            sentence = (
                f"{checkpoint.name}: the quantization_config of config.json contradicts the shards: "
                f"{'; '.join(wrong)}.  What is published from them says what they hold."
            )
            yield sentence, lambda config: unquantized(config) | {"quantization_config": mended}
    yield from _wrong_dtype(checkpoint, dtypes)


def _wrong_dtype(checkpoint, dtypes):
    """The contradiction between the stated dtype and that of most unquantized weights, if there is one."""
    key = "dtype" if "dtype" in checkpoint.config else "torch_dtype"
    stated = str(checkpoint.config.get(key)).removeprefix("torch.")
    sizes = {}
    for weight, dtype in dtypes.items():
        if dtype in PLAIN:
            sizes[dtype] = sizes.get(dtype, 0) + checkpoint.stored(weight).elements
    most = PLAIN[max(sizes, key=sizes.__getitem__)] if sizes else None
    if most and stated in PLAIN.values() and stated != most:
        sentence = (
            f"{checkpoint.name}: config.json states {key} {stated}, but its shards hold {_kinds(dtypes)}; what is "
            f"published from them states {most}."
        )
        yield sentence, lambda config: config | {key: most}


def _wrong_in(quantized, dtypes, scaled, block):
    """In words, what a config of FP8 blocks says that the stored weights do not bear out."""
    wrong, stated = [], quantized.get("weight_block_size")
    if stated != block:
        wrong.append(f"weight_block_size is {written(stated)}, the scales' shapes give {block}")
    found = sorted({FORMATS[dtypes[weight]].fp8 or "" for weight in scaled})
    if quantized.get("fmt", "e4m3") not in found:
        wrong.append(f"fmt is {written(quantized['fmt'])}, the weights are {', '.join(found)}")
    skipped = _skipped(quantized)
    if left := [weight for weight in scaled if _is_in(weight, skipped)]:
        wrong.append(f"{left[0]} is FP8, and among those that are not converted")
    if left := [weight for weight in _unquantized(dtypes, scaled) if not _is_in(weight, skipped)]:
        wrong.append(f"{left[0]} is {dtypes[left[0]]}, and not among those that are not converted")
    return wrong


def _skipped(quantized):
    """The names of modules that are not converted."""
    lists = [quantized.get(key) for key in SKIPPED]
    return [name for names in lists if isinstance(names, list) for name in names if isinstance(name, str)]


def _unquantized(dtypes, scaled):
    """The projections that are stored plain although projections of the same name are FP8 elsewhere."""
    kinds = {weight.split(".")[-2] for weight in scaled}
    return [w for w, dtype in dtypes.items() if dtype in PLAIN and w.endswith(".weight") and w.split(".")[-2] in kinds]


def _is_in(weight, modules):
    module = weight.removesuffix(".weight")
    return any(module == name or module.startswith(f"{name}.") for name in modules)


def _block_format(dtypes, scaled, stated, block):
    """A quantization_config of FP8 blocks that is true of the stored weights; stated: the config's own."""
    made = {"activation_scheme": "dynamic", "quant_method": "fp8"} | stated
    made |= {"fmt": FORMATS[dtypes[scaled[0]]].fp8, "weight_block_size": block}
    skipped = _skipped(stated)
    modules = [name for name in skipped if not any(_is_in(weight, [name]) for weight in scaled)]
    modules += [w.removesuffix(".weight") for w in _unquantized(dtypes, scaled) if not _is_in(w, modules)]
    made = {key: value for key, value in made.items() if key not in SKIPPED}
    return made | ({next((k for k in SKIPPED if k in stated), SKIPPED[0]): modules} if modules else {})


def _method(quantized):
    return quantized.get("quant_method", "no quant_method") if isinstance(quantized, dict) else written(quantized)


def _kinds(dtypes):
    return ", ".join(sorted(set(dtypes.values())))
