"""Arithmetic shared by the convolutional encoders."""

from collections.abc import Sequence

from torch import nn


def map_size(frame_shape: tuple[int, int, int], layers: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Returns height and width of the map that unpadded convolutions make of a frame.

    Args:
        frame_shape: (channels, height, width) of the frames.
        layers: (kernel, stride) of each convolution, first to last.

    Raises:
        ValueError: a side is shorter than a kernel that meets it, or the frame has no channel.
    """
    channels, height, width = frame_shape
    if channels < 1:
        raise ValueError(f"frames need at least one channel, got frame_shape {frame_shape}")
    for kernel, stride in layers:
        if min(height, width) < kernel:
            smallest = _smallest_side(layers)
            raise ValueError(f"frames must be at least {smallest}x{smallest} pixels, got frame_shape {frame_shape}")
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    return height, width


def halved_size(frame_shape: tuple[int, int, int], times: int) -> tuple[int, int]:
    """Returns height and width of a frame after padded layers of stride 2, each of which rounds a half up.

    Raises:
        ValueError: the frame has no channel or no pixel.
    """
    if min(frame_shape) < 1:
        raise ValueError(f"frames need at least one channel and one pixel, got frame_shape {frame_shape}")
    _, height, width = frame_shape
    for _ in range(times):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def map_norm(channels: int, wanted: bool) -> list[nn.Module]:
    """Returns the normalisation of a map before its ReLU, or nothing: mean 0 and deviation 1 over all of a frame's map.

    A scale and a shift are learned for each channel. In temporal-difference learning it keeps the network from
    diverging, and no feature can be switched off for every frame by a few large steps (Gallici et al. 2024, PQN).
    """
    return [nn.GroupNorm(1, channels)] if wanted else []


def _smallest_side(layers: Sequence[tuple[int, int]]) -> int:
    """Returns the shortest side from which the last convolution still gets one output."""
    side = 1
    for kernel, stride in reversed(layers):
        side = (side - 1) * stride + kernel
    return side
