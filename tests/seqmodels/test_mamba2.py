"""Mamba-2: weights of other implementations give their outputs, and its parts are the paper's."""

import pytest
import torch
from torch import Tensor, nn

from seqmodels.gated_norm import GatedRMSNorm
from seqmodels.mamba2 import Mamba2
from seqmodels.parameter_groups import parameter_groups

B, L, D = 2, 37, 12


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("groups", [1, 3])
def test_weights_of_transformers_give_its_outputs(groups):
    modeling = pytest.importorskip(
        "transformers.models.mamba2.modeling_mamba2", reason="transformers is not installed: pip install -e '.[bench]'"
    )
    config = modeling.Mamba2Config(
        hidden_size=D, num_heads=6, head_dim=4, expand=2, state_size=5, n_groups=groups, chunk_size=8
    )
    theirs = modeling.Mamba2Mixer(config, layer_idx=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    ours = Mamba2(D, head_dim=4, d_state=5, num_groups=groups, chunk_length=16)
    ours.load_state_dict(theirs.state_dict())
    x, weight = inputs(B, L, D), inputs(B, L, D)
    expected = theirs(x)
    actual, _ = ours(x)
    assert relative_error(actual, expected) < 1e-5
    (expected * weight).sum().backward()
    (actual * weight).sum().backward()
    their_gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        their_gradient = their_gradients[name]
        assert parameter.grad is not None
        assert their_gradient is not None
        assert relative_error(parameter.grad, their_gradient) < 1e-4, name
    theirs.load_state_dict(ours.state_dict())


def test_parameters_have_upstreams_names_and_shapes():
    shapes = {name: tuple(parameter.shape) for name, parameter in Mamba2(96, num_groups=3).named_parameters()}
    assert shapes == {
        "dt_bias": (3,),
        "A_log": (3,),
        "D": (3,),
        "in_proj.weight": (192 + 192 + 2 * 3 * 128 + 3, 96),
        "conv1d.weight": (192 + 2 * 3 * 128, 1, 4),
        "conv1d.bias": (192 + 2 * 3 * 128,),
        "norm.weight": (192,),
        "out_proj.weight": (96, 192),
    }


def test_the_norm_gates_first_and_divides_by_groups():
    norm = GatedRMSNorm(4, num_groups=2, epsilon=0.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 1.0, 1.0, 10.0]))
    x = torch.tensor([[3.0, 4.0, 0.0, -2.0]])
    large = torch.full_like(x, 100.0)  # silu(100) = 100: the same for all, so that the norm takes it out again
    # Root mean squares: sqrt((9 + 16) / 2) and sqrt(4 / 2).
    expected = torch.tensor([[3 / 12.5**0.5, 4 / 12.5**0.5, 0.0, -(2**0.5) * 10]])
    torch.testing.assert_close(norm(x, large), expected)
    closed = torch.tensor([[100.0, 0.0, 100.0, 100.0]])
    torch.testing.assert_close(norm(x, closed)[0, :2], torch.tensor([2**0.5, 0.0]))


def test_poles_start_between_1_and_16_and_step_sizes_between_their_bounds():
    torch.manual_seed(0)
    mamba = Mamba2(128, head_dim=2)
    poles, dt = mamba.A_log.exp(), nn.functional.softplus(mamba.dt_bias)
    assert 1 <= poles.min() < 3
    assert 14 < poles.max() <= 16
    assert 0.0009 < dt.min() < 0.003
    assert 0.03 < dt.max() < 0.1001


def test_parameters_of_the_recurrence_learn_at_their_own_rate():
    mamba = Mamba2(D)
    own = {id(parameter) for parameter in parameter_groups(mamba).state_space}
    assert own == {id(mamba.A_log), id(mamba.D), id(mamba.dt_bias)}


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple of head_dim, got 24 and 7"):
        Mamba2(12, head_dim=7)
    with pytest.raises(ValueError, match="heads must be a multiple of num_groups, got 6 and 4"):
        Mamba2(12, head_dim=4, num_groups=4)


@pytest.mark.parametrize("setting", ["d_state", "d_conv", "expand", "head_dim", "num_groups", "chunk_length"])
def test_a_setting_below_1_is_refused_by_its_name(setting):
    for number in (0, -1):
        with pytest.raises(ValueError, match=f"^{setting} must be at least 1, got {number}$"):
            Mamba2(D, **{setting: number})
    with pytest.raises(ValueError, match="^d_model must be at least 1, got 0$"):
        Mamba2(0)


def test_half_precision_gives_numbers_close_to_float32s():
    torch.manual_seed(0)
    mamba, x = Mamba2(D, d_state=5), inputs(B, L, D)
    expected, _ = mamba(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = mamba(x)
        output.float().sum().backward()
    assert relative_error(output.float(), expected) < 0.05
    assert state.hidden.dtype == torch.float32
    half = Mamba2(D, d_state=5).to(torch.bfloat16)
    half.load_state_dict(mamba.state_dict())
    output, _ = half(x.bfloat16())
    step, _ = half.step(x[:, 0].bfloat16(), half.initial_state(B))
    assert output.dtype == step.dtype == torch.bfloat16
    assert relative_error(output.float(), expected) < 0.1
    assert relative_error(step.float(), expected[:, 0]) < 0.1
