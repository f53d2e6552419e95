"""The face detector: its decoding by hand, the real weights on known pictures, other detectors' files, bad input."""

import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tracker import load_detector
from tracker.core import Crop, TrackerError
from tracker.detector import SETTINGS, STRIDES, Detector, DetectorError, decode, roll, suppress
from tracker.networks import build

POINTS = {"left eye": (202, 101), "right eye": (247, 103), "nose": (222, 126), "mouth": (225, 141)}
"""Of the portrait, read off by eye to about three pixels."""
SIDE = 92
"""The side of the square about its landmarks."""


def placed(portrait: np.ndarray, side: float, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The portrait's head in the middle of a frame (480, 640, 3), its face ``side`` pixels wide and turned by
    ``angle``; and where its four points are."""
    scale = side / SIDE
    head = np.full((480, 640, 3), 110, np.uint8)
    small = portrait[20:240, 100:340]
    if scale < 1:
        size = (round(small.shape[1] * scale), round(small.shape[0] * scale))
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    zoom = scale * 220 / small.shape[0]
    crop = Crop((225 - 100 + 0.5) * small.shape[1] / 240 - 0.5, (125 - 20 + 0.5) * small.shape[0] / 220 - 0.5, 1, 1)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    matrix = np.array(
        [[cos, -sin, 320 - cos * crop.cx + sin * crop.cy], [sin, cos, 240 - sin * crop.cx - cos * crop.cy]]
    )
    cv2.warpAffine(small, matrix, (640, 480), dst=head, borderMode=cv2.BORDER_TRANSPARENT)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    places = (np.array(list(POINTS.values())) - (225, 125)) @ np.array([[cos, sin], [-sin, cos]]) + (320, 240)
    return head, places


def off(detection_points: np.ndarray, places: np.ndarray) -> float:
    """Mean distance of eyes, nose and middle of the mouth, in eye distances."""
    four = np.concatenate([detection_points[:3], detection_points[3:].mean(0, keepdims=True)])
    return float(np.linalg.norm(four - places, axis=1).mean() / np.linalg.norm(places[1] - places[0]))


@pytest.mark.parametrize(("name", "smallest"), [("near", 40), ("far", 24)])
def test_one_face_of_any_size(portrait: np.ndarray, name: str, smallest: int) -> None:
    detector = load_detector(name)
    for side in (400, 250, 120, 60, smallest):
        image, places = placed(portrait, side)
        found = detector(image)
        assert len(found) == 1, side
        assert off(found[0].points, places) < 0.3, side
        assert 0.7 < found[0].box.width / side < 1.4, side
        assert abs(found[0].angle) < 0.3, side


@pytest.mark.parametrize("degrees", range(-180, 180, 30))
def test_a_face_at_any_roll(portrait: np.ndarray, detector: Detector, degrees: int) -> None:
    image, places = placed(portrait, 110, math.radians(degrees))
    found = detector(image)
    assert len(found) == 1
    assert off(found[0].points, places) < 0.25
    turned = found[0].angle - math.radians(degrees)
    within = 0.2 if abs(degrees) <= 60 else 0.4
    assert abs(math.atan2(math.sin(turned), math.cos(turned))) < within, "so that the first crop is level"


def test_the_place_does_not_depend_on_the_frame(portrait: np.ndarray, detector: Detector) -> None:
    """The same picture at other sizes and on a larger canvas: letterboxing and its way back."""
    (first,) = detector(portrait[:300, 60:460])
    canvas = np.zeros((700, 1100, 3), np.uint8)
    canvas[333:633, 501:901] = portrait[:300, 60:460]
    (second,) = detector(canvas)
    assert np.abs(second.points - (501, 333) - first.points).max() < 8
    (third,) = detector(cv2.resize(portrait[:300, 60:460], None, fx=2.5, fy=2.5))
    assert np.abs((third.points + 0.5) / 2.5 - 0.5 - first.points).max() < 8
    for shape in ((300, 50), (20, 400), (7, 5), (1, 1)):
        assert all(np.isfinite(d.points).all() for d in detector(np.zeros((*shape, 3), np.uint8)))


def test_a_file_of_our_own_and_what_is_none(tmp_path: Path, portrait: np.ndarray) -> None:
    (found,) = load_detector("weights/facedet.onnx")(portrait[:300, 60:460])
    (same,) = load_detector("far")(portrait[:300, 60:460])
    np.testing.assert_array_equal(found.points, same.points)
    (tmp_path / "text.onnx").write_text("this is no network")
    for name, said in (
        ("closest", "closest: unknown; use near, far"),
        (tmp_path / "none.onnx", "there is no such file"),
        (tmp_path / "text.onnx", "not a readable ONNX model"),
        ("weights/trnet-68.onnx", "holds a landmark network"),
    ):
        with pytest.raises(TrackerError, match=said):
            load_detector(name)


def test_roll() -> None:
    upright = np.array([[-2.0, -2], [2, -2], [0, 0], [-1.5, 2], [1.5, 2]])
    profile = upright * (0.05, 1)  # seen from the side
    for face in (upright, profile):
        for angle in np.linspace(-3, 3, 13):
            cos, sin = math.cos(angle), math.sin(angle)
            assert abs(roll(face @ np.array([[cos, sin], [-sin, cos]])) - angle) < 1e-6


def test_decoding_by_hand() -> None:
    """One cell of each level of an input 64 high and 96 wide: 8x12, 4x6 and 2x3 cells."""
    scores = np.full(96 + 24 + 6, 0.1, np.float32)
    shapes = np.zeros((126, 13), np.float32)
    for cell, score in ((12 * 3 + 5, 0.6), (96 + 6 * 2 + 4, 0.9), (96 + 24 + 3 * 1 + 2, 0.7)):
        scores[cell] = score
        shapes[cell, :5] = (0.5, -0.25, math.log(0.5), 0.1, 0.2)
    found = decode(scores, shapes, (64, 96), 0.5)
    np.testing.assert_allclose(found[:, 0], [0.9, 0.7, 0.6], rtol=1e-6)
    for face, (column, row, stride) in zip(found, ((4, 2, 16), (2, 1, 32), (5, 3, 8)), strict=True):
        cx, cy, side = (column + 0.5) * stride, (row - 0.25) * stride, 2 * stride
        np.testing.assert_allclose(face[1:4], [cx, cy, side], rtol=1e-6)
        np.testing.assert_allclose(face[4:6], [cx + 0.1 * side, cy + 0.2 * side], rtol=1e-6)
    assert decode(scores, shapes, (64, 96), 0.95).shape == (0, 14)


def candidates(*faces: tuple[float, float, float, float]) -> np.ndarray:
    rows = np.zeros((len(faces), 14), np.float32)
    rows[:, :4] = np.array(faces).reshape(-1, 4)
    return rows[np.argsort(-rows[:, 0])]


def test_suppression_keeps_one_of_each_face() -> None:
    found = suppress(candidates((0.9, 50, 50, 20), (0.3, 54, 50, 20), (0.8, 90, 50, 20), (0.6, 50, 51, 12)))
    assert len(found) == 2, "the third is another face, the last lies in the first"
    np.testing.assert_allclose(found[0, :4], [0.9, 51, 50, 20], rtol=1e-6)
    assert suppress(candidates()).shape == (0, 14)


box = st.tuples(st.floats(0.5, 1), st.floats(0, 200), st.floats(0, 200), st.floats(4, 100))


@given(st.lists(box, max_size=30))
def test_what_suppression_keeps(faces: list[tuple[float, float, float, float]]) -> None:
    before = candidates(*faces)
    kept = suppress(before)
    assert len(kept) <= len(before)
    assert (len(kept) > 0) == (len(before) > 0)
    assert (np.diff(kept[:, 0]) <= 0).all(), "best first"
    if len(before):
        assert kept[0, 0] == before[0, 0]


def test_the_network_answers_for_every_cell_of_any_input() -> None:
    network = build("facedet", 5).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) <= 300_000
    for height, width in ((64, 64), (96, 160), (32, 320)):
        with torch.inference_mode():
            found = network(torch.randn(2, 3, height, width))
        cells = sum((height // stride) * (width // stride) for stride in STRIDES)
        assert found["scores"].shape == (2, cells)
        assert found["faces"].shape == (2, cells, 13)


class LikeYuNet(nn.Module):
    """The outputs of YuNet's file: where an 8x8 block is white there is a face, whose points lie about its corner."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: list[list[torch.Tensor]] = [[], [], [], []]
        for stride in STRIDES:
            bright = nn.functional.avg_pool2d(x.mean(1, keepdim=True), stride).flatten(2).transpose(1, 2)
            score = (bright > 250).float() if stride == 8 else bright * 0
            outputs[0].append(score)
            outputs[1].append(score)
            outputs[2].append(torch.cat([score * 0] * 2 + [score * 0 + math.log(5)] * 2, 2))
            places = (-1, -1, 1, -1, 0, 0, -1, 1, 1, 1)
            outputs[3].append(torch.cat([score * 0 + place for place in places], 2))
        return tuple(value for kind in outputs for value in kind)


def test_a_yunet_file(tmp_path: Path) -> None:
    """A network with YuNet's outputs and a known answer, through OpenCV's FaceDetectorYN."""
    path = tmp_path / "yunet.onnx"
    names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers its other exporter, which needs one package more
        example = (torch.zeros(1, 3, 320, 320),)
        torch.onnx.export(LikeYuNet(), example, str(path), input_names=["input"], output_names=names, dynamo=False)
    image = np.zeros((320, 320, 3), np.uint8)
    image[160:168, 240:248] = 255
    (found,) = load_detector(path)(image)
    expected = np.array([(-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)]) * 8 + (240, 160)
    np.testing.assert_allclose(found.points, expected, atol=1)
    assert abs(found.angle) < 0.05
    assert found.box.x0 < found.points[:, 0].min() < found.points[:, 0].max() < found.box.x1
    assert load_detector(path)(np.zeros((480, 640, 3), np.uint8)) == []
    held = onnx.load(path)
    del held.graph.output[:3]
    other = tmp_path / "other.onnx"
    onnx.save(held, other)
    with pytest.raises(DetectorError, match=r"other\.onnx: neither a detector of landmark-tracker nor YuNet"):
        load_detector(other)


def test_the_settings() -> None:
    assert SETTINGS["near"] < SETTINGS["far"]
