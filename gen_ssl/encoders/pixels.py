"""From frames as environments give them to numbers as convolutions want them."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def scale_pixels(
    frames: UInt8[Tensor, "b c h w"], frame_shape: tuple[int, int, int], dtype: torch.dtype
) -> Float[Tensor, "b c h w"]:
    """Returns frames as numbers from 0 to 1.

    Args:
        frames: pixels from 0 to 255.
        frame_shape: (channels, height, width) that the caller was built for.
        dtype: of the result: the weights' own, so that an encoder in bfloat16 needs no autocast. Under autocast it is
            autocast's own instead.

    Raises:
        ValueError: the frames are not uint8, or not of `frame_shape`. Scaled twice, frames would be almost black and
            the agent would learn nothing, without an error.
    """
    # Shapes and dtypes are constants to torch.compile: this test costs nothing there.
    if frames.dtype != torch.uint8 or frames.shape[1:] != frame_shape:
        raise ValueError(
            f"this encoder takes torch.uint8 frames of shape (batch, {', '.join(map(str, frame_shape))}), "
            f"got {frames.dtype} of shape {tuple(frames.shape)}"
        )
    device = frames.device.type
    if torch.is_autocast_enabled(device):
        # The same numbers as the first convolution would round to, without a copy of all pixels in float32: whole
        # numbers up to 255 are exact in bfloat16 and float16.
        dtype = torch.get_autocast_dtype(device)
    return frames.to(dtype).div_(255)
