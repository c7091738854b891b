"""Linear probes: one softmax classifier per variable on features that do not change, all fitted at once.

Adam works on each weight by itself, so classifiers that share a batch are fitted as if each were alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

NUM_VALUES = 256  # of a byte


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """How the classifiers are fitted, the same for every encoder."""

    learning_rate: float = 5e-4  # Anand et al. 2019; their batches have 64 samples
    batch_size: int = 64
    epochs: int = 30
    patience_epochs: int = 5  # stop when no variable's validation loss has become smaller for so long
    # Features with mean 0 and deviation 1: otherwise what is measured is also how large an encoder's features are.
    standardise: bool = True

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "epochs", "patience_epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class Standardisation(nn.Module):
    """Makes every feature's mean 0 and deviation 1 over the training part; a constant one becomes 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Float[Tensor, "n d"]) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 0.0))

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Returns the features on that scale."""
        return (features - self.mean) * self.scale


class ValueTable:
    """The values that each variable takes in the training part, side by side: the columns of one matrix of logits.

    A value that never occurs there cannot be learned, so it has no column; of 256 columns a variable it would be one
    whose weights only ever shrink.
    """

    def __init__(self, classes: Int64[Tensor, "n v"]) -> None:
        self.values = [column.unique() for column in classes.T]
        sizes = [len(values) for values in self.values]
        self.num_columns = sum(sizes)
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.slices = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def columns(self, classes: Int64[Tensor, "n v"]) -> Int64[Tensor, "n v"]:
        """Returns each value's place among its variable's values, -100 for one that is not there."""
        places = []
        for values, column in zip(self.values, classes.T, strict=True):
            place = torch.searchsorted(values, column.contiguous()).clamp_max(len(values) - 1)
            places.append(torch.where(values[place] == column, place, -100))
        return torch.stack(places, dim=1)

    def losses(self, logits: Float[Tensor, "n k"], columns: Int64[Tensor, "n v"]) -> Float[Tensor, " v"]:
        """Returns each variable's mean cross-entropy; values without a column do not count."""
        losses = [
            nn.functional.cross_entropy(logits[:, part], column, reduction="sum") / (column >= 0).sum().clamp_min(1)
            for part, column in zip(self.slices, columns.T, strict=True)
        ]
        return torch.stack(losses)

    def predictions(self, logits: Float[Tensor, "n k"]) -> Int64[Tensor, "n v"]:
        """Returns the value of each variable with the largest logit."""
        best = [values[logits[:, part].argmax(dim=1)] for part, values in zip(self.slices, self.values, strict=True)]
        return torch.stack(best, dim=1)


class LinearClassifiers:
    """A classifier for each variable, kept from the epoch in which its validation loss was smallest."""

    def __init__(self, config: LinearConfig) -> None:
        self.config = config
        self._table: ValueTable
        self._layer: nn.Linear
        self._scaling: nn.Module

    def fit(
        self,
        train: tuple[Float[Tensor, "n d"], Int64[Tensor, "n v"]],
        validation: tuple[Float[Tensor, "m d"], Int64[Tensor, "m v"]],
        generator: torch.Generator,
    ) -> None:
        """Fits all classifiers to features and values; the generator shuffles."""
        self._scaling = Standardisation(train[0]) if self.config.standardise else nn.Identity()
        self._table = ValueTable(train[1])
        features, columns = self._scaling(train[0]), self._table.columns(train[1])
        validation_features, validation_columns = self._scaling(validation[0]), self._table.columns(validation[1])
        self._layer = nn.Linear(features.shape[1], self._table.num_columns)
        # Zeros, so that nothing is left of a random start where a feature says nothing.
        nn.init.zeros_(self._layer.weight)
        nn.init.zeros_(self._layer.bias)
        optimizer = torch.optim.Adam(self._layer.parameters(), self.config.learning_rate, fused=True)
        best = _BestOfEach(self._table.slices, self._layer)
        for epoch in range(self.config.epochs):
            for rows in torch.randperm(len(features), generator=generator).split(self.config.batch_size):
                optimizer.zero_grad()
                self._table.losses(self._layer(features[rows]), columns[rows]).sum().backward()
                optimizer.step()
            with torch.no_grad():
                best.look(self._table.losses(self._layer(validation_features), validation_columns), epoch)
            if epoch - best.last_epoch >= self.config.patience_epochs:
                break
        best.restore()

    @torch.no_grad()
    def predict(self, features: Float[Tensor, "n d"]) -> Int64[Tensor, "n v"]:
        """Returns the most likely value of every variable."""
        return self._table.predictions(self._layer(self._scaling(features)))


class _BestOfEach:
    """The rows of a layer that belong to each variable, as they were when its loss was smallest."""

    def __init__(self, slices: Sequence[slice], layer: nn.Linear) -> None:
        self.last_epoch = 0
        self._slices = slices
        self._layer = layer
        self._losses = torch.full((len(slices),), torch.inf)
        self._weight, self._bias = layer.weight.detach().clone(), layer.bias.detach().clone()

    def look(self, losses: Float[Tensor, " v"], epoch: int) -> None:
        """Takes the rows of the variables that have become better."""
        for variable in (losses < self._losses).nonzero().flatten().tolist():
            part = self._slices[variable]
            self._weight[part], self._bias[part] = self._layer.weight[part], self._layer.bias[part]
            self._losses[variable] = losses[variable]
            self.last_epoch = epoch

    def restore(self) -> None:
        """Puts the rows back."""
        with torch.no_grad():
            self._layer.weight.copy_(self._weight)
            self._layer.bias.copy_(self._bias)
