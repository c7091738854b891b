import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts import train_sequence_model
from scripts.run import sequence_run
from scripts.run.checkpoint import load_checkpoint
from scripts.run.run_directory import RunDirectory
from scripts.run.sequence_config import ArchitectureConfig, preset_for
from scripts.run.sequence_result import SequenceResult
from scripts.run.tensorboard import read_scalars
from scripts.train_sequence_model import TrainSequenceModel, starting_point
from seqmodels.optimization import OptimizerConfig
from seqmodels.training import SequenceTraining, SequenceTrainingConfig

ROOT = Path(__file__).parents[2]

TINY = replace(
    preset_for("selective-copying", "laptop").run,
    model="gru",
    checkpoint_every_steps=4,
    test_lengths=(13, 71),
    test_length_examples=20,
    architecture=ArchitectureConfig(d_model=7, num_layers=1, dropout=0.2, feed_forward="2"),
    training=SequenceTrainingConfig(
        total_steps=11,
        batch_size=3,
        log_every_steps=2,
        validate_every_steps=5,
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=3),
    ),
)


def run(config, path):
    train_sequence_model.main(TrainSequenceModel(run=config, run_directory=path, device="cpu", threads=1))
    return load_checkpoint(path / "checkpoint.pt")


def resume(config, path):
    train_sequence_model.main(TrainSequenceModel(run=config, resume=path, device="cpu", threads=1))
    return load_checkpoint(path / "checkpoint.pt")


def curves(path):
    """All scalars but those of the clock."""
    found = {}
    for folder in (path, path / "against_tokens", path / "against_length", path / "against_size"):
        scalars = read_scalars(folder)
        found |= {tag: points for tag, points in scalars.items() if not tag.startswith("time/")}
    return found


def without_clock(result):
    curve = [{name: value for name, value in point.items() if name != "seconds"} for point in result.curve]
    return replace(result, seconds=0.0, curve=curve)


def assert_same(first, second):
    """Two nests of tensors and plain values are the same to the bit."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def interrupt_after(monkeypatch, steps):
    """Sends Ctrl-C to this process once the run has logged these many steps."""
    update = sequence_run.Progress.update

    def update_and_interrupt(self, step, **figures):
        update(self, step, **figures)
        if step >= steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(sequence_run.Progress, "update", update_and_interrupt)


def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_that_never_stopped(tmp_path, monkeypatch, capsys):
    whole = run(TINY, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 6)
        stopped = run(TINY, tmp_path / "stopped")
    assert stopped["trainings"][0]["steps"] == 6
    assert SequenceResult.read(tmp_path / "stopped") is None
    assert f"--resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    resumed = resume(TINY, tmp_path / "stopped")
    # Dropout is on: its generator has to come back as well.
    assert_same(resumed["trainings"], whole["trainings"])
    assert curves(tmp_path / "stopped") == curves(tmp_path / "whole")
    first, second = (SequenceResult.read(tmp_path / name) for name in ("whole", "stopped"))
    assert without_clock(first) == without_clock(second)


def note_tests(monkeypatch, *, then=None):
    """Notes which lengths are tested (None: the task's own), and calls `then` during each test but the first."""
    evaluate = SequenceTraining.evaluate
    lengths = []

    def noting(self, split, *, task=None, **options):
        if split == "test":
            lengths.append(None if task is None else task.spec.max_length)
            if then is not None and len(lengths) > 1:
                then()
        return evaluate(self, split, task=task, **options)

    monkeypatch.setattr(SequenceTraining, "evaluate", noting)
    return lengths


def raise_killed():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stop", "first", "second"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGINT), [21, 79], [None]),
        (raise_killed, [21, 79], [79, None]),
    ],
    ids=["Ctrl-C", "kill"],
)
def test_a_run_stopped_in_its_tests_loses_the_length_in_progress_at_most(
    stop, first, second, tmp_path, monkeypatch, capsys
):
    run(TINY, tmp_path / "whole")
    with monkeypatch.context() as patch:
        lengths = note_tests(patch, then=stop)
        if stop is raise_killed:
            with pytest.raises(KeyboardInterrupt):
                run(TINY, tmp_path / "stopped")
        else:
            run(TINY, tmp_path / "stopped")
            assert f"--resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    assert lengths == first
    assert SequenceResult.read(tmp_path / "stopped") is None
    before = json.loads((tmp_path / "stopped/tested.json").read_text())["seconds"]
    with monkeypatch.context() as patch:
        lengths = note_tests(patch)
        resume(TINY, tmp_path / "stopped")
    assert lengths == second
    whole, stopped = (SequenceResult.read(tmp_path / name) for name in ("whole", "stopped"))
    assert without_clock(stopped) == without_clock(whole)
    assert list(stopped.lengths) == list(whole.lengths)
    assert stopped.seconds > before
    assert not (tmp_path / "stopped/tested.json").exists()


def test_a_run_leaves_everything_that_its_page_promises(tmp_path, capsys):
    run(TINY, tmp_path / "run")
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written >= {"config.json", "command.txt", "versions.json", "checkpoint.pt", "result.json"}
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")
    found = curves(tmp_path / "run")
    assert [step for step, _ in found["validation/accuracy"]] == [5, 10, 11]
    assert [tokens for tokens, _ in found["tokens/validation_accuracy"]] == [5 * 3 * 72, 10 * 3 * 72, 11 * 3 * 72]
    assert [length for length, _ in found["length/accuracy"]] == [13 + 8, 71 + 8]
    ((state, accuracy),) = found["size/metric_against_state"]
    assert (state, [(11, accuracy)]) == (7, found["final/accuracy"])


TWO_PROCESSES = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from pathlib import Path
import torch
from scripts.run.run_directory import RunDirectory
from scripts.run.sequence_assembly import build_fabric, build_parts
from scripts.run.sequence_run import SequenceRun
from test_train_sequence_model import TINY, assert_same

config = replace(TINY, training=replace(TINY.training, batch_size=4))
fabric = build_fabric(config, torch.device("cpu"), num_processes=2)

def trained(name, *, resumes=False, until=None):
    path = Path({folder!r}) / name
    if fabric.is_global_zero and not resumes:
        RunDirectory.create(path, config=config, label=name)
    fabric.barrier()
    run = SequenceRun(config, RunDirectory(path=path), build_parts(config, fabric), fabric, resumes=resumes)
    for metrics in run.metrics():
        run.log(metrics)
        if run.steps == until:
            run.save()
            fabric.barrier()
            break
    return run.parts.training.model.state_dict()

whole = trained("whole")
trained("stopped", until=6)
torch.manual_seed(99)
assert_same(trained("stopped", resumes=True), whole)
"""


@pytest.mark.slow
def test_two_processes_that_are_resumed_draw_the_dropout_of_two_that_never_stopped(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MASTER_PORT": port}
    subprocess.run([sys.executable, str(script)], check=True, timeout=300, env=environment)


PRETRAINED = replace(
    TINY,
    task="sequential-digits",
    test_lengths=(),
    pretraining_steps=6,
    architecture=replace(TINY.architecture, bidirectional=True),
)


@pytest.mark.parametrize("steps", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_a_run_stopped_in_or_after_pretraining_equals_one_that_never_stopped(steps, tmp_path, monkeypatch):
    whole = run(PRETRAINED, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps)
        stopped = run(PRETRAINED, tmp_path / "stopped")
    assert (stopped["trainings"][0]["steps"] < 6) == (steps == 4)
    assert_same(resume(PRETRAINED, tmp_path / "stopped")["trainings"], whole["trainings"])
    assert curves(tmp_path / "stopped") == curves(tmp_path / "whole")


def test_pretraining_comes_first_and_its_weights_are_trained_on(tmp_path):
    state = run(PRETRAINED, tmp_path / "run")
    first, second = state["trainings"]
    assert (first["steps"], second["steps"]) == (6, 11)
    shared = [name for name in first["model"] if name.startswith(("encoder", "input_layer"))]
    assert shared
    assert all(torch.equal(first["model"][name], second["model"][name]) for name in shared)
    found = curves(tmp_path / "run")
    assert max(step for step, _ in found["pretraining/validation_loss"]) == 6
    assert [step for step, _ in found["validation/loss"]] == [6 + 5, 6 + 10, 6 + 11]
    assert SequenceResult.read(tmp_path / "run").model == "gru+pretrained"


def test_every_tag_that_a_run_writes_is_explained(tmp_path):
    run(replace(TINY, model="s4"), tmp_path / "run")
    explained = set(re.findall(r"`([a-z_/]+)`", (ROOT / "docs/sequences.md").read_text()))
    tags = set(read_scalars(tmp_path / "run")) | set(curves(tmp_path / "run"))
    assert tags - explained == set()


def test_the_result_names_what_the_model_is_and_what_it_reached(tmp_path):
    run(TINY, tmp_path / "run")
    result = SequenceResult.read(tmp_path / "run")
    assert result.model == "gru"
    assert result.tokens == 11 * 3 * 72
    assert result.state_size == 7  # one layer of a recurrent network
    assert result.lengths.keys() == {"21", "79"}
    assert result.best_step in {point["step"] for point in result.curve}
    assert result.validation["accuracy"] == max(point["accuracy"] for point in result.curve)
    parameters = load_checkpoint(tmp_path / "run/checkpoint.pt")["trainings"][0]["model"].values()
    assert (result.device.split()[0], result.threads, result.torch) == ("cpu", 1, torch.__version__)
    assert result.parameters == sum(tensor.numel() for tensor in parameters)


def test_the_time_of_a_run_includes_its_tests(tmp_path, monkeypatch):
    evaluate = SequenceTraining.evaluate

    def slow_tests(self, split, **options):
        if split == "test":
            time.sleep(0.1)
        return evaluate(self, split, **options)

    monkeypatch.setattr(SequenceTraining, "evaluate", slow_tests)
    run(TINY, tmp_path / "run")
    result = SequenceResult.read(tmp_path / "run")
    assert result.seconds - result.curve[-1]["seconds"] > 3 * 0.1  # at its own length and at two others


def test_a_finished_run_that_is_resumed_gives_its_result_again(tmp_path):
    run(TINY, tmp_path / "run")
    before = SequenceResult.read(tmp_path / "run")
    resume(TINY, tmp_path / "run")
    assert without_clock(SequenceResult.read(tmp_path / "run")) == without_clock(before)


def test_a_run_is_not_resumed_with_other_settings(tmp_path):
    run(TINY, tmp_path / "run")
    with pytest.raises(ValueError, match=r"another configuration: seed \(0 then, 1 now\)"):
        resume(replace(TINY, seed=1), tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path):
    optimizer = OptimizerConfig(learning_rate=1e38, warmup_steps=0)
    config = replace(TINY, training=replace(TINY.training, optimizer=optimizer))
    with pytest.raises(ValueError, match=r"the gradient's norm is (nan|inf).*try a smaller --learning-rate"):
        run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "manba"}, "unknown mixer 'manba': did you mean mamba"),
        ({"architecture": replace(TINY.architecture, d_state=5)}, "gru has no d_state"),
        ({"architecture": replace(TINY.architecture, bidirectional=True)}, "asks for an answer at every position"),
        ({"task": "sequential-digits", "test_lengths": (100,)}, "has one length only"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_sentence(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(replace(TINY, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_taken_folder_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    RunDirectory.create(tmp_path / "run", config=TINY, label="tiny")
    monkeypatch.setattr(train_sequence_model, "build_parts", None)
    with pytest.raises(FileExistsError, match="continue it with --resume"):
        run(TINY, tmp_path / "run")


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown task 'inductionheads': did you mean induction-heads"):
        preset_for("inductionheads", "laptop")
    with pytest.raises(ValueError, match="task adding has no preset 'huge', only laptop, paper"):
        preset_for("adding", "huge")


def test_task_and_preset_set_all_flags_and_a_resumed_run_keeps_its_own(tmp_path):
    assert starting_point([]).run == preset_for("selective-copying", "laptop").run
    assert starting_point(["--task", "adding", "--preset", "paper"]).run == preset_for("adding", "paper").run
    RunDirectory.create(tmp_path / "run", config=TINY, label="tiny")
    assert starting_point(["--resume", str(tmp_path / "run"), "--device", "cpu"]).run == TINY


@pytest.mark.parametrize("number", [0, -1])
def test_a_run_has_one_process_at_least(number):
    with pytest.raises(ValueError, match=f"num_processes must be at least 1, got {number}"):
        TrainSequenceModel(run=TINY, num_processes=number)


def test_a_resumed_run_is_given_no_other_folder(tmp_path):
    with pytest.raises(ValueError, match="give --resume or --run-directory, not both"):
        TrainSequenceModel(run=TINY, resume=tmp_path / "run", run_directory=tmp_path / "other")


def test_half_precision_is_computed_in_and_named_in_the_settings(tmp_path):
    exact = run(TINY, tmp_path / "float32")["trainings"][0]["model"]
    for precision in ("bfloat16", "float16"):
        state = run(replace(TINY, precision=precision), tmp_path / precision)["trainings"][0]
        assert ("scale" in state["precision"]) == (precision == "float16")
        assert not torch.equal(state["model"]["output_layer.weight"], exact["output_layer.weight"])
        assert json.loads((tmp_path / precision / "config.json").read_text())["precision"] == precision
