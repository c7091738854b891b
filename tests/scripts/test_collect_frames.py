"""The command that collects played frames, run for real."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents import TrainingConfig
from envs import AtariConfig, make_atari
from envs.ram import console_ram
from gen_ssl.frames import FrameStore
from scripts.collect_frames import CollectFrames, main
from scripts.run.checkpoint import load_checkpoint, save_checkpoint
from scripts.run.dqn_config import PRESETS, DQNRunConfig, EvaluationConfig, ReplayConfig
from scripts.run.interruption import Interruption
from scripts.run.recorded_play import ShardJob, record_shards
from scripts.run.saved_agent import load_agent
from scripts.run.seeding import integer_seed
from scripts.train_dqn import TrainDQN
from scripts.train_dqn import main as train


def collect(output: Path, **settings: Any) -> FrameStore:
    defaults = {"games": ("Pong",), "frames": 113, "shard_frames": 61, "processes": 1, "seed": 5, "device": "cpu"}
    main(CollectFrames(output=output, **(defaults | settings)))
    return FrameStore.open(output)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.frames"))}


def replayed(store: FrameStore, rules: AtariConfig, *, stack: int, last: int) -> list[np.ndarray]:
    """Plays the first shard's actions again, checks that all that was stored comes out, and returns the stacks."""
    env = make_atari(rules, stack=stack)
    observation, _ = env.reset(seed=integer_seed(5, f"frames of {rules.game}, shard 0"))
    stacks = []
    for index in range(last):
        stacks.append(observation)
        np.testing.assert_array_equal(store.frames(np.array([index]))[0, 0].numpy(), observation[-1])
        np.testing.assert_array_equal(store.ram(np.array([index]))[0], console_ram(env))
        observation, reward, terminated, truncated, _ = env.step(int(store.actions[index]))
        assert (store.rewards[index], store.terminated[index]) == (reward, terminated)
        assert store.truncated[index] == truncated or index == store.episodes.ends[store.episode_ids[index]] - 1
        if terminated or truncated:
            observation, _ = env.reset()
    np.testing.assert_array_equal(store.stacks(np.arange(last), stack=stack).numpy(), np.stack(stacks))
    return stacks


def small_run(folder: Path, config: DQNRunConfig) -> Path:
    """Trains an agent for a few steps."""
    config = replace(
        config,
        num_envs=2,
        compile="off",
        replay=ReplayConfig(capacity=100, storage="raw"),
        training=TrainingConfig(
            total_steps=20, learning_starts=20, batch_size=7, held_out_states=3, log_every_steps=10, samples_per_step=1
        ),
        evaluation=EvaluationConfig(evaluate_every_steps=20, num_games=2),
    )
    train(TrainDQN(run=config, run_directory=folder, device="cpu", threads=1))
    return folder


def test_stored_is_what_the_agent_would_have_seen_and_the_memory_at_that_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = collect(tmp_path / "frames", games=("Boxing", "Pong"))
    assert (len(store), store.games, store.num_actions_of) == (2 * 113, ("Boxing", "Pong"), (18, 6))
    replayed(store, AtariConfig(game="Boxing"), stack=4, last=61)
    table, path = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert path == str(tmp_path / "frames")
    assert table.splitlines()[0].split() == ["game", "frames", "episodes", "mean", "score", "bytes/frame"]
    assert table.splitlines()[1].split()[:2] == ["Boxing", "113"]


def test_the_same_command_plays_only_what_is_missing_and_comes_out_the_same(tmp_path: Path) -> None:
    collect(tmp_path / "whole")
    whole = shards(tmp_path / "whole")
    assert list(whole) == ["Pong-00000.frames", "Pong-00001.frames"]
    (tmp_path / "whole" / "Pong-00001.frames").unlink()
    damaged = tmp_path / "whole" / "Pong-00000.frames"
    kept = damaged.stat().st_mtime_ns
    collect(tmp_path / "whole")
    assert shards(tmp_path / "whole") == whole
    assert damaged.stat().st_mtime_ns == kept
    damaged.write_bytes(damaged.read_bytes()[:-1])
    collect(tmp_path / "whole")
    assert shards(tmp_path / "whole") == whole


def test_more_frames_and_other_games_add_to_a_folder(tmp_path: Path) -> None:
    collect(tmp_path / "frames")
    store = collect(tmp_path / "frames", frames=130)
    assert len(store) == 130
    collect(tmp_path / "afresh", frames=130)
    assert shards(tmp_path / "frames") == shards(tmp_path / "afresh")
    assert collect(tmp_path / "frames", games=("Freeway",), frames=31).games == ("Freeway", "Pong")


def test_after_an_interruption_no_other_shard_is_begun(tmp_path: Path) -> None:
    job = ShardJob(
        folder=tmp_path,
        number=0,
        num_frames=7,
        rules=AtariConfig(game="Pong"),
        agent=None,
        epsilon=1.0,
        seed=0,
        device="cpu",
    )
    interruption = Interruption()
    playing = record_shards([job, replace(job, number=1)], processes=1, interruption=interruption)
    assert next(playing).number == 0
    interruption.requested = True
    assert list(playing) == []
    assert list(shards(tmp_path)) == ["Pong-00000.frames"]


def test_other_settings_for_a_folder_are_refused(tmp_path: Path) -> None:
    collect(tmp_path / "frames", frames=17)
    with pytest.raises(ValueError, match="was collected with another shard_frames, seed: give the same or another"):
        collect(tmp_path / "frames", seed=6, shard_frames=50)
    (tmp_path / "frames" / "collection.json").unlink()
    with pytest.raises(FileExistsError, match="holds frames that were not collected so: name another --output"):
        collect(tmp_path / "frames")


def test_a_trained_agent_plays_its_own_game_by_its_own_rules(tmp_path: Path) -> None:
    rules = AtariConfig(game="Freeway", sticky_action_probability=0.0, frame_skip=3, max_frames_per_episode=33)
    run = small_run(tmp_path / "run", replace(PRESETS["fast"], atari=rules, stack=2))
    store = collect(tmp_path / "frames", games=(), agent=run, epsilon=0.0, frames=31)
    assert store.games == ("Freeway",)
    stacks = replayed(store, rules, stack=2, last=31)
    agent = load_agent(run, device=torch.device("cpu")).agent
    chosen = [int(agent.act(torch.from_numpy(np.asarray(stack)[None]))) for stack in stacks]
    assert store.actions.tolist() == chosen
    explored = collect(tmp_path / "explored", games=(), agent=run, epsilon=0.5, frames=31)
    assert explored.actions.tolist() != chosen


def test_an_agent_that_trained_on_is_refused_where_it_played_before(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", PRESETS["fast"])
    collect(tmp_path / "frames", games=(), agent=run, frames=17)
    assert len(collect(tmp_path / "frames", games=(), agent=run, frames=19)) == 19
    state = load_checkpoint(run / "checkpoint.pt")
    state["training"]["steps"] += 1
    save_checkpoint(run / "checkpoint.pt", state)
    with pytest.raises(ValueError, match="was collected with another agent_step: give the same or another --output"):
        collect(tmp_path / "frames", games=(), agent=run, frames=23)


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "collection.json").write_text('{"agent": ')
    with pytest.raises(ValueError, match=r"collection.json is not JSON: Expecting value"):
        collect(tmp_path)


def test_an_agent_of_catch_is_refused(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", PRESETS["catch"])
    with pytest.raises(ValueError, match="frames are collected of Atari games, the agent of .* plays Catch"):
        collect(tmp_path / "frames", games=(), agent=run)


def test_the_dqn_replay_dataset_becomes_a_store(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frames = generator.integers(1, 256, (2, 53, 84, 84), dtype=np.uint8)
    for checkpoint in (0, 1):
        for name, values in {
            "observation": frames[checkpoint],
            "action": generator.integers(1, 6, 53).astype(np.int32),
            "reward": np.zeros(53, dtype=np.float32),
            "terminal": (np.arange(53) % 20 == 19).astype(np.uint8),
        }.items():
            with gzip.open(tmp_path / f"$store$_{name}_ckpt.{checkpoint}.gz", "wb") as file:
                np.save(file, values)
    store = collect(tmp_path / "frames", from_dqn_replay=tmp_path, frames=71)
    np.testing.assert_array_equal(store.frames(np.arange(71))[:, 0].numpy(), frames.reshape(-1, 84, 84)[:71])
    assert (store.games, store.num_actions, store.has_ram) == (("Pong",), 6, False)
    assert (store.episodes.ends - store.episodes.starts).tolist() == [20, 20, 13, 18]
    with pytest.raises(FileExistsError, match="name another --output"):
        collect(tmp_path / "frames", from_dqn_replay=tmp_path)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for wrong, sentence in [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"shard_frames": 0}, "shard_frames must be at least 1, got 0"),
        ({"processes": -1}, "processes must be at least 0, got -1"),
        ({"epsilon": 1.5}, r"epsilon must fall within \[0, 1\], got 1.5"),
        ({"agent": tmp_path}, "--games is for random play"),
        ({"from_dqn_replay": tmp_path, "games": ()}, "--from-dqn-replay needs the one game that was logged"),
        ({"games": ("Pongg",)}, "unknown Atari game 'Pongg': did you mean Pong?"),
        ({"games": ("Pong", "Boxing", "Pong")}, "games must be different ones, got Pong, Boxing, Pong"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            collect(tmp_path / "frames", **wrong)
    assert not (tmp_path / "frames").exists()


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    collect(tmp_path / "one", frames=211)
    collect(tmp_path / "two", frames=211, processes=2)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
