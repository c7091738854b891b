"""Mamba-1: weights of other implementations give their outputs, and its parts are the paper's."""

import math

import pytest
import torch
from torch import Tensor, nn

from seqmodels.mamba import Mamba
from seqmodels.parameter_groups import parameter_groups

B, L, D, N, W = 2, 37, 12, 5, 3


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def assert_same_outputs_and_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    """Weights move in both directions: theirs into ours here, and ours back at the end."""
    ours.load_state_dict(theirs.state_dict())
    x = inputs(B, L, D)
    expected = theirs(x)
    actual, _ = ours(x)
    assert relative_error(actual, expected) < 1e-5
    weight = inputs(B, L, D)
    (expected * weight).sum().backward()
    (actual * weight).sum().backward()
    their_gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        their_gradient = their_gradients[name]
        assert parameter.grad is not None
        assert their_gradient is not None
        assert relative_error(parameter.grad, their_gradient) < 1e-4, name
    theirs.load_state_dict(ours.state_dict())


def stir(module: nn.Module) -> None:
    """Moves every parameter away from values that two implementations share by default."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_weights_of_mambapy_give_its_outputs(backend):
    mambapy = pytest.importorskip("mambapy.mamba", reason="mambapy is not installed: pip install -e '.[bench]'")
    config = mambapy.MambaConfig(d_model=D, n_layers=1, d_state=N, d_conv=W, expand_factor=3, dt_rank=7, bias=True)
    theirs = mambapy.MambaBlock(config)
    stir(theirs)
    ours = Mamba(D, d_state=N, d_conv=W, expand=3, dt_rank=7, bias=True, backend=backend)
    assert_same_outputs_and_gradients(ours, theirs)


def test_weights_of_transformers_give_its_outputs():
    modeling = pytest.importorskip(
        "transformers.models.mamba.modeling_mamba", reason="transformers is not installed: pip install -e '.[bench]'"
    )
    config = modeling.MambaConfig(
        hidden_size=D, state_size=N, conv_kernel=W, expand=3, num_hidden_layers=1, use_conv_bias=False
    )
    theirs = modeling.MambaMixer(config, layer_idx=0)
    stir(theirs)
    assert_same_outputs_and_gradients(Mamba(D, d_state=N, d_conv=W, expand=3, conv_bias=False), theirs)


@pytest.mark.gpu
def test_weights_move_to_mamba_ssm_and_back():
    package = pytest.importorskip("mamba_ssm.modules.mamba_simple", reason="mamba-ssm is not installed")
    theirs = package.Mamba(D, d_state=N, d_conv=W, expand=4).cuda()
    ours = Mamba(D, d_state=N, d_conv=W, expand=4, backend="mamba_ssm").cuda()
    ours.load_state_dict(theirs.state_dict())
    x = inputs(B, L, D).cuda()
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=6e-4, atol=2e-3)
    theirs.load_state_dict(ours.state_dict())


def test_parameters_have_upstreams_names_and_shapes():
    shapes = {name: tuple(parameter.shape) for name, parameter in Mamba(33).named_parameters()}
    assert shapes == {
        "A_log": (66, 16),
        "D": (66,),
        "in_proj.weight": (132, 33),
        "conv1d.weight": (66, 1, 4),
        "conv1d.bias": (66,),
        "x_proj.weight": (3 + 32, 66),
        "dt_proj.weight": (66, 3),
        "dt_proj.bias": (66,),
        "out_proj.weight": (33, 66),
    }


def test_step_sizes_start_between_their_bounds_and_poles_at_minus_1_to_minus_n():
    torch.manual_seed(0)
    mamba = Mamba(31, dt_min=0.01, dt_max=0.1)
    dt = nn.functional.softplus(mamba.dt_proj.bias)
    assert dt.min() >= 0.0099
    assert dt.max() <= 0.1001
    assert dt.max() / dt.min() > 5  # spread between both in logarithm
    assert torch.allclose(-mamba.A_log.exp(), -torch.arange(1.0, 17.0).expand(62, 16))


def test_parameters_of_the_recurrence_learn_at_their_own_rate():
    mamba = Mamba(D)
    own = {id(parameter) for parameter in parameter_groups(mamba).state_space}
    assert own == {id(mamba.A_log), id(mamba.D), id(mamba.dt_proj.bias)}


def test_the_convolution_forgets_at_a_reset():
    # With a recurrence that forgets at once, only the convolution's window could carry anything over.
    mamba = Mamba(D, d_conv=4)
    with torch.no_grad():
        mamba.A_log.fill_(20.0)
        x = inputs(1, L, D)
        resets = torch.zeros(1, L, dtype=torch.bool)
        resets[0, 11] = True
        changed = torch.cat([x[:, :11] + 1.0, x[:, 11:]], dim=1)
        assert torch.equal(mamba(x, resets=resets)[0][:, 11:], mamba(changed, resets=resets)[0][:, 11:])
        assert not torch.equal(mamba(x)[0][:, 11:14], mamba(changed)[0][:, 11:14])


def test_a_convolution_of_one_tap_carries_no_window():
    mamba = Mamba(D, d_conv=1)
    x = inputs(B, L, D)
    with torch.no_grad():
        whole, state = mamba(x)
        assert state.window.shape == (B, 0, 2 * D)
        first, middle = mamba(x[:, :5])
        assert relative_error(torch.cat([first, mamba(x[:, 5:], state=middle)[0]], 1), whole) < 1e-5


def test_the_choice_of_the_backend_is_told_with_its_reason():
    choice = Mamba(D, backend="torch").backend_choice(resets=True)
    assert choice == ("torch", "torch: as asked for")


def test_a_backend_that_is_not_there_is_refused_at_construction(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="'cpp' is not available: no C.. compiler was found"):
        Mamba(D, backend="cpp")


@pytest.mark.parametrize("setting", ["d_state", "d_conv", "expand", "dt_rank"])
def test_a_setting_below_1_is_refused_by_its_name(setting):
    with pytest.raises(ValueError, match=f"^{setting} must be at least 1, got 0$"):
        Mamba(D, **{setting: 0})
    with pytest.raises(ValueError, match="^d_model must be at least 1, got 0$"):
        Mamba(0)


def test_half_precision_gives_numbers_close_to_float32s():
    torch.manual_seed(0)
    mamba, x = Mamba(D), inputs(B, L, D)
    expected, _ = mamba(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = mamba(x)
        output.float().sum().backward()
    assert relative_error(output.float(), expected) < 0.05
    assert state.hidden.dtype == torch.float32
    half = Mamba(D).to(torch.bfloat16)
    half.load_state_dict(mamba.state_dict())
    output, state = half(x.bfloat16())
    step, _ = half.step(x[:, 0].bfloat16(), half.initial_state(B))
    assert output.dtype == step.dtype == torch.bfloat16
    assert relative_error(output.float(), expected) < 0.1
    assert relative_error(step.float(), expected[:, 0]) < 0.1


def test_the_default_rank_of_the_step_size_is_a_16th_of_the_width_rounded_up():
    assert [Mamba(width).dt_rank for width in (16, 17, 64)] == [1, 2, math.ceil(64 / 16)]


def test_the_state_is_the_window_and_the_recurrences():
    mamba = Mamba(D, d_state=N, d_conv=W)
    _, state = mamba(inputs(B, L, D))
    assert state.window.shape == (B, W - 1, 2 * D)
    assert state.hidden.shape == (B, 2 * D, N)
