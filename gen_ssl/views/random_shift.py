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
    # Python's slices of memory cost a third of NumPy's, NumPy's views a tenth of PyTorch's: there are several a stack.
    target = shifted.numpy()
    target_bytes, source_bytes = (array.data.cast("B") for array in (target, frames.contiguous().numpy()))
    columns = target.reshape(batch_size, channels * height, width).transpose(2, 0, 1)
    rows = target.transpose(2, 0, 1, 3)
    size = channels * height * width
    for index, (y, x) in enumerate(offsets):
        distance, begin, end = y * width + x, index * size, (index + 1) * size
        if distance >= 0:
            target_bytes[begin : end - distance] = source_bytes[begin + distance : end]
        else:
            target_bytes[begin - distance : end] = source_bytes[begin : end + distance]
        # Columns one at a time: NumPy is slow at short rows.
        for column in range(width - x, width) if x > 0 else range(-x):
            columns[column, index] = columns[width - 1 - x if x > 0 else -x, index]
        if y > 0:
            rows[height - y :, index] = rows[height - y - 1, index]
        elif y < 0:
            rows[:-y, index] = rows[-y, index]
    return shifted
