import numpy as np
import pytest

from envs import Catch, make_catch_vector

BALL, PADDLE = 255, 160


def columns(frame, brightness):
    """Returns the cells, counted from the left, that show something of this brightness."""
    cells = frame[0, 3::7, 3::7]  # the middle of every cell
    return np.flatnonzero((cells == brightness).any(axis=0))


def play(env, policy, seed):
    """Returns frames and rewards of one episode."""
    frames, rewards, terminated = [env.reset(seed=seed)[0]], [], False
    while not terminated:
        frame, reward, terminated, truncated, _ = env.step(policy(frames[-1]))
        assert not truncated
        frames.append(frame)
        rewards.append(reward)
    return np.stack(frames), rewards


def follow_the_ball(frame):
    difference = columns(frame, BALL)[0] - columns(frame, PADDLE)[1]
    return 1 if difference < 0 else 2 if difference > 0 else 0


def test_every_ball_can_be_caught_by_looking_at_the_frames():
    env = Catch()
    for seed in range(200):
        frames, rewards = play(env, follow_the_ball, seed)
        assert rewards == [0.0] * 10 + [1.0]
        assert len(np.unique(frames[0])) == 3


def test_a_ball_that_falls_beside_the_paddle_costs_one():
    outcomes = [play(Catch(), lambda frame: 0, seed)[1][-1] for seed in range(200)]
    assert set(outcomes) == {-1.0, 1.0}
    # The paddle covers a quarter of the court.
    assert 0.15 < np.mean(np.array(outcomes) == 1.0) < 0.35


def test_the_last_frame_shows_where_the_ball_came_down():
    for seed in range(20):
        frames, rewards = play(Catch(), lambda frame: 0, seed)
        last = frames[-1][0, 3::7, 3::7][-1]
        assert (last == BALL).sum() == 1
        assert (last == PADDLE).sum() == (2 if rewards[-1] > 0 else 3)


def test_a_game_goes_on_for_as_many_balls_as_asked_for():
    _, rewards = play(Catch(num_balls=3), follow_the_ball, seed=0)
    assert rewards == ([0.0] * 10 + [1.0]) * 3


def test_the_paddle_stays_in_the_court():
    for action, edge in ((1, [0, 1, 2]), (2, [9, 10, 11])):
        frames, _ = play(Catch(), lambda frame, action=action: action, seed=0)
        assert columns(frames[-2], PADDLE).tolist() == edge


def test_the_ball_moves_at_most_one_cell_sideways_and_one_down_in_a_step():
    drifts = set()
    for seed in range(30):
        frames, _ = play(Catch(), lambda frame: 0, seed)
        path = np.array([np.argwhere(frame[0, 3::7, 3::7] == BALL)[0] for frame in frames])
        assert (np.diff(path[:, 0]) == 1).all()
        drifts |= set(np.diff(path[:, 1]))
    assert drifts == {-1, 0, 1}


def test_the_picture_has_colours_and_the_size_of_the_frame():
    env = Catch(render_mode="rgb_array", frame_size=48)
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (48, 48, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3


def test_bad_arguments_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="num_balls must be at least 1, got 0"):
        Catch(num_balls=0)
    with pytest.raises(ValueError, match="frame_size must be a multiple of 12, got 80"):
        Catch(frame_size=80)
    with pytest.raises(ValueError, match="render_mode must be None or 'rgb_array', got 'human'"):
        Catch(render_mode="human")
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make_catch_vector(num_envs=0)


def test_in_a_vector_every_game_is_played_as_alone():
    vector = make_catch_vector(num_envs=3, seed=4, num_balls=2, frame_size=24)
    alone = [Catch(num_balls=2, frame_size=24) for _ in range(3)]
    frames, _ = vector.reset()
    seeds = vector.seeds.tolist()
    now = [env.reset(seed=seed)[0] for env, seed in zip(alone, seeds, strict=True)]
    generator = np.random.default_rng(0)
    for _ in range(60):
        np.testing.assert_array_equal(frames, now)
        actions = generator.integers(3, size=3)
        frames, rewards, terminated, _, info = vector.step(actions)
        for index, env in enumerate(alone):
            now[index], reward, ended, _, _ = env.step(actions[index])
            assert (reward, ended) == (rewards[index], terminated[index])
            np.testing.assert_array_equal(now[index], info["final_obs"][index])
            if ended:
                now[index] = env.reset()[0]
    assert vector.seeds.tolist() == seeds
