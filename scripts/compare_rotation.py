"""Asks what predicting rotations is worth to a small network of which only the fully connected layers learn digits.

    python -m scripts.compare_rotation                 scikit-learn's digits, 5 seeds: under a minute
    python -m scripts.compare_rotation --data DIR      MNIST, from its own files in DIR/MNIST/raw

For each seed the same two convolutions are used twice, frozen, below the same new fully connected layers, which train
for one epoch: once with random weights, once after predicting by which quarter turn the training images (without their
labels) were rotated. Prints the accuracy of both on the test images, and the mean difference with its 95% interval over
seeds. A lecture gives 95% and 97.5% on MNIST for this experiment. The digits are 1,797 images of 8x8 pixels: no MNIST.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gen_ssl.frames import FrameBatch
from gen_ssl.rotation import Rotation, RotationConfig
from scripts.run.benchmark_records import BenchmarkRecord, records_table, write_records
from scripts.run.command_line import run_command
from scripts.run.devices import set_num_threads
from scripts.run.progress import Progress
from scripts.run.seeding import integer_seed
from seqmodels.tasks.mnist import read_idx


@dataclass(frozen=True, kw_only=True)
class CompareRotation:
    """On which images, how often, how long."""

    data: Path | None = None  # the folder above MNIST/raw; without: scikit-learn's digits
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    pretraining_epochs: int = 20  # of rotation prediction
    batch_size: int = 32
    learning_rate: float = 1e-3  # Adam's, of pretraining and of the one epoch on labels
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # JSON file for the figures

    def __post_init__(self) -> None:
        if len(self.seeds) < 2:
            raise ValueError(f"an interval over seeds needs at least 2, got {len(self.seeds)}")
        for name in ("pretraining_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Images(NamedTuple):
    """Grey images and the digits on them."""

    pixels: UInt8[Tensor, "n 1 side side"]
    digits: Int64[Tensor, " n"]


class SmallCNN(nn.Module):
    """Two convolutions with a ReLU and a max-pool each; the features are the last map, flattened."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.frame_shape = (1, side, side)
        self.feature_dim = 32 * (side // 4) ** 2
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )

    def forward(self, frames: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns one vector per image."""
        return self.spatial_features(frames).flatten(1)

    def from_pixels(self, pixels: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b feature_dim"]:
        """Returns the same for numbers from 0 to 1."""
        features: Tensor = self.convolutions(pixels)
        return features.flatten(1)

    def spatial_features(self, frames: UInt8[Tensor, "b 1 h w"]) -> Float[Tensor, "b 32 y x"]:
        """Returns the last map."""
        features: Tensor = self.convolutions(frames.float() / 255)
        return features

    def save_pretrained(self, save_directory: str | Path, **options: object) -> str | None:
        """Is part of the contract of encoders; this one is thrown away."""
        raise NotImplementedError("the network of this experiment is not kept")


def read_images(data: Path | None) -> tuple[Images, Images]:
    """Returns training and test images, with 255 as the brightest pixel.

    Raises FileNotFoundError where a folder is given that has not all four files of MNIST.
    """
    if data is None:
        digits = load_digits()  # values 0 .. 16
        order = np.random.default_rng(0).permutation(len(digits.target))  # one split for all seeds
        pixels = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8)[order]).unsqueeze(1)
        labels = torch.from_numpy(digits.target.astype(np.int64)[order])
        return Images(pixels[360:], labels[360:]), Images(pixels[:360], labels[:360])
    train, test = (_read_mnist(data / "MNIST" / "raw", part) for part in ("train", "t10k"))
    return train, test


def _read_mnist(folder: Path, part: str) -> Images:
    def read(name: str, num_axes: int) -> Tensor:
        path = folder / name
        found = read_idx(path if path.exists() else path.with_name(f"{name}.gz"), num_axes=num_axes)
        return torch.from_numpy(found.copy())

    return Images(read(f"{part}-images-idx3-ubyte", 3).unsqueeze(1), read(f"{part}-labels-idx1-ubyte", 1).long())


def pretrain(encoder: SmallCNN, images: Images, config: CompareRotation, generator: torch.Generator) -> None:
    """Teaches an encoder, in place, by which quarter turn images were rotated."""
    method = Rotation(encoder, RotationConfig(hidden_border=0))
    optimizer = torch.optim.Adam(method.parameters(), config.learning_rate)
    for _ in range(config.pretraining_epochs):
        for rows in torch.randperm(len(images.pixels), generator=generator).split(config.batch_size):
            nothing = torch.zeros(len(rows), dtype=torch.int64)
            batch = FrameBatch(images.pixels[rows].unsqueeze(0), nothing, nothing.float(), nothing)
            optimizer.zero_grad()
            method(batch, generator).loss.backward()
            optimizer.step()


def accuracy_after_one_epoch(
    encoder: SmallCNN, train: Images, test: Images, config: CompareRotation, generator: torch.Generator
) -> float:
    """Returns the share of test digits that new fully connected layers tell, after one epoch on frozen features."""
    layers = nn.Sequential(nn.Linear(encoder.feature_dim, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(layers.parameters(), config.learning_rate)
    with torch.no_grad():
        train_features, test_features = (
            torch.cat([encoder(part) for part in images.pixels.split(500)]) for images in (train, test)
        )
    for rows in torch.randperm(len(train.digits), generator=generator).split(config.batch_size):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layers(train_features[rows]), train.digits[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return float((layers(test_features).argmax(dim=1) == test.digits).float().mean())


def accuracies(train: Images, test: Images, config: CompareRotation, seed: int) -> tuple[float, float]:
    """Returns the accuracy above random convolutions, and above the same ones after they have predicted rotations.

    Seeds PyTorch's global generator, from which layers draw their weights: the fully connected ones alike in both.
    """
    found = []
    for pretrained in (False, True):
        torch.manual_seed(integer_seed(seed, "convolutions"))
        encoder = SmallCNN(train.pixels.shape[-1])
        if pretrained:
            pretrain(encoder, train, config, torch.Generator().manual_seed(integer_seed(seed, "rotations")))
        torch.manual_seed(integer_seed(seed, "fully connected layers"))
        generator = torch.Generator().manual_seed(integer_seed(seed, "order"))
        found.append(accuracy_after_one_epoch(encoder, train, test, config, generator))
    return found[0], found[1]


def difference_interval(differences: list[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Returns Student's interval of the mean of paired differences."""
    mean, error = np.mean(differences), stats.sem(differences)
    if error == 0:
        return float(mean), float(mean)
    low, high = stats.t.interval(confidence, len(differences) - 1, loc=mean, scale=error)
    return float(low), float(high)


def main(config: CompareRotation) -> None:
    """Runs both arms with every seed and prints what they reach."""
    set_num_threads(config.threads)
    train, test = read_images(config.data)
    source = "scikit-learn's digits" if config.data is None else "MNIST"
    print(f"{source}: {len(train.digits):,} training and {len(test.digits):,} test images")
    pairs = []
    with Progress(len(config.seeds), unit="seeds") as progress:
        for index, seed in enumerate(config.seeds):
            pairs.append(accuracies(train, test, config, seed))
            progress.update(index + 1)
    differences = [after - before for before, after in pairs]
    low, high = difference_interval(differences)
    figures = {
        "random convolutions": [before for before, _ in pairs],
        "rotation-pretrained convolutions": [after for _, after in pairs],
        f"difference, 95% interval {100 * low:.2f} to {100 * high:.2f}": differences,
    }
    records = [
        BenchmarkRecord(
            benchmark="fully connected layers, one epoch",
            implementation="cartridge",
            setting=f"{source}, {name}, mean over seeds and their standard deviation",
            value=100 * float(np.mean(values)),
            unit="%",
            repeats=len(values),
            spread=100 * float(np.std(values, ddof=1)),
        )
        for name, values in figures.items()
    ]
    print(records_table(records))
    if config.output is not None:
        write_records(config.output, records)
        print(config.output)


def command() -> None:
    """Runs as a console command."""
    run_command(CompareRotation, main, documentation=__doc__)


if __name__ == "__main__":
    command()
