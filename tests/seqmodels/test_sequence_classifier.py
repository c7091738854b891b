import pytest
import torch
from torch import nn

from seqmodels.bidirectional import Bidirectional, BidirectionalStack
from seqmodels.mixers import make_mixer
from seqmodels.pooling import pool
from seqmodels.residual_stack import ResidualStack
from seqmodels.sequence_classifier import PairClassifier, SequenceClassifier
from seqmodels.sequence_encoder import SequenceEncoder

B, L, D, CLASSES = 4, 7, 8, 5
LENGTHS = torch.tensor([7, 3, 1, 5])


def encoder(kind: str) -> SequenceEncoder:
    torch.manual_seed(0)
    if kind == "causal":
        return ResidualStack([make_mixer("attention-alibi", D), make_mixer("gru", D)], feed_forward_dim=13)
    mixers = [make_mixer("attention-rotary", D), make_mixer("lstm", D)]
    return BidirectionalStack([Bidirectional(*mixers)], feed_forward_dim=13)


def values() -> torch.Tensor:
    return torch.randn(B, L, 2, generator=torch.Generator().manual_seed(1))


def test_rows_are_pooled_within_their_lengths():
    x = torch.tensor([[[1.0, -8.0], [3.0, -4.0], [99.0, 99.0]], [[5.0, 6.0], [2.0, 9.0], [-1.0, 3.0]]])
    lengths = torch.tensor([2, 3])
    assert pool(x, lengths, "last").tolist() == [[3.0, -4.0], [-1.0, 3.0]]
    assert pool(x, lengths, "mean").tolist() == [[2.0, -6.0], [2.0, 6.0]]
    assert pool(x, lengths, "max").tolist() == [[3.0, -4.0], [5.0, 9.0]]


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_a_row_of_no_positions_is_pooled_to_zeros_and_gets_no_gradient(pooling):
    x = values().requires_grad_()
    pooled = pool(x, torch.tensor([7, 0, 1, 0]), pooling)
    assert pooled[[1, 3]].tolist() == [[0.0, 0.0]] * 2
    pooled.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[[1, 3]].abs().max() == 0


@torch.no_grad()
@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_what_pads_a_row_changes_no_answer(kind, pooling):
    model = SequenceClassifier(nn.Linear(2, D), encoder(kind), pooling=pooling, num_outputs=CLASSES)
    x = values()
    answer = model(x, LENGTHS)
    assert answer.shape == (B, CLASSES)
    padding = torch.arange(L) >= LENGTHS.unsqueeze(1)
    x[padding] = 100.0
    assert torch.allclose(model(x, LENGTHS), answer, atol=1e-6)
    assert torch.allclose(model(x[1:2, :3], LENGTHS[1:2]), answer[1:2], atol=1e-5)


@torch.no_grad()
def test_pairs_are_adjacent_rows_and_their_order_counts():
    model = PairClassifier(nn.Linear(2, D), encoder("causal"), pooling="mean", num_outputs=CLASSES)
    x = values()
    answer = model(x, LENGTHS)
    assert answer.shape == (B // 2, CLASSES)
    assert torch.allclose(model(x[2:], LENGTHS[2:]), answer[1:], atol=1e-6)
    assert not torch.allclose(model(x[[1, 0]], LENGTHS[[1, 0]]), answer[:1], atol=1e-3)
