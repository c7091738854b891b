import torch
from torch import Tensor, nn

from seqmodels.bidirectional import Bidirectional, BidirectionalStack, reverse_rows
from seqmodels.mixers import make_mixer
from seqmodels.sequence_encoder import SequenceEncoder

B, L, D = 3, 7, 8
LENGTHS = torch.tensor([7, 4, 1])


def inputs() -> Tensor:
    return torch.randn(B, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def both(first: str = "attention-rotary", second: str = "gru") -> Bidirectional:
    return Bidirectional(make_mixer(first, D), make_mixer(second, D))


def stack() -> BidirectionalStack:
    torch.manual_seed(0)
    return BidirectionalStack([both(), both("lstm", "attention-alibi")], feed_forward_dim=13).double()


def test_rows_are_reversed_within_their_lengths():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).unsqueeze(-1)
    assert reverse_rows(x, torch.tensor([4, 3])).squeeze(-1).tolist() == [[4, 3, 2, 1], [7, 6, 5, 8]]


@torch.no_grad()
def test_the_second_mixer_reads_each_row_from_its_end():
    torch.manual_seed(0)
    part = both().double()
    output = part(inputs(), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        x = inputs()[row : row + 1, :length]
        ahead, back = part.forward_mixer(x)[0], part.backward_mixer(x.flip(1))[0].flip(1)
        assert torch.allclose(output[row, :length], part.out_proj(torch.cat([ahead, back], -1))[0], atol=1e-12)


def test_each_position_depends_on_its_whole_row_and_on_no_padding():
    model, x = stack(), inputs().requires_grad_()
    assert isinstance(model, SequenceEncoder)
    output = model.encode(x, LENGTHS)
    weight = torch.randn(D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for row, length in enumerate(LENGTHS.tolist()):
        for place in range(length):
            (gradient,) = torch.autograd.grad(output[row, place] @ weight, x, retain_graph=True)
            assert (gradient[row, :length].abs().sum(-1) > 0).all()
            assert not gradient[row, length:].any()
            assert not gradient[:row].any()
            assert not gradient[row + 1 :].any()


def test_norm_and_dropout_are_those_passed_in():
    model = BidirectionalStack([both()], feed_forward_dim=13, dropout=0.5, norm=nn.RMSNorm).double()
    assert sum(isinstance(module, nn.RMSNorm) for module in model.modules()) == 3
    assert not torch.equal(model.encode(inputs(), LENGTHS), model.encode(inputs(), LENGTHS))
    model.eval()
    assert torch.equal(model.encode(inputs(), LENGTHS), model.encode(inputs(), LENGTHS))
