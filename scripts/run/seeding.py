"""Turns one seed into independent random streams, one per purpose, and their states into values a checkpoint can hold.

A stream depends on the seed and the name of its purpose only: adding a purpose leaves all other streams as they were.
"""

import zlib
from typing import Any

import numpy as np
import torch


def _sequence(seed: int, purpose: str) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"a seed is an integer of at least 0, got {seed}")
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),))


def integer_seed(seed: int, purpose: str) -> int:
    """Returns a seed in 0 .. 2**31 - 1 for a library that takes only an integer."""
    return int(_sequence(seed, purpose).generate_state(1)[0]) >> 1


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """Returns the NumPy stream of `purpose`."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose)))


def torch_generator(seed: int, purpose: str, *, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns the PyTorch stream of `purpose` on `device`."""
    return torch.Generator(device).manual_seed(integer_seed(seed, purpose))


def generator_state(generator: np.random.Generator | torch.Generator) -> dict[str, Any]:
    """Returns the state of `generator` as plain values and tensors, ready for a checkpoint."""
    if isinstance(generator, torch.Generator):
        return {"torch": generator.get_state()}
    return {"numpy": dict(generator.bit_generator.state)}


def restore_generator(generator: np.random.Generator | torch.Generator, state: dict[str, Any]) -> None:
    """Puts `generator` into a state from `generator_state`, so that it goes on as the saved one would have."""
    kind = "torch" if isinstance(generator, torch.Generator) else "numpy"
    if kind not in state:
        raise ValueError(f"expected the state of a {kind} generator, got one of {sorted(state)}")
    if isinstance(generator, torch.Generator):
        generator.set_state(state["torch"])
    else:
        generator.bit_generator.state = state["numpy"]
