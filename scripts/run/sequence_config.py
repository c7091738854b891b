"""Everything that decides about a run of a sequence model, and the settings of each task as presets."""

import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from seqmodels.optimization import OptimizerConfig
from seqmodels.training import SequenceTrainingConfig

PresetName = str  # "laptop", "paper", and a task may have more: docs/sequences.md lists them
Precision = Literal["float32", "bfloat16", "float16"]

# The rates that every model of a comparison is tried with, until one of them solves the task: the likely one first.
# Without the smallest on a laptop: it learns least in so few steps.
LEARNING_RATES = (3e-3, 1e-3, 1e-2, 3e-4)
LAPTOP_RATES = LEARNING_RATES[:3]


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """The stack around a mixer. What is None is the mixer's own default; a size or backend that it lacks is refused."""

    d_model: int = 64
    num_layers: int = 2
    # Hidden units over d_model of the layer after each mixer. auto: 4 after attention (Vaswani et al. 2017), else none.
    feed_forward: Literal["auto", "none", "2", "4"] = "auto"
    dropout: float = 0.0
    bidirectional: bool = False  # a second mixer reads each row from its end; not for answers at every position
    pooling: Literal["last", "mean", "max"] = "mean"  # of a row, where it has one answer
    d_state: int | None = None  # numbers per channel that a state-space mixer remembers
    num_heads: int | None = None
    dt_min: float | None = None  # smallest time step that a state-space mixer starts with; others have none
    backend: Literal["auto", "torch", "cpp", "triton", "mamba_ssm"] = "auto"  # which scan a selective mixer uses

    def __post_init__(self) -> None:
        for name in ("d_model", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be within [0, 1), got {self.dropout}")
        for name in ("d_state", "num_heads"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise ValueError(f"{name} must be at least 1, got {given}")
        if self.dt_min is not None and self.dt_min <= 0:
            raise ValueError(f"dt_min must be above 0, got {self.dt_min}")

    def feed_forward_dim(self, mixer: str) -> int | None:
        """Returns the hidden units after each mixer, None for no such layer."""
        if self.feed_forward == "auto":
            return 4 * self.d_model if mixer.startswith(("attention", "infini")) else None
        return None if self.feed_forward == "none" else self.d_model * int(self.feed_forward)


@dataclass(frozen=True, kw_only=True)
class SequenceRunConfig:
    """One run: a model, a task, a budget."""

    task: str = "selective-copying"
    model: str = "mamba"  # a mixer's name
    preset: PresetName = "laptop"  # the task's size, and the settings that all other flags start from
    data: Path | None = None  # folder with the files of a task that has files
    cache: Path = Path("runs/task-cache")  # where tasks that take long to generate keep their examples
    seed: int = 0
    precision: Precision = "float32"  # of products; weights stay float32
    compile: bool = False  # torch.compile: half a minute at first
    checkpoint_every_steps: int = 1_000
    pretraining_steps: int = 0  # first predict masked inputs of the same task (Amos et al. 2024)
    pixels_as_tokens: bool = False  # grey pixels come as 256 tokens, as a model that is pretrained reads them anyway
    test_lengths: tuple[int, ...] = ()  # lengths beyond training at which the trained model is tested
    test_length_examples: int = 256  # of each such length
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    training: SequenceTrainingConfig = field(default_factory=SequenceTrainingConfig)

    def __post_init__(self) -> None:
        for name in ("checkpoint_every_steps", "test_length_examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.pretraining_steps < 0:
            raise ValueError(f"pretraining_steps must be at least 0, got {self.pretraining_steps}")

    @property
    def label(self) -> str:
        """The model's name in tables, curves and folders: what makes it another than the plain mixer included."""
        label = self.model + ("+pretrained" if self.pretraining_steps else "")
        return label if self.architecture.d_state is None else f"{label}-state{self.architecture.d_state}"


@dataclass(frozen=True, kw_only=True)
class TaskPreset:
    """A task's settings: a run without its model and seed, and how a comparison searches for the learning rate."""

    run: SequenceRunConfig
    search_steps: int  # of each short run that tries a learning rate
    learning_rates: tuple[float, ...] = LEARNING_RATES  # that a comparison tries with every model
    pretraining_steps: int = 0  # of a model that is pretrained first


def log_interval(total_steps: int) -> int:
    """Returns after how many steps a run of so many logs: a hundred times, and every hundred steps at least."""
    return max(min(total_steps // 100, 100), 1)


def checkpoint_interval(total_steps: int) -> int:
    """Returns after how many steps a run of so many saves: ten times, and every 2,000 steps at least."""
    return max(min(total_steps // 10, 2_000), 1)


def _preset(
    task: str,
    *,
    total_steps: int,
    batch_size: int,
    preset: PresetName = "laptop",
    learning_rate: float = 3e-3,
    learning_rates: tuple[float, ...] = (),
    search_share: float = 0.25,
    test_lengths: tuple[int, ...] = (),
    pretraining_steps: int = 0,
    weight_decay: float = 0.01,
    warmup_share: float = 0.05,
    validations: int = 10,
    stop_at_accuracy: float = 0.0,
    stop_at_loss: float = 0.0,
    **architecture: Any,
) -> TaskPreset:
    training = SequenceTrainingConfig(
        total_steps=total_steps,
        batch_size=batch_size,
        log_every_steps=log_interval(total_steps),
        validate_every_steps=max(total_steps // validations, 1),
        stop_at_accuracy=stop_at_accuracy,
        stop_at_loss=stop_at_loss,
        optimizer=OptimizerConfig(
            learning_rate=learning_rate, weight_decay=weight_decay, warmup_steps=round(total_steps * warmup_share)
        ),
    )
    run = SequenceRunConfig(
        task=task,
        preset=preset,
        test_lengths=test_lengths,
        checkpoint_every_steps=checkpoint_interval(total_steps),
        architecture=ArchitectureConfig(**architecture),
        training=training,
    )
    return TaskPreset(
        run=run,
        search_steps=max(round(total_steps * search_share), 1),
        learning_rates=learning_rates or (LEARNING_RATES if preset.startswith("paper") else LAPTOP_RATES),
        pretraining_steps=pretraining_steps,
    )


# Minutes on two cores. Every model of a comparison has these steps, widths and rates. Where nothing is learned for
# long, a short search would choose among rates by luck: there it is longer. What is learned to the end stops
# there; induction heads go on, because lengths beyond training are learned after the length itself.
LAPTOP = (
    _preset(
        "selective-copying",
        preset="quick",
        total_steps=1_500,
        batch_size=32,
        test_lengths=(32, 64, 128, 256),
        learning_rates=(3e-3,),
        validations=15,
        stop_at_accuracy=0.999,
    ),
    _preset(
        "selective-copying",
        total_steps=4_000,
        batch_size=32,
        test_lengths=(64, 128, 256, 512),
        validations=20,
        stop_at_accuracy=0.9995,
    ),
    _preset(
        "selective-copying",
        preset="laptop-256",
        total_steps=5_000,
        batch_size=16,
        test_lengths=(256, 512, 1_024),
        validations=20,
        stop_at_accuracy=0.9995,
    ),
    _preset("copying", total_steps=2_000, batch_size=32, test_lengths=(64, 128, 256, 512)),
    _preset(
        "induction-heads",
        total_steps=4_000,
        batch_size=16,
        weight_decay=0.0,  # as Gu and Dao 2023 train them
        test_lengths=(64, 256, 512, 1_024, 2_048, 4_096),
    ),
    _preset(
        "mqar",
        total_steps=6_000,
        batch_size=32,
        test_lengths=(128, 256),
        validations=24,
        stop_at_accuracy=0.9995,
    ),
    _preset(
        "adding",
        total_steps=6_000,
        batch_size=32,
        search_share=1 / 3,
        validations=20,
        stop_at_loss=0.001,
        test_lengths=(500, 1_000, 2_000),
        pooling="last",
    ),
    _preset("listops", total_steps=4_000, batch_size=32, weight_decay=0.05),
    _preset(
        "pathfinder",
        total_steps=2_000,
        batch_size=32,
        search_share=0.5,
        weight_decay=0.05,
        pretraining_steps=500,
        pooling="max",  # with the mean, nothing was learned in this time: what tells is at a few pixels
    ),
    _preset("text", total_steps=2_000, batch_size=16, weight_decay=0.05, pretraining_steps=1_000),
    _preset("retrieval", total_steps=2_000, batch_size=8, weight_decay=0.05, pretraining_steps=1_000),
    _preset("image", total_steps=1_500, batch_size=16, weight_decay=0.05, pretraining_steps=750),
    _preset("sequential-mnist", total_steps=1_500, batch_size=16),
    _preset("sequential-cifar", total_steps=1_500, batch_size=16, weight_decay=0.05),
    _preset("atari-action", total_steps=1_500, batch_size=32),
    _preset("atari-reward", total_steps=1_500, batch_size=32),
    _preset("atari-feature", total_steps=1_500, batch_size=32),
    _preset("sequential-digits", total_steps=1_500, batch_size=32, validations=15, pretraining_steps=500),
)

# The published sizes: docs/sequences.md says what of them is published and what is ours. They want a GPU.
_LRA: dict[str, Any] = {
    "preset": "paper",
    "weight_decay": 0.05,
    "bidirectional": True,
    "num_layers": 6,
    "search_share": 0.1,
}
PAPER = (
    _preset("selective-copying", preset="paper", total_steps=400_000, batch_size=64, search_share=0.05),
    _preset("copying", preset="paper", total_steps=50_000, batch_size=64, search_share=0.1),
    _preset(
        "induction-heads",
        preset="paper",
        total_steps=204_800,
        batch_size=8,
        weight_decay=0.0,
        search_share=0.05,
        test_lengths=(64, 256, 1_024, 4_096, 16_384),
    ),
    _preset("mqar", preset="paper", total_steps=22_500, batch_size=256, d_model=128, search_share=0.1),
    _preset("adding", preset="paper", total_steps=50_000, batch_size=32, pooling="last", search_share=0.1),
    _preset("listops", total_steps=120_000, batch_size=32, d_model=256, pretraining_steps=60_000, **_LRA),
    _preset("text", total_steps=50_000, batch_size=16, d_model=256, pretraining_steps=25_000, **_LRA),
    _preset("retrieval", total_steps=46_000, batch_size=64, d_model=256, pretraining_steps=23_000, **_LRA),
    _preset("image", total_steps=180_000, batch_size=50, d_model=512, pretraining_steps=90_000, **_LRA),
    _preset("pathfinder", total_steps=500_000, batch_size=64, d_model=256, pretraining_steps=100_000, **_LRA),
    _preset(
        "pathfinder",
        total_steps=500_000,
        batch_size=64,
        d_model=256,
        pretraining_steps=100_000,
        **(_LRA | {"preset": "paper-64"}),
    ),
    _preset(
        "pathfinder",
        total_steps=500_000,
        batch_size=32,
        d_model=256,
        pretraining_steps=100_000,
        **(_LRA | {"preset": "paper-128", "dt_min": 1e-4}),  # as in the S4 repository: rows are 16 times as long
    ),
    _preset(
        "sequential-mnist",
        preset="paper",
        total_steps=120_000,
        batch_size=50,
        num_layers=4,
        d_model=128,
        search_share=0.1,
    ),
    _preset("sequential-cifar", total_steps=180_000, batch_size=50, d_model=512, **_LRA),
)

PRESETS: dict[tuple[PresetName, str], TaskPreset] = {
    (settings.run.preset, settings.run.task): settings for settings in LAPTOP + PAPER
}


def preset_for(task: str, preset: PresetName) -> TaskPreset:
    """Returns a task's settings of a preset. Raises ValueError with the nearest names where there are none."""
    if (preset, task) in PRESETS:
        return PRESETS[preset, task]
    presets = [kind for kind, name in PRESETS if name == task]
    if presets:
        raise ValueError(f"task {task} has no preset {preset!r}, only {', '.join(presets)}")
    names = sorted({name for _, name in PRESETS})
    close = difflib.get_close_matches(task, names, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
    raise ValueError(f"unknown task {task!r}: {hint}")


def default_preset(task: str) -> PresetName:
    """Returns what a comparison takes unless told otherwise: `quick` where the task has it, else `laptop`."""
    return "quick" if ("quick", task) in PRESETS else "laptop"


def with_total_steps(training: SequenceTrainingConfig, steps: int) -> SequenceTrainingConfig:
    """Returns the settings with so many steps; warm-up and validations keep their shares, logs come as they would."""
    share = steps / training.total_steps
    return replace(
        training,
        total_steps=steps,
        log_every_steps=scaled(training.log_every_steps, log_interval(steps) / log_interval(training.total_steps)),
        validate_every_steps=scaled(training.validate_every_steps, share),
        optimizer=replace(training.optimizer, warmup_steps=scaled(training.optimizer.warmup_steps, share)),
    )


def scaled(count: int, share: float) -> int:
    """Returns the share of a count, one at least unless there was none."""
    return max(round(count * share), 1) if count else 0
