"""Face detectors: an image in, faces out. A detector is any callable ``Image -> list[Detection]``."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tracker.backends import FACEDET, NoSpecError, OnnxBackend, weights_folder
from tracker.core import Array, Box, Crop, Image, Points, TrackerError
from tracker.markup import Markup


class DetectorError(TrackerError):
    """A detector that cannot be loaded."""


@dataclass(frozen=True, eq=False)
class Detection:
    """A face: ``box`` where its landmarks are expected (frame pixels; a square in axes turned by ``angle`` about the
    box's centre), ``angle`` its roll in radians, ``score`` 0 to 1, ``points`` (5, 2) in frame pixels in the order of
    ``CELEBA5``."""

    box: Box
    score: float
    angle: float
    points: Points


def expected(detection: Detection, markup: Markup) -> Detection:
    """The same face with its box where the landmarks of ``markup`` are expected: five points fill less than half of
    what the contour, too, fills, which is where detectors put it."""
    if markup.size != len(detection.points):
        return detection
    square = Crop.around(detection.points, 1.0, 1, detection.angle)
    half = square.side / 2
    return replace(detection, box=Box(square.cx - half, square.cy - half, square.cx + half, square.cy + half))


Detector = Callable[[Image], list[Detection]]
"""Takes an image (H, W, 3) uint8 RGB, gives the faces in it, best first."""

SETTINGS = {"near": 192, "far": 341}
"""The longer side of the picture that the network sees: ``near`` for faces within two metres of a camera, ``far`` for
recordings, in which they may be small (341 because a picture of 4:3 then is 256 high, and one of 16:9 192)."""

STRIDES = (8, 16, 32)
"""Input pixels from cell to cell of each level; the network has them too."""
THRESHOLD = 0.7
"""Score from which on something is a face: about one frame in a hundred that holds none has one nevertheless
(``python -m evaluation.detectors``)."""
SAME = 0.4
"""Intersection over union from which on two candidates are one face."""


def roll(points: Array) -> float:
    """The roll in radians of a face of five points (5, 2) in the order of ``CELEBA5``: by the line of the eyes and the
    line down to the mouth, so that it holds in profile, where the eyes meet."""
    across = points[1] - points[0]
    down = (points[3] + points[4] - points[0] - points[1]) / 2
    return math.atan2(across[1] - down[0], across[0] + down[1])


class FaceDet:
    """The project's own detector, from a file that ``tracker.training`` wrote, with an input ``side`` pixels long."""

    def __init__(self, path: Path, side: int, threshold: float) -> None:
        self._backend, self._side, self._threshold = OnnxBackend(path), side, threshold
        if self._backend.spec.network != "facedet":
            raise DetectorError(f"{path}: holds a landmark network, not a face detector; give it as --model")
        self._input, self._filled = np.zeros((0, 0, 3), np.uint8), (0, 0)

    def __call__(self, image: Image) -> list[Detection]:
        scale = self._letterbox(image)
        found = self._backend.run(self._input[None])
        rows, columns = self._input.shape[:2]
        if (
            found["scores"].shape[1] != len(_cells((rows, columns)))
            or found["faces"].shape[1] != found["scores"].shape[1]
        ):
            raise DetectorError(
                f"{self._backend.path}: gives another number of cells than its input has; export it again"
            )
        faces = decode(found["scores"][0], found["faces"][0], (rows, columns), self._threshold)
        return [_detection(face, scale) for face in suppress(faces)]

    def _letterbox(self, image: Image) -> npt.NDArray[np.float32]:
        """Shrink ``image`` straight into the corner of the network's input, whose sides are multiples of 32: the scale
        in x and y."""
        height, width = image.shape[:2]
        scale = min(self._side / max(width, height), 1.0)
        columns, rows = max(round(width * scale), 1), max(round(height * scale), 1)
        shape = (-(-rows // 32) * 32, -(-columns // 32) * 32, 3)
        if (rows, columns) != self._filled:
            self._input, self._filled = np.zeros(shape, np.uint8), (rows, columns)
        cv2.resize(image, (columns, rows), dst=self._input[:rows, :columns], interpolation=cv2.INTER_LINEAR)
        return np.array([columns / width, rows / height], np.float32)


def decode(
    scores: npt.NDArray[np.float32], shapes: npt.NDArray[np.float32], size: tuple[int, int], threshold: float
) -> npt.NDArray[np.float32]:
    """The candidates (K, 14) of an input of ``size`` (height, width), best first: score, centre x and y and side of
    the square, and five points x, y, in input pixels.

    ``scores`` (C,) and ``shapes`` (C, 13) are the network's outputs for the cells of all levels, row by row; see
    ``tracker.networks.facedet``."""
    chosen = np.flatnonzero(scores >= threshold)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    found = np.empty((len(chosen), 14), np.float32)
    if not len(chosen):
        return found
    cells = _cells(size)[chosen]
    stride = cells[:, 2:]
    values = shapes[chosen]
    found[:, 0] = scores[chosen]
    found[:, 1:3] = (cells[:, :2] + values[:, :2]) * stride
    found[:, 3:4] = 4 * stride * np.exp(np.clip(values[:, 2:3], -4, 4))
    points = found[:, None, 1:3] + values[:, 3:].reshape(-1, 5, 2) * found[:, None, 3:4]
    found[:, 4:] = points.reshape(-1, 10)
    return found[np.isfinite(found).all(1)]  # a network that is not one of ours may send them anywhere


@functools.lru_cache(8)
def _cells(size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(C, 3): column, row and stride of every cell of an input of ``size`` (height, width), in the network's order."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.mgrid[0 : size[0] // stride, 0 : size[1] // stride]
        levels.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], 1))
    return np.concatenate(levels).astype(np.float32)


def suppress(faces: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of candidates (K, 14) that are one face (best first, see ``decode``), their mean weighted by score, with the best
    one's score."""
    kept = []
    half = faces[:, 3:4] / 2
    low, high = faces[:, 1:3] - half, faces[:, 1:3] + half
    areas = faces[:, 3] ** 2
    left = np.ones(len(faces), np.bool_)
    for index in range(len(faces)):
        if not left[index]:
            continue
        edges = np.minimum(high[index], high) - np.maximum(low[index], low)
        common = np.clip(edges, 0, None).prod(1)
        same = left & (common > SAME * (areas[index] + areas - common))
        inside = left & (common > 0.7 * np.minimum(areas, areas[index]))
        weights = faces[same, :1]
        merged = (faces[same] * weights).sum(0) / weights.sum()
        merged[0] = faces[index, 0]
        kept.append(merged)
        left &= ~(same | inside)
    return np.array(kept, np.float32).reshape(-1, 14)


def _detection(face: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> Detection:
    """A face (14,) of ``suppress`` in an input ``scale`` (x, y) times the frame."""
    cx, cy = (face[1:3] + 0.5) / scale - 0.5
    reach = face[3] / float(scale.mean()) / 2
    points = ((face[4:].reshape(5, 2) + 0.5) / scale - 0.5).astype(np.float32)
    box = Box(*(float(value) for value in (cx - reach, cy - reach, cx + reach, cy + reach)))
    return Detection(box, float(face[0]), roll(points), points)


SHAPE = np.array([[-0.217, -0.322], [0.209, -0.325], [-0.005, -0.064], [-0.187, 0.142], [0.187, 0.138]], np.float32)
"""The five points of the mean face, in sides of the square about its 68 landmarks, from the square's centre: the mean
over every twentieth picture of the LFW and net set."""


class YuNet:
    """OpenCV's FaceDetectorYN with a file of YuNet's weights, which landmark-tracker does not bring. What its boxes
    hold is of no matter: the square of the landmarks is fitted to its five points."""

    def __init__(self, path: Path, side: int, threshold: float) -> None:
        self._path, self._side = path, side
        with self._running():
            self._network = cv2.FaceDetectorYN.create(str(path), "", (side, side), threshold)
        self(np.zeros((side, side, 3), np.uint8))  # some that OpenCV opens have other outputs

    def __call__(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        scale = min(self._side / max(width, height), 1.0)
        small = cv2.resize(image, (max(round(width * scale), 1), max(round(height * scale), 1)))
        self._network.setInputSize((small.shape[1], small.shape[0]))
        with self._running():
            found = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        if found is None:
            return []
        found = found[np.argsort(-found[:, 14])]
        return [_fitted((face[4:14].reshape(5, 2) + 0.5) / scale - 0.5, float(face[14])) for face in found]

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        try:
            yield
        except cv2.error as error:
            raise DetectorError(f"{self._path}: neither a detector of landmark-tracker nor YuNet") from error


def _fitted(points: Points, score: float) -> Detection:
    """The detection of a face of five points: the square that a similarity gives them, with the mean face's points.

    The similarity is the least-squares one without its shrinking towards profiles: its side is that which gives the
    points their spread."""
    angle = roll(points)
    middle, spread = points.mean(0), float(np.linalg.norm(points - points.mean(0)))
    side = spread / float(np.linalg.norm(SHAPE - SHAPE.mean(0)))
    cos, sin = math.cos(angle), math.sin(angle)
    offset = np.array([[cos, -sin], [sin, cos]]) @ SHAPE.mean(0) * side
    cx, cy = (float(value) for value in middle - offset)
    box = Box(cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2)
    return Detection(box, score, angle, points.astype(np.float32))


FIT = {"near": (0.956, 0.060), "far": (0.905, 0.101)}
"""From MediaPipe's box to the square of the 68 landmarks, in widths of the former: its side, and how far its centre
lies below. Means over every sixth face of 300-W (train)."""


class BlazeFace:
    """MediaPipe's face detectors, ``near`` (its short range) and ``far`` (its full range), in the order in which they
    are asked until one finds a face: ``far`` misses some that fill the picture. The mouth is one point, given for both
    corners. The model files are in MediaPipe's wheel; nothing is downloaded or sent."""

    def __init__(self, settings: Sequence[str], threshold: float) -> None:
        with quiet():
            try:
                from mediapipe.python.solutions.face_detection import FaceDetection
            except ImportError as error:
                remedy = "in an environment of its own (Python 3.10 to 3.12): pip install 'landmark-tracker[mediapipe]'"
                raise DetectorError(f"--detector mediapipe: MediaPipe 0.10.21 is not installed; {remedy}") from error
            self._networks: list[tuple[Any, tuple[float, float]]] = []
            for name in settings:
                network = FaceDetection(threshold, ("near", "far").index(name))
                network.process(np.zeros((64, 64, 3), np.uint8))  # the first call logs and takes its time
                self._networks.append((network, FIT[name]))

    def __call__(self, image: Image) -> list[Detection]:
        for network, fit in self._networks:
            if found := network.process(image).detections:
                detections = [_of_mediapipe(item, fit, image.shape[1], image.shape[0]) for item in found]
                return sorted(detections, key=lambda detection: -detection.score)
        return []


def _of_mediapipe(item: Any, fit: tuple[float, float], width: int, height: int) -> Detection:
    """A detection of MediaPipe's, whose numbers are shares of the picture's ``width`` and ``height``."""
    scale, below = fit
    place = item.location_data.relative_bounding_box
    side = place.width * width
    points = np.array([(p.x * width - 0.5, p.y * height - 0.5) for p in item.location_data.relative_keypoints[:4]])
    points = points[[0, 1, 2, 3, 3]].astype(np.float32)  # its right eye is on the image's left, as our first is
    across = points[1] - points[0]
    angle = math.atan2(across[1], across[0])
    cx = (place.xmin + place.width / 2) * width - 0.5 - math.sin(angle) * below * side
    cy = (place.ymin + place.height / 2) * height - 0.5 + math.cos(angle) * below * side
    reach = side * scale / 2
    return Detection(Box(cx - reach, cy - reach, cx + reach, cy + reach), float(item.score[0]), angle, points)


MEDIAPIPE = {"mediapipe": ("far", "near"), "mediapipe-near": ("near",), "mediapipe-far": ("far",)}


def load_detector(name: str | Path = "near", threshold: float | None = None) -> Detector:
    """The face detector ``near`` (cameras) or ``far`` (recordings); MediaPipe's, of a name in MEDIAPIPE; or that of a
    .onnx file: one that ``tracker.training`` wrote, or YuNet's, either at the size of ``far``.

    It gives what scores at least ``threshold``, by default THRESHOLD for ours and 0.5 for the others'. DetectorError
    when it cannot be had."""
    least, theirs = (THRESHOLD, 0.5) if threshold is None else (threshold, threshold)
    path = detector_file(name)
    if path is None:
        return BlazeFace(MEDIAPIPE[str(name)], theirs)
    side = SETTINGS.get(str(name), SETTINGS["far"])
    try:
        return FaceDet(path, side, least)
    except NoSpecError:
        return YuNet(path, side, theirs)


def detector_file(name: str | Path) -> Path | None:
    """The weights of the detector of that name, None where they are in MediaPipe's wheel; DetectorError when there is
    no such detector."""
    path = weights_folder() / FACEDET if name in SETTINGS else Path(name)
    if name in MEDIAPIPE:
        return None
    if path.suffix != ".onnx":
        known = ", ".join(SETTINGS)
        raise DetectorError(f"--detector {name}: unknown; use {known}, mediapipe, or the path of a .onnx file")
    if not path.is_file():
        raise DetectorError(f"--detector {path}: there is no such file")
    return path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps MediaPipe's native libraries from writing their notes over the program's own output."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
