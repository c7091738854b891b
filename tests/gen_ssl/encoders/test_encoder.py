"""The contract of encoders: every test here runs on every architecture in the table."""

import pytest
import torch
from torch import nn

from gen_ssl.encoders import ENCODER_NAMES, ENCODERS, Encoder, FeaturesOfPixels, ViT, features_and_map, make_encoder

B, C, H, W = 2, 3, 55, 77


@pytest.fixture
def frames():
    return torch.randint(0, 256, (B, C, H, W), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_an_encoder_meets_the_protocol_and_is_a_module(encoder):
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, nn.Module)


def test_frames_become_vectors_of_the_promised_length(encoder, frames, feature_dim):
    features = encoder(frames)
    assert (encoder.frame_shape, encoder.feature_dim) == ((C, H, W), feature_dim)
    assert features.shape == (B, feature_dim)
    assert features.dtype == torch.float32


def test_spatial_features_are_a_map_for_each_frame_by_itself(encoder, frames):
    features = encoder.spatial_features(frames)
    assert features.ndim == 4
    assert len(features) == B
    torch.testing.assert_close(features[1:], encoder.spatial_features(frames[1:]))


def test_features_and_map_are_those_of_a_pass_each(encoder, frames):
    class Minimal(nn.Module):
        """An encoder that offers the contract alone."""

        frame_shape, feature_dim = encoder.frame_shape, encoder.feature_dim
        from_pixels, spatial_features = encoder.from_pixels, encoder.spatial_features
        save_pretrained = encoder.save_pretrained

        def forward(self, frames):
            return encoder(frames)

    for subject in (encoder, Minimal()):
        features, places = features_and_map(subject, frames)
        torch.testing.assert_close(features, encoder(frames))
        torch.testing.assert_close(places, encoder.spatial_features(frames))


def test_white_pixels_meet_the_first_convolution_as_ones(encoder):
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    seen = []
    first.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder(torch.full((B, C, H, W), 255, dtype=torch.uint8))
    assert torch.equal(seen[0], torch.ones(B, C, H, W))


def test_every_weight_gets_a_gradient(encoder, frames):
    # Weighted: the plain sum of a normalised vector is constant.
    features = encoder(frames)
    (features * torch.arange(features.shape[1])).sum().backward()
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
    with pytest.raises(ValueError, match=r"shape \(batch, 3, 55, 77\), got torch.uint8 of shape \(2, 3, 77, 55\)"):
        encoder(torch.zeros(B, C, W, H, dtype=torch.uint8))


@pytest.mark.usefixtures("unchecked_signatures")  # outside of tests nothing else stops such frames
def test_frames_that_are_already_scaled_are_refused(encoder):
    with pytest.raises(ValueError, match=r"takes torch.uint8 frames .*, got torch.float32"):
        encoder(torch.zeros(B, C, H, W))


@pytest.mark.parametrize("name", ["DQN2013CNN", "NatureCNN"])
def test_frames_too_small_for_unpadded_convolutions_are_refused_at_construction(name):
    with pytest.raises(ValueError, match="frames must be at least"):
        ENCODERS[name](frame_shape=(C, H, 11))


def test_frames_without_a_channel_are_refused_at_construction(architecture, arguments):
    with pytest.raises(ValueError, match=r"at least one channel.*, got frame_shape \(0, 55, 77\)"):
        ENCODERS[architecture](**{**arguments, "frame_shape": (0, H, W)})


def test_autocast_to_bfloat16_gives_nearly_the_same_features(encoder, frames):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(frames)
    # The residual stream of a transformer stays in float32, and so do its features.
    assert features.dtype == (torch.float32 if isinstance(encoder, ViT) else torch.bfloat16)
    torch.testing.assert_close(features.float(), encoder(frames), atol=0.05, rtol=0.05)


def test_an_encoder_in_bfloat16_needs_no_autocast(encoder, frames):
    expected = encoder(frames)
    features = encoder.to(torch.bfloat16)(frames)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.usefixtures("unchecked_signatures")
def test_an_encoder_is_one_graph_to_torch_compile(encoder, frames):
    features = torch.compile(encoder, backend="eager", fullgraph=True)(frames)
    torch.testing.assert_close(features, encoder(frames))


def test_pixels_have_gradients_where_frames_are_given_as_numbers(encoder, frames):
    pixels = (frames / 255).requires_grad_()
    features = FeaturesOfPixels(encoder)(pixels)
    torch.testing.assert_close(features, encoder(frames))
    features.amax(1).sum().backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("name", sorted(set(ENCODERS) - {"ViT"}))
def test_guided_backprop_stops_every_negative_gradient_at_every_relu(name, frames):
    attribution = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    encoder = ENCODERS[name](frame_shape=(C, H, W), feature_dim=7)
    pixels = (frames / 255).requires_grad_()
    target = int(encoder(frames).sum(0).argmax())  # one that is not cut off by the last ReLU
    guided = attribution.GuidedBackprop(FeaturesOfPixels(encoder)).attribute(pixels, target=target)

    # The slow twin: a ReLU passes the gradient on where its input and the gradient are both positive.
    class GuidedReLU(torch.autograd.Function):
        @staticmethod
        def forward(context, values):
            context.save_for_backward(values)
            return values.relu()

        @staticmethod
        def backward(context, gradient):
            (values,) = context.saved_tensors
            return gradient.clamp(min=0) * (values > 0)

    for module in encoder.modules():
        if isinstance(module, nn.ReLU):
            module.forward = GuidedReLU.apply
    (expected,) = torch.autograd.grad(encoder.from_pixels(pixels)[:, target].sum(), pixels)
    torch.testing.assert_close(guided, expected)
    assert guided.abs().sum() > 0


def test_encoders_are_built_by_name_for_the_frames_at_hand():
    with torch.device("meta"):
        encoders = {name: make_encoder(name, frame_shape=(5, 24, 36)) for name in ENCODER_NAMES if "CNN" not in name}
    assert all(encoder.frame_shape == (5, 24, 36) for encoder in encoders.values())
    assert [encoders[f"ViT-{size}"].feature_dim for size in ("tiny", "huge")] == [192, 1280]


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of NatureCNN, .*, ViT-huge, got 'AlexNet'"):
        make_encoder("AlexNet", frame_shape=(C, H, W))
