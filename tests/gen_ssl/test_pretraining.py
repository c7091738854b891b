import copy
import math

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from gen_ssl.encoders import NatureCNN
from gen_ssl.frames import FrameSampler, FrameStore, FrameStoreWriter
from gen_ssl.gather import gather_by
from gen_ssl.method import MethodOutput
from gen_ssl.moco import MoCo, MoCoConfig
from gen_ssl.optimization import OptimizerConfig
from gen_ssl.pretraining import Interval, NonFiniteLossError, Pretraining, PretrainingConfig, pretrain
from gen_ssl.simclr import SimCLR, SimCLRConfig
from gen_ssl.views import make_views

FRAME_SHAPE = (1, 37, 41)
STACK = 2
BATCH = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of five episodes of 13 frames each, in which a bright square jumps about."""
    path = tmp_path_factory.mktemp("frames")
    generator = np.random.default_rng(0)
    frames = np.zeros((65, *FRAME_SHAPE), dtype=np.uint8)
    for frame, (y, x) in zip(frames, generator.integers(0, 28, (65, 2)), strict=True):
        frame[0, y : y + 9, x : x + 9] = 255
    ended = np.arange(65) % 13 == 12
    with FrameStoreWriter(path, frame_shape=FRAME_SHAPE) as writer:
        writer.append(
            game="Pong",
            num_actions=3,
            frames=frames,
            actions=generator.integers(0, 3, 65),
            rewards=generator.normal(size=65).astype(np.float32),
            terminated=ended,
            truncated=np.zeros(65, np.bool_),
        )
    return path


def make_pretraining(
    folder, *, fabric=None, method="simclr", seed=0, views="default", rate=1e-3, optimizer="adamw", **settings
):
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(seed)
    encoder = NatureCNN(frame_shape=(STACK, *FRAME_SHAPE[1:]), feature_dim=11)
    gather = gather_by(fabric.all_gather)
    if method == "simclr":
        config = SimCLRConfig(temperature=0.5, hidden_dim=17, projection_dim=5)
        built = SimCLR(encoder, config, views=make_views(views), gather=gather)
    else:
        config = MoCoConfig(hidden_dim=17, projection_dim=5, queue_size=19, momentum=0.9)
        built = MoCo(encoder, config, views=make_views(views), gather=gather)
    sampler = FrameSampler(
        FrameStore.open(folder),
        time_offsets=built.time_offsets,
        stack=STACK,
        batch_size=BATCH,
        seed=seed,
        rank=fabric.global_rank,
        num_ranks=fabric.world_size,
    )
    watched = settings.pop("watched", False)
    defaults = {"steps": 7, "batch_size": BATCH, "log_every_steps": 3}
    return Pretraining(
        method=built,
        sampler=sampler,
        config=PretrainingConfig(
            optimizer=OptimizerConfig(optimizer=optimizer, learning_rate=rate, warmup_steps=2), **defaults | settings
        ),
        fabric=fabric,
        seed=seed,
        held_out=sampler.batch(100).stacks[0] if watched else None,
        knn=watched or None,
    )


def without_clock(metrics):
    return {tag: value for tag, value in metrics.items() if not tag.startswith("time/")}


@pytest.mark.parametrize(("method", "optimizer"), [("simclr", "lars"), ("moco", "adamw")])
def test_a_run_resumed_at_any_yield_equals_one_that_never_stopped(folder, method, optimizer):
    arguments = {"method": method, "optimizer": optimizer, "rate": 0.01}
    whole = make_pretraining(folder, **arguments)
    expected = [without_clock(metrics) for metrics in pretrain(whole)]
    assert len(expected) == 3
    saved = []
    stopped = make_pretraining(folder, **arguments)
    for _ in pretrain(stopped):
        saved.append(copy.deepcopy(stopped.state_dict()))
    for index, state in enumerate(saved[:-1]):
        resumed = make_pretraining(folder, **arguments)
        with torch.no_grad():
            for weight in resumed.method.parameters():
                weight.zero_()  # everything must come from the saved state
        resumed.load_state_dict(copy.deepcopy(state))
        assert [without_clock(metrics) for metrics in pretrain(resumed)] == expected[index + 1 :]
        torch.testing.assert_close(resumed.method.state_dict(), whole.method.state_dict(), rtol=0, atol=0)


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(folder):
    runs = [[without_clock(metrics) for metrics in pretrain(make_pretraining(folder, seed=seed))] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_metrics_come_every_so_many_steps_and_at_the_end(folder):
    pretraining = make_pretraining(folder, steps=7, log_every_steps=3)
    steps, tags = [], set()
    for metrics in pretrain(pretraining):
        steps.append(pretraining.steps)
        tags |= set(metrics)
    assert steps == [3, 6, 7]
    assert tags >= {
        "pretraining/loss",
        "pretraining/accuracy",
        "pretraining/learning_rate",
        "pretraining/gradient_norm",
        "time/samples_per_second",
        "time/sampling_fraction",
        "time/forward_fraction",
        "time/backward_fraction",
        "time/optimizing_fraction",
    }


def test_metrics_are_means_over_the_steps_of_their_interval(folder):
    each = [metrics["pretraining/loss"] for metrics in pretrain(make_pretraining(folder, log_every_steps=1))]
    intervals = [metrics["pretraining/loss"] for metrics in pretrain(make_pretraining(folder, log_every_steps=3))]
    assert intervals == pytest.approx([np.mean(each[:3]), np.mean(each[3:6]), each[6]], rel=1e-5)


def test_every_step_takes_the_batch_of_its_number(folder):
    pretraining = make_pretraining(folder, steps=4, log_every_steps=2)
    seen = []
    update = pretraining.update
    pretraining.update = lambda batch, interval: seen.append(batch) or update(batch, interval)
    next(pretrain(pretraining))
    list(pretrain(pretraining))  # goes on where the first loop was left
    expected = [pretraining.sampler.batch(index).stacks for index in range(4)]
    assert all(torch.equal(batch.stacks, stacks) for batch, stacks in zip(seen, expected, strict=True))


def test_the_loss_of_frames_that_repeat_falls(folder):
    pretraining = make_pretraining(folder, steps=60, log_every_steps=10, rate=0.01, views="identity")
    losses = [metrics["pretraining/loss"] for metrics in pretrain(pretraining)]
    assert losses[-1] < 0.9 * losses[0]


def test_what_follows_the_steps_moves_once_a_step(folder):
    pretraining = make_pretraining(folder, method="moco", steps=4)
    list(pretrain(pretraining))
    assert int(pretraining.method.queue.position) == 4 * BATCH % 19


def test_minutes_end_a_run_on_time_with_the_rate_near_zero(folder, monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 0.01
        return now[0]

    monkeypatch.setattr("gen_ssl.pretraining.time.perf_counter", clock)
    pretraining = make_pretraining(folder, steps=0, minutes=0.05, log_every_steps=5)
    rates = [metrics["pretraining/learning_rate"] for metrics in pretrain(pretraining)]
    assert pretraining.seconds == pytest.approx(3.0, rel=0.1)
    assert rates[-1] < 0.01 * max(rates)
    assert sorted(rates[2:], reverse=True) == rates[2:]


def test_time_between_two_yields_does_not_count(folder, monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 0.001
        return now[0]

    monkeypatch.setattr("gen_ssl.pretraining.time.perf_counter", clock)
    pretraining = make_pretraining(folder, steps=4, log_every_steps=2)
    for metrics in pretrain(pretraining):
        now[0] += 100.0  # as by a caller that probes
        assert metrics["time/samples_per_second"] > BATCH
    assert pretraining.seconds < 1


def test_a_loss_that_is_not_finite_says_where_it_happened_and_moves_nothing(folder):
    pretraining = make_pretraining(folder, rate=1e30)
    with pytest.raises(NonFiniteLossError, match=r"the gradient's norm is (nan|inf) and the loss .* at step \d+"):
        list(pretrain(pretraining))
    assert all(weight.isfinite().all() for weight in pretraining.method.parameters())


@pytest.mark.parametrize(
    ("loss", "gradient_norm", "message"),
    [
        (math.nan, 1.0, "the loss became nan between steps 0 and 2"),
        (1.0, math.inf, "the gradient's norm became inf between steps 0 and 2"),
    ],
)
def test_what_no_update_looks_at_on_a_gpu_is_seen_at_the_end_of_the_interval(folder, loss, gradient_norm, message):
    pretraining = make_pretraining(folder)
    interval = Interval(pretraining)
    interval.add(MethodOutput(torch.tensor(1.0), {}), torch.tensor(1.0))
    interval.add(MethodOutput(torch.tensor(loss), {}), torch.tensor(gradient_norm))
    pretraining.steps = 2
    with pytest.raises(NonFiniteLossError, match=message):
        interval.metrics(pretraining)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_features_are_those_of_the_encoder_in_float32_and_its_mode_is_kept(folder, precision):
    pretraining = make_pretraining(folder, fabric=Fabric(accelerator="cpu", devices=1, precision=precision))
    stacks = pretraining.sampler.batch(0).stacks[0]
    features = pretraining.encode(stacks, chunk=4)
    assert torch.equal(features, torch.cat([pretraining.method.encoder(part).detach() for part in stacks.split(4)]))
    assert pretraining.method.training


def test_an_encoder_that_gives_all_frames_the_same_features_is_named_once(folder):
    pretraining = make_pretraining(folder, steps=6, log_every_steps=2, watched=lambda encoder: 0.3)
    named = []
    for metrics in pretrain(pretraining):
        named.append(pretraining.collapse_warnings)
        assert metrics["collapse/knn"] == 0.3
        with torch.no_grad():
            pretraining.encoder.linear.weight.zero_()
            pretraining.encoder.linear.bias.fill_(1.0)
    assert named[0] == named[2] == ()
    assert any("all frames get nearly the same features" in sentence for sentence in named[1])
    assert metrics["collapse/feature_deviation"] < 0.1


def test_a_resumed_run_compares_with_the_encoder_before_training(folder):
    watched = {"watched": lambda encoder: 0.5}
    stopped = make_pretraining(folder, **watched)
    next(pretrain(stopped))
    state = stopped.state_dict()
    resumed = make_pretraining(folder, seed=1, **watched)
    resumed.load_state_dict(state)
    assert resumed.monitor.initial_rank == stopped.monitor.initial_rank


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"minutes": 0.0}, "minutes must be greater than 0 where steps is 0, got 0.0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"log_every_steps": 0}, "log_every_steps must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainingConfig(**settings)


def losses_and_weights(fabric, folder, method, weights_file):
    """What one process of a run sees: its losses, and how far weights and queues of all processes differ.

    The weights go into a file: between processes only little can be handed over.
    """
    torch.set_num_threads(1)
    # Views are drawn on each rank by itself: without them both runs see the same. And not by Adam, which divides by
    # gradients: where these are next to nothing, their last digits grow from step to step.
    pretraining = make_pretraining(
        folder, fabric=fabric, method=method, views="identity", log_every_steps=1, optimizer="lars", rate=0.001
    )
    losses = [metrics["pretraining/loss"] for metrics in pretrain(pretraining)]
    weights = torch.cat([weight.detach().flatten() for weight in pretraining.method.parameters()])
    state = torch.cat([weights, *(buffer.double().flatten() for buffer in pretraining.method.buffers())])
    everywhere = fabric.all_gather(state).reshape(-1, len(state))
    if fabric.is_global_zero:
        np.save(weights_file, weights.numpy())
    return losses, float((everywhere - everywhere[0]).abs().max())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["simclr", pytest.param("moco", marks=pytest.mark.slow)])
def test_two_processes_have_the_loss_and_the_weights_of_one(folder, method, tmp_path):
    two, one = (
        Fabric(accelerator="cpu", devices=count, strategy="ddp_spawn" if count > 1 else "auto") for count in (2, 1)
    )
    losses, difference = two.launch(losses_and_weights, folder, method, tmp_path / "two.npy")
    expected_losses, _ = losses_and_weights(one, folder, method, tmp_path / "one.npy")
    assert losses == pytest.approx(expected_losses, abs=1e-5)
    assert difference == 0
    assert len(set(losses)) == 7  # something is learned
    np.testing.assert_allclose(np.load(tmp_path / "two.npy"), np.load(tmp_path / "one.npy"), atol=1e-3)


@pytest.mark.gpu
def test_a_gpu_has_the_losses_of_the_cpu(folder):
    on_cpu, on_gpu = (
        make_pretraining(folder, fabric=Fabric(accelerator=kind, devices=1), views="identity", steps=3)
        for kind in ("cpu", "cuda")
    )
    expected, actual = ([metrics["pretraining/loss"] for metrics in pretrain(run)] for run in (on_cpu, on_gpu))
    assert actual == pytest.approx(expected, rel=1e-3)
