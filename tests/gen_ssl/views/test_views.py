import math
import re

import numpy as np
import pytest
import torch

from gen_ssl.views import VIEWS, Compose, RandomIntensity, RandomShift, make_views
from gen_ssl.views.photographic import RandomBlur, RandomContrast, RandomResizedCrop, photographic_views


def random_frames(shape=(5, 3, 41, 43), seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_intensity_follows_its_formula():
    frames = random_frames()
    drawn = torch.randn((5, 1, 1, 1), generator=generator(1)).numpy()
    factors = 1 + np.float32(0.3) * np.clip(drawn, -2, 2)
    expected = np.clip(np.round(frames.numpy() * factors), 0, 255).astype(np.uint8)
    assert torch.equal(RandomIntensity(0.3)(frames, generator(1)), torch.from_numpy(expected))


def test_the_intensity_of_all_frames_of_a_stack_changes_alike_and_that_of_stacks_differs():
    frames = torch.full((50, 3, 2, 2), 100, dtype=torch.uint8)
    views = RandomIntensity()(frames, generator())
    assert torch.equal(views, views[:, :1, :1, :1].expand_as(views))
    assert 90 <= views.min() < 97 < 103 < views.max() <= 110


def test_an_intensity_that_may_blacken_frames_is_refused():
    with pytest.raises(ValueError, match="scale must be at least 0 and below 0.5, .* got 0.5"):
        RandomIntensity(0.5)


def test_a_composition_applies_its_parts_in_order():
    frames = random_frames()
    draws = generator(2)
    expected = RandomIntensity(0.2)(RandomShift(3)(frames, draws), draws)
    assert torch.equal(Compose(RandomShift(3), RandomIntensity(0.2))(frames, generator(2)), expected)
    assert Compose()(frames, generator()) is frames


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.filterwarnings("ignore:the photographic views")
def test_views_keep_shape_and_type_and_leave_the_frames_and_global_randomness_alone(name):
    frames = random_frames()
    before = frames.clone()
    state = torch.get_rng_state()
    views = make_views(name)(frames, generator())
    assert (views.shape, views.dtype) == (frames.shape, torch.uint8)
    assert torch.equal(frames, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(views, make_views(name)(frames, generator()))


def test_unknown_views_are_refused():
    message = "there are no views 'flip': choose one of default, shift-4, photographic, identity"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_views("flip")


def test_the_photographic_recipe_warns_once_that_the_ball_is_lost():
    with pytest.warns(UserWarning, match="lose small objects: Pong's ball is visible in both views of less") as caught:
        views = photographic_views()
    assert len(caught) == 1
    views(random_frames(), generator())  # a second warning would be an error


def test_windows_have_the_areas_and_shapes_asked_for_and_lie_in_the_frame():
    windows = RandomResizedCrop((0.2, 0.6), (0.5, 2.0)).windows(5_000, (84, 84), generator())
    left, top, right, bottom = windows.unbind(1)
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 84
    width, height = right - left, bottom - top
    share = width * height / 84**2
    assert 0.18 < share.min() < 0.23
    assert 0.57 < share.max() < 0.62
    # Without the windows that do not fit, ln of the aspect would be uniform over -ln 2 .. ln 2; these are symmetric.
    assert abs(float((width / height).log().mean())) < 0.02
    assert math.isclose(float(share.mean()), 0.4, abs_tol=0.02)
    assert left.min() == top.min() == 0
    assert right.max() == bottom.max() == 84


def test_where_no_window_fits_the_whole_frame_is_taken():
    windows = RandomResizedCrop((1.0, 1.0), (4.0, 4.0)).windows(3, (40, 60), generator())
    assert torch.equal(windows, torch.tensor([[0.0, 0, 60, 40]]).expand(3, -1))


def test_a_crop_is_its_window_stretched():
    # A ramp stays a ramp: its ends are the window's first and last pixels.
    ramp = (5 * torch.arange(43, dtype=torch.uint8)).expand(1, 2, 41, 43)
    crop = RandomResizedCrop((0.3, 0.3))
    left, _, right, _ = crop.windows(1, (41, 43), generator(5))[0].tolist()
    expected = np.round(5 * np.linspace(left, right - 1, 43))
    seen = crop(ramp, generator(5)).numpy().astype(float)
    assert np.abs(seen - expected).max() <= 1


def test_contrast_keeps_stacks_apart():
    frames = random_frames((7, 2, 11, 13))
    alone = frames.clone()
    alone[1:] = 0
    assert torch.equal(RandomContrast()(frames, generator())[0], RandomContrast()(alone, generator())[0])


def test_a_blur_spreads_a_point_and_leaves_half_of_the_stacks():
    frames = torch.zeros((400, 1, 41, 43), dtype=torch.uint8)
    frames[:, :, 20, 20] = 255
    peaks = RandomBlur()(frames, generator())[:, 0, 20, 20]
    assert 0.4 < (peaks < 200).float().mean() < 0.6


@pytest.mark.parametrize(
    ("area", "aspect", "message"),
    [
        ((0.0, 1.0), (0.75, 1.3), "area must be two shares of the frame, the smaller first, got (0.0, 1.0)"),
        ((0.5, 0.2), (0.75, 1.3), "area must be two shares of the frame, the smaller first, got (0.5, 0.2)"),
        ((0.5, 1.0), (1.3, 0.7), "aspect must be two ratios of width to height, the smaller first, got (1.3, 0.7)"),
    ],
)
def test_impossible_crops_are_refused(area, aspect, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RandomResizedCrop(area, aspect)
