"""Random streams from one seed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.run.checkpoint import load_checkpoint, save_checkpoint
from scripts.run.seeding import generator_state, integer_seed, numpy_generator, restore_generator, torch_generator


def test_the_same_seed_and_purpose_give_the_same_stream() -> None:
    assert numpy_generator(3, "replay").random(5).tolist() == numpy_generator(3, "replay").random(5).tolist()
    first, second = (torch.rand(5, generator=torch_generator(3, "weights")) for _ in range(2))
    assert torch.equal(first, second)


def test_streams_of_other_seeds_and_other_purposes_differ() -> None:
    streams = [(0, "replay"), (1, "replay"), (0, "exploration")]
    assert len({float(numpy_generator(seed, purpose).random()) for seed, purpose in streams}) == 3
    assert len({integer_seed(seed, purpose) for seed, purpose in streams}) == 3


def test_an_integer_seed_fits_a_library_that_takes_31_bits() -> None:
    seeds = [integer_seed(seed, "environments") for seed in range(1000)]
    assert 0 <= min(seeds) < 2**25
    assert 2**31 - 2**25 <= max(seeds) < 2**31


def test_a_generator_goes_on_after_a_checkpoint_as_it_would_have_gone_on(tmp_path: Path) -> None:
    generators: list[np.random.Generator | torch.Generator] = [numpy_generator(0, "a"), torch_generator(0, "a")]
    states = {str(index): generator_state(generator) for index, generator in enumerate(generators)}
    loaded = load_checkpoint(save_checkpoint(tmp_path / "checkpoint.pt", states))

    def draw() -> list[float]:
        numpy_one, torch_one = generators
        assert isinstance(numpy_one, np.random.Generator)
        assert isinstance(torch_one, torch.Generator)
        return [*numpy_one.random(7).tolist(), *torch.rand(7, generator=torch_one).tolist()]

    expected = draw()
    for index, generator in enumerate(generators):
        restore_generator(generator, loaded[str(index)])
    assert draw() == expected


def test_the_state_of_another_kind_of_generator_is_refused() -> None:
    state = generator_state(torch_generator(0, "a"))
    with pytest.raises(ValueError, match=r"expected the state of a numpy generator, got one of \['torch'\]"):
        restore_generator(numpy_generator(0, "a"), state)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="a seed is an integer of at least 0, got -1"):
        integer_seed(-1, "a")
