"""One small encoder of every architecture in the table, for the tests that hold for all of them."""

import pytest
import torch

from gen_ssl.encoders import ENCODERS

FRAME_SHAPE = (3, 55, 77)  # patches of 11 pixels divide both sides
FEATURE_DIMS = {"ViT": 28}  # the others': 7
ARGUMENTS = {
    "DQN2013CNN": {"feature_dim": 7, "layer_norm": False},
    "DQN2013CNN-LayerNorm": {"feature_dim": 7, "layer_norm": True},
    "ImpalaCNN": {"feature_dim": 7, "width_factor": 1},
    "NatureCNN": {"feature_dim": 7, "layer_norm": False},
    "NatureCNN-LayerNorm": {"feature_dim": 7, "layer_norm": True},
    "ResNet": {"feature_dim": 7, "blocks": (1, 1, 1), "width": 16},
    "ViT": {"patch_size": 11, "embed_dim": 28, "depth": 2, "num_heads": 7, "pooling": "class"},
}


@pytest.fixture(params=sorted(ARGUMENTS))
def variant(request):
    return request.param


@pytest.fixture
def architecture(variant):
    return variant.partition("-")[0]


@pytest.fixture
def arguments(variant):
    """Every argument of the small encoder's constructor."""
    return {"frame_shape": FRAME_SHAPE, **ARGUMENTS[variant]}


@pytest.fixture
def feature_dim(architecture):
    return FEATURE_DIMS.get(architecture, 7)


@pytest.fixture
def encoder(architecture, arguments):
    torch.manual_seed(0)
    return ENCODERS[architecture](**arguments)
