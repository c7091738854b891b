import pytest
import torch
from torch import nn

from gen_ssl.encoders import ImpalaCNN


def count(channels, k):
    """Weights and biases of the three sections, by hand: five 3x3 convolutions each, of 16k, 32k and 32k channels."""
    total, inner = 0, channels
    for outer in (16 * k, 32 * k, 32 * k):
        total += (9 * inner + 1) * outer + 4 * (9 * outer + 1) * outer
        inner = outer
    return total


@pytest.mark.parametrize(("k", "total"), [(1, 97_744 + 991_488), (2, 389_024 + 1_982_720)])
def test_the_parameters_are_those_counted_by_hand(k, total):
    encoder = ImpalaCNN(width_factor=k)
    convolutions = sum(weight.numel() for weight in encoder.convolutions.parameters())
    assert convolutions == count(4, k)
    assert sum(weight.numel() for weight in encoder.parameters()) == convolutions + (32 * k * 121 + 1) * 256 == total


def test_the_layers_are_the_fifteen_convolutions_of_the_paper():
    convolutions = [module for module in ImpalaCNN().modules() if isinstance(module, nn.Conv2d)]
    assert [convolution.out_channels for convolution in convolutions] == [16] * 5 + [32] * 10
    assert all(c.kernel_size == (3, 3) and c.stride == (1, 1) and c.padding == (1, 1) for c in convolutions)


def test_a_residual_block_adds_to_its_input():
    encoder = ImpalaCNN(frame_shape=(3, 16, 24), feature_dim=5)
    block = encoder.convolutions[0][2]
    nn.init.zeros_(block.residual[3].weight)
    nn.init.zeros_(block.residual[3].bias)
    maps = torch.randn(2, 16, 7, 11)
    assert torch.equal(block(maps), maps)


def test_every_section_halves_the_map_rounding_up():
    frames = torch.zeros(2, 4, 84, 92, dtype=torch.uint8)
    assert ImpalaCNN(frame_shape=(4, 84, 92)).spatial_features(frames).shape == (2, 32, 11, 12)


def test_a_width_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="width_factor must be at least 1, got 0"):
        ImpalaCNN(width_factor=0)
