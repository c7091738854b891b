"""Builds what a run of a sequence model is made of from its configuration: task, model, devices, training."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from seqmodels.bidirectional import Bidirectional, BidirectionalStack
from seqmodels.decoder import Decoder
from seqmodels.masked_inputs import MaskedInputs, WithMaskToken
from seqmodels.masked_model import MaskedModel
from seqmodels.mixers import MIXERS, make_mixer
from seqmodels.pixel_tokens import as_tokens
from seqmodels.residual_stack import ResidualStack
from seqmodels.scans import BackendChoice
from seqmodels.sequence_classifier import PairClassifier, SequenceClassifier
from seqmodels.sequence_model import SequenceModel
from seqmodels.tasks import Task, TaskOfAnyLength, TaskSpec, make_task
from seqmodels.training import SequenceTraining, SequenceTrainingConfig

from .atari_sequences import ATARI_QUESTIONS, atari_task
from .devices import check_device_count
from .seeding import integer_seed
from .sequence_config import SequenceRunConfig, with_total_steps
from .sequence_costs import Workload


def build_fabric(config: SequenceRunConfig, device: torch.device, *, num_processes: int = 1) -> Fabric:
    """Returns a launched Fabric with the run's precision on `num_processes` devices of this kind.

    Raises ValueError where there are fewer.
    """
    check_device_count(device, num_processes)
    precision: dict[str, Any] = {"precision": "bf16-mixed" if config.precision == "bfloat16" else "32-true"}
    if config.precision == "float16":
        precision = {"plugins": [MixedPrecision("16-mixed", device.type)]}  # by name, Fabric refuses it on a CPU
    strategy = "ddp" if num_processes > 1 else "auto"
    fabric = Fabric(accelerator=device.type, devices=num_processes, strategy=strategy, **precision)
    fabric.launch()
    return fabric


def build_task(config: SequenceRunConfig) -> Task:
    """Returns the run's task: one of `seqmodels.tasks.TASKS`, or a question about the play in a frame store.

    Grey pixels come as tokens where the run asks for that or pretrains: only tokens can be hidden and named.
    """
    if config.task in ATARI_QUESTIONS:
        if config.data is None:
            raise ValueError(f"task {config.task} reads play: name with --data a folder that collect_frames wrote")
        task: Task = atari_task(config.data, question=ATARI_QUESTIONS[config.task])
    else:
        task = make_task(config.task, preset=config.preset, data=config.data, cache=config.cache)
    return as_tokens(task) if config.pixels_as_tokens or config.pretraining_steps else task


def look_at_data(task: Task) -> None:
    """Reads one batch, so that data that are missing or damaged are met before a run has a folder."""
    next(iter(task.batches("train", batch_size=1, seed=0)))


def build_test_tasks(config: SequenceRunConfig, task: Task) -> list[Task]:
    """Returns the task at every length that the run is tested at."""
    if not config.test_lengths:
        return []
    if not hasattr(task, "at_length"):
        raise ValueError(f"task {config.task} has one length only, and cannot be tested at {config.test_lengths}")
    return [cast(TaskOfAnyLength, task).at_length(length) for length in config.test_lengths]


def mixer_options(name: str) -> set[str]:
    """Returns the names of a mixer's own settings; raises ValueError, with the nearest names, when there is none."""
    if name not in MIXERS:
        make_mixer(name, 1)  # raises
    return set(inspect.signature(MIXERS[name]).parameters)


def build_mixer(config: SequenceRunConfig, max_length: int) -> SequenceModel[Any]:
    """Returns one new mixer of the run's kind; what the run leaves open is the mixer's own default."""
    architecture = config.architecture
    known = mixer_options(config.model)
    asked: dict[str, Any] = {"d_state": architecture.d_state, "num_heads": architecture.num_heads}
    if architecture.backend != "auto":
        asked["backend"] = architecture.backend
    options = {name: value for name, value in asked.items() if value is not None}
    for name in options:
        if name not in known:
            raise ValueError(f"{config.model} has no {name}: it has {', '.join(sorted(known - {'d_model'})) or 'none'}")
    if architecture.dt_min is not None and "dt_min" in known:  # of a preset, which models without have as well
        options["dt_min"] = architecture.dt_min
    if "max_length" in known:
        options["max_length"] = max_length
    return make_mixer(config.model, architecture.d_model, **options)


def build_encoder(config: SequenceRunConfig, max_length: int) -> ResidualStack | BidirectionalStack:
    """Returns the stack of the run's mixers, causal unless the run is bidirectional."""
    architecture = config.architecture
    stack: dict[str, Any] = {
        "feed_forward_dim": architecture.feed_forward_dim(config.model),
        "dropout": architecture.dropout,
    }

    def mixers() -> list[SequenceModel[Any]]:
        return [build_mixer(config, max_length) for _ in range(architecture.num_layers)]

    if architecture.bidirectional:
        both = zip(mixers(), mixers(), strict=True)
        return BidirectionalStack([Bidirectional(ahead, back) for ahead, back in both], **stack)
    return ResidualStack(mixers(), **stack)


def build_model(config: SequenceRunConfig, spec: TaskSpec, max_length: int) -> nn.Module:
    """Returns a model for a task's inputs and outputs; `max_length` is the longest row it will see.

    Draws its weights from PyTorch's global generator.
    """
    width = config.architecture.d_model
    input_layer = nn.Embedding(spec.num_inputs, width) if spec.input == "tokens" else nn.Linear(spec.num_inputs, width)
    encoder = build_encoder(config, max_length)
    if spec.output == "per_position":
        if isinstance(encoder, BidirectionalStack):
            raise ValueError(f"{config.task} asks for an answer at every position: a bidirectional model would see it")
        return Decoder(input_layer, encoder, num_outputs=spec.num_outputs)
    one_row = spec.sequences_per_example == 1
    classifier: type[SequenceClassifier] | type[PairClassifier] = SequenceClassifier if one_row else PairClassifier
    return classifier(input_layer, encoder, pooling=config.architecture.pooling, num_outputs=spec.num_outputs)


def state_size(model: nn.Module, length: int) -> int:
    """Returns how many numbers the mixers of a model keep per row after `length` positions."""
    stacks = [module for module in model.modules() if isinstance(module, ResidualStack)]
    pairs = [module for module in model.modules() if isinstance(module, Bidirectional)]
    mixers = [mixer for pair in pairs for mixer in (pair.forward_mixer, pair.backward_mixer)]
    return sum(stack.state_size(length) for stack in stacks) + sum(mixer.state_size(length) for mixer in mixers)


@runtime_checkable
class ChoosesBackend(Protocol):
    """A mixer whose scan has several backends."""

    def backend_choice(self) -> BackendChoice:
        """Returns the one it takes, and why."""
        ...


def describe_backend(model: nn.Module) -> str:
    """Returns with which scan a model's mixers compute, and why."""
    reasons = {module.backend_choice().reason for module in model.modules() if isinstance(module, ChoosesBackend)}
    return "; ".join(sorted(reasons)) or "PyTorch: this mixer has no other backend"


@dataclass(frozen=True, kw_only=True)
class SequenceParts:
    """What a run trains, in order, and what its model is tested on beside its task."""

    trainings: tuple[SequenceTraining, ...]  # the last is of the task; one before it pretrains the same weights
    test_tasks: tuple[Task, ...]
    backend: str  # with which scan the model's mixers compute, and why

    @property
    def training(self) -> SequenceTraining:
        """The training on the task itself."""
        return self.trainings[-1]


def build_parts(config: SequenceRunConfig, fabric: Fabric) -> SequenceParts:
    """Returns a run that has not begun. Seeds PyTorch's global generator, from which modules draw their weights.

    Raises:
        ValueError: what the configuration asks for cannot be, or its backend not on this device.
    """
    torch.manual_seed(integer_seed(config.seed, "weights"))
    given = build_task(config)
    task = WithMaskToken(given) if config.pretraining_steps else given
    test_tasks = tuple(build_test_tasks(config, task))
    model = build_model(config, task.spec, max(one.spec.max_length for one in (task, *test_tasks)))
    trainings = [build_training(config.training, model, task, config.seed, fabric)]
    if config.pretraining_steps:
        trainings.insert(0, build_pretraining(config, model, MaskedInputs(given), fabric))
    if config.compile:
        model.compile()
    # Dropout draws from here: each process its own.
    torch.manual_seed(integer_seed(config.seed, f"dropout of process {fabric.global_rank}"))
    return SequenceParts(trainings=tuple(trainings), test_tasks=test_tasks, backend=describe_backend(model))


def build_training(
    config: SequenceTrainingConfig, model: nn.Module, task: Task, seed: int, fabric: Fabric
) -> SequenceTraining:
    """Returns a training that has not begun."""
    batches = integer_seed(seed, "training batches")
    return SequenceTraining(model=model, task=task, config=config, fabric=fabric, seed=batches)


def build_pretraining(config: SequenceRunConfig, model: nn.Module, task: Task, fabric: Fabric) -> SequenceTraining:
    """Returns the masked pretraining of a classifier: it shares the weights, so nothing has to be handed over."""
    if not isinstance(model, SequenceClassifier | PairClassifier):
        raise ValueError(f"{config.task} asks for an answer at every position, and has nothing to pretrain for")
    if fabric.world_size > 1:
        raise ValueError(f"pretraining runs in one process, got {fabric.world_size}")
    masked = MaskedModel(model.input_layer, model.encoder, num_outputs=task.spec.num_outputs)
    training = with_total_steps(config.training, config.pretraining_steps)
    training = replace(training, stop_at_accuracy=0.0, stop_at_loss=0.0)  # a run may stop at those of its task
    return build_training(training, masked, task, config.seed, fabric)


@dataclass(frozen=True)
class ModelWorkload:
    """Forward and backward of a run's model on a batch of random inputs; builds what is measured on a device."""

    config: SequenceRunConfig
    batch_size: int
    max_length: int

    def __call__(self, device: str) -> Workload:
        """Returns the pass at a length."""
        spec = build_task(self.config).spec
        rows = self.batch_size * spec.sequences_per_example
        model = build_model(self.config, spec, self.max_length).to(device)

        def workload(length: int) -> Callable[[], object]:
            if spec.input == "tokens":
                inputs = torch.randint(spec.num_inputs, (rows, length), device=device)
            else:
                inputs = torch.randn(rows, length, spec.num_inputs, device=device)
            lengths = torch.full((rows,), length, device=device)

            def run() -> None:
                model(inputs, lengths).square().mean().backward()
                model.zero_grad()

            return run

        return workload
