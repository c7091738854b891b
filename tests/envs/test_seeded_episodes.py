import io
import json

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch

from envs import AtariConfig, Catch, SeededEpisodes, make_atari_vector, make_catch_vector

# Short episodes, so that many end within a test.
SHORT = {"max_frames_per_episode": 203}


def random_steps(env, num_steps, seed=0):
    """Yields what each of some random steps returned."""
    generator = np.random.default_rng(seed)
    for _ in range(num_steps):
        yield env.step(generator.integers(env.action_space.nvec))


def play(env, num_steps, seed=0):
    return list(random_steps(env, num_steps, seed))


def assert_same_steps(left, right):
    for one, other in zip(left, right, strict=True):
        for part, other_part in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(part, other_part)
        assert one[4].keys() == other[4].keys()
        for key in one[4]:
            np.testing.assert_array_equal(one[4][key], other[4][key])


def make(game, **arguments):
    if game == "Catch":
        return make_catch_vector(num_envs=2, **arguments)
    return make_atari_vector(AtariConfig(game=game, **SHORT), num_envs=2, num_threads=1, **arguments)


@pytest.mark.parametrize(
    ("game", "reseed_every_steps"),
    [("Catch", 20_000), ("Catch", 60), ("Pong", 20_000), ("Breakout", 60), ("SpaceInvaders", 20_000)],
)
def test_a_restored_environment_goes_on_as_if_it_had_never_stopped(game, reseed_every_steps):
    env = make(game, seed=1, reseed_every_steps=reseed_every_steps)
    env.reset()
    last = play(env, 137)[-1]
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    restored = make(game, seed=2, reseed_every_steps=reseed_every_steps)
    state = torch.load(file, weights_only=True)
    steps: list[int] = []
    frames, info = restored.load_state_dict(state, on_step=steps.append)
    assert steps == list(range(1, restored.steps_to_load(state) + 1))
    np.testing.assert_array_equal(frames, last[0])
    np.testing.assert_array_equal(info["lives"], last[4]["lives"])
    assert_same_steps(play(env, 120), play(restored, 120))
    assert restored.state_dict() == env.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("game", ["Alien", "BankHeist", "Freeway", "MontezumaRevenge", "MsPacman", "Qbert", "Seaquest"])
def test_whole_games_with_sticky_actions_are_restored(game):
    def make_full_length(seed):
        return make_atari_vector(AtariConfig(game=game), num_envs=5, num_threads=2, seed=seed, reseed_every_steps=700)

    env, restored = make_full_length(1), make_full_length(2)
    env.reset()
    steps = play(env, 1500)
    assert game in ("Freeway", "MontezumaRevenge") or any(step[2].any() for step in steps)
    restored.load_state_dict(env.state_dict())
    assert_same_steps(play(env, 500), play(restored, 500))


@pytest.mark.parametrize("game", ["Catch", "Breakout"])
def test_a_state_saved_right_after_the_end_of_an_episode_is_restored(game):
    env = make(game)
    env.reset()
    last = next(step for step in random_steps(env, 200) if step[4]["_final_obs"].any())
    restored = make(game)
    np.testing.assert_array_equal(restored.load_state_dict(env.state_dict())[0], last[0])
    assert_same_steps(play(env, 60), play(restored, 60))


@pytest.mark.parametrize("game", ["Catch", "Breakout"])
def test_a_state_saved_before_the_first_step_is_restored_in_a_used_environment(game):
    env, restored = make(game, seed=3), make(game, seed=4)
    frames, _ = env.reset()
    restored.reset()
    play(restored, 70)
    np.testing.assert_array_equal(restored.load_state_dict(env.state_dict())[0], frames)
    assert_same_steps(play(env, 60), play(restored, 60))


def test_the_state_is_small_and_plain_json():
    env = make("Breakout")
    env.reset()
    play(env, 200)
    state = env.state_dict()
    assert json.loads(json.dumps(state)) == state
    assert len(json.dumps(state)) < 2 * 200 + 300


def test_an_environment_plays_the_same_among_more_environments_and_on_more_threads():
    config = AtariConfig(game="SpaceInvaders", **SHORT)
    few = make_atari_vector(config, num_envs=2, num_threads=1, seed=7)
    many = make_atari_vector(config, num_envs=5, num_threads=2, seed=7)
    np.testing.assert_array_equal(few.reset()[0], many.reset()[0][:2])
    for step in range(120):
        actions = np.full(5, step % 6)
        left, right = few.step(actions[:2]), many.step(actions)
        np.testing.assert_array_equal(left[0], right[0][:2])
        np.testing.assert_array_equal(left[1], right[1][:2])


@pytest.mark.parametrize("game", ["Catch", "Breakout"])
def test_a_seed_decides_what_is_played_and_no_two_environments_play_the_same(game):
    first, again, other = (make(game, seed=seed) for seed in (0, 0, 1))
    frames, _ = first.reset()
    np.testing.assert_array_equal(frames, again.reset()[0])
    other.reset()
    assert len({*first.seeds.tolist(), *other.seeds.tolist()}) == 4
    steps, other_steps = play(first, 60), play(other, 60)
    assert_same_steps(steps, play(again, 60))
    assert any(not np.array_equal(one[0], two[0]) for one, two in zip(steps, other_steps, strict=True))
    # A seed given to reset starts from the beginning what a new environment of that seed plays.
    np.testing.assert_array_equal(other.reset(seed=0)[0], frames)
    assert_same_steps(steps, play(other, 60))


def test_a_reset_without_a_seed_starts_new_episodes():
    env = make("Catch")
    env.reset()
    first = env.seeds.tolist()
    env.reset()
    assert not set(first) & set(env.seeds.tolist())


def test_an_environment_is_seeded_at_the_first_end_after_so_many_steps():
    env = make_catch_vector(num_envs=3, reseed_every_steps=30)  # an episode lasts 11 steps
    env.reset()
    seeds = [env.seeds]
    for _ in random_steps(env, 110):
        seeds.append(env.seeds)
    changes = np.diff(np.array(seeds), axis=0) != 0
    # First after 10, 20 and 30 steps, then after 30 more: counted up to the next end of an episode.
    assert (np.flatnonzero(changes[:, 0]) + 1).tolist() == [11, 44, 77, 110]
    assert (np.flatnonzero(changes[:, 1]) + 1).tolist() == [22, 55, 88]
    assert (np.flatnonzero(changes[:, 2]) + 1).tolist() == [33, 66, 99]


def test_where_an_episode_ends_the_next_one_begins_and_the_last_frame_is_kept():
    env = make("Breakout", reseed_every_steps=60)
    before = env.reset()[0]
    ends = 0
    for frames, _, terminated, truncated, info in random_steps(env, 160):
        ended = terminated | truncated
        np.testing.assert_array_equal(info["_final_obs"], ended)
        np.testing.assert_array_equal(info["final_obs"][~ended], frames[~ended])
        # A frame differs little from the one before it; the wall is whole again in the next episode.
        distance = np.abs(info["final_obs"].astype(int) - before).mean(axis=(1, 2, 3))
        assert (distance < 10).all()
        assert (info["lives"][ended] == 5).all()
        ends += int(ended.sum())
        before = frames
    assert ends >= 6


def test_a_lost_life_is_signalled_once_and_ends_nothing():
    env = make_atari_vector(AtariConfig(game="Breakout"), num_envs=2, num_threads=1)
    lives = env.reset()[1]["lives"]
    lost = 0
    while lost < 3:
        _, _, terminated, truncated, info = env.step(np.array([1, 1]))  # FIRE throws a ball, nobody moves the paddle
        assert not (terminated | truncated).any()
        np.testing.assert_array_equal(info["life_lost"], info["lives"] < lives)
        lives = info["lives"]
        lost += int(info["life_lost"].sum())


def test_returned_arrays_keep_their_values_in_later_steps():
    env = make("Breakout")
    frames, _ = env.reset()
    steps = [(frames, {"final_obs": frames})] + [(step[0], step[4]) for step in play(env, 3)]
    copies = [(frames.copy(), info["final_obs"].copy()) for frames, info in steps]
    play(env, 60)
    for (frames, info), (frames_copy, final_copy) in zip(steps, copies, strict=True):
        np.testing.assert_array_equal(frames, frames_copy)
        np.testing.assert_array_equal(info["final_obs"], final_copy)


def test_rewards_are_raw():
    env = make_atari_vector(AtariConfig(game="SpaceInvaders"), num_envs=3, num_threads=1)
    env.reset()
    assert max(step[1].max() for step in play(env, 150)) >= 5  # the lowest row of invaders is worth 5 points


def test_steps_before_the_first_reset_and_wrong_actions_are_refused():
    env = make("Breakout")
    with pytest.raises(RuntimeError, match="stepped before it was reset: call reset first"):
        env.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(RuntimeError, match="no state before its first reset"):
        env.state_dict()
    env.reset()
    with pytest.raises(ValueError, match=r"actions must have the shape \(2,\), got \(3,\)"):
        env.step(np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match=r"actions must lie in 0..3, got 0..4"):
        env.step(np.array([0, 4]))
    with pytest.raises(ValueError, match=r"actions must lie in 0..3, got -1..1"):
        env.step(np.array([1, -1]))
    with pytest.raises(ValueError, match=r"takes no reset options, got \['reset_mask'\]"):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="seed must be at least 0, got -5"):
        env.reset(seed=-5)


def test_a_state_of_other_environments_is_refused():
    state = make("Breakout")
    state.reset()
    play(state, 20)
    with pytest.raises(ValueError, match="the saved state has 2 environments, this one 3"):
        make_catch_vector(num_envs=3).load_state_dict(state.state_dict())
    with pytest.raises(ValueError, match="playing the saved actions again led to other frames"):
        make("Pong").load_state_dict(state.state_dict())


@pytest.mark.parametrize(("game", "largest"), [("Breakout", 3), ("Catch", 2)])
def test_a_state_with_actions_that_a_game_lacks_is_refused_and_changes_nothing(game, largest):
    pong, env, untouched = make("Pong", seed=3), make(game, seed=4), make(game, seed=4)
    pong.reset()
    play(pong, 20)
    for each in (env, untouched):
        each.reset()
    with pytest.raises(ValueError, match=f"the saved state has actions up to 5, this environment takes 0..{largest}:"):
        env.load_state_dict(pong.state_dict())
    assert env.state_dict() == untouched.state_dict()
    assert_same_steps(play(env, 20), play(untouched, 20))


def test_an_environment_that_cannot_be_wrapped_is_refused():
    other_mode = gym.vector.SyncVectorEnv([Catch], autoreset_mode=gym.vector.AutoresetMode.NEXT_STEP)
    with pytest.raises(
        ValueError, match="needs an environment in AutoresetMode.SAME_STEP, got AutoresetMode.NEXT_STEP"
    ):
        SeededEpisodes(other_mode)
    continuous = ale_py.AtariVectorEnv("pong", 1, continuous=True, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="needs at most 256 discrete actions, got Box"):
        SeededEpisodes(continuous)
    with pytest.raises(ValueError, match="reseed_every_steps must be at least 1, got 0"):
        make_catch_vector(num_envs=1, reseed_every_steps=0)


def test_closing_closes_the_environment_inside():
    env = make_catch_vector(num_envs=2)
    env.close()
    assert env.env.closed
