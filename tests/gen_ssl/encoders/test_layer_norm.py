"""The networks of DQN with normalised layers (Gallici et al. 2024)."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from gen_ssl.encoders import make_encoder

NAMES = ("DQN2013CNN-LayerNorm", "NatureCNN-LayerNorm")


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_normalised_before_its_relu(name):
    modules = [type(m) for m in make_encoder(name, frame_shape=(3, 84, 84)).modules()]
    before_relus = [previous for previous, module in pairwise(modules) if module is nn.ReLU]
    assert before_relus == [nn.GroupNorm] * modules.count(nn.Conv2d) + [nn.LayerNorm]


@pytest.mark.parametrize("name", NAMES)
def test_numbers_before_a_relu_have_mean_0_and_deviation_1_over_a_frame(name):
    encoder = make_encoder(name, frame_shape=(3, 84, 84))
    maps = []
    for module in encoder.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.register_forward_hook(lambda _, __, result: maps.append(result.flatten(1)))
    encoder(torch.randint(256, (5, 3, 84, 84), dtype=torch.uint8))
    for numbers in maps:
        torch.testing.assert_close(numbers.mean(dim=1), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(numbers.std(dim=1, correction=0), torch.ones(5), atol=1e-2, rtol=0)


def test_a_network_without_norms_has_the_weights_it_always_had():
    names = set(make_encoder("DQN2013CNN", frame_shape=(3, 84, 84)).state_dict())
    assert names == {
        f"{layer}.{kind}" for layer in ("convolutions.0", "convolutions.2", "linear") for kind in ("weight", "bias")
    }
