"""What a finished run of a sequence model has found, or that it diverged, as a file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from seqmodels.training import validation_rank

from .whole_file import write_json

RESULT_FILE_NAME = "result.json"
DIVERGENCE_FILE_NAME = "diverged.json"


@dataclass(frozen=True, kw_only=True)
class SequenceResult:
    """The figures of one run; its metrics are those of `SequenceTraining.evaluate`: loss, and accuracies if any."""

    task: str
    model: str  # the run's label
    seed: int
    learning_rate: float
    steps: int
    tokens: int
    seconds: float  # wall time, validations and tests included; of a killed sitting up to its last checkpoint
    parameters: int
    state_size: int  # numbers kept per row after a row of the task
    best_step: int  # of the curve: pretraining steps count
    validation: dict[str, float]  # at the best step
    test: dict[str, float]  # with the weights of the best step
    lengths: dict[str, dict[str, float]]  # the same at lengths beyond training
    state_sizes: dict[str, int]  # numbers kept per row after rows of these lengths
    curve: list[dict[str, float]]  # every validation, with its step, tokens and seconds
    backend: str  # with the reason for it
    device: str = ""  # of the last sitting, in words; empty in results from before this was written
    threads: int = 0  # CPU threads of the same; 0: not written
    torch: str = ""  # PyTorch's version; empty: not written

    @property
    def machine(self) -> str:
        """What it was trained on, in words."""
        return machine_in_words(self.device, self.threads, self.torch) if self.device else "an unrecorded device"

    @property
    def metric(self) -> str:
        """The metric that decides: accuracy, or for a regression the mean squared error, which is its loss."""
        return "accuracy" if "accuracy" in self.test else "loss"

    @property
    def last_validation_rank(self) -> tuple[float, float]:
        """Something that is larger the better the last validation was: by its accuracy, if any, then by its loss.

        Of runs near chance the best of many validations tells which was luckiest; the last is a single draw of each.
        """
        return validation_rank(self.curve[-1])

    def write(self, folder: Path) -> None:
        """Writes result.json into the run's folder, as a whole or not at all."""
        write_json(folder / RESULT_FILE_NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "SequenceResult | None":
        """Returns the result in a run's folder, None where the run is not finished."""
        file = folder / RESULT_FILE_NAME
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """That a run ended with a loss or a gradient that is not finite: it would do so again."""

    model: str  # the run's label
    seed: int
    learning_rate: float
    reason: str

    def write(self, folder: Path) -> None:
        """Writes diverged.json into the run's folder, as a whole or not at all."""
        write_json(folder / DIVERGENCE_FILE_NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Divergence | None":
        """Returns what is written in a run's folder, None where the run did not diverge."""
        file = folder / DIVERGENCE_FILE_NAME
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


Cell = SequenceResult | Divergence
"""What a finished cell of a comparison is."""


def machine_in_words(device: str, threads: int, torch: str) -> str:
    """Returns with what figures were found: device, CPU threads, and PyTorch's version."""
    return f"{device}, threads {threads}, torch {torch}"
