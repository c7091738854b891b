import pytest
import torch

from gen_ssl.decoder import ConvDecoder


@pytest.mark.parametrize("frame_shape", [(4, 84, 84), (1, 210, 160), (3, 7, 13), (1, 1, 1), (2, 8, 8)])
def test_any_frame_shape_can_be_decoded(frame_shape):
    pixels = ConvDecoder(5, frame_shape, width=2)(torch.randn(3, 5))
    assert pixels.shape == (3, *frame_shape)
    assert 0 < pixels.min() <= pixels.max() < 1


def test_every_pixel_depends_on_the_vector():
    torch.manual_seed(0)  # of three channels all may be silent at a pixel
    latent = torch.zeros(1, 5, requires_grad=True)
    decoder = ConvDecoder(5, (1, 13, 21), width=3)
    moved = decoder(latent.detach() + 3) - decoder(latent.detach())
    assert (moved != 0).all()


def test_frames_without_pixels_are_refused():
    with pytest.raises(ValueError, match=r"at least one channel and one pixel, got frame_shape \(1, 0, 84\)"):
        ConvDecoder(5, (1, 0, 84))
