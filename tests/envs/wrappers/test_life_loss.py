from itertools import pairwise

import ale_py

from envs.wrappers import FrameLimit, LifeLossSignal


def played(game, action, num_steps, max_frames=10**6):
    env = LifeLossSignal(FrameLimit(ale_py.AtariEnv(game, frameskip=4), max_frames=max_frames))
    infos = [env.reset(seed=0)[1]]
    ended = False
    while len(infos) <= num_steps and not ended:
        *_, terminated, truncated, info = env.step(action)
        infos.append(info)
        ended = terminated or truncated
    return infos


def test_a_life_is_lost_where_the_lives_fall_and_nowhere_else():
    infos = played("breakout", 1, 10**6)  # FIRE throws every ball, and nobody moves the paddle
    assert infos[-1]["lives"] == 0
    falls = [later["lives"] < earlier["lives"] for earlier, later in pairwise(infos)]
    assert sum(falls) == 5
    # The fall at the very end is the end of the episode.
    assert [info["life_lost"] for info in infos] == [False, *falls[:-1], False]


def test_a_life_lost_where_the_episode_is_truncated_is_not_signalled():
    first_loss = [info["life_lost"] for info in played("breakout", 1, 500)].index(True)
    infos = played("breakout", 1, 500, max_frames=first_loss)
    assert len(infos) == first_loss + 1
    assert infos[-1]["lives"] == infos[0]["lives"] - 1
    assert not infos[-1]["life_lost"]


def test_a_game_without_lives_never_loses_one():
    assert not any(info["life_lost"] for info in played("pong", 0, 200))
