"""The order of examples: a pure function of (seed, step), so that nothing about position is saved.

Position p of the stream of examples belongs to epoch p // size and takes row
permutation(seed, epoch)(p % size). The permutation is a keyed bijection (a Feistel network, values
beyond the size walked round again), evaluated only where it is asked: any step costs the same.
"""

import numpy as np

ROUNDS = 8  # even


def order(seed: int, steps: np.ndarray, size: int, batch: int) -> np.ndarray:
    """Seed, step numbers [K], examples, batch -> row numbers [K, batch], int64.

    Every epoch is an exact permutation; batches run on across its end and none is short.
    """
    positions = np.asarray(steps, np.int64)[:, None] * batch + np.arange(batch)
    return permutation(seed, positions // size, positions % size, size)


def host_slice(indices: np.ndarray, host: int, hosts: int) -> np.ndarray:
    """A host's contiguous share of global batches [..., B]; B must divide by `hosts`."""
    share = indices.shape[-1] // hosts
    return indices[..., host * share : (host + 1) * share]


def permutation(seed: int, epochs: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """values in [0, size) -> their images under each epoch's permutation, int64; same shape."""
    found = np.empty(values.shape, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        found[here] = _bijection(_keys(seed, int(epoch)), values[here].astype(np.uint32), size)
    return found


def _bijection(keys: list[int], values: np.ndarray, size: int) -> np.ndarray:
    """uint32 values below `size` -> a keyed permutation of them."""
    low = max(1, (size - 1).bit_length() // 2)
    high = max(1, (size - 1).bit_length() - low)
    found = _feistel(keys, values, high, low)
    while (beyond := found >= size).any():  # the domain is less than twice the size (or 4)
        found[beyond] = _feistel(keys, found[beyond], high, low)
    return found


def _feistel(keys: list[int], values: np.ndarray, high: int, low: int) -> np.ndarray:
    """An even number of rounds on the two parts of high + low bits; parts may differ in width."""
    left, right = values >> np.uint32(low), values & np.uint32(2**low - 1)
    for number, key in enumerate(keys):
        if number % 2:
            right = right ^ (_scramble(left, key) & np.uint32(2**low - 1))
        else:
            left = left ^ (_scramble(right, key) & np.uint32(2**high - 1))
    return (left << np.uint32(low)) | right


def _scramble(x: np.ndarray, key: int) -> np.ndarray:
    """32 bits to 32 bits: MurmurHash3's finalizer without its last shift."""
    x = (x ^ np.uint32(key)) * np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def _keys(seed: int, epoch: int) -> list[int]:
    """Round keys of an epoch: SplitMix64 (Steele et al., 2014) over seed, epoch and round."""
    base = _splitmix(_splitmix(seed) + epoch)
    return [_splitmix(base + number) >> 32 for number in range(ROUNDS)]


def _splitmix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)
