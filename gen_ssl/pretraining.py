"""The loop of self-supervised pretraining: draw a batch of frames, make one update, look for collapse now and then.

The loop is a generator of metrics. All of its state is in a `Pretraining`, and every yield is a point at which that
state can be saved: a run resumed from it gives the numbers of a run that never stopped. Batches and random draws are
functions of the step's number, so neither an iterator nor a generator has to be saved.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from .collapse import CollapseConfig, CollapseMonitor
from .encoders import Encoder
from .frames import FrameBatch, FrameSampler
from .method import FollowsStep, Method, MethodOutput
from .optimization import OptimizerConfig, build_optimizer, learning_rate

Metrics = dict[str, float]


class NonFiniteLossError(RuntimeError):
    """Loss or gradient became infinite or not a number; on a CPU the weights are those from before the update."""


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """How long to pretrain, and how. A step is one update on one batch."""

    steps: int = 0  # in all; 0: as many as `minutes` allow
    minutes: float = 4.0  # of training by the wall clock, where `steps` is 0
    batch_size: int = 64  # samples a step, those of all processes together
    log_every_steps: int = 50
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    collapse: CollapseConfig = field(default_factory=CollapseConfig)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")
        if self.steps == 0 and not self.minutes > 0:
            raise ValueError(f"minutes must be greater than 0 where steps is 0, got {self.minutes}")
        for name in ("batch_size", "log_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Pretraining:
    """One run of pretraining: the method with its encoder, the frames, the optimiser, and every counter.

    `fabric`, launched by the caller, decides about device, precision and processes. Where a number of minutes is the
    limit, the number of steps is planned from the speed so far, again at every interval, and the learning rate follows.
    """

    def __init__(
        self,
        *,
        method: nn.Module,
        sampler: FrameSampler,
        config: PretrainingConfig,
        fabric: Fabric,
        seed: int,
        held_out: UInt8[Tensor, "n c h w"] | None = None,
        knn: Callable[[Encoder], float] | None = None,
    ) -> None:
        """Moves the method to the fabric's device; `seed` draws views, masks and noise.

        Args:
            method: a `Method`, with the encoder that is to be pretrained in it.
            sampler: batches of `config.batch_size` positions at the method's time offsets.
            config: how long, and how.
            fabric: launched already.
            seed: at least 0.
            held_out: stacks on which the encoder is watched for a collapse at every yield; None watches nothing.
            knn: score of a k-NN probe on an encoder, to be compared with that before training.
        """
        assert isinstance(method, Method)
        self.method = method.to(fabric.device)
        self.sampler = sampler
        self.config = config
        self.fabric = fabric
        self.steps = 0
        self.seconds = 0.0  # of training: without what the caller does between two yields
        self.planned_steps = config.steps
        self._planned_at = (0, 0.0)  # steps and seconds at the last plan
        self._seed = seed
        self._generator = torch.Generator(fabric.device)
        self.optimizer = build_optimizer(method, config.optimizer)
        self._module, self._stepper = fabric.setup(method, self.optimizer)
        self._held_out = held_out
        self._knn = knn
        self.monitor: CollapseMonitor | None = None
        self.collapse_warnings: tuple[str, ...] = ()  # new ones, at the last yield
        if held_out is not None:
            initial_knn = None if knn is None else knn(self.encoder)
            self.monitor = CollapseMonitor(self.encode(held_out), config.collapse, initial_knn=initial_knn)

    @property
    def encoder(self) -> Encoder:
        """What is being pretrained."""
        encoder: Encoder = self.method.encoder
        return encoder

    @property
    def finished(self) -> bool:
        """Whether all steps are done; where minutes are the limit, none are planned before the first."""
        return self.steps >= self.planned_steps and (self.config.steps > 0 or self.steps > 0)

    def state_dict(self) -> dict[str, Any]:
        """Returns tensors, numbers and strings from which `load_state_dict` continues exactly."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "planned_steps": self.planned_steps,
            "planned_at": list(self._planned_at),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "monitor": None if self.monitor is None else self.monitor.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self.steps = state["steps"]
        self.seconds = state["seconds"]
        self.planned_steps = state["planned_steps"]
        self._planned_at = (state["planned_at"][0], state["planned_at"][1])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.monitor is not None and state["monitor"] is not None:
            self.monitor.load_state_dict(state["monitor"])

    def batches(self) -> Generator[FrameBatch, None, None]:
        """Yields the batches from the present step on, and reads the next one while a batch is worked on."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            index = self.steps
            ahead = reader.submit(self.sampler.batch, index)
            while True:
                batch = ahead.result()
                index += 1
                ahead = reader.submit(self.sampler.batch, index)
                yield batch

    def generator(self, purpose: int = 0) -> torch.Generator:
        """Returns the present step's generator of this process, on its device; the same one, seeded anew, each time."""
        entropy = (self._seed, self.steps, self.fabric.global_rank, purpose)
        self._generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))
        return self._generator

    def update(self, batch: FrameBatch, interval: "Interval") -> None:
        """Makes one update on this process's part of a batch; gradients are averaged over the processes."""
        fabric, config = self.fabric, self.config
        with interval.timed("forward"):
            self._module.train()
            output: MethodOutput = self._module(batch.to(fabric.device), self.generator())
        with interval.timed("backward"):
            fabric.backward(output.loss)
        with interval.timed("optimizing"):
            gradient_norm = fabric.clip_gradients(
                self._module, self._stepper, max_norm=config.optimizer.max_gradient_norm, error_if_nonfinite=False
            )
            assert gradient_norm is not None
            if fabric.device.type == "cpu" and not torch.isfinite(gradient_norm):
                # On every process alike: an infinite loss of one is in the averaged gradient of all.
                loss = float(output.loss.detach())
                raise NonFiniteLossError(
                    f"the gradient's norm is {float(gradient_norm)} and the loss {loss:.4g} at step {self.steps + 1}"
                )
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate()
            self._stepper.step()
            self.optimizer.zero_grad()
            if isinstance(self.method, FollowsStep):
                self.method.after_step()
        self.steps += 1
        interval.add(output, gradient_norm.detach())

    def learning_rate(self) -> float:
        """Returns the rate of the next step."""
        return learning_rate(
            self.config.optimizer,
            step=self.steps,
            # Before the first plan the end is out of sight.
            total_steps=self.planned_steps or 10**9,
            batch_size=self.config.batch_size,
        )

    def plan(self) -> None:
        """Plans, where minutes are the limit, how many steps there will be at the speed since the last plan."""
        if self.config.steps > 0:
            return
        steps, seconds = self._planned_at
        # A first step compiles and fills caches: the speed is that of the steps since.
        speed = (self.steps - steps) / max(self.seconds - seconds, 1e-9)
        left = max(60 * self.config.minutes - self.seconds, 0.0)
        # The clocks of several processes differ, and all have to stop at the same step.
        self.planned_steps = int(self.fabric.broadcast(self.steps + int(left * speed)))
        self._planned_at = (self.steps, self.seconds)

    @torch.no_grad()
    def encode(self, stacks: UInt8[Tensor, "b c h w"], *, chunk: int = 256) -> Float[Tensor, "b feature_dim"]:
        """Returns the features of stacks as the encoder is now, computed in float32, on the CPU.

        In bfloat16 the rounding of features with a large common part would hide how little they differ.
        """
        was_training = self.method.training
        self.method.eval()
        features = [self.encoder(part.to(self.fabric.device)).float().cpu() for part in stacks.split(chunk)]
        self.method.train(was_training)
        return torch.cat(features)

    def look_for_collapse(self, metrics: Metrics) -> Metrics:
        """Returns what the encoder's features of the held-out stacks show, given the interval's metrics.

        New signs of a collapse stand in `collapse_warnings`, one sentence each.
        """
        if self.monitor is None or self._held_out is None:
            return {}
        knn = None if self._knn is None else self._knn(self.encoder)
        report = self.monitor.check(
            self.encode(self._held_out),
            step=self.steps,
            loss=metrics.get("pretraining/loss"),
            loss_at_chance=metrics.get("pretraining/loss_at_chance"),
            knn=knn,
        )
        self.collapse_warnings = report.warnings
        found = {"collapse/feature_deviation": report.feature_deviation, "collapse/rank_me": report.rank}
        return found if knn is None else found | {"collapse/knn": knn}


def pretrain(pretraining: Pretraining) -> Iterator[Metrics]:
    """Pretrains until the last step, yielding metrics every `log_every_steps` steps and at the end.

    Tags are explained in docs/pretraining.md; those that depend on the clock begin with `time/`. Raises
    NonFiniteLossError with the weights from before the bad update (on a GPU: from within the last interval).
    """
    interval = Interval(pretraining)
    batches = pretraining.batches()
    while not pretraining.finished:
        started = time.perf_counter()
        with interval.timed("sampling"):
            batch = next(batches)
        pretraining.update(batch, interval)
        pretraining.seconds += time.perf_counter() - started
        logs = pretraining.steps % pretraining.config.log_every_steps == 0
        # Powers of two as well: the first interval alone may be longer than all the time there is.
        if logs or pretraining.steps & (pretraining.steps - 1) == 0:
            pretraining.plan()
        if logs or pretraining.finished:
            metrics = interval.metrics(pretraining)
            yield metrics | pretraining.look_for_collapse(metrics)
            interval = Interval(pretraining)
    batches.close()


class Interval:
    """Sums up what happened between two yields; begins empty after each, so it needs no saving."""

    def __init__(self, pretraining: Pretraining) -> None:
        self._first_step = pretraining.steps
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        # Sums stay on the device: one read an interval, where one an update would wait for the GPU each time.
        self._sums: dict[str, Tensor] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time spent inside to the phase's share; on a GPU, the time to hand its work over."""
        started = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - started

    def add(self, output: MethodOutput, gradient_norm: Float[Tensor, ""]) -> None:
        """Takes in what one update saw."""
        values = {"loss": output.loss.detach(), "gradient_norm": gradient_norm, **output.metrics}
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()

    def metrics(self, pretraining: Pretraining) -> Metrics:
        """Returns the metrics of docs/pretraining.md; raises NonFiniteLossError where an update went wrong on a GPU."""
        steps = pretraining.steps - self._first_step
        sums = torch.stack([value.float() for value in self._sums.values()]) / steps
        means = pretraining.fabric.all_reduce(sums, reduce_op="mean")
        assert isinstance(means, Tensor)
        metrics = {f"pretraining/{name}": value for name, value in zip(self._sums, means.tolist(), strict=True)}
        for name, words in (("loss", "the loss"), ("gradient_norm", "the gradient's norm")):
            value = metrics[f"pretraining/{name}"]
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"{words} became {value} between steps {self._first_step} and {pretraining.steps}"
                )
        elapsed = time.perf_counter() - self._started
        metrics["pretraining/learning_rate"] = pretraining.learning_rate()
        metrics["time/samples_per_second"] = steps * pretraining.config.batch_size / elapsed
        for phase, seconds in self._seconds.items():
            metrics[f"time/{phase}_fraction"] = seconds / elapsed
        return metrics
