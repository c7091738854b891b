"""Moves stacks of frames by a few pixels, in uint8, without interpolation."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from .drawing import draw_integers, draw_uniform


class RandomShift:
    """Moves every stack by a random whole number of pixels in each direction, all of its frames alike.

    What moves in over a border repeats that border's pixels, so the view of offset (y, x) is the slice that begins at
    (max_shift + y, max_shift + x) of the frames padded by `max_shift` (Kostrikov et al. 2021, DrQ, section 3.1).
    """

    def __init__(self, max_shift: int = 2, *, probability: float = 1.0) -> None:
        """Shifts by -max_shift .. max_shift, each equally likely, a `probability` share of the stacks."""
        if max_shift < 0:
            raise ValueError(f"max_shift must be at least 0, got {max_shift}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie between 0 and 1, got {probability}")
        self.max_shift = max_shift
        self.probability = probability

    def __call__(self, frames: UInt8[Tensor, "b c h w"], generator: torch.Generator) -> UInt8[Tensor, "b c h w"]:
        """Returns a shifted copy of the stacks."""
        batch_size = len(frames)
        offsets = draw_integers((batch_size, 2), -self.max_shift, self.max_shift, generator)
        if self.probability < 1:
            chosen = draw_uniform((batch_size, 1), generator) < self.probability
            offsets = offsets * chosen
        return shift(frames, offsets)


def shift(frames: UInt8[Tensor, "b c h w"], offsets: Int64[Tensor, "b 2"]) -> UInt8[Tensor, "b c h w"]:
    """Returns out[b, c, i, j] = frames[b, c, i + y, j + x] for the offset (y, x) of stack b, clamped to the frame.

    Raises:
        ValueError: an offset, seen on the CPU, is as long as the frame or longer: nothing of it would be left.
    """
    if frames.device.type == "cpu":
        height, width = frames.shape[2:]
        if len(offsets) and not bool((offsets.abs() < torch.tensor([height, width])).all()):
            raise ValueError(
                f"frames of {height}x{width} pixels can be shifted by fewer pixels than that, "
                f"got {int(offsets.abs().max())}"
            )
        return _shift_by_copying(frames, offsets.tolist())
    return shift_by_indexing(frames, offsets)


def shift_by_indexing(frames: UInt8[Tensor, "b c h w"], offsets: Int64[Tensor, "b 2"]) -> UInt8[Tensor, "b c h w"]:
    """Does the same in a handful of kernels: on a GPU the fast way, on the CPU twenty times slower than `shift`."""
    batch_size, channels, height, width = frames.shape
    offsets = offsets.to(frames.device)
    device = frames.device
    rows = (torch.arange(height, device=device) + offsets[:, :1]).clamp_(0, height - 1)  # (b, h)
    columns = (torch.arange(width, device=device) + offsets[:, 1:]).clamp_(0, width - 1)  # (b, w)
    stacks = torch.arange(batch_size, device=device).view(-1, 1, 1, 1)
    planes = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return frames[stacks, planes, rows[:, None, :, None], columns[:, None, None, :]]


def _shift_by_copying(frames: UInt8[Tensor, "b c h w"], offsets: list[list[int]]) -> UInt8[Tensor, "b c h w"]:
    """Moves each stack as one block of memory, then mends the borders: near the speed of a plain copy.

    In memory a shift by (y, x) is a shift by y * width + x bytes. That fills all pixels but those that came in over a
    border, also from the neighbouring row or frame, and these are written afterwards.
    """
    batch_size, channels, height, width = frames.shape
    shifted = torch.empty(frames.shape, dtype=torch.uint8)
    # NumPy's views cost a tenth of PyTorch's, and there are several for each stack.
    target = shifted.numpy()
    target_bytes = target.reshape(batch_size, -1)
    target_rows = target.reshape(batch_size, channels * height, width)
    source_bytes = frames.contiguous().numpy().reshape(batch_size, -1)
    for index, (y, x) in enumerate(offsets):
        distance = y * width + x
        if distance >= 0:
            target_bytes[index, : target_bytes.shape[1] - distance] = source_bytes[index, distance:]
        else:
            target_bytes[index, -distance:] = source_bytes[index, :distance]
        rows = target_rows[index]
        # Columns one at a time: NumPy is slow at short rows.
        border = rows[:, width - 1 - x if x > 0 else -x]
        for column in range(width - x, width) if x > 0 else range(-x):
            rows[:, column] = border
        stack = target[index]
        if y > 0:
            stack[:, height - y :] = stack[:, height - y - 1 : height - y]
        elif y < 0:
            stack[:, :-y] = stack[:, -y : -y + 1]
    return shifted
