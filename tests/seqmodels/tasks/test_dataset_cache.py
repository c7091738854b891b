import dataclasses
from functools import partial

import numpy as np
import pytest

from seqmodels.tasks import PATHFINDER_16, ListOps, ListOpsShape, Pathfinder, pathfinder
from seqmodels.tasks.dataset_cache import cached_arrays
from seqmodels.tasks.pathfinder_images import draw_pathfinder

SHAPE = ListOpsShape(max_depth=3, max_args=3, min_length=3, max_length=12)
SIZES = {"num_train": 7, "num_validation": 3, "num_test": 2}


def build():
    return {"squares": np.arange(5) ** 2, "flags": np.array([True, False])}


def not_again():
    raise AssertionError("it was built again")


def test_what_was_kept_is_read_and_not_built_again(tmp_path):
    first = cached_arrays(tmp_path / "cache", "numbers", ("setting", 1), build)
    again = cached_arrays(tmp_path / "cache", "numbers", ("setting", 1), not_again)
    assert sorted(again) == ["flags", "squares"]
    for name, array in first.items():
        np.testing.assert_array_equal(array, build()[name])
        np.testing.assert_array_equal(again[name], array)


def test_other_settings_are_kept_apart(tmp_path):
    cached_arrays(tmp_path, "numbers", ("setting", 1), build)
    other = cached_arrays(tmp_path, "numbers", ("setting", 2), lambda: {"squares": np.zeros(2)})
    assert other["squares"].tolist() == [0, 0]
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_left_of_an_interrupted_write(tmp_path):
    def fail():
        return {"squares": np.array([object()], dtype=object)}  # may not be written: it would be a pickle

    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        cached_arrays(tmp_path, "numbers", 1, fail)
    assert list(tmp_path.iterdir()) == []
    assert cached_arrays(tmp_path, "numbers", 1, build)["squares"].tolist() == [0, 1, 4, 9, 16]


def test_a_process_that_was_slower_takes_what_the_other_wrote(tmp_path):
    def build_while_another_finishes():
        cached_arrays(tmp_path, "numbers", 1, build)
        return {"squares": np.zeros(5)}

    assert cached_arrays(tmp_path, "numbers", 1, build_while_another_finishes)["squares"].tolist() == [0, 1, 4, 9, 16]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    cached_arrays(tmp_path, "numbers", 1, build)
    (damaged,) = tmp_path.glob("*/squares.npy")
    damaged.write_bytes(damaged.read_bytes()[:-3])
    with pytest.raises(ValueError, match="numbers-.* is damaged .*; remove it, and it will be generated again"):
        cached_arrays(tmp_path, "numbers", 1, not_again)


@pytest.mark.parametrize(
    ("task", "change"),
    [
        (
            lambda cache, shape: ListOps(shape, cache=cache, **SIZES),
            lambda shape: dataclasses.replace(shape, max_args=2),
        ),
        (
            lambda cache, settings: Pathfinder(settings, cache=cache, **SIZES),
            lambda settings: dataclasses.replace(settings, num_distractors=1),
        ),
    ],
    ids=["listops", "pathfinder"],
)
def test_a_task_reads_its_examples_from_the_cache(task, change, tmp_path, request):
    settings = SHAPE if "listops" in request.node.name else PATHFINDER_16

    def first_batch(cache, chosen):
        return next(task(cache, chosen).batches("train", batch_size=5, seed=0))

    built = first_batch(None, settings)
    for batch in (first_batch(tmp_path, settings), first_batch(tmp_path, settings)):
        for part, other in zip(built, batch, strict=True):
            assert part.equal(other)
    assert len(list(tmp_path.iterdir())) == 1
    first_batch(tmp_path, change(settings))
    assert len(list(tmp_path.iterdir())) == 2


def test_images_drawn_before_an_interruption_are_not_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(pathfinder, "_IMAGES_PER_GROUP", 5)
    expected = next(Pathfinder(PATHFINDER_16, **SIZES).batches("train", batch_size=7, seed=0))
    drawn = []

    def draw(settings, number, generator, interrupt_at=2):
        if len(drawn) == interrupt_at:
            raise KeyboardInterrupt
        drawn.append(number)
        return draw_pathfinder(settings, number, generator)

    monkeypatch.setattr(pathfinder, "draw_pathfinder", draw)
    with pytest.raises(KeyboardInterrupt):
        next(Pathfinder(PATHFINDER_16, cache=tmp_path, **SIZES).batches("train", batch_size=7, seed=0))
    monkeypatch.setattr(pathfinder, "draw_pathfinder", partial(draw, interrupt_at=None))
    other_size = Pathfinder(PATHFINDER_16, cache=tmp_path, num_train=1, num_validation=1, num_test=1)
    next(other_size.batches("train", batch_size=1, seed=0))
    assert drawn == [5, 5, 3], "another set shares neither the parts nor their end"
    found = next(Pathfinder(PATHFINDER_16, cache=tmp_path, **SIZES).batches("train", batch_size=7, seed=0))
    assert drawn == [5, 5, 3, 2]
    for part, other in zip(expected, found, strict=True):
        assert part.equal(other)
    assert len(list(tmp_path.iterdir())) == 2, "what was kept of the parts is of no use any more"


@pytest.mark.parametrize(
    ("module", "build"),
    [
        ("listops", lambda cache: ListOps(SHAPE, cache=cache, **SIZES)),
        ("pathfinder", lambda cache: Pathfinder(PATHFINDER_16, cache=cache, **SIZES)),
    ],
)
def test_what_an_earlier_version_kept_is_not_read(module, build, tmp_path, monkeypatch):
    for version in (1, 2):
        monkeypatch.setattr(f"seqmodels.tasks.{module}._VERSION", version)
        next(build(tmp_path).batches("train", batch_size=5, seed=0))
        assert len(list(tmp_path.iterdir())) == version
