"""The contract of encoders: every test here runs on every architecture in the table."""

import pytest
import torch
from torch import nn

from gen_ssl.encoders import ENCODERS, Encoder

B, C, H, W, F = 2, 3, 53, 61, 7


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request):
    torch.manual_seed(0)
    return ENCODERS[request.param](frame_shape=(C, H, W), feature_dim=F)


@pytest.fixture
def frames():
    return torch.randint(0, 256, (B, C, H, W), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_an_encoder_meets_the_protocol_and_is_a_module(encoder):
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, nn.Module)


def test_frames_become_vectors_of_the_promised_length(encoder, frames):
    features = encoder(frames)
    assert (encoder.frame_shape, encoder.feature_dim) == ((C, H, W), F)
    assert features.shape == (B, F)
    assert features.dtype == torch.float32


def test_spatial_features_are_a_map_for_each_frame_by_itself(encoder, frames):
    features = encoder.spatial_features(frames)
    assert features.ndim == 4
    assert len(features) == B
    torch.testing.assert_close(features[1:], encoder.spatial_features(frames[1:]))


def test_white_pixels_meet_the_first_convolution_as_ones(encoder):
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    seen = []
    first.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder(torch.full((B, C, H, W), 255, dtype=torch.uint8))
    assert torch.equal(seen[0], torch.ones(B, C, H, W))


def test_every_weight_gets_a_gradient(encoder, frames):
    encoder(frames).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())


def test_no_sample_depends_on_the_rest_of_its_batch(encoder, frames):
    torch.testing.assert_close(encoder(frames)[:1], encoder(frames[:1]))
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())


def test_no_relu_is_used_twice_in_one_pass(encoder, frames):
    # Attribution methods hook each ReLU; one that is used twice would mix the two uses up.
    calls = []
    for module in encoder.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda module, *_: calls.append(module))
    encoder(frames)
    assert len(calls) == len(set(calls)) == sum(isinstance(module, nn.ReLU) for module in encoder.modules())


def test_frames_of_another_shape_are_refused_with_both_shapes(encoder):
    with pytest.raises(ValueError, match=r"shape \(batch, 3, 53, 61\), got torch.uint8 of shape \(2, 3, 61, 53\)"):
        encoder(torch.zeros(B, C, W, H, dtype=torch.uint8))


@pytest.mark.usefixtures("unchecked_signatures")  # outside of tests nothing else stops such frames
def test_frames_that_are_already_scaled_are_refused(encoder):
    with pytest.raises(ValueError, match=r"takes torch.uint8 frames .*, got torch.float32"):
        encoder(torch.zeros(B, C, H, W))


def test_frames_too_small_for_the_convolutions_are_refused_at_construction(encoder):
    with pytest.raises(ValueError, match="frames must be at least"):
        type(encoder)(frame_shape=(C, H, 11))


def test_autocast_to_bfloat16_gives_nearly_the_same_features(encoder, frames):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(frames)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), encoder(frames), atol=0.01, rtol=0.05)


def test_an_encoder_in_bfloat16_needs_no_autocast(encoder, frames):
    expected = encoder(frames)
    features = encoder.to(torch.bfloat16)(frames)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), expected, atol=0.01, rtol=0.05)


@pytest.mark.usefixtures("unchecked_signatures")
def test_an_encoder_is_one_graph_to_torch_compile(encoder, frames):
    features = torch.compile(encoder, backend="eager", fullgraph=True)(frames)
    torch.testing.assert_close(features, encoder(frames))
