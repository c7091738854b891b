import torch
from torch import nn

from gen_ssl.encoders import DQN2013CNN


def test_the_parameters_are_those_counted_by_hand():
    encoder = DQN2013CNN()
    # (4 * 8 * 8 + 1) * 16, (16 * 4 * 4 + 1) * 32 and (32 * 9 * 9 + 1) * 256
    assert sum(weight.numel() for weight in encoder.parameters()) == 4_112 + 8_224 + 663_808


def test_the_layers_are_those_of_the_paper():
    convolutions = [module for module in DQN2013CNN().modules() if isinstance(module, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]) for c in convolutions] == [
        (16, 8, 4, 0),
        (32, 4, 2, 0),
    ]
    assert DQN2013CNN().feature_dim == 256


def test_spatial_features_have_9_by_9_positions():
    assert DQN2013CNN().spatial_features(torch.zeros(3, 4, 84, 84, dtype=torch.uint8)).shape == (3, 32, 9, 9)
