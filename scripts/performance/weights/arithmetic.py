"""The arithmetic of merging and comparing alone, on one expert's projection in memory: our kernel and plain torch."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from aoe.checkpoints.formats import BLOCK
from aoe.numerics import fp8, kernels
from aoe.numerics.kernels import FP8
from performance.measure import Row, side_by_side

SHAPE = (2048, 7168)


class Projection:
    """A projection of two parents in FP8, and where their mixture goes; threads share the rows of blocks."""

    def __init__(self, threads: int) -> None:
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(*SHAPE, generator=generator) * 0.02 for _ in range(2)]
        self._stored = [fp8.quantize(weight) for weight in weights]
        self._parts = [(codes.view(torch.uint8).numpy(), scale.numpy()) for codes, scale in self._stored]
        self._engine = kernels.for_device("cpu")
        codes, scale = self._parts[0]
        self._out, self._scale = self._engine.empty(codes.shape, FP8), self._engine.empty(scale.shape, "F32")
        rows = SHAPE[0] // BLOCK
        self._edges = [round(number * rows / threads) * BLOCK for number in range(threads + 1)]

    def combine(self, pool: ThreadPoolExecutor) -> None:
        """Dequantize, combine and requantize both parents with our kernel."""

        def part(begin, end):
            blocks = slice(begin // BLOCK, end // BLOCK)
            self._engine.combine(self._rows(begin, end), FP8, [0.5, 0.5], self._out[begin:end], self._scale[blocks])

        self._by_rows(pool, part)

    def combine_plainly(self) -> None:
        """Do the same with plain torch."""
        one, other = self._stored
        fp8.quantize(fp8.dequantize(*one) * 0.5 + fp8.dequantize(*other) * 0.5)

    def compare(self, pool: ThreadPoolExecutor) -> None:
        """Sum up the differences of both parents with our kernel."""
        self._by_rows(pool, lambda begin, end: self._engine.difference(self._rows(begin, end), FP8))

    def compare_plainly(self) -> None:
        """Compute three norms of the differences with plain torch, in float32."""
        ours, theirs = (fp8.dequantize(*pair) for pair in self._stored)
        codes = [pair[0].float() for pair in self._stored]
        for tensor in (ours, ours - theirs, codes[0] - codes[1]):
            tensor.norm()

    def _rows(self, begin, end):
        blocks = slice(begin // BLOCK, end // BLOCK)
        return [(codes[begin:end], scales[blocks]) for codes, scales in self._parts]

    def _by_rows(self, pool: ThreadPoolExecutor, part: Callable[[int, int], object]) -> None:
        list(pool.map(part, self._edges, self._edges[1:]))


def merge_arithmetic(runs: int) -> list[Row]:
    """Combine and compare one expert's projection in memory, by our kernel and by plain torch."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    projection = Projection(threads)
    with ThreadPoolExecutor(threads) as pool:
        return [
            side_by_side(
                "merge_fp8_vs_torch",
                4 * runs,
                lambda: projection.combine(pool),
                projection.combine_plainly,
                f"dequantize, combine and requantize two 2048x7168 weights in memory, {threads} threads; "
                "reference: plain torch",
            ),
            side_by_side(
                "diff_fp8_vs_torch",
                4 * runs,
                lambda: projection.compare(pool),
                projection.compare_plainly,
                f"three norms of the difference of two 2048x7168 weights in memory, {threads} threads; "
                "reference: plain torch, in float32",
            ),
        ]
