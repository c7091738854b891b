import subprocess
import sys

import ale_py
import numpy as np
import pytest

from envs import AtariConfig, make_atari, make_atari_vector
from envs.atari import atari_vector_arguments


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"game": "Pongg"}, "unknown Atari game 'Pongg': did you mean Pong?"),
        ({"frame_skip": 0}, "frame_skip must be at least 1, got 0"),
        ({"frame_size": 0}, "frame_size must be at least 1, got 0"),
        ({"max_frames_per_episode": 0}, "max_frames_per_episode must be at least 1, got 0"),
        ({"max_noop_steps": -1}, "max_noop_steps must be at least 0, got -1"),
        ({"sticky_action_probability": 1.5}, "sticky_action_probability must lie between 0 and 1, got 1.5"),
    ],
)
def test_a_config_outside_its_range_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        AtariConfig(**wrong)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="stack must be at least 1, got 0"):
        make_atari(AtariConfig(), stack=0)
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make_atari_vector(AtariConfig(), num_envs=0)
    with pytest.raises(ValueError, match="num_threads must be at least 0, got -1"):
        make_atari_vector(AtariConfig(), num_envs=2, num_threads=-1)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        make_atari_vector(AtariConfig(), num_envs=2, seed=-1)


def test_a_stack_repeats_the_first_frame_and_then_moves_by_one_with_the_newest_frame_last():
    config = AtariConfig(game="Freeway", max_noop_steps=0)  # its cars move in every frame
    stacked, single = make_atari(config, stack=3), make_atari(config, stack=1)
    stack, _ = stacked.reset(seed=0)
    frame, _ = single.reset(seed=0)
    assert stack.shape == (3, 84, 84)
    assert frame.shape == (1, 84, 84)
    frames = [frame] * 3
    for _ in range(5):
        np.testing.assert_array_equal(stack, np.concatenate(frames[-3:]))
        stack, frames = stacked.step(1)[0], [*frames, single.step(1)[0]]
    assert not np.array_equal(frames[-1], frames[-2])


def test_a_game_plays_the_same_for_the_same_seed_and_otherwise_for_another():
    env = make_atari(AtariConfig(game="SpaceInvaders"), stack=1)

    def play(seed):
        frames = [env.reset(seed=seed)[0]]
        frames += [env.step(step % 6)[0] for step in range(40)]
        return np.stack(frames)

    first = play(5)
    np.testing.assert_array_equal(play(5), first)
    assert not np.array_equal(play(6), first)


def test_all_18_actions_are_offered_on_request():
    assert make_atari(AtariConfig(game="Pong")).action_space.n == 6
    assert make_atari(AtariConfig(game="Pong", full_action_space=True)).action_space.n == 18
    vector = make_atari_vector(AtariConfig(game="Pong", full_action_space=True), num_envs=2)
    assert vector.single_action_space.n == 18


def test_an_episode_is_truncated_at_the_frame_limit_counted_after_the_random_start():
    config = AtariConfig(game="Pong", max_frames_per_episode=42, max_noop_steps=30)
    single = make_atari(config)
    vector = make_atari_vector(config, num_envs=3)
    single.reset(seed=0)
    vector.reset()
    for step in range(1, 23):  # 42 frames are ten steps and a half: the eleventh is cut short
        _, _, terminated, truncated, _ = single.step(0)
        assert (terminated, truncated) == (False, step % 11 == 0)
        _, _, terminated, truncated, _ = vector.step(np.zeros(3, dtype=np.int64))
        assert not terminated.any()
        assert truncated.tolist() == [step % 11 == 0] * 3
        if step % 11 == 0:
            single.reset()


@pytest.mark.parametrize("fire_at_reset", [False, True])
def test_single_and_vector_draw_the_same_numbers_of_idle_frames(fire_at_reset):
    config = AtariConfig(game="Breakout", max_noop_steps=3, fire_at_reset=fire_at_reset)
    vector = ale_py.AtariVectorEnv(**atari_vector_arguments(config), num_envs=4)
    single = make_atari(config)
    single.reset(seed=0)
    vector.reset(seed=0)
    in_vector = np.concatenate([vector.reset()[1]["episode_frame_number"] for _ in range(20)])
    in_single = [single.reset()[1]["episode_frame_number"] for _ in range(80)]
    # FIRE takes one frame of the drawn number, or one more than none.
    assert set(in_vector) == set(in_single) == ({1, 2, 3} if fire_at_reset else {0, 1, 2, 3})


def test_fire_at_reset_starts_a_game_that_waits_for_it():
    def lives_after_waiting(fire_at_reset):
        env = make_atari(AtariConfig(game="Breakout", fire_at_reset=fire_at_reset, sticky_action_probability=0.0))
        env.reset(seed=0)
        for _ in range(100):
            *_, info = env.step(0)
        return info["lives"]

    assert lives_after_waiting(False) == 5
    assert lives_after_waiting(True) < 5


def test_fire_at_reset_does_nothing_in_a_game_without_fire():
    env = make_atari(AtariConfig(game="Freeway", fire_at_reset=True, max_noop_steps=0))
    assert env.reset(seed=0)[1]["episode_frame_number"] == 0


def test_a_video_plays_as_fast_as_the_console():
    env = make_atari(AtariConfig(game="Pong", frame_skip=4), render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (210, 160, 3)
    assert env.metadata["render_fps"] == 15


def test_making_and_playing_prints_nothing():
    program = (
        "from envs import AtariConfig, make_atari, make_atari_vector\n"
        "make_atari(AtariConfig()).reset(seed=0)\n"
        "make_atari_vector(AtariConfig(), num_envs=1).reset()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
