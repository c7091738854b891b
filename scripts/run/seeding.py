"""Turns one seed into independent random streams, one per purpose.

A stream depends on the seed and the name of its purpose only: adding a purpose leaves all other streams as they were.
"""

import zlib

import numpy as np


def _sequence(seed: int, purpose: str) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"a seed is an integer of at least 0, got {seed}")
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),))


def integer_seed(seed: int, purpose: str) -> int:
    """Returns the seed of `purpose`, in 0 .. 2**31 - 1, for a library that takes only an integer."""
    return int(_sequence(seed, purpose).generate_state(1)[0]) >> 1


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """Returns the stream of `purpose`."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose)))
