"""Prioritised sampling: its probabilities, its weights, and what may never be drawn."""

import numpy as np
import pytest
import torch

from agents.replay import Priorities, RawStorage, Replay

ONE_ENV = 1


def prioritised_replay(capacity: int, *, exponent: float = 0.6) -> Replay:
    return Replay(
        RawStorage(capacity, (1, 1, 1)),
        num_envs=ONE_ENV,
        stack=1,
        n_step=1,
        discount=0.9,
        reward_clip=False,
        priorities=Priorities(capacity, exponent=exponent, epsilon=0.01),
    )


def feed(replay: Replay, num_steps: int) -> None:
    frame, no = np.zeros((1, 1, 1, 1), np.uint8), np.array([False])
    for _ in range(num_steps):
        replay.append(
            frames=frame, actions=np.array([0]), rewards=np.array([0.0]), terminal=no, ended=no, final_frames=frame
        )


def test_transitions_are_drawn_in_proportion_to_their_priority() -> None:
    priorities = Priorities(7, exponent=0.5, epsilon=1.0)
    priorities.update(np.array([1, 4, 6]), np.array([3.0, -8.0, 15.0]))  # p = 2, 3, 4
    draw = priorities.draw(90_000, np.random.default_rng(0))
    counts = np.bincount(draw.slot, minlength=7)
    # One draw from each of 90,000 strata: only the strata on a border can fall on either side.
    np.testing.assert_allclose(counts, [0, 20_000, 0, 0, 30_000, 0, 40_000], atol=1)
    np.testing.assert_allclose(draw.probability, np.array([0, 2, 0, 0, 3, 0, 4])[draw.slot] / 9)


def test_equal_priorities_drawn_once_each_in_as_many_strata() -> None:
    priorities = Priorities(11)
    priorities.admit(np.arange(2, 9))
    draw = priorities.draw(7, np.random.default_rng(0))
    assert draw.slot.tolist() == list(range(2, 9))


def test_weights_are_those_of_the_paper_over_the_maximum_of_the_batch() -> None:
    replay = prioritised_replay(11, exponent=1.0)
    feed(replay, 4)
    replay.set_priorities(torch.tensor([0, 1, 2]), torch.tensor([0.99, 2.99, 5.99]))  # p = 1, 3, 6
    batch = replay.sample(500, np.random.default_rng(0), importance_exponent=0.5)
    unnormalised = (3 * np.array([0.1, 0.3, 0.6])) ** -0.5
    np.testing.assert_allclose(batch.weight, (unnormalised / unnormalised[0])[batch.slot], rtol=1e-6)
    # Without slot 0, the weightiest of the memory, slot 1 has the batch's largest weight: 0.9^-0.5 over itself.
    batch = replay.sample(2, np.random.default_rng(0), importance_exponent=0.5)
    assert batch.slot.tolist() == [1, 2]
    np.testing.assert_allclose(batch.weight, [1.0, (0.9 / 1.8) ** 0.5], rtol=1e-6)


def test_weights_are_one_when_sampling_uniformly() -> None:
    replay = Replay(RawStorage(11, (1, 1, 1)), num_envs=1, stack=1, n_step=1, discount=0.9, reward_clip=False)
    feed(replay, 4)
    batch = replay.sample(5, np.random.default_rng(0), importance_exponent=1.0)
    assert batch.weight.tolist() == [1.0] * 5
    replay.set_priorities(batch.slot, batch.reward)  # has no effect, and may be called


def test_new_transitions_get_the_largest_priority_there_ever_was() -> None:
    priorities = Priorities(5, exponent=1.0, epsilon=0.5)
    priorities.admit(np.array([0]))
    priorities.update(np.array([0]), np.array([-6.5]))
    priorities.update(np.array([0]), np.array([1.5]))
    priorities.admit(np.array([3]))
    assert priorities.state_dict(used=5)["priority"].tolist() == [2.0, 0.0, 0.0, 7.0, 0.0]


def test_priorities_equal_a_plain_dictionary_under_random_operations() -> None:
    generator = np.random.default_rng(5)
    priorities, plain, largest = Priorities(13, exponent=0.7, epsilon=0.1), dict.fromkeys(range(13), 0.0), 1.0
    for _ in range(307):
        slots = generator.permutation(13)[: generator.integers(1, 5)]
        match generator.integers(3):
            case 0:
                priorities.admit(slots)
                plain |= dict.fromkeys(slots.tolist(), largest)
            case 1:
                priorities.retire(slots)
                plain |= dict.fromkeys(slots.tolist(), 0.0)
            case _:
                error = generator.standard_normal(len(slots)) * 10
                priorities.update(slots, error)
                new = {slot: (abs(e) + 0.1) ** 0.7 for slot, e in zip(slots.tolist(), error.tolist(), strict=True)}
                plain |= new
                largest = max(largest, *new.values())
        np.testing.assert_allclose(priorities.state_dict(used=13)["priority"], list(plain.values()), rtol=1e-15)
        if any(plain.values()):
            assert all(plain[slot] > 0 for slot in priorities.draw(31, generator).slot.tolist())


def test_a_transition_overwritten_since_it_was_sampled_keeps_priority_zero() -> None:
    replay = prioritised_replay(5)
    feed(replay, 5)
    replay.set_priorities(torch.tensor([0]), torch.tensor([1e9]))
    feed(replay, 1)  # overwrites slot 0, which waits for its next observation
    replay.set_priorities(torch.tensor([0]), torch.tensor([1e9]))
    assert replay.state_dict()["priorities"]["priority"][0] == 0
    assert 0 not in replay.sample(100, np.random.default_rng(0)).slot.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_td_errors_that_are_not_finite_are_refused(value: float) -> None:
    replay = prioritised_replay(5)
    feed(replay, 3)
    with pytest.raises(FloatingPointError, match="td_error must be finite"):
        replay.set_priorities(torch.tensor([0, 1]), torch.tensor([0.0, value]))


def test_impossible_exponent_and_epsilon_are_refused() -> None:
    with pytest.raises(ValueError, match=r"exponent must be between 0 and 1, got 1\.5"):
        Priorities(5, exponent=1.5)
    with pytest.raises(ValueError, match=r"epsilon must be positive, got 0\.0"):
        Priorities(5, epsilon=0.0)
