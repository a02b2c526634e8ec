"""Kernels for CPUs that round sums by chance, or so that the λ that is left is the asked one.

Rounding to nearest pulls a mixture to the nearer parent where its parents are about a step apart.  These do not:

* stochastic: a number becomes its upper neighbour with the probability of how far it has come from the lower one;
* balanced: rounding to nearest of a mixture whose λ are shifted, block by block, so that what the rounding changes has
  no component along the parents' differences.  Of all roundings with that property, it has the least noise: to
  minimize ‖q - x‖² under ⟨q - x, d⟩ = 0 is, with a multiplier t, to round x + t d to nearest.

Random bits are Philox's [Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011], counted by where a number
stands in its weight, so that they are the same on every device and in every order.  The sums that balance are of whole
numbers, for the same reason.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact, inlined

LINE = 128  # numbers in a row that share a run of counters
LANES = 4  # random numbers of a counter
ROUNDS = 10  # of Philox
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
INCREMENTS = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)

DITHER_BITS = 4  # balanced: numbers within 2**-5 steps of a tie go either way, so that ties can be shared out
TICKS = 16  # binary digits of the shifts t, which lie between -1 and 1
PASSES = 4  # over the directions, where there are several
CHANGE_BITS = 16  # digits behind the point of a change of a number, where the largest number is between 256 and 512
DIRECTION_BITS = 17  # of the largest component of a direction
FARTHEST = np.float32(2048)  # component of a direction, where the largest number is between 256 and 512

MAGNITUDE = np.uint32(0x7FFFFFFF)
SIGN = np.uint32(0x80000000)

SMALLEST_E4M3 = np.uint32(121 << 23)  # the bits of the smallest normal number, 2**-6
LARGEST_E4M3 = np.uint32(0x7E)  # the code of 448

Floats = NDArray[np.float32]
Words = NDArray[np.uint32]


@inlined
def _bits(value):
    return np.float32(value).view(np.uint32)


@inlined
def _float(bits):
    return np.uint32(bits).view(np.float32)


@exact
def _random_line(key, line, out):
    """Fill ``out`` (128,) with the random numbers of one of a weight's lines; see random_bits."""
    width = LINE // LANES
    first, second = np.uint32(key & LOW), np.uint32(key >> np.uint64(32))
    start = np.uint64(line) * np.uint64(width)
    a, b, c, d = out[:width], out[width : 2 * width], out[2 * width : 3 * width], out[3 * width :]
    for j in range(width):
        counter = start + np.uint64(j)
        x, y = np.uint32(counter & LOW), np.uint32(counter >> np.uint64(32))
        z, w = np.uint32(0), np.uint32(0)
        k, m = first, second
        for _ in range(ROUNDS):
            one, other = np.uint64(x) * MULTIPLIERS[0], np.uint64(z) * MULTIPLIERS[1]
            x = np.uint32(other >> np.uint64(32)) ^ y ^ k
            z = np.uint32(one >> np.uint64(32)) ^ w ^ m
            y, w = np.uint32(other & LOW), np.uint32(one & LOW)
            k, m = np.uint32(k + INCREMENTS[0]), np.uint32(m + INCREMENTS[1])
        a[j], b[j], c[j], d[j] = x, y, z, w


@exact
def random_bits(key: int, line: int, out: Words) -> None:
    """Fill ``out`` (lines, 128) with the random numbers of a weight from one of its lines of 128 numbers on.

    Philox4x32-10, key: 64 bits; the number j of line l is the output j // 32 of the counter 32 l + j % 32.
    """
    for row in range(out.shape[0]):
        _random_line(key, line + row, out[row])


@inlined
def _rounded(value, offset, kept, smallest, largest):
    """A value after ``offset`` was added behind the digits that are ``kept``, and the rest cut off.

    smallest: the format's smallest normal number, below which numbers are as far apart as above it; 0 for none.
    """
    bits = _bits(value)
    magnitude = _float(bits & MAGNITUDE)
    below = smallest if magnitude < smallest else np.float32(0)
    cut = _float((_bits(magnitude + below) + offset) & kept) - below
    return _float(_bits(min(cut, largest)) | (bits & SIGN))


@exact
def round_by_chance(values: Floats, random: Words, dropped: int, smallest: float, largest: float) -> None:
    """Round float32 (m, n) in place to a format that has ``dropped`` digits less; random: (m, n or more)."""
    rows, columns = values.shape
    mask = np.uint32((1 << dropped) - 1)
    small, large = np.float32(smallest), np.float32(largest)
    for i in range(rows):
        line, bits = values[i], random[i]
        for j in range(columns):
            line[j] = _rounded(line[j], bits[j] & mask, ~mask, small, large)


@exact
def encode_by_chance(values: Floats, scales: Floats, key: int, line: int, out: NDArray[np.uint8]) -> None:
    """Make e4m3 codes of a row of blocks, float32 (up to 128, n), divided by their scales (ceil(n / 128),).

    line: the first of the weight's lines of 128 numbers that stand here.  Gives what dividing, ``round_by_chance`` and
    rounding to nearest give one after the other.
    """
    rows, columns = values.shape
    random, kept, small = np.empty(LINE, np.uint32), np.uint32((1 << 20) - 1), _float(SMALLEST_E4M3)
    for i in range(rows):
        for block in range(scales.size):
            begin, end = block * LINE, min(block * LINE + LINE, columns)
            _random_line(key, line + i * scales.size + block, random)
            source, target, scale = values[i, begin:end], out[i, begin:end], scales[block]
            for j in range(source.size):
                bits = _bits(source[j] / scale)
                magnitude = _float(bits & MAGNITUDE)
                below = magnitude < small  # where codes are as far apart as above it
                sum_bits = _bits(magnitude + (small if below else np.float32(0))) + (random[j] & kept)
                first = np.uint32(121 << 3) if below else np.uint32(120 << 3)
                code = min((sum_bits >> np.uint32(20)) - first, LARGEST_E4M3)
                target[j] = code | ((bits >> np.uint32(24)) & np.uint32(0x80))


@exact
def _moment(values, direction, weights, offsets, shift, unit, kept, smallest, largest):
    """Sum, over a block, the change that rounding makes along a direction; whole numbers, all arrays (n,).

    values: with the other directions' shifts; the first row of two is without any.
    """
    total = np.int64(0)
    for j in range(direction.size):
        moved = values[1, j] + shift * direction[j]
        change = _rounded(moved, offsets[j], kept, smallest, largest) - values[0, j]
        total += np.int64(np.int32(change * unit)) * np.int64(weights[j])
    return total


@exact
def _power(exponent):
    """2 to a power within float32's normal range."""
    return _float(np.uint32(min(max(exponent, -126), 127) + 127) << np.uint32(23))


@exact
def _exponent(values):
    """The exponent of the largest magnitude of float32 (n,)."""
    largest = np.uint32(0)
    for j in range(values.size):
        largest = max(largest, _bits(values[j]) & MAGNITUDE)
    return np.int64(largest >> np.uint32(23)) - 127


@exact
def balance(values: Floats, directions: Floats, random: Words, dropped: int, smallest: float, largest: float) -> None:
    """Round a block, float32 (n,), in place, so that its change has next to no component along directions (k, n).

    directions: the parents' differences, in the unit of the values; random: (n,); see round_by_chance for the rest.
    """
    count, size = directions.shape
    kept = ~np.uint32((1 << dropped) - 1)
    small, large = np.float32(smallest), np.float32(largest)
    scale = 8 - _exponent(values)  # the largest number times 2**scale is between 256 and 512
    unit, far = _power(scale + CHANGE_BITS), FARTHEST * _power(-scale)
    mask = np.uint32((1 << (dropped - DITHER_BITS)) - 1)
    start = np.uint32((1 << (dropped - 1)) - (1 << (dropped - 1 - DITHER_BITS)))
    offsets = np.empty(size, np.uint32)
    for j in range(size):
        offsets[j] = start + (random[j] & mask)
    both, weights = np.empty((2, size), np.float32), np.empty((count, size), np.int32)
    moves, shifts = np.empty((count, size), np.float32), np.zeros(count, np.float32)
    both[0] = values
    for k in range(count):
        for j in range(size):
            moves[k, j] = min(max(directions[k, j], -far), far)
        unit_of_direction = _power(DIRECTION_BITS - _exponent(moves[k]))
        for j in range(size):
            weights[k, j] = np.int32(moves[k, j] * unit_of_direction)
    for number in range(count * PASSES if count > 1 else count):
        k = number % count
        both[1] = values
        for other in range(count):
            if other != k:
                for j in range(size):
                    both[1, j] = both[1, j] + shifts[other] * moves[other, j]
        low, high = np.int64(-(1 << TICKS)), np.int64(1 << TICKS)
        below, above = np.int64(-(1 << 62)), np.int64(1 << 62)
        while high - low > 1:
            middle = (low + high) >> 1
            shift = np.float32(middle) * _power(-TICKS)
            found = _moment(both, moves[k], weights[k], offsets, shift, unit, kept, small, large)
            if found < 0:
                low, below = middle, found
            else:
                high, above = middle, found
        shifts[k] = np.float32(low if -below < above else high) * _power(-TICKS)
    for j in range(size):
        moved = values[j]
        for k in range(count):
            moved = moved + shifts[k] * moves[k, j]
        values[j] = _rounded(moved, offsets[j], kept, small, large)
