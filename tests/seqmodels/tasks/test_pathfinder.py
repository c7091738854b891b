"""Pathfinder's contours, images and labels: every label agrees with a search for a path along what was drawn."""

import dataclasses

import numpy as np
import pytest

from seqmodels.tasks import PATHFINDER_16, PATHFINDER_32, PATHFINDER_64, PATHFINDER_128
from seqmodels.tasks.path_search import ends_are_joined
from seqmodels.tasks.pathfinder_contours import ContourGrowth
from seqmodels.tasks.pathfinder_images import draw_pathfinder

NUM_IMAGES = 151


@pytest.fixture(scope="module")
def drawn():
    return draw_pathfinder(PATHFINDER_16, NUM_IMAGES, np.random.default_rng(0))


def lines_of(drawn, image):
    """Returns everything that was drawn in an image, in an order that tells nothing."""
    return [*drawn.targets[image], *drawn.distractors[image][drawn.has_distractor[image]]]


def points_along(line, spacing=0.25):
    """Returns points (y, x) on a line of segments."""
    share = np.linspace(0, 1, int(10 / spacing))[:, None]
    return np.concatenate([begin + share * (end - begin) for begin, end in line])


def test_every_label_agrees_with_a_path_search(drawn):
    for image, label in enumerate(drawn.labels):
        assert ends_are_joined(lines_of(drawn, image), drawn.markers[image]) == bool(label)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [PATHFINDER_32, PATHFINDER_64, PATHFINDER_128], ids=["32", "64", "128"])
def test_every_label_of_the_published_sizes_agrees_with_a_path_search(settings):
    drawn = draw_pathfinder(settings, 31, np.random.default_rng(0))
    for image, label in enumerate(drawn.labels):
        assert ends_are_joined(lines_of(drawn, image), drawn.markers[image]) == bool(label)


def test_both_labels_and_all_contour_lengths_are_equally_frequent(drawn):
    assert drawn.labels.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(NUM_IMAGES))
    lengths, counts = np.unique(drawn.contour_lengths, return_counts=True)
    assert lengths.tolist() == [4, 5, 6]
    assert sorted(counts) == [50, 50, 51]


def test_the_marks_are_on_one_contours_beginning_and_on_its_or_the_others_end(drawn):
    for image in range(NUM_IMAGES):
        beginnings = drawn.targets[image, :, 0, 0]
        ends = drawn.targets[image, :, 2 * drawn.contour_lengths[image] - 2, 1]
        begun = np.abs(beginnings - drawn.markers[image, 0]).max(axis=1).argmin()
        ended = np.abs(ends - drawn.markers[image, 1]).max(axis=1).argmin()
        np.testing.assert_allclose(beginnings[begun], drawn.markers[image, 0], atol=1e-9)
        np.testing.assert_allclose(ends[ended], drawn.markers[image, 1], atol=1e-9)
        assert (begun == ended) == bool(drawn.labels[image])


def test_different_contours_keep_apart(drawn):
    for image in range(NUM_IMAGES):
        first, second = (points_along(line) for line in drawn.targets[image])
        distance = np.linalg.norm(first[:, None] - second[None, ::7], axis=2).min()
        assert distance > PATHFINDER_16.clearance - 1e-9


def test_marks_are_white_and_paddles_are_grey_and_stand_where_they_were_put(drawn):
    in_small_pixels = (drawn.markers + 0.5) / PATHFINDER_16.shrink - 0.5
    for image in range(NUM_IMAGES):
        for y, x in in_small_pixels[image]:
            around = drawn.images[image][int(y) : int(y) + 2, int(x) : int(x) + 2]
            assert around.max() > 245
    paddles = drawn.targets[:, :, 0:7:2].mean(axis=3).reshape(-1, 2)  # the middles of the first four
    near = np.rint((paddles + 0.5) / PATHFINDER_16.shrink - 0.5).astype(int)
    image = np.repeat(np.arange(NUM_IMAGES), 8)
    assert (drawn.images[image, near[:, 0], near[:, 1]] > 0).mean() > 0.97


def test_a_contour_turns_no_more_than_its_continuity_allows_and_leaves_gaps_of_two_margins():
    settings = dataclasses.replace(PATHFINDER_64, contour_lengths=(5,))
    growth = ContourGrowth(settings, margin=1)
    lines = growth.polylines(growth.grow(200, 5, np.random.default_rng(0)).targets)
    assert len(lines) > 20
    along = np.diff(lines, axis=3)[:, :, :, 0]  # paddle, gap, paddle, ...
    length = np.linalg.norm(along, axis=3)
    np.testing.assert_allclose(length[:, :, ::2], settings.paddle_length)
    # Ends and pivots are whole pixels, so a gap may be off by nearly two.
    assert np.all(np.abs(length[:, :, 1::2] - 2) < 1.9)
    assert length[:, :, 1::2].mean() == pytest.approx(2, abs=0.3)
    angle = np.arctan2(along[..., 0], along[..., 1])[:, :, ::2]
    turn = np.abs((np.diff(angle, axis=2) + np.pi) % (2 * np.pi) - np.pi)
    assert turn.max() <= np.pi / 2 / settings.continuity
    assert turn.max() > 0.8 * np.pi / 2 / settings.continuity


def test_the_first_contour_begins_far_from_the_edges_and_the_second_at_the_seed_distance_from_it(drawn):
    beginnings = drawn.targets[:, :, 0, 0]
    distance = PATHFINDER_16.seed_distance
    assert beginnings[:, 0].min() >= 2 * distance
    assert beginnings[:, 0].max() < PATHFINDER_16.size - 2 * distance
    apart = np.linalg.norm(beginnings[:, 0] - beginnings[:, 1], axis=1)
    assert np.all(np.abs(apart - distance) < 1)


def test_nothing_but_marks_is_drawn_at_the_edge(drawn):
    # The outermost pixels, before shrinking, are free of paddles; a mark may reach there.
    lines = np.concatenate([drawn.targets.reshape(-1, 2), drawn.distractors[drawn.has_distractor].reshape(-1, 2)])
    assert lines.min() > 0.5
    assert lines.max() < PATHFINDER_16.size - 1.5


def test_images_of_one_stream_are_the_same_images(drawn):
    again = draw_pathfinder(PATHFINDER_16, NUM_IMAGES, np.random.default_rng(0))
    for part, other in zip(drawn, again, strict=True):
        np.testing.assert_array_equal(part, other)


def test_contours_that_find_no_room_are_given_up(monkeypatch):
    monkeypatch.setattr("seqmodels.tasks.pathfinder_images._MOST_STARTS", 1_000)
    settings = dataclasses.replace(PATHFINDER_16, contour_lengths=(60,))
    with pytest.raises(RuntimeError, match="no two contours of 60 paddles found room in .* images of 32 pixels a side"):
        draw_pathfinder(settings, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contour_lengths": (1,)}, "contours need at least 2 paddles and distractors 1, got 1 and 2"),
        ({"size": 28}, "size must be above 4 \\* seed_distance, .*, got 28 and 7"),
        ({"shrink": 3}, "size must be a multiple of shrink, got 32 and 3"),
        ({"contrast": 1.5}, "contrast must be above 0 and at most 1, got 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PATHFINDER_16, **change)


def test_a_path_is_found_along_touching_lines_only():
    corner = np.array([[[1.0, 1.0], [1.0, 7.0]], [[1.0, 7.0], [5.0, 7.0]]])
    far = np.array([[[3.0, 1.0], [3.0, 5.0]]])
    assert ends_are_joined([corner, far], np.array([[1, 1], [5, 7]]))
    assert not ends_are_joined([corner, far], np.array([[1, 1], [3, 5]]))
    bridge = np.array([[[1.0, 3.0], [4.0, 3.0]]])
    assert ends_are_joined([corner, far, bridge], np.array([[1, 1], [3, 5]]))
