"""One small encoder of every architecture in the table, for the tests that hold for all of them."""

import pytest
import torch

from gen_ssl.encoders import ENCODERS

FRAME_SHAPE = (3, 55, 77)  # patches of 11 pixels divide both sides
FEATURE_DIMS = {"DQN2013CNN": 7, "ImpalaCNN": 7, "NatureCNN": 7, "ResNet": 7, "ViT": 28}
ARGUMENTS = {
    "DQN2013CNN": {"feature_dim": 7},
    "ImpalaCNN": {"feature_dim": 7, "width_factor": 1},
    "NatureCNN": {"feature_dim": 7},
    "ResNet": {"feature_dim": 7, "blocks": (1, 1, 1), "width": 16},
    "ViT": {"patch_size": 11, "embed_dim": 28, "depth": 2, "num_heads": 7, "pooling": "class"},
}


@pytest.fixture(params=sorted(ENCODERS))
def architecture(request):
    return request.param


@pytest.fixture
def arguments(architecture):
    """Every argument of the small encoder's constructor."""
    return {"frame_shape": FRAME_SHAPE, **ARGUMENTS[architecture]}


@pytest.fixture
def feature_dim(architecture):
    return FEATURE_DIMS[architecture]


@pytest.fixture
def encoder(architecture, arguments):
    torch.manual_seed(0)
    return ENCODERS[architecture](**arguments)
