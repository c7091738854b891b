import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from envs import AtariConfig
from gen_ssl.encoders import DQN2013CNN
from scripts import train_dqn
from scripts.run.checkpoint import load_checkpoint
from scripts.run.dqn_assembly import build_training
from scripts.run.dqn_config import PRESETS, EvaluationConfig, ReplayConfig
from scripts.run.run_directory import RunDirectory
from scripts.run.saved_agent import load_agent
from scripts.run.tensorboard import read_scalars
from scripts.train_dqn import TrainDQN, starting_point

ROOT = Path(__file__).parents[2]

CATCH = replace(
    PRESETS["catch"],
    num_envs=3,
    replay=ReplayConfig(capacity=1_500, storage="lz4", n_step=3, prioritised=True),
    training=replace(
        PRESETS["catch"].training, total_steps=1_000, learning_starts=300, batch_size=16, log_every_steps=100
    ),
    evaluation=EvaluationConfig(evaluate_every_steps=400, num_games=3),
    checkpoint_every_steps=200,
)
PONG = replace(
    CATCH,
    catch=False,
    atari=AtariConfig(game="Pong", max_frames_per_episode=600),
    training=replace(CATCH.training, total_steps=900),
)


def run(config, path, *, threads=1, device="cpu"):
    train_dqn.main(TrainDQN(run=config, run_directory=path, device=device, threads=threads))
    return load_checkpoint(path / "checkpoint.pt")


def resume(config, path, *, threads=1, device="cpu"):
    train_dqn.main(TrainDQN(run=config, resume=path, device=device, threads=threads))
    return load_checkpoint(path / "checkpoint.pt")


def curves(path):
    """All scalars but those of the clock."""
    return {tag: points for tag, points in read_scalars(path).items() if not tag.startswith("time/")}


def assert_same_training(first, second):
    """Everything that training depends on is the same to the bit."""
    assert differences(first["training"], second["training"], "training") == []


def differences(first, second, where):
    """The places where two nests of tensors and plain values differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict) and first.keys() == second.keys():
        return [place for key in first for place in differences(first[key], second[key], f"{where}.{key}")]
    if isinstance(first, list) and len(first) == len(second):
        return [
            place
            for i, (one, other) in enumerate(zip(first, second, strict=True))
            for place in differences(one, other, f"{where}[{i}]")
        ]
    return [] if first == second else [where]


def interrupt_after(monkeypatch, steps):
    """Sends Ctrl-C to this process once the run has logged these many steps."""
    update = train_dqn.Progress.update

    def update_and_interrupt(self, step, **figures):
        update(self, step, **figures)
        if step >= steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train_dqn.Progress, "update", update_and_interrupt)


@pytest.mark.parametrize("config", [CATCH, PONG], ids=["Catch", "Pong"])
def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_that_never_stopped(config, tmp_path, monkeypatch, capsys):
    whole = run(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 500)
        run(config, tmp_path / "stopped")
    assert f"--resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "stopped/checkpoint.pt")["training"]["steps"] < 600
    assert_same_training(resume(config, tmp_path / "stopped"), whole)
    assert curves(tmp_path / "stopped") == curves(tmp_path / "whole")


@pytest.mark.slow
def test_the_preset_of_make_train_resumes_to_the_bit(tmp_path, monkeypatch, unchecked_signatures):
    """Compiled, in bfloat16 where there is any, with two threads, quantiles and priorities; on the real game."""
    fast = PRESETS["fast"]
    config = replace(
        fast,
        training=replace(fast.training, total_steps=6_400, learning_starts=1_000, log_every_steps=640),
        evaluation=replace(fast.evaluation, num_games=2, film=False),
        checkpoint_every_steps=1_000,
    )
    whole = run(config, tmp_path / "whole", threads=2)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3_000)
        run(config, tmp_path / "stopped", threads=2)
    assert load_checkpoint(tmp_path / "stopped/checkpoint.pt")["training"]["steps"] < 4_000
    assert_same_training(resume(config, tmp_path / "stopped", threads=2), whole)
    assert curves(tmp_path / "stopped") == curves(tmp_path / "whole")


def test_a_checkpoint_holds_its_replay_only_when_asked(tmp_path):
    sizes = []
    for save_replay in (True, False):
        config = replace(CATCH, save_replay=save_replay, training=replace(CATCH.training, total_steps=400))
        state = run(config, tmp_path / str(save_replay))
        assert ("replay" in state["training"]) == save_replay
        sizes.append((tmp_path / str(save_replay) / "checkpoint.pt").stat().st_size)
    assert sizes[1] < sizes[0]


def test_evaluations_play_with_their_own_epsilon(tmp_path):
    evaluation = EvaluationConfig(evaluate_every_steps=400, num_games=50, evaluation_epsilon=1.0)
    run(replace(CATCH, evaluation=evaluation), tmp_path / "random")
    evaluations = json.loads((tmp_path / "random/evaluations.json").read_text())
    assert [record["epsilon"] for record in evaluations] == [1.0, 1.0, 1.0]
    assert all(record["mean"] < 0.0 for record in evaluations)  # random play catches one of four: -0.5


def test_the_same_seed_gives_the_same_curves(tmp_path):
    for name in ("first", "second"):
        run(CATCH, tmp_path / name)
    assert curves(tmp_path / "first") == curves(tmp_path / "second")


def test_a_run_leaves_everything_that_the_readme_promises(tmp_path, capsys):
    run(CATCH, tmp_path / "run")
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written >= {"config.json", "command.txt", "versions.json", "checkpoint.pt", "evaluations.json", "videos"}
    assert list((tmp_path / "run/videos").glob("*.mp4"))
    evaluations = json.loads((tmp_path / "run/evaluations.json").read_text())
    assert [len(evaluation["returns"]) for evaluation in evaluations] == [3, 3, 3]
    assert "final/score" in curves(tmp_path / "run")
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")


def test_scores_are_confirmed_on_thirty_new_games_and_end_the_run(tmp_path):
    config = replace(CATCH, evaluation=replace(CATCH.evaluation, confirm_scores=(-1.0,), stop_when_confirmed=True))
    state = run(config, tmp_path / "run")
    evaluations = json.loads((tmp_path / "run/evaluations.json").read_text())
    assert [evaluation["confirmation"] for evaluation in evaluations] == [False, True]
    assert len(evaluations[1]["returns"]) == 30
    assert evaluations[0]["seed"] != evaluations[1]["seed"]
    assert state["training"]["steps"] < 500
    assert_same_training(resume(config, tmp_path / "run"), state)  # there is nothing to go on with


def test_a_film_that_fails_loses_no_step_and_is_made_once_when_the_run_is_resumed(tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError("no room")

    config = replace(CATCH, checkpoint_every_steps=2_000)
    with monkeypatch.context() as patch:
        patch.setattr(train_dqn, "write_video", fail)
        with pytest.raises(OSError, match="no room"):
            run(config, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run/checkpoint.pt")["training"]["steps"] == 1_002  # by three games
    films = []
    for _ in range(2):
        resume(config, tmp_path / "run")
        (film,) = (tmp_path / "run/videos").iterdir()
        films.append((film.name, film.stat().st_mtime_ns))
        assert len(curves(tmp_path / "run")["final/score"]) == 1
    assert films[0] == films[1]
    assert films[0][0] == "step-1002.mp4"


def test_a_directory_that_holds_a_run_is_not_written_over(tmp_path):
    run(CATCH, tmp_path / "run")
    with pytest.raises(FileExistsError, match="exists already: continue it with --resume"):
        run(CATCH, tmp_path / "run")


def test_a_run_is_not_resumed_with_other_settings(tmp_path):
    run(CATCH, tmp_path / "run")
    with pytest.raises(ValueError, match=r"another configuration: num_envs \(3 then, 4 now\)"):
        resume(replace(CATCH, num_envs=4), tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_saves_and_says_where(tmp_path):
    config = replace(CATCH, dqn=replace(CATCH.dqn, learning_rate=1e30))
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at update \d+.*non_finite\.pt") as error:
        run(config, tmp_path / "run")
    assert "the last good checkpoint stays" in str(error.value)
    assert load_checkpoint(tmp_path / "run/non_finite.pt", kind="agent")["updates"] > 0


@pytest.mark.parametrize("replaced", [False, True], ids=["gone", "replaced"])
def test_a_run_goes_on_and_its_agent_is_loaded_when_the_encoder_is_not_the_one_it_began_with(
    tmp_path, monkeypatch, replaced
):
    torch.manual_seed(0)
    DQN2013CNN(feature_dim=31).save_pretrained(tmp_path / "encoder")
    config = replace(CATCH, encoder=str(tmp_path / "encoder"))
    whole = run(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 500)
        run(config, tmp_path / "stopped")
    shutil.rmtree(tmp_path / "encoder")
    if replaced:
        DQN2013CNN(feature_dim=29).save_pretrained(tmp_path / "encoder")
    assert_same_training(resume(config, tmp_path / "stopped"), whole)
    agent = load_agent(tmp_path / "stopped", device=torch.device("cpu")).agent
    weights = whole["training"]["agent"]["network"]
    assert all(torch.equal(value, weights[name]) for name, value in agent.network.state_dict().items())


def test_a_frozen_encoder_with_a_rate_is_refused_and_leaves_no_folder(tmp_path):
    config = replace(CATCH, encoder_mode="frozen", dqn=replace(CATCH.dqn, encoder_learning_rate=1e-5))
    with pytest.raises(
        ValueError, match="a frozen encoder does not learn: encoder_learning_rate must be None, got 1e-05"
    ):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="a frozen encoder does not learn"):
        build_training(config, device=torch.device("cpu"))


def test_an_encoder_for_other_frames_is_refused_and_leaves_no_folder(tmp_path):
    DQN2013CNN(frame_shape=(3, 96, 96)).save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"frames of shape \(3, 96, 96\), the environment gives \(4, 84, 84\)"):
        run(replace(CATCH, encoder=str(tmp_path / "encoder")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_flags_override_the_preset_and_a_resumed_run_keeps_its_own(tmp_path):
    assert starting_point([]).run == PRESETS["fast"]
    assert starting_point(["--preset", "nature-2015", "--seed", "3"]).run == PRESETS["nature-2015"]
    RunDirectory.create(tmp_path / "run", config=CATCH, label="catch")
    assert starting_point(["--resume", str(tmp_path / "run")]).run == CATCH
    with pytest.raises(ValueError, match="a resumed run keeps its own settings: --preset fast has to be left out"):
        starting_point(["--resume", str(tmp_path / "run"), "--preset", "fast"])


def start(path, *flags):
    with path.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.train_dqn", *flags, "--threads", "1", "--device", "cpu"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def test_the_preset_catch_learns_to_catch(tmp_path):
    path = tmp_path / "run"
    once = ("--evaluate-every-steps", "12000", "--num-games", "30", "--no-film")  # its end is what is asked for
    assert start(path, "--preset", "catch", *once, "--run-directory", str(path)).wait() == 0
    evaluations = json.loads((path / "evaluations.json").read_text())
    assert evaluations[-1]["mean"] >= 0.6  # four balls of five; random play, which catches one of four, has -0.5


@pytest.mark.gpu
def test_catch_is_learned_on_a_gpu_through_a_stop_and_plays_on_the_cpu(tmp_path, monkeypatch):
    """Frames on the device, a captured update, bfloat16: the whole loop, as a user runs it."""
    preset = PRESETS["catch"]
    config = replace(
        preset,
        compile="on",
        precision="bfloat16",
        evaluation=replace(preset.evaluation, num_games=30),
        replay=replace(preset.replay, storage="device", prioritised=True),
    )
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 6_000)
        run(config, path, device="cuda")
    resume(config, path, device="cuda")
    evaluations = json.loads((path / "evaluations.json").read_text())
    assert evaluations[-1]["mean"] >= 0.6
    frames = torch.zeros(3, 4, 84, 84, dtype=torch.uint8)
    assert load_agent(path, device=torch.device("cpu")).agent.action_values(frames).isfinite().all()


def kill_at(process, path, *, while_writing, delay):
    """Kills the run after its next checkpoint, or inside the writing of one; returns whether it was writing."""
    checkpoint = path / "checkpoint.pt"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while process.poll() is None:
        writing = list(path.glob("checkpoint.pt.*.writing"))
        if while_writing and writing:
            break
        if not while_writing and checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
            time.sleep(delay)
            break
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return bool(list(path.glob("checkpoint.pt.*.writing")))


def survive_kills(tmp_path, *, kills, kills_while_writing, steps):
    """Kills and resumes one run so often and compares it with a run that was left alone."""
    flags = ["--preset", "catch", "--total-steps", str(steps), "--checkpoint-every-steps", "500", "--no-film"]
    path, alone = tmp_path / "killed", tmp_path / "alone"
    left_alone = start(alone, *flags, "--run-directory", str(alone))
    generator = random.Random(0)
    killed_while_writing = 0
    process = start(path, *flags, "--run-directory", str(path))
    for kill in range(kills):
        # Writing first: a kill there loses the steps since the checkpoint before, so there is always one to meet.
        while_writing = killed_while_writing < kills_while_writing and kill > 0
        killed_while_writing += kill_at(process, path, while_writing=while_writing, delay=generator.uniform(0.0, 0.3))
        load_checkpoint(path / "checkpoint.pt")  # readable, whenever the kill came
        process = start(path, "--resume", str(path))
    assert process.wait() == 0, (tmp_path / "killed.log").read_text()
    assert left_alone.wait() == 0, (tmp_path / "alone.log").read_text()
    assert killed_while_writing >= kills_while_writing
    assert_same_training(load_checkpoint(path / "checkpoint.pt"), load_checkpoint(alone / "checkpoint.pt"))
    assert curves(path) == curves(alone)


def test_a_run_killed_three_times_ends_as_one_that_was_left_alone(tmp_path):
    survive_kills(tmp_path, kills=3, kills_while_writing=1, steps=3_000)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_one_that_was_left_alone(tmp_path):
    survive_kills(tmp_path, kills=20, kills_while_writing=5, steps=16_000)
