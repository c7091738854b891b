"""Random streams from one seed."""

import pytest

from scripts.run.seeding import integer_seed, numpy_generator


def test_the_same_seed_and_purpose_give_the_same_stream() -> None:
    assert numpy_generator(3, "replay").random(5).tolist() == numpy_generator(3, "replay").random(5).tolist()
    assert integer_seed(3, "weights") == integer_seed(3, "weights")


def test_streams_of_other_seeds_and_other_purposes_differ() -> None:
    streams = [(0, "replay"), (1, "replay"), (0, "exploration")]
    assert len({float(numpy_generator(seed, purpose).random()) for seed, purpose in streams}) == 3
    assert len({integer_seed(seed, purpose) for seed, purpose in streams}) == 3


def test_an_integer_seed_fits_a_library_that_takes_31_bits() -> None:
    seeds = [integer_seed(seed, "environments") for seed in range(1000)]
    assert 0 <= min(seeds) < 2**25
    assert 2**31 - 2**25 <= max(seeds) < 2**31


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="a seed is an integer of at least 0, got -1"):
        integer_seed(-1, "a")
