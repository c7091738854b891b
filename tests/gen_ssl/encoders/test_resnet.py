import pytest
import torch
from torch import nn

from gen_ssl.encoders import ResNet


def test_the_convolutions_are_those_of_resnet_18_but_for_the_stem():
    # The published ResNet-18 has 11,166,976 weights in its stages (11,176,512 less the 7x7 stem and its norm); the
    # norms here have as many weights as there.
    encoder = ResNet()
    stem = 9 * 4 * 64 + 2 * 64
    assert sum(weight.numel() for weight in encoder.convolutions.parameters()) == stem + 11_166_976


def test_nothing_pools_and_positions_reach_the_linear_layer():
    encoder = ResNet(frame_shape=(3, 84, 60), feature_dim=5, width=16)
    assert not any("Pool" in type(module).__name__ for module in encoder.modules())
    assert encoder.spatial_features(torch.zeros(2, 3, 84, 60, dtype=torch.uint8)).shape == (2, 128, 6, 4)
    assert encoder.linear.in_features == 128 * 6 * 4


def test_every_group_of_channels_is_sixteen_wide():
    norms = [module for module in ResNet(width=32).modules() if isinstance(module, nn.GroupNorm)]
    assert {norm.num_channels // norm.num_groups for norm in norms} == {16}


def test_a_block_adds_to_its_input():
    block = ResNet(width=16).convolutions[3]
    nn.init.zeros_(block.residual[4].weight)
    maps = torch.rand(2, 16, 7, 11)
    assert torch.equal(block(maps), maps)


@pytest.mark.parametrize("width", [0, 24])
def test_a_width_that_no_groups_fill_is_refused(width):
    with pytest.raises(ValueError, match=f"width must be a multiple of 16, the size of a group, got {width}"):
        ResNet(width=width)


@pytest.mark.parametrize("blocks", [(), (2, 0)])
def test_stages_without_a_block_are_refused(blocks):
    with pytest.raises(ValueError, match="at least one stage of at least one block"):
        ResNet(blocks=blocks)
