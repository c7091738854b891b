import pytest
import torch

from gen_ssl.encoders.pixels import scale_pixels

EVERY_VALUE = torch.arange(256, dtype=torch.uint8).view(2, 2, 8, 8)


def test_pixels_are_divided_by_255_in_the_dtype_asked_for():
    pixels = scale_pixels(EVERY_VALUE, (2, 8, 8), torch.float64)
    assert torch.equal(pixels, EVERY_VALUE.double() / 255)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_pixels_are_what_the_first_convolution_would_round_to(dtype):
    with torch.autocast("cpu", dtype=dtype):
        pixels = scale_pixels(EVERY_VALUE, (2, 8, 8), torch.float32)
    assert pixels.dtype == dtype
    assert torch.equal(pixels, (EVERY_VALUE.float() / 255).to(dtype))


@pytest.mark.usefixtures("unchecked_signatures")
def test_scaling_under_autocast_is_one_graph_to_torch_compile():
    compiled = torch.compile(scale_pixels, backend="eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pixels = compiled(EVERY_VALUE, (2, 8, 8), torch.float32)
    assert pixels.dtype == torch.bfloat16
