"""The memory of Infini-attention: sums of values under keys, read by queries (Munkhdalai et al. 2024, section 2.1).

E is the size of a head, S how many keys are written together.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import elu

_SMALLEST_NORMALISER = 1e-6  # an empty memory reads as 0, not as 0 / 0


class Memory(NamedTuple):
    """M and z of the paper, for each row and head.

    Attributes:
        matrix: the sum of outer products of keys and values.
        normaliser: the sum of the keys.
    """

    matrix: Float[Tensor, "b h e e"]
    normaliser: Float[Tensor, "b h e"]

    def read(self, queries: Float[Tensor, "b h s e"]) -> Float[Tensor, "b h s e"]:
        """Returns sigma(Q) M / sigma(Q) z (equation 3)."""
        with _sums_in_full(queries):
            features = _positive(queries.to(self.matrix.dtype))
            normaliser = features @ self.normaliser.unsqueeze(-1)  # (B, H, S, 1)
            return features @ self.matrix / normaliser.clamp(min=_SMALLEST_NORMALISER)

    def written(
        self,
        keys: Float[Tensor, "b h s e"],
        values: Float[Tensor, "b h s e"],
        rule: "WritingRule",
        where: Bool[Tensor, " b"],
    ) -> "Memory":
        """Returns the memory after a segment was written to the chosen rows (equations 4 and 5)."""
        with _sums_in_full(keys):
            features = _positive(keys.to(self.matrix.dtype))
            matrix = self.matrix + features.transpose(-1, -2) @ rule(self, keys, values.to(self.matrix.dtype))
            normaliser = self.normaliser + features.sum(dim=2)
        chosen = where.view(-1, 1, 1, 1)
        return Memory(
            torch.where(chosen, matrix, self.matrix), torch.where(chosen.squeeze(-1), normaliser, self.normaliser)
        )


# From the memory so far, keys and values to what is written under each key.
WritingRule = Callable[[Memory, Tensor, Tensor], Tensor]


def linear_rule(memory: Memory, keys: Float[Tensor, "b h s e"], values: Float[Tensor, "b h s e"]) -> Tensor:
    """Writes the values (equation 4)."""
    return values


def delta_rule(memory: Memory, keys: Float[Tensor, "b h s e"], values: Float[Tensor, "b h s e"]) -> Tensor:
    """Writes what the memory does not yet return for these keys (equation 5)."""
    return values - memory.read(keys)


def _sums_in_full(like: Tensor) -> torch.autocast:
    """Returns a context without autocast: sums over a long past would pass the largest number of float16."""
    return torch.autocast(like.device.type, enabled=False)


def _positive(heads: Float[Tensor, "b h s e"]) -> Float[Tensor, "b h s e"]:
    """Returns sigma(x) = ELU(x) + 1, as a feature of a key or query."""
    return elu(heads) + 1
