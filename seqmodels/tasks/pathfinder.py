"""Pathfinder: are the two marked ends joined by a dashed contour?"""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .dataset_cache import Arrays, cached_arrays, name_for
from .pathfinder_images import draw_pathfinder
from .pathfinder_settings import PathfinderSettings
from .pixel_rows import PixelRows
from .stored_batches import consecutive_splits, stored_batches
from .task import Batch, Split, TaskSpec

_IMAGES_PER_GROUP = 1000  # drawn from one stream of random numbers
_VERSION = 1  # raised when the same settings give other images, so that those kept before are not read


class Pathfinder:
    r"""Reads an image pixel by pixel, row by row, and answers 1 if one contour joins its two marked ends, else 0.

    Each image has two long contours of the same length; the discs mark the beginning of one and the end of the same
    (label 1) or of the other (label 0), with equal probability. Shorter contours distract. Images are drawn when a
    batch is first asked for, and kept in `cache` where given. Source: Linsley et al. 2018, with the settings of Tay et
    al. 2021 (LRA).

    >>> from seqmodels.tasks.pathfinder_settings import PATHFINDER_16
    >>> task = Pathfinder(PATHFINDER_16, num_train=2, num_validation=1, num_test=1)
    >>> batch = next(task.batches("train", batch_size=1, seed=0))
    >>> picture = batch.inputs.view(16, 16).add(1).mul(4.99).int().tolist()
    >>> print("\n".join("".join(" .:-=+*#%@"[v] * 2 for v in line).rstrip() for line in picture), batch.targets.item())
      ..
    ..@@**                  ::
      **--                  ::
      ..                        ==
      ::..
        ..--::
            ::    ..
                **@@..      ::
                --**    --  ..::..
                        ..      ..
                                --
              --
            ::..              ::..
            ::
            --..--..
     1
    """

    def __init__(
        self,
        settings: PathfinderSettings,
        *,
        num_train: int = 160_000,
        num_validation: int = 20_000,
        num_test: int = 20_000,
        cache: Path | None = None,
    ) -> None:
        self.settings = settings
        self._cache = cache
        self._splits = consecutive_splits(train=num_train, validation=num_validation, test=num_test)
        self._num_pixels = (settings.size // settings.shrink) ** 2
        self._num_images = num_train + num_validation + num_test
        self._rows: PixelRows | None = None

    @property
    def spec(self) -> TaskSpec:
        """What goes in and what comes out."""
        return TaskSpec(
            name="pathfinder",
            input="values",
            num_inputs=1,
            output="class",
            num_outputs=2,
            max_length=self._num_pixels,
            metric="accuracy",
            chance=0.5,
        )

    def batches(self, split: Split, *, batch_size: int, seed: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yields the batches of a split, as in Task."""
        if self._rows is None:
            drawn = cached_arrays(self._cache, "pathfinder", self._key, self._draw)
            if self._parts is not None:
                shutil.rmtree(self._parts, ignore_errors=True)
            self._rows = PixelRows(drawn["images"], drawn["labels"])
        return stored_batches(
            self._rows.gather, self._splits, split, batch_size=batch_size, seed=seed, first_batch=first_batch
        )

    def _draw(self) -> Arrays:
        images = np.empty((self._num_images, self._num_pixels, 1), dtype=np.uint8)
        labels = np.empty(self._num_images, dtype=np.uint8)
        starts = range(0, self._num_images, _IMAGES_PER_GROUP)
        shown = tqdm(starts, "drawing Pathfinder", unit=" images", unit_scale=_IMAGES_PER_GROUP, delay=3, disable=None)
        for group, start in enumerate(shown):
            stop = min(start + _IMAGES_PER_GROUP, self._num_images)
            # Kept until all are drawn, so that whoever stops before goes on from there.
            key = (_VERSION, self.settings, group, stop - start)
            drawn = cached_arrays(self._parts, "group", key, partial(self._draw_group, group, stop - start))
            images[start:stop], labels[start:stop] = drawn["images"], drawn["labels"]
        return {"images": images, "labels": labels}

    @property
    def _key(self) -> tuple[object, ...]:
        return _VERSION, self.settings, self._num_images

    @property
    def _parts(self) -> Path | None:
        return None if self._cache is None else self._cache / name_for("pathfinder-being-drawn", self._key)

    def _draw_group(self, group: int, number: int) -> Arrays:
        generator = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(group,)))
        drawn = draw_pathfinder(self.settings, number, generator)
        return {"images": drawn.images.reshape(number, -1, 1), "labels": drawn.labels}
