"""What the tests of several methods need: an encoder of real architecture and small size, frames, slopes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from gen_ssl.encoders import DQN2013CNN
from gen_ssl.frames import FrameBatch

FRAME_SHAPE = (3, 29, 37)  # a map of 32 x 2 x 3
FEATURES = 11


def _make_encoder(frame_shape: tuple[int, int, int] = FRAME_SHAPE, seed: int = 0) -> DQN2013CNN:
    torch.manual_seed(seed)
    return DQN2013CNN(frame_shape, feature_dim=FEATURES).double()


def _make_batch(
    num_times: int = 1, batch_size: int = 5, frame_shape: tuple[int, int, int] = FRAME_SHAPE, seed: int = 0
) -> FrameBatch:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_times, batch_size, *frame_shape)
    return FrameBatch(
        stacks=torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        actions=torch.arange(batch_size) % 3,
        rewards=torch.zeros(batch_size),
        games=torch.arange(batch_size) % 2,
    )


def _slopes(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Returns the gradient of a function of one float64 array by central differences."""
    slopes = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        there, back = at.copy(), at.copy()
        there[index] += step
        back[index] -= step
        slopes[index] = (function(there) - function(back)) / (2 * step)
    return slopes


@pytest.fixture
def make_encoder():
    """An encoder of 11 features in float64, for stacks of (3, 29, 37) unless told otherwise."""
    return _make_encoder


@pytest.fixture
def make_batch():
    """A batch of noise: 5 samples at one time, unless told otherwise, of 3 actions and 2 games."""
    return _make_batch


@pytest.fixture
def slopes():
    """The gradient of a function from a float64 array to a number, by central differences."""
    return _slopes


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
