import numpy as np
import pytest

from seqmodels.tasks.pathfinder_paddles import FULL, Canvas, disc_stamp, paddle_stamps

ALL_IMAGES = np.arange(2)


def stamps(angles):
    return paddle_stamps(np.array(angles), length=5, thickness=1.0, margin=2, reach=8)


def test_a_paddle_covers_its_length_times_its_thickness():
    for ink in stamps([0.0, 0.3, np.pi / 4, 2.0]).ink:
        assert ink.sum() / FULL == pytest.approx(5 * 1, rel=0.05)


def test_a_paddle_takes_the_room_of_everything_within_its_margin():
    radius = 2 + 1 / 2
    for room in stamps([0.0, 0.3, np.pi / 4]).room:
        assert room.sum() / FULL == pytest.approx(5 * 2 * radius + np.pi * radius**2, rel=0.02)


def test_a_paddle_begins_in_the_middle_and_points_along_its_angle():
    right, down = stamps([0.0, np.pi / 2]).ink
    # From the middle of pixel (8, 8) to that of pixel (8, 13): the outer two are covered by half.
    expected = np.zeros((17, 17))
    expected[8, 8:14] = [0.5, 1, 1, 1, 1, 0.5]
    np.testing.assert_allclose(right / FULL, expected, atol=0.01)
    np.testing.assert_array_equal(down, right.T)


def test_a_disc_has_the_area_of_its_radius():
    disc = disc_stamp(3.0)
    assert disc.shape == (7, 7)
    assert disc.sum() / FULL == pytest.approx(np.pi * 9, rel=0.02)
    assert disc[3, 3] == FULL
    assert disc[0, 0] == 0


def test_painting_keeps_the_larger_value_and_leaves_other_pictures_alone():
    canvas = Canvas.blank(2, 5, reach=1)
    stamp = np.full((1, 3, 3), 7, dtype=np.uint8)
    stamp[0, 1, 1] = 50
    canvas.paint(np.array([1]), np.array([[0, 4]]), stamp)
    canvas.paint(np.array([1]), np.array([[1, 3]]), stamp)
    expected = np.zeros((5, 5), dtype=np.uint8)
    expected[0:3, 2:5] = 7
    expected[0, 4] = expected[1, 3] = 50
    np.testing.assert_array_equal(canvas.cropped()[1], expected)
    assert canvas.pixels[0].sum() == 0


def test_there_is_room_until_a_pixel_is_nearly_taken_twice():
    canvas = Canvas.blank(2, 5, reach=1)
    canvas.pixels[1, 3, 3] = round(0.9 * FULL)  # the pixel (2, 2) of the second picture
    room = np.zeros((2, 3, 3), dtype=np.uint8)
    for share, there_is in ((0.85, True), (0.95, False)):
        room[:, 0, 0] = round(share * FULL)
        place = np.array([[3, 3], [3, 3]])  # the stamp's corner falls on (2, 2)
        assert canvas.has_room(ALL_IMAGES, place, room).tolist() == [True, there_is]


def test_pixels_outside_are_those_of_the_nearest_place_inside():
    canvas = Canvas.blank(2, 3, reach=1)
    canvas.pixels[:] = np.arange(25, dtype=np.uint8).reshape(5, 5)
    places = np.array([[[0, 0], [-9, 2], [9, 9]]]).repeat(2, axis=0)
    assert canvas.at(places).tolist() == [[6, 3, 24]] * 2
