"""Sequential digits: a small stand-in for sequential MNIST that needs no files."""

import numpy as np

from .pixel_classification import PixelClassification
from .pixel_rows import PixelRows
from .task import Split

_NUM_HELD_OUT = 180  # validation and test images each, of 1,797


def sequential_digits() -> PixelClassification:
    r"""Returns the task of 8 x 8 grey pixels and ten digits, from the images that scikit-learn brings along.

    It is no published benchmark: these are 1,797 of the UCI digits (Alpaydin and Kaynak 1998), split once and for all
    into 1,437 for training and 180 each for validation and test. Do not compare it with sequential MNIST.

    >>> task = sequential_digits()
    >>> batch = next(task.batches("test", batch_size=1, seed=0))
    >>> picture = batch.inputs.view(8, 8).add(1).mul(4.99).int().tolist()
    >>> print("\n".join("".join(" .:-=+*#%@"[v] * 2 for v in line).rstrip() for line in picture), batch.targets.item())
          **@@**
        ++@@**==
      ..@@==
      ++@@%%::
      **@@==@@==
      ::@@..==@@..
        %%%%==@@--
          **@@@@ 6
    """
    return PixelClassification("sequential-digits", _load, num_pixels=64, num_channels=1, num_classes=10)


def _load() -> dict[Split, PixelRows]:
    from sklearn.datasets import load_digits  # only here: it takes a second to import

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels = digits.data.astype(np.uint8)[order, :, None]
    labels = digits.target.astype(np.uint8)[order]
    validation, test = slice(0, _NUM_HELD_OUT), slice(_NUM_HELD_OUT, 2 * _NUM_HELD_OUT)
    parts: dict[Split, slice] = {"train": slice(2 * _NUM_HELD_OUT, None), "validation": validation, "test": test}
    return {split: PixelRows(pixels[part], labels[part], largest=16) for split, part in parts.items()}
