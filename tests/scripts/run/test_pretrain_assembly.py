import pytest
import torch
from torch import nn

from gen_ssl.encoders import make_encoder
from scripts.run.pretrain_assembly import _compile_body, build_fabric
from scripts.run.pretrain_config import PretrainRunConfig


@pytest.mark.parametrize("name", ["NatureCNN", "DQN2013CNN", "ImpalaCNN", "ResNet", "ViT-tiny"])
def test_what_is_compiled_is_what_features_and_maps_go_through(name):
    encoder = make_encoder(name, frame_shape=(2, 60, 84))
    _compile_body(encoder)
    [body] = [module for module in encoder.modules() if module._compiled_call_impl is not None]
    calls = []
    body._compiled_call_impl = lambda *inputs: calls.append(body) or body._call_impl(*inputs)
    frames = torch.zeros(2, 2, 60, 84, dtype=torch.uint8)
    encoder(frames), encoder.spatial_features(frames), encoder.features_and_map(frames)
    assert len(calls) == 3


@pytest.mark.usefixtures("unchecked_signatures")  # a plain module is no encoder
def test_an_encoder_without_a_body_to_compile_is_refused():
    with pytest.raises(ValueError, match="Identity has neither convolutions nor blocks to compile"):
        _compile_body(nn.Identity())


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 GPUs were asked for, but PyTorch sees 1 here"):
        build_fabric(PretrainRunConfig(), torch.device("cuda"), devices=2)
