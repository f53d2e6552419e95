"""What is drawn, and where."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tracker.core import Box, Crop, Face, Frame, Image, Result
from tracker.draw import COLOURS, draw_result
from tracker.markup import CELEBA5, IBUG68

NOTHING: dict[str, Any] = {"points": False, "edges": False, "ids": False}


def grey(height: int = 240, width: int = 320) -> Image:
    image: Image = np.full((height, width, 3), 128, np.uint8)
    image.flags.writeable = False
    return image


def five(x: float, y: float, size: float) -> npt.NDArray[np.float64]:
    """Eyes, nose and mouth about (x, y)."""
    return np.array([(-0.5, -0.5), (0.5, -0.5), (0, 0), (-0.4, 0.5), (0.4, 0.5)]) * size + (x, y)


def face(points: Any, number: int = 0, **more: Any) -> Face:
    points = np.asarray(points, np.float32)
    crop = more.pop("crop", Crop(100, 100, 80, 64))
    return Face(number, points, 0.9, Box.around(points), crop, **more)


def drawn(faces: list[Face], image: Image | None = None, **options: Any) -> Image:
    return draw_result(Result(Frame(grey() if image is None else image, 0, 0.0), tuple(faces)), CELEBA5, **options)


def changed(image: Image) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any(image != 128, axis=2))


def test_the_frame_stays_as_it_is() -> None:
    image = grey()
    overlay = drawn([face(five(100, 100, 60))], image)
    assert np.all(image == 128)
    assert overlay.shape == image.shape
    assert overlay.dtype == np.uint8
    overlay[0, 0] = 1  # and the copy is the caller's
    assert np.array_equal(drawn([], image), image)
    assert np.array_equal(drawn([face(five(100, 100, 60))], image, **NOTHING), image)


@pytest.mark.parametrize("place", [(50.0, 60.0), (50.25, 60.5), (50.75, 59.75)])
def test_a_dot_is_centred_on_its_point(place: tuple[float, float]) -> None:
    """Pixel centres are at integers, and a sixteenth of a pixel is the finest step of cv2's drawing."""
    points = five(150, 150, 100)
    points[0] = place
    weight = np.abs(drawn([face(points)], edges=False, ids=False).astype(float) - 128).sum(axis=2)[40:80, 30:70]
    rows, columns = np.mgrid[40:80, 30:70]
    centre = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    assert centre == pytest.approx(place, abs=0.15)


def test_a_dot_has_the_colour_of_its_face_and_a_dark_rim() -> None:
    for number in range(9):
        image = drawn([face(five(150, 120, 150), number)], edges=False, ids=False)
        x, y = five(150, 120, 150)[2].astype(int)
        assert tuple(image[y, x]) == COLOURS[number % len(COLOURS)]
        assert image[y - 5 : y + 6, x - 5 : x + 6].max(axis=2).min() < 60
    assert len(set(COLOURS)) == len(COLOURS)


def test_edges_join_the_points_of_the_markup() -> None:
    image = drawn([face(five(150, 120, 100))], points=False, ids=False)
    points = five(150, 120, 100)
    for a, b in CELEBA5.edges:
        x, y = ((points[a] + points[b]) / 2).round().astype(int)
        assert changed(image)[y - 1 : y + 2, x - 1 : x + 2].any()
    x, y = ((points[3] + points[4]) / 2).round().astype(int)
    assert not changed(image)[y + 3 :].any()


def test_a_face_of_another_markup_has_points_and_no_edges() -> None:
    overlay = draw_result(Result(Frame(grey(), 0, 0.0), (face(five(100, 100, 60)),)), IBUG68, ids=False)
    assert np.array_equal(overlay, drawn([face(five(100, 100, 60))], edges=False, ids=False))


def test_sizes_follow_the_face() -> None:
    image = grey(700, 700)
    faces = [face(five(350, 350, size)) for size in (20, 100, 500)]
    marked = [changed(drawn([one], image, edges=False, ids=False)).sum() for one in faces]
    assert marked[0] >= 5 * 4  # even the smallest dots can be seen
    assert marked[0] <= marked[1] < marked[2]


def test_a_label_and_a_box_are_drawn_where_the_face_is() -> None:
    image = drawn([face(five(160, 120, 80), 12)], points=False, edges=False)
    rows, columns = np.nonzero(changed(image))
    assert 60 < rows.min() < rows.max() <= 85
    assert 110 < columns.min() < columns.max() < 160
    box = drawn([face(five(160, 120, 80))], points=False, edges=False, ids=False, boxes=True)
    assert changed(box)[120, 120]
    assert changed(box)[80, 160]
    assert not changed(box)[100:140, 130:190].any()


@pytest.mark.parametrize("place", [(0.0, 0.0), (319.0, 239.0), (-400.0, 100.0), (1e7, -1e7), (160.0, -20.0)])
def test_a_face_at_the_edge_or_beyond_it_is_no_trouble(place: tuple[float, float]) -> None:
    crop = Crop(*place, 80, 64, 0.3)
    maps = (np.ones((4, 4), np.float32),)
    image = drawn([face(five(*place, 60), 3, crop=crop, attention=maps)], boxes=True, attention=True)
    assert image.shape == (240, 320, 3)
    assert changed(image).any()  # at the least the label shows that there is a face


def test_points_that_are_not_numbers_do_not_stop_the_drawing() -> None:
    points = five(100, 100, 60)
    points[1] = np.nan
    one = Face(1, points.astype(np.float32), 0.5, Box(70, 70, 130, 130), Crop(100, 100, 80, 64))
    assert changed(drawn([one]))[100, 100]


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_attention_lies_where_the_network_looked(angle: float) -> None:
    crop = Crop(170.3, 110.6, 120, 64, angle)
    hot = np.zeros((16, 16), np.float32)
    hot[3, 10] = 1
    flat = np.full((4, 4), 0.25, np.float32)
    image = drawn([face(five(160, 120, 60), crop=crop, attention=(hot, flat))], attention=True, opacity=1, **NOTHING)
    # A map's cell (10, 3) of 16 is centred at (x + 0.5) 64 / 16 - 0.5 of the input.
    expected = crop.to_frame(np.array([10.5 * 4 - 0.5, 3.5 * 4 - 0.5]))
    warmth = image[..., 0].astype(float) * changed(image)  # yellow has most red, and the darkest blue little
    rows, columns = np.nonzero(warmth > 0.9 * warmth.max())
    assert (columns.mean(), rows.mean()) == pytest.approx(expected, abs=1.0)
    corners = crop.to_frame(np.array([(-0.5, -0.5), (63.5, -0.5), (63.5, 63.5), (-0.5, 63.5)]))
    assert changed(image).sum() == pytest.approx(120 * 120, rel=0.05)
    rows, columns = np.nonzero(changed(image))
    assert columns.min() >= corners[:, 0].min() - 1.5
    assert columns.max() <= corners[:, 0].max() + 1.5
    assert rows.min() >= corners[:, 1].min() - 1.5
    assert rows.max() <= corners[:, 1].max() + 1.5


def test_attention_is_as_strong_as_asked_for() -> None:
    maps = (np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8),)
    one = face(five(100, 100, 60), attention=maps)
    full, half, none = (drawn([one], attention=True, opacity=level, **NOTHING) for level in (1, 0.5, 0))
    assert np.array_equal(none, grey())
    assert np.abs(half.astype(float) - (full.astype(float) + 128) / 2).max() <= 1
    assert np.array_equal(drawn([face(five(100, 100, 60))], attention=True, **NOTHING), grey())
