import torch
from torch import nn

from gen_ssl.encoders import NatureCNN


def test_the_parameters_are_those_counted_by_hand():
    # 8,224 + 32,832 + 36,928 in the convolutions, 3,136 * 512 + 512 in the linear layer; with the Q-values of four
    # actions (2,052) that is the published 1.686M.
    encoder = NatureCNN()
    convolutions = sum(weight.numel() for weight in encoder.convolutions.parameters())
    assert convolutions == 8_224 + 32_832 + 36_928
    assert sum(weight.numel() for weight in encoder.parameters()) == convolutions + 1_606_144 == 1_686_180 - 2_052


def test_the_layers_are_those_of_the_paper():
    convolutions = [module for module in NatureCNN().modules() if isinstance(module, nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]) for c in convolutions] == [
        (32, 8, 4, 0),
        (64, 4, 2, 0),
        (64, 3, 1, 0),
    ]


def test_features_are_not_negative():
    frames = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    encoder = NatureCNN()
    assert encoder(frames).min() == 0
    assert encoder.spatial_features(frames).shape == (2, 64, 7, 7)
