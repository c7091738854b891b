import json
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import stable_baselines3
import torch

from envs import AtariConfig
from scripts.run import sb3_recorder
from scripts.run.dqn_config import EvaluationConfig
from scripts.run.periodic_evaluation import PeriodicEvaluation
from scripts.run.sb3_assembly import SB3DQNConfig, SB3PPOConfig, SB3RunConfig, build_model
from scripts.run.tensorboard import read_scalars
from scripts.train_sb3 import TrainSB3, main

TINY = {
    "total_steps": 64,
    "encoder": "DQN2013CNN",
    "log_every_steps": 22,
    "dqn": SB3DQNConfig(buffer_size=100, learning_starts=11, batch_size=5, exploration_decay_steps=33),
    "ppo": SB3PPOConfig(num_envs=2, steps_per_rollout=11, batch_size=11, epochs_per_rollout=1),
    "evaluation": EvaluationConfig(evaluate_every_steps=33, num_games=2),
}


def train(path, **settings):
    main(TrainSB3(run=SB3RunConfig(**(TINY | settings)), run_directory=path, device="cpu", threads=1))
    return read_scalars(path)


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_a_run_leaves_its_config_curves_evaluations_video_and_model(algorithm, tmp_path, capsys):
    run = tmp_path / "run"
    scalars = train(run, algorithm=algorithm, catch=True)
    assert capsys.readouterr().out == f"{run}\n"
    assert json.loads((run / "config.json").read_text())["algorithm"] == algorithm
    # Due every 33 steps and at the end; PPO's two games move two steps at a time, and 11 such to a rollout.
    steps = [record["step"] for record in json.loads((run / "evaluations.json").read_text())]
    assert steps == {"dqn": [33, 64], "ppo": [34, 66]}[algorithm]
    assert [path.suffix for path in (run / "videos").iterdir()] == [".mp4"]
    assert {"episode/return", "episode/length", "evaluation/return_mean", "time/steps_per_second"} <= scalars.keys()
    loader = {"dqn": stable_baselines3.DQN, "ppo": stable_baselines3.PPO}[algorithm]
    assert loader.load(run / "model.zip", device="cpu").num_timesteps == steps[-1]


def test_their_dqn_logs_under_the_names_of_ours(tmp_path):
    scalars = train(tmp_path / "run", catch=True)
    assert [step for step, _ in scalars["exploration/epsilon"]] == [22, 44]
    assert [step for step, _ in scalars["learning/loss"]] == [22, 44]
    assert all(length == 11 for _, length in scalars["episode/length"])
    assert "learning/held_out_q" in scalars


def test_the_same_seed_gives_the_same_curves(tmp_path):
    first, second = (train(tmp_path / name, catch=True) for name in "ab")
    timeless = [tag for tag in first if not tag.startswith("time/")]
    assert {tag: first[tag] for tag in timeless} == {tag: second[tag] for tag in timeless}


def test_a_lost_life_ends_an_episode_of_the_learner_but_not_the_game():
    config = SB3RunConfig(encoder="DQN2013CNN", atari=AtariConfig(game="Breakout"), dqn=TINY["dqn"])
    games = build_model(config, device=torch.device("cpu")).get_env()
    games.reset()
    lives, finished_games = [], 0
    while len(lives) < 2:
        _, rewards, ended, infos = games.step([1])  # FIRE, and nothing that would keep the ball up
        assert abs(rewards[0]) in (0, 1)
        if ended[0]:
            lives.append(infos[0]["lives"])
            finished_games += "episode" in infos[0]
    assert lives == [4, 3]
    assert finished_games == 0


def test_the_encoder_is_built_for_the_stacks_of_the_game():
    config = SB3RunConfig(encoder="DQN2013CNN", dqn=TINY["dqn"])
    assert build_model(config, device=torch.device("cpu")).q_net.features_extractor.encoder.frame_shape == (4, 84, 84)


@pytest.mark.parametrize("name", ["total_steps", "log_every_steps"])
def test_a_run_without_steps_is_refused(name):
    with pytest.raises(ValueError, match=re.escape(f"{name} must be at least 1, got 0")):
        SB3RunConfig(**{name: 0})


def test_a_kill_between_evaluations_leaves_the_last_one_and_its_model(tmp_path, monkeypatch):
    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(sb3_recorder.SB3Recorder, "_metrics", killed)  # at step 44, after the evaluation at 33
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", catch=True, log_every_steps=44)
    assert [record["step"] for record in json.loads((tmp_path / "run/evaluations.json").read_text())] == [33]
    assert stable_baselines3.DQN.load(tmp_path / "run/model.zip", device="cpu").num_timesteps == 33
    assert not list((tmp_path / "run").glob("*.writing"))


def test_an_evaluation_is_no_time_of_the_steps(tmp_path, monkeypatch):
    offset = 0.0
    run = PeriodicEvaluation.run

    def evaluate_for_hours(self, *arguments, **options):
        nonlocal offset
        offset += 10_000
        return run(self, *arguments, **options)

    monkeypatch.setattr(PeriodicEvaluation, "run", evaluate_for_hours)
    monkeypatch.setattr(sb3_recorder, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + offset))
    speeds = dict(train(tmp_path / "run", catch=True)["time/steps_per_second"])
    assert speeds[44] > 0.1  # the evaluation at step 33 included, it were 22 steps in 10,000 seconds


def test_no_film_is_made_where_none_is_wanted(tmp_path):
    train(tmp_path / "run", catch=True, evaluation=EvaluationConfig(evaluate_every_steps=33, num_games=2, film=False))
    assert not (tmp_path / "run" / "videos").exists()


def test_an_existing_run_is_refused_before_anything_is_learned(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="exists already: please name another one"):
        train(tmp_path, catch=True)


def test_ctrl_c_stops_and_saves_the_model(tmp_path):
    flags = "--catch --encoder DQN2013CNN --evaluate-every-steps 33 --num-games 2 --dqn.buffer-size 100 --threads 1"
    command = [sys.executable, "-m", "scripts.train_sb3", *flags.split(), "--run-directory", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "evaluation at step 33" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output == f"{tmp_path / 'run'}\n"
    stable_baselines3.DQN.load(tmp_path / "run" / "model.zip", device="cpu")
