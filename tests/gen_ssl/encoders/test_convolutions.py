import pytest

from gen_ssl.encoders.convolutions import map_size

NATURE = ((8, 4), (4, 2), (3, 1))


@pytest.mark.parametrize(
    ("frame_shape", "expected"), [((4, 84, 84), (7, 7)), ((1, 36, 36), (1, 1)), ((3, 210, 160), (22, 16))]
)
def test_the_map_has_the_size_worked_out_by_hand(frame_shape, expected):
    assert map_size(frame_shape, NATURE) == expected


@pytest.mark.parametrize("frame_shape", [(4, 35, 84), (4, 84, 35)])
def test_a_side_too_short_for_the_last_kernel_is_refused_with_the_smallest_side(frame_shape):
    with pytest.raises(ValueError, match=r"at least 36x36 pixels, got frame_shape \(4, "):
        map_size(frame_shape, NATURE)


def test_frames_without_channels_are_refused():
    with pytest.raises(ValueError, match=r"at least one channel, got frame_shape \(0, 84, 84\)"):
        map_size((0, 84, 84), NATURE)
