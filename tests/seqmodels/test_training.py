import copy
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from seqmodels.optimization import OptimizerConfig, build_optimizer, build_schedule
from seqmodels.scoring import score
from seqmodels.tasks.adding import Adding
from seqmodels.tasks.selective_copying import SelectiveCopying
from seqmodels.tasks.task import NOT_SCORED, Batch
from seqmodels.training import (
    Interval,
    NonFiniteLossError,
    SequenceTraining,
    SequenceTrainingConfig,
    first_examples,
    train,
)

COPYING = SelectiveCopying(num_slots=7, num_tokens=3, vocab_size=5, num_validation=13, num_test=11)


class TokenModel(nn.Module):
    """A recurrent network that answers at every position."""

    def __init__(self, num_tokens=5):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, 17)
        self.recurrence = nn.GRU(17, 17, batch_first=True)
        self.output = nn.Linear(17, num_tokens)

    def forward(self, inputs, lengths):
        return self.output(self.recurrence(self.embedding(inputs))[0])


class ValueModel(nn.Module):
    """A recurrent network that answers once a row."""

    def __init__(self):
        super().__init__()
        self.recurrence = nn.GRU(2, 7, batch_first=True)
        self.output = nn.Linear(7, 1)

    def forward(self, inputs, lengths):
        return self.output(self.recurrence(inputs)[1][0])


def make_training(*, seed=0, model=None, task=COPYING, learning_rate=1e-2, fabric=None, **settings):
    torch.manual_seed(seed)
    defaults = {
        "total_steps": 30,
        "batch_size": 6,
        "log_every_steps": 4,
        "validate_every_steps": 10,
        "evaluation_tokens": 50,
        "optimizer": OptimizerConfig(learning_rate=learning_rate, warmup_steps=5),
    }
    return SequenceTraining(
        model=TokenModel() if model is None else model,
        task=task,
        config=SequenceTrainingConfig(**{**defaults, **settings}),
        fabric=fabric or Fabric(accelerator="cpu", devices=1),
        seed=seed,
    )


def without_clock(metrics):
    return {tag: value for tag, value in metrics.items() if not tag.startswith("time/")}


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


def test_a_run_resumed_at_any_yield_equals_one_that_never_stopped():
    whole = make_training(patience_validations=5)
    expected = [without_clock(metrics) for metrics in train(whole)]
    saved = []
    stopped = make_training(patience_validations=5)
    for _ in train(stopped):
        saved.append(copy.deepcopy(stopped.state_dict()))
    for index, state in enumerate(saved[:-1]):
        resumed = make_training(patience_validations=5)
        nn.init.zeros_(resumed.model.output.weight)  # everything must come from the saved state
        resumed.load_state_dict(copy.deepcopy(state))
        assert [without_clock(metrics) for metrics in train(resumed)] == expected[index + 1 :]
        assert_same(resumed.state_dict(), whole.state_dict())


def test_metrics_come_every_so_many_steps_and_validations_at_theirs_and_at_the_end():
    training = make_training()
    steps = {}
    for metrics in train(training):
        steps[training.steps] = set(metrics)
    assert list(steps) == [4, 8, 10, 12, 16, 20, 24, 28, 30]
    assert [step for step, tags in steps.items() if "validation/accuracy" in tags] == [10, 20, 30]
    assert steps[30] >= {
        "learning/loss",
        "learning/accuracy",
        "learning/sequence_accuracy",
        "learning/gradient_norm",
        "learning/rate",
        "learning/tokens",
        "validation/loss",
        "validation/sequence_accuracy",
        "time/tokens_per_second",
        "time/steps_per_second",
        "time/data_fraction",
        "time/learning_fraction",
        "time/validation_fraction",
    }
    assert training.tokens == 30 * 6 * 10


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others():
    runs = [[without_clock(metrics) for metrics in train(make_training(seed=seed))] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_a_model_learns_to_copy():
    training = make_training(total_steps=400, batch_size=32, validate_every_steps=400)
    metrics = list(train(training))
    assert metrics[0]["learning/accuracy"] < 0.6
    assert metrics[-1]["validation/accuracy"] > 0.9


def test_a_regression_is_measured_by_its_squared_error():
    training = make_training(model=ValueModel(), task=Adding(length=11, num_validation=13))
    every = list(train(training))
    metrics = every[-1]
    assert "validation/accuracy" not in metrics
    batch = next(training.task.batches("validation", batch_size=13, seed=5))
    with torch.no_grad():
        error = (training.model(batch.inputs, batch.lengths) - batch.targets).square().mean()
    assert metrics["validation/loss"] == pytest.approx(float(error), rel=1e-5)
    losses = [one["validation/loss"] for one in every if "validation/loss" in one]
    assert training.best_rank == (0.0, -min(losses))


def test_scores_count_positions_and_rows_by_hand():
    outputs = torch.full((3, 2, 5), -20.0)
    for row, position, token in ((0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4), (2, 0, 0), (2, 1, 0)):
        outputs[row, position, token] = 20.0
    targets = torch.tensor([[1, 2], [3, 0], [NOT_SCORED, NOT_SCORED]])
    scores = score(outputs, targets, "per_position")
    assert [float(value) for value in scores[1:]] == [4, 3, 2, 1]
    assert float(scores.loss) == pytest.approx(40.0, rel=1e-4)


def test_label_smoothing_mixes_the_target_with_the_uniform_distribution():
    outputs = torch.tensor([[2.0, -1.0, 0.5]])
    log_probabilities = outputs.log_softmax(dim=-1)[0]
    expected = -(0.9 * log_probabilities[1] + 0.1 * log_probabilities.mean())
    scores = score(outputs, torch.tensor([1]), "class", smoothing=0.1)
    torch.testing.assert_close(scores.loss, expected)


def test_label_smoothing_acts_on_what_is_learned_from_and_not_on_validations():
    plain, smoothed = make_training(total_steps=1), make_training(total_steps=1, label_smoothing=0.5)
    batch = next(smoothed.batches())
    with torch.no_grad():
        outputs = smoothed.model(batch.inputs, batch.lengths)
    expected = [float(score(outputs, batch.targets, "per_position", smoothing=s).loss) / 18 for s in (0.0, 0.5)]
    assert smoothed.evaluate("validation") == plain.evaluate("validation")
    found = [next(train(training))["learning/loss"] for training in (plain, smoothed)]
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[0] != pytest.approx(found[1], rel=1e-4)


def test_rates_rise_linearly_and_fall_as_a_cosine():
    model = TokenModel()
    config = OptimizerConfig(learning_rate=0.8, warmup_steps=4, final_learning_rate_fraction=0.5)
    optimizer = build_optimizer(model, config, scales_loss=False)
    schedule = build_schedule(optimizer, config, total_steps=8)
    rates = []
    for _ in range(9):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    cosine = [0.8 * (0.5 + 0.5 * factor) for factor in (1, 0.853553, 0.5, 0.146447, 0)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, *cosine], rel=1e-5)


class Recurrence(TokenModel):
    def state_space_parameters(self):
        return [self.recurrence.weight_hh_l0]


def test_state_space_parameters_learn_at_their_own_lower_rate_without_decay():
    for rate, expected in ((1e-2, 1e-3), (1e-4, 1e-4)):
        config = OptimizerConfig(learning_rate=rate, state_space_learning_rate=1e-3, weight_decay=0.1)
        groups = build_optimizer(Recurrence(), config, scales_loss=False).param_groups
        assert [(group["name"], group["weight_decay"]) for group in groups] == [
            ("decayed", 0.1),
            ("not decayed", 0.0),
            ("state space", 0.0),
        ]
        assert [group["initial_lr"] if "initial_lr" in group else group["lr"] for group in groups] == [
            rate,
            rate,
            expected,
        ]


@pytest.mark.parametrize(("asked", "batches"), [(3, [3]), (5, [5]), (7, [5, 2]), (10, [5, 5]), (12, [5, 5, 1])])
def test_a_test_on_so_many_rows_takes_exactly_the_first_of_them(asked, batches):
    # Rows of 10 tokens, and batches of 50: five rows. The split has eleven.
    training = make_training()
    seen = []
    training.model.register_forward_hook(lambda module, inputs, outputs: seen.append(inputs[0]))
    training.evaluate("test", max_examples=asked)
    assert [len(rows) for rows in seen] == batches
    every = next(COPYING.batches("test", batch_size=11, seed=0)).inputs
    assert torch.equal(torch.cat(seen), every[:asked])


def test_of_examples_with_two_rows_a_cut_batch_keeps_both():
    batch = Batch(inputs=torch.arange(12).reshape(6, 2), lengths=torch.arange(6), targets=torch.arange(3))
    (cut,) = first_examples([batch, batch], 2, rows_per_example=2)
    assert_same(tuple(cut), (batch.inputs[:4], batch.lengths[:4], batch.targets[:2]))


def test_training_stops_early_once_validation_no_longer_improves_and_the_best_weights_come_back():
    training = make_training(total_steps=1_000, patience_validations=3)
    losses = iter([3.0, 2.0, 5.0, 4.0, 2.0])
    training.evaluate = lambda split: {"accuracy": 0.5, "loss": next(losses)}
    for _ in train(training):
        if training.steps == 20:
            best = copy.deepcopy(training.model.state_dict())
    assert training.stopped_early
    assert (training.best_step, training.steps) == (20, 50)
    assert not torch.equal(training.model.output.weight, best["output.weight"])
    training.restore_best()
    assert_same(training.model.state_dict(), best)


def validate_as_if(training, *found):
    """Validates once a step, as if these were the metrics."""
    for metrics in found:
        training.steps += 1
        training.evaluate = lambda split, metrics=metrics: metrics
        training.validate()


def test_of_validations_alike_in_accuracy_the_one_with_the_smallest_loss_is_kept():
    training = make_training()
    validate_as_if(
        training,
        {"accuracy": 1.0, "loss": 0.5},
        {"accuracy": 1.0, "loss": 0.1},
        {"accuracy": 1.0, "loss": 0.2},
        {"accuracy": 0.9, "loss": 0.01},
    )
    assert training.best_step == 2
    assert training.validations_without_improvement == 2


def test_a_loss_that_is_not_a_number_is_worse_than_any_other():
    training = make_training()
    validate_as_if(training, {"loss": math.nan}, {"loss": 1e30}, {"loss": math.nan})
    assert training.best_step == 2


def test_training_stops_once_two_validations_in_a_row_reach_the_accuracy_asked_for():
    good, bad = {"accuracy": 0.9, "loss": 0.1}, {"accuracy": 0.89, "loss": 0.1}
    training = make_training(stop_at_accuracy=0.9)
    validate_as_if(training, good, bad, good)
    assert not training.finished
    resumed = make_training(stop_at_accuracy=0.9)
    resumed.load_state_dict(copy.deepcopy(training.state_dict()))
    validate_as_if(resumed, good)
    assert resumed.stopped_early
    assert resumed.finished
    endless = make_training()
    validate_as_if(endless, {"accuracy": 1.0, "loss": 0.0}, {"accuracy": 1.0, "loss": 0.0})
    assert not endless.finished


def test_training_stops_once_the_loss_of_two_validations_in_a_row_is_small_enough():
    training = make_training(stop_at_loss=0.01)
    validate_as_if(training, {"loss": 0.009}, {"loss": 0.01}, {"loss": 0.009})
    assert not training.finished
    validate_as_if(training, {"loss": 0.009})
    assert training.finished
    endless = make_training()
    validate_as_if(endless, {"loss": 0.0}, {"loss": 0.0})
    assert not endless.finished


def test_long_gradients_are_clipped_before_the_update():
    def weights_after_a_step(norm):
        optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, max_gradient_norm=norm)
        training = make_training(optimizer=optimizer)
        metrics = next(train(training))
        return metrics["learning/gradient_norm"], training.optimizer.state_dict()["state"][0]["exp_avg"].norm()

    (first, clipped), (_, free) = weights_after_a_step(1e-3), weights_after_a_step(1e3)
    assert first > 0.01  # reported before clipping
    assert clipped < 1e-3 < free


def test_a_loss_that_is_not_finite_stops_with_a_sentence_and_the_weights_from_before():
    training = make_training()
    with torch.no_grad():
        training.model.embedding.weight[0, 0] = torch.nan
    before = copy.deepcopy(training.model.state_dict())
    with pytest.raises(NonFiniteLossError, match="the gradient's norm is nan and the loss nan at step 1"):
        next(train(training))
    torch.testing.assert_close(training.model.state_dict(), before, rtol=0, atol=0, equal_nan=True)


def test_a_gradient_that_is_not_finite_is_noticed_before_anything_can_be_saved():
    # As on a GPU, where an update does not wait to look at its gradient, and the loss was still finite.
    training = make_training()
    interval = Interval(training)
    interval.add(torch.ones(5), torch.tensor(torch.nan))
    training.steps = 3
    with pytest.raises(NonFiniteLossError, match="the gradient's norm became nan between steps 0 and 3"):
        interval.metrics(training)


def test_float16_scales_the_loss_and_skips_what_overflows():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)  # so large that the first gradients overflow
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    training = make_training(fabric=fabric, validate_every_steps=30)
    before = copy.deepcopy(training.model.state_dict())
    metrics = train(training)
    next(metrics)
    scale = training.state_dict()["precision"]["scale"]
    assert scale < 2.0**24
    for _ in metrics:
        pass
    assert training.state_dict()["precision"]["scale"] <= scale
    assert not torch.equal(before["output.weight"], training.model.output.weight)
    assert all(tensor.isfinite().all() for tensor in training.model.state_dict().values())


def test_bfloat16_computes_in_it_and_keeps_weights_in_float32():
    seen = []
    training = make_training(fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    training.model.output.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    list(train(training))
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in training.model.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_gpu_trains_in_every_precision_and_resumes(precision):
    def on_gpu():
        return make_training(fabric=Fabric(accelerator="cuda", devices=1, precision=precision), learning_rate=1e-3)

    stopped = on_gpu()
    next(train(stopped))
    resumed = on_gpu()
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    metrics = list(train(resumed))
    assert resumed.steps == 30
    assert metrics[-1]["validation/loss"] < metrics[0]["learning/loss"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be within \[0, 1\), got 1.0"),
        ({"patience_validations": -1}, "patience_validations must be at least 0, got -1"),
        ({"stop_at_accuracy": 1.5}, r"stop_at_accuracy must be within \[0, 1\], got 1.5"),
        ({"stop_at_loss": -0.1}, "stop_at_loss must be at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SequenceTrainingConfig(**settings)


def test_optimizer_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="learning_rate must be greater than 0, got 0.0"):
        OptimizerConfig(learning_rate=0.0)
    with pytest.raises(ValueError, match=r"final_learning_rate_fraction must be within \[0, 1\], got 2.0"):
        OptimizerConfig(final_learning_rate_fraction=2.0)


TWO_PROCESSES = """
import sys
sys.path.insert(0, {folder!r})
import torch
from lightning_fabric import Fabric
from test_training import make_training, without_clock
from seqmodels.training import train

fabric = Fabric(accelerator="cpu", devices=2, num_nodes=1, strategy="ddp")
fabric.launch()
training = make_training(fabric=fabric)
metrics = [without_clock(values) for values in train(training)]
if fabric.global_rank == 0:
    torch.save({{"metrics": metrics, "model": training.model.state_dict()}}, {output!r})
"""


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    script, output = tmp_path / "two.py", tmp_path / "two.pt"
    script.write_text(TWO_PROCESSES.format(folder=str(Path(__file__).parent), output=str(output)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MASTER_PORT": port}
    subprocess.run([sys.executable, str(script)], check=True, timeout=300, env=environment)
    two = torch.load(output, weights_only=True)
    one = make_training()
    metrics = [without_clock(values) for values in train(one)]
    assert len(metrics) == len(two["metrics"])
    for ours, theirs in zip(metrics, two["metrics"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-4, atol=1e-5)
