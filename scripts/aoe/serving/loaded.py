"""What a server was given and computes with, by digest: is it what the plan says, and the same at every start?

Each of a server's workers writes a record.  ``handed`` is the digest of all tensors that the loader gave to vLLM, as
they are stored (codes, scales, all others).  ``held`` is the digest of all tensors that the worker computes with after
vLLM's own conversions, such as another FP8 dialect on AMD's GPUs or the matrices that MLA absorbs.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.files.replacing import replace_text

if TYPE_CHECKING:
    import torch

AHEAD = 1 << 30  # bytes of tensors that are kept until they are hashed
NO_WEIGHTS = ("kv_cache", "vllm_config", "compilation_config")  # attributes of vLLM's layers
DEEPEST = 12  # attributes of attributes that are looked into


def digest_of(tensor: torch.Tensor) -> str:
    """Return the SHA-256, in hex, of a torch tensor's dtype, shape and bytes."""
    import torch

    found = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode())
    found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def digest_of_all(digests: Mapping[str, str]) -> str:
    """Return the SHA-256, in hex, of {name: digest}, in the order of the names."""
    return hashlib.sha256("".join(f"{name} {found}\n" for name, found in sorted(digests.items())).encode()).hexdigest()


class Handing:
    """Hashes tensors while a loader hands them to vLLM.

    reference: an iterator over (weight, tensors) of the weights that this worker makes itself, in their order, from
    another execution of the plan, which runs beside; or None.
    """

    def __init__(self, threads: int, reference: Iterator[tuple[str, list[torch.Tensor]]] | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads + 1)
        self._digests, self._shared, self._pending, self._ahead = {}, set(), deque(), 0
        self._expected = self._pool.submit(self._remade, reference) if reference else None

    def add(self, weight: str, tensors: Sequence[torch.Tensor], shared: bool) -> None:
        """Note a weight's tensors (its scale the second); shared: other workers are handed the same ones."""
        self._shared |= {weight} if shared else set()
        self._digests[weight] = self._pool.submit(_digest_after, _event(tensors), tensors)
        self._pending.append((weight, sum(tensor.nbytes for tensor in tensors)))
        self._ahead += self._pending[-1][1]
        while self._ahead > AHEAD:
            done, size = self._pending.popleft()
            self._digests[done].result()
            self._ahead -= size

    def finish(self) -> dict[str, Any]:
        """Return {"tensors", "handed", "shared", "checked"}: their number, their digest, the shared ones', and how
        many were made a second time.  Raises AoeError if one of these was handed over with other bytes."""
        digests = {weight: found.result() for weight, found in self._digests.items()}
        expected = self._expected.result() if self._expected else {}
        self._pool.shutdown()
        for weight, found in expected.items():
            if digests.get(weight) != found:
                raise AoeError(
                    f"The server was handed other bytes for {weight} than the plan gives; answers would be another "
                    "model's.  Start it on another node, and report this."
                )
        shared = digest_of_all({weight: digests[weight] for weight in self._shared})
        handed = {"tensors": len(digests), "handed": digest_of_all(digests), "shared": shared}
        return handed | {"checked": len(expected)}

    def _remade(self, reference):
        return {weight: _digest_after(None, tensors) for weight, tensors in reference}


def _event(tensors):
    """What marks the point of a GPU's work at which the tensors are complete, or None on CPUs."""
    import torch

    if not any(tensor.is_cuda for tensor in tensors):
        return None
    event = torch.cuda.Event()
    event.record()
    return event


def _digest_after(event, tensors):
    if event is not None:
        event.synchronize()
    return "+".join(map(digest_of, tensors))


def held_by(model: torch.nn.Module, threads: int) -> dict[str, Any]:
    """Return {"held": digest, "held_tensors": number} of all tensors that are reachable from a torch module."""
    found = dict(_tensors("", model, set(), 0))
    with ThreadPoolExecutor(threads) as pool:
        digests = dict(zip(found, pool.map(digest_of, found.values()), strict=True))
    return {"held": digest_of_all(digests), "held_tensors": len(digests)}


def _tensors(path, value, seen, depth):
    """Yield (path, tensor): parameters, buffers, and what layers and their kernels keep beside these."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() and value.layout == torch.strided and value.device.type != "meta":
            yield path, value
    elif depth > DEEPEST or id(value) in seen:
        return
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _tensors(f"{path}[{place}]", item, seen, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, (str, int)):
                yield from _tensors(f"{path}.{key}", item, seen, depth + 1)
    elif isinstance(value, torch.nn.Module) or _is_part_of_a_layer(value):
        seen.add(id(value))
        for name, item in sorted(vars(value).items()):
            if name not in NO_WEIGHTS:
                plain = name in ("_modules", "_parameters", "_buffers")
                yield from _tensors(path if plain else f"{path}.{name}", item, seen, depth + (not plain))


def _is_part_of_a_layer(value):
    home = type(value).__module__
    return home.startswith("vllm.") and not home.startswith("vllm.config") and hasattr(value, "__dict__")


def write_record(folder: Path | str, name: str, record: Mapping[str, Any]) -> None:
    """Write a worker's record to ``folder``/{name}.json, complete or not at all."""
    replace_text(Path(folder) / f"{name}.json", json.dumps(record))


def read_records(folder: Path | str) -> list[dict[str, Any]]:
    """Return the records of all workers of a server, in the order of their ranks.

    Raises AoeError if a worker was handed something else than another of what both were to be given.
    """
    records = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")]
    records.sort(key=lambda record: (record["model"], record["rank"]))
    alike = {}
    for record in records:
        first = alike.setdefault((record["model"], *record["layers"]), record)
        if record["shared"] != first["shared"]:
            raise AoeError(
                f"Worker {record['rank']} of the server was handed other bytes than worker {first['rank']} for weights "
                "that all of them hold; the connection between the GPUs is not to be trusted."
            )
    return records


def check_same(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], what: Sequence[str] = ("handed", "held")
) -> None:
    """Raise AoeError unless two servers of one variant, with the same options, were given and hold the same.

    before, now: their records; what: which digests have to agree.
    """
    if len(before) != len(now):
        raise AoeError(
            f"The server has {len(now)} workers, and had {len(before)} at an earlier start; delete the variant's "
            "unfinished answers to begin anew."
        )
    for one, other in zip(before, now, strict=True):
        for kind in what:
            if one[kind] != other[kind]:
                doing = "was handed" if kind == "handed" else "computes with"
                raise AoeError(
                    f"Worker {other['rank']} {doing} other bytes than at an earlier start of this variant's server "
                    f"({one[kind][:12]}… before, {other[kind][:12]}… now); its answers do not belong together."
                )
