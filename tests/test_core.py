import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.core import Box, Crop

places = st.floats(-2000, 2000)
crops = st.builds(Crop, places, places, st.floats(4, 3000), st.integers(8, 256), st.floats(-math.pi, math.pi))


@given(crops, st.lists(st.tuples(places, places), min_size=1, max_size=5))
def test_frame_and_input_coordinates_go_there_and_back(crop: Crop, points: list[tuple[float, float]]) -> None:
    there = np.array(points)
    np.testing.assert_allclose(crop.to_frame(crop.to_input(there)), there, atol=1e-4)


def test_an_upright_crop_of_the_whole_image_is_a_resize() -> None:
    crop = Crop(49.5, 49.5, 100, 50)  # a 100x100 image at half size
    np.testing.assert_allclose(crop.to_input(np.array([[10.0, 31.0]])), [[(10.5) / 2 - 0.5, 31.5 / 2 - 0.5]])


@pytest.mark.parametrize("side", [60.0, 150.0, 410.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, -2.0])
def test_what_is_cut_lies_where_the_coordinates_say(side: float, angle: float) -> None:
    """A round blob in the frame appears in the input at its mapped place, to a tenth of a pixel, at any shrinking."""
    y, x = np.mgrid[:400, :500]
    spot = np.array([230.25, 190.5])
    width = side / 64 * 3
    blob = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * width**2))
    crop = Crop(225, 180, side, 64, angle)
    cut = crop.cut(np.repeat(blob[:, :, None], 3, 2).astype(np.uint8))[:, :, 0].astype(float)
    v, u = np.mgrid[:64, :64]
    centre = np.array([(u * cut).sum(), (v * cut).sum()]) / cut.sum()
    np.testing.assert_allclose(centre, crop.to_input(spot), atol=0.1)


def test_a_crop_beside_the_frame_is_black() -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    for side in (30, 3000):
        assert Crop(-9000, 20, side, 64).cut(image).max() == 0


def test_a_crop_keeps_the_frame_it_was_cut_from() -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    image.setflags(write=False)
    Crop(30, 25, 40, 64, 0.3).cut(image)
    Crop(30, 25, 400, 64, 0.3).cut(image)


def test_a_crop_around_points_is_square_level_and_as_wide_as_asked() -> None:
    points = np.array([[10.0, 10], [30, 10], [30, 20], [10, 20]])
    turn = cv2.getRotationMatrix2D((0, 0), -30, 1)  # by 30 degrees, from x towards y
    turned = points @ turn[:, :2].T
    crop = Crop.around(turned, 1.5, 64, math.radians(30))
    inside = crop.to_input(turned)
    assert crop.side == pytest.approx(30)
    np.testing.assert_allclose(inside.mean(0), 31.5)
    np.testing.assert_allclose(inside[0][1], inside[1][1])


@pytest.mark.parametrize("values", [(math.nan, 0, 1), (0, 0, 0), (0, 0, math.inf)])
def test_an_impossible_crop_is_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="crop"):
        Crop(*values, size=64)


def test_overlap_of_boxes() -> None:
    one, other = Box(0, 0, 10, 10), Box(5, 0, 15, 10)
    assert one.iou(other) == pytest.approx(50 / 150)
    assert one.iou(Box(20, 20, 30, 30)) == 0
    assert Box(3, 3, 3, 3).iou(Box(3, 3, 3, 3)) == 0
