import pytest
import torch
from torch import Tensor, nn

from seqmodels.bidirectional import Bidirectional
from seqmodels.carried_state import select_rows, tensors_of
from seqmodels.decoder import Decoder
from seqmodels.mixers import make_mixer
from seqmodels.residual_stack import ResidualStack
from seqmodels.sequence_model import SequenceModel

B, L, D = 3, 11, 16
MIXERS = ("attention-rotary", "gru", "s4d-lin")


def stack(**options: object) -> ResidualStack:
    torch.manual_seed(0)
    mixers = [make_mixer(name, D) for name in MIXERS]
    return ResidualStack(mixers, **({"feed_forward_dim": 23} | options)).double()


def inputs() -> Tensor:
    return torch.randn(B, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_stack_keeps_the_contract_of_its_mixers():
    model, x = stack(), inputs()
    assert isinstance(model, SequenceModel)
    whole, state = model(x)
    first, carried = model(x[:, :4])
    rest, _ = model(x[:, 4:], state=carried)
    assert torch.allclose(torch.cat([first, rest], dim=1), whole, atol=1e-10)
    stepping = model.initial_state(B)
    for t in range(L):
        output, stepping = model.step(x[:, t], stepping)
        assert torch.allclose(output, whole[:, t], atol=1e-10)
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[1, 4] = True
    assert torch.allclose(model(x, resets=resets)[0][1:2, 4:], model(x[1:2, 4:])[0], atol=1e-10)
    alone = select_rows(carried, torch.tensor([2]))
    assert torch.allclose(model(x[2:, 4:], state=alone)[0], rest[2:], atol=1e-10)
    numbers = sum(part[0].numel() * (2 if part.is_complex() else 1) for part in tensors_of(state))
    assert model.state_size(L) == numbers


@torch.no_grad()
def test_a_block_is_two_residual_sums_after_norms():
    torch.manual_seed(0)
    model = ResidualStack([make_mixer("gru", D)], feed_forward_dim=23).double()
    x = inputs()
    (block,) = model.blocks
    after_mixer = x + block.mixer(nn.functional.layer_norm(x, (D,)))[0]
    first, _, _, second = block.feed_forward
    hidden = nn.functional.gelu(nn.functional.layer_norm(after_mixer, (D,)) @ first.weight.T + first.bias)
    expected = after_mixer + hidden @ second.weight.T + second.bias
    assert torch.allclose(model(x)[0], nn.functional.layer_norm(expected, (D,)), atol=1e-12)


def test_without_a_feed_forward_layer_a_block_is_norm_and_mixer():
    model = ResidualStack([make_mixer("gru", D)], feed_forward_dim=None)
    mixer = sum(weight.numel() for weight in make_mixer("gru", D).parameters())
    assert sum(weight.numel() for weight in model.parameters()) == mixer + 2 * 2 * D


def test_the_norm_is_the_one_passed_in():
    model = stack(norm=nn.RMSNorm)
    assert not any(isinstance(module, nn.LayerNorm) for module in model.modules())
    assert sum(isinstance(module, nn.RMSNorm) for module in model.modules()) == 2 * len(MIXERS) + 1


def test_dropout_acts_in_training_only():
    model, x = stack(dropout=0.5), inputs()
    torch.manual_seed(0)
    assert not torch.equal(model(x)[0], model(x)[0])
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_mixers_of_different_widths_are_refused():
    with pytest.raises(ValueError, match=r"all of one d_model, got \[8, 16\]"):
        ResidualStack([make_mixer("gru", 16), make_mixer("gru", 8)], feed_forward_dim=None)
    with pytest.raises(ValueError, match="at least one mixer, and all of one d_model, got no mixer"):
        ResidualStack([], feed_forward_dim=None)


def test_a_state_that_does_not_fit_the_batch_is_refused():
    model = stack()
    with pytest.raises(ValueError, match="as many rows as the batch, 3, got a tensor of shape"):
        model(inputs(), state=model.initial_state(2))
    with pytest.raises(ValueError, match="as many rows as the batch, 3, got a tensor of shape"):
        model.step(inputs()[:, 0], model.initial_state(2))


@torch.no_grad()
@pytest.mark.parametrize(("name", "module"), [("s4", "s4"), ("s4d-lin", "s4d")])
def test_models_of_whole_rows_compute_no_state(name, module, monkeypatch):
    torch.manual_seed(0)
    model = ResidualStack([make_mixer(name, D), make_mixer(name, D)], feed_forward_dim=None).double()
    both = Bidirectional(make_mixer(name, D), make_mixer(name, D)).double()
    decoder = Decoder(nn.Identity(), model, num_outputs=5).double()
    lengths = torch.full((B,), L)
    expected = model(inputs())[0]
    monkeypatch.setattr(f"seqmodels.{module}.convolve", None)  # what computes outputs and state
    assert torch.allclose(model.encode(inputs(), lengths), expected, atol=1e-12)
    assert torch.allclose(decoder(inputs()), decoder.output_layer(expected), atol=1e-12)
    assert both(inputs(), lengths).isfinite().all()
