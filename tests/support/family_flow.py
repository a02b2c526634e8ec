"""A family of tiny models from beginning to end: locked, verified, compared, merged, audited, and loaded again.

The reference is a merge of transformers' own state dicts, in float64 and rounded once.
"""

import re
from collections import Counter
from functools import cached_property

import torch
from torch import Tensor
from transformers import PreTrainedModel
from aoe.acquiring.fetching import lock_source
from aoe.acquiring.sources import open_source
from aoe.acquiring.verification import verify
from aoe.audit import VERIFIED
from aoe.audit.verdict import overall
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import COMBINABLE
from aoe.merging.difference import shard_differences
from aoe.merging.merge import Merge
from support.families import EXPERTS, PARENTS, SIZES, WIDTH, reads_images, write_parents
from support.published import Audited, plan_of
from support.served import write

BASE, OTHER = PARENTS
FULL = {"base": BASE, "weights": {BASE: 0.7, OTHER: 0.3}}
PROMPT = torch.tensor([[1, 5, 9, 17, 33, 65, 7, 2]])
FLOAT32_ERROR = 2**-22  # of a sum of a few products, relative to their sizes
MOST_TIES = 1e-2  # of all numbers; of λ with one decimal, many sums are nearly ties


class Flow:
    """One family's two parents in a folder, and what is done with them.  Raises what building them raises.

    own: the names of the parents that are written with transformers' own names and stacks, and not with the Hub's.
    """

    def __init__(self, model_type, folder, own=()):
        self.folder, self._reads_images = folder, reads_images(model_type)
        self.folders, self.model = write_parents(model_type, folder, own=own)
        self.parents = {name: Checkpoint(path, name) for name, path in self.folders.items()}

    def run(self):
        """{step: what is wrong with it, a sentence}; empty if all is as it should be."""
        wrong = {}
        for step in (self.locked, self.compared, self.known_to_transformers):
            if not self._try(step, wrong):
                return wrong
        for name, entry in self.recipes.items():
            for step in (self.merged, self.loaded, self.audited):
                if not self._try(step, wrong, name, entry):
                    break
        return wrong

    def _try(self, step, wrong, *of):
        try:
            step(*of)
        except Exception as error:  # of any kind: all families are to be looked at
            wrong[" ".join([step.__name__, *of[:1]])] = f"{type(error).__name__}: {error}"
        return " ".join([step.__name__, *of[:1]]) not in wrong

    # steps

    def locked(self):
        for name, folder in self.folders.items():
            entry = lock_source(name, "models", open_source(f"file:{folder}"))
            held = {group for file in entry.shards for group in entry.files[file]["holds"]}
            assert "unknown" not in held, "the lock has tensors of an unknown group"
            verify(name, folder, {file: entry.files[file] for file in entry.needed})

    def compared(self):
        base, other = self.parents.values()
        rows = [row for file in base.shard_names for row in shard_differences(base, other, file, device="cpu")]
        assert {row["tensor"] for row in rows} == base.files.keys()
        numbers = [row for row in rows if row["dtype"] in COMBINABLE and row["elements"] > 1]  # not indices
        same = [row["tensor"] for row in numbers if row["identical"]]
        assert not same, f"{same} are the same in both parents"

    def known_to_transformers(self):
        """Whether transformers loads again what it has written: else nothing can be compared."""
        for name in PARENTS:
            assert torch.isfinite(self.states[name][1]).all(), "transformers' logits of a parent are not finite"
        assert not torch.equal(self.states[BASE][1], self.states[OTHER][1])

    def merged(self, name, entry):
        plan = plan_of(entry, self.parents)
        write(Merge(plan, self.parents, "cpu"), self.folder / name)
        verify_again = Checkpoint(self.folder / name)
        assert verify_again.files == self.parents[BASE].files

    def loaded(self, name, entry):
        ours, logits = self._load(self.folder / name)
        expected, ties = {}, 0
        for key in ours:
            picked = name == "full" or key in self.picked[name]
            expected[key], differing = self._expected(key, ours[key], entry["weights"] if picked else {BASE: 1})
            ties += differing
        numbers = sum(value.numel() for value in ours.values())
        assert ties <= MOST_TIES * numbers, f"{ties} of {numbers} numbers lie between two of the storage format"
        model = self._model(self.folder / name)[0]
        model.load_state_dict(expected)
        assert torch.equal(logits, _logits(model)), "the logits are not those of the merged state dicts"
        assert name == "vision" or not torch.equal(logits, self.states[BASE][1]), (
            "the merged model computes as its base"
        )

    def audited(self, name, entry):
        audited = Audited(Checkpoint(self.folder / name, name), self.parents, entry)
        wrong = [row["tensor"] for row in audited.list if row["status"] not in (VERIFIED, "undecidable")]
        assert overall(row["status"] for row in audited.list) == VERIFIED, f"not verified: {wrong[:3]}"
        alone = Audited(Checkpoint(self.folder / name, name), self.parents)
        assert alone.recovered.entry, "no recipe is found"
        plans = [plan_of(found, self.parents) for found in (entry, alone.recovered.entry)]
        other = [key for key in plans[0].tensors if plans[0].weights(key) != plans[1].weights(key)]
        assert not other, f"the recipe that is found, {alone.recovered.entry}, gives another {other[0]}"

    # what the steps look at

    @property
    def is_text(self):
        """Whether the model reads text alone, so that a server needs no processor of images."""
        return not self._reads_images and not self._nested

    @cached_property
    def groups(self):
        """{group: number of tensors} of a parent."""
        base = self.parents[BASE]
        place = Architecture(base.config).place
        return dict(Counter(str(place(tensor).group) for tensor in base.files))

    @cached_property
    def recipes(self):
        """All of it mixed; the routed experts of the other parent, or its dense MLPs if there are none; its towers."""
        parts = {
            "routed_experts" if self._experts else "dense_mlp": self._experts or self._mlps,
            "vision": self._towers,
        }
        self.picked = {group: keys for group, keys in parts.items() if keys}
        part = {"base": BASE, "weights": {OTHER: 1}}
        return {"full": FULL} | {group: part | {"subset": {"groups": [group]}} for group in self.picked}

    @cached_property
    def states(self):
        """{parent: (state dict in float32, logits)}."""
        return {name: self._load(folder) for name, folder in self.folders.items()}

    @cached_property
    def _loaded_base(self):
        return self._model(self.folders[BASE])[0]

    @cached_property
    def _modules(self):
        """{name: module} of the language model: without towers of other modalities, which have configs of their own."""
        model, decoder = self._loaded_base, self._decoder
        inside = {name: module for name, module in model.named_modules() if module in set(decoder.modules())}
        self._nested = [
            f"{name}."
            for name, module in inside.items()
            if isinstance(module, PreTrainedModel) and module.config not in (decoder.config, model.config)
        ]
        return {name: module for name, module in inside.items() if not f"{name}.".startswith(tuple(self._nested))}

    @property
    def _decoder(self):
        return self._loaded_base.get_decoder() or self._loaded_base

    @cached_property
    def _towers(self):
        """The parameters of towers and projectors: neither the language model's nor its head's.

        None where they are inside the language model: then nothing tells which projectors are theirs.
        """
        model, own = self._loaded_base, {key for name, module in self._modules.items() for key in _own(name, module)}
        head = model.get_output_embeddings()
        heads = {f"{name}.{key}" for name, one in model.named_modules() if one is head for key in one.state_dict()}
        return set() if self._nested or not self._reads_images else model.state_dict().keys() - own - heads

    @cached_property
    def _experts(self):
        """The parameters of routed experts: of modules with as many matrices or rows as there are experts; lists."""
        found = set()
        for name, module in self._modules.items():
            shapes = [tuple(parameter.shape) for parameter in module.parameters(recurse=False)]
            rows = isinstance(module, torch.nn.Embedding) and module.num_embeddings == EXPERTS
            if rows or any((len(shape) == 3 and shape[0] == EXPERTS) or EXPERTS * WIDTH in shape for shape in shapes):
                found |= _own(name, module)
            elif isinstance(module, torch.nn.ModuleList) and len(module) == EXPERTS:
                found |= {f"{name}.{key}" for key in module.state_dict()}
        above = {key.rsplit(".", 2)[0] for key in found}  # where a bias may follow the experts' sum
        found |= {
            f"{name}.bias" for name in above if isinstance(getattr(self._modules.get(name), "bias", None), Tensor)
        }
        return {key for key in found if "attention" not in key}  # of mixtures of attention

    @cached_property
    def _mlps(self):
        """The parameters of dense MLPs: of modules whose matrices have sizes that nothing else has."""
        shapes = [_shape(module) for module in self._modules.values()]
        stated = any({WIDTH, 2 * WIDTH} & {*shape} for shape in shapes)
        # some families have no key for the width, but four times the model's
        widths = {WIDTH, 2 * WIDTH} if stated or self._has_convolutions else {4 * SIZES["hidden_size"]}
        found = set()
        for name, module in self._modules.items():
            inside = {key: child for key, child in module.named_children() if "Norm" not in type(child).__name__}
            wide = {key for key, child in inside.items() if widths & {*_shape(child)}}
            matrices = {key for key, child in inside.items() if any(p.ndim == 2 for p in child.parameters())}
            is_mlp = wide and (matrices == wide or re.search("MLP|Mlp|FeedForward", type(module).__name__))  # no layer
            for key in inside if is_mlp else wide:
                found |= {f"{name}.{key}.{own}" for own in inside[key].state_dict()}
            found |= _own(name, module) if is_mlp else set()
        return found

    @property
    def _has_convolutions(self):
        return any(p.ndim == 3 for module in self._modules.values() for p in module.parameters(recurse=False))

    def _model(self, folder):
        model, info = self.model.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        return model.eval(), info

    def _load(self, folder):
        model, info = self._model(folder)
        odd = {kind: sorted(map(str, keys))[:3] for kind, keys in info.items() if keys}
        assert not odd, f"transformers says of {folder.name}: {odd}"
        state = {key: value.clone() for key, value in model.state_dict().items()}
        return state, _logits(model)

    def _mixed(self, key, weights):
        """A parameter of the mixed state dicts, rounded to BF16 if all parents' numbers are in BF16."""
        parents = [self.states[parent][0][key] for parent in weights]
        if not parents[0].is_floating_point() or [*weights.values()] == [1]:
            return parents[0]
        total = sum(weight * value.double() for weight, value in zip(weights.values(), parents, strict=True))
        return _rounded(total, all(map(_in_bf16, parents)))

    def _expected(self, key, ours, weights):
        """The parameter of the mixed state dicts, and in how many numbers ours may differ from it, and does.

        That is where float32's error decides between the two nearest numbers of the storage format: there it is as
        ours is.  Raises AssertionError for any other difference.
        """
        expected = self._mixed(key, weights)
        if torch.equal(ours, expected):
            return expected, 0
        parents = {name: self.states[name][0][key].double() for name in weights}
        total = sum(weights[name] * value for name, value in parents.items())
        size = sum(abs(weights[name] * value) for name, value in parents.items())
        farther = (ours.double() - total).abs() > (expected.double() - total).abs() + FLOAT32_ERROR * size
        assert not farther.any(), f"{int(farther.sum())} of {farther.numel()} numbers of {key} are not as in {weights}"
        return ours, int((ours != expected).sum()) if all(map(_in_bf16, parents.values())) else 0


def _own(name, module):
    """The names of a module's parameters and buffers, without those of modules in it."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return {f"{name}.{key}" if name else key for key, _ in own}


def _shape(module):
    """The shape of a module's weight, if that is a matrix; else nothing."""
    weight = getattr(module, "weight", None)
    return tuple(weight.shape) if isinstance(weight, torch.nn.Parameter) and weight.ndim == 2 else ()


def _in_bf16(tensor):
    """Whether all numbers of a tensor are numbers of BF16."""
    return torch.equal(tensor, tensor.bfloat16().to(tensor.dtype))


def _rounded(total, to_bf16):
    """float64 numbers rounded once, to the nearest BF16 or float32; as float32."""
    near = total.float()
    if not to_bf16:
        return near
    # to odd first, so that the second rounding sees on which side of a tie the sum was
    bits = near.view(torch.int32)
    bits = torch.where((near.double().abs() > total.abs()), bits - 1, bits)
    odd = torch.where(near.double() == total, bits, bits | 1)
    return odd.view(torch.float32).bfloat16().float()


@torch.no_grad()
def _logits(model):
    return model(input_ids=PROMPT, use_cache=False).logits.float()
