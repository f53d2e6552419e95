"""Face detectors: an image in, boxes out. A detector is any callable ``Image -> list[Detection]``."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracker.core import Box, Image, TrackerError


class DetectorError(TrackerError):
    """A detector that cannot be loaded."""


@dataclass(frozen=True)
class Detection:
    """A face: ``box`` where its landmarks are expected (frame pixels; in axes turned by ``angle`` about the box's
    centre), ``angle`` its roll in radians, ``score`` 0 to 1."""

    box: Box
    score: float
    angle: float = 0.0


Detector = Callable[[Image], list[Detection]]
"""Takes an image (H, W, 3) uint8 RGB, gives the faces in it, best first."""


FIT = {"near": (0.956, 0.060), "far": (0.905, 0.101)}
"""From the detector's box to the square of the 68 landmarks, in widths of the former: its side, and how far its centre
lies below. Means over every sixth face of 300-W (train)."""


class BlazeFace:
    """MediaPipe's face detector: ``near`` for faces within two metres of a camera, ``far`` for faces that may be
    small; it misses some that fill the picture, so that where it finds none, ``near`` looks too. The model files are
    in MediaPipe's wheel; nothing is downloaded or sent."""

    def __init__(self, setting: str, threshold: float = 0.5) -> None:
        with _quiet():
            try:
                from mediapipe.python.solutions.face_detection import FaceDetection
            except ImportError as error:
                remedy = "it exists for Python 3.10 to 3.12; pip install 'mediapipe==0.10.21'"
                raise DetectorError(f"the face detector needs MediaPipe, which is not installed; {remedy}") from error
            self._networks: list[tuple[Any, tuple[float, float]]] = []
            for name in ("far", "near") if setting == "far" else ("near",):
                network = FaceDetection(threshold, ("near", "far").index(name))
                network.process(np.zeros((64, 64, 3), np.uint8))  # the first call logs and takes its time
                self._networks.append((network, FIT[name]))

    def __call__(self, image: Image) -> list[Detection]:
        for network, fit in self._networks:
            if found := network.process(image).detections:
                detections = [_detection(item, fit, image.shape[1], image.shape[0]) for item in found]
                return sorted(detections, key=lambda detection: -detection.score)
        return []


def _detection(item: Any, fit: tuple[float, float], width: int, height: int) -> Detection:
    """A detection of MediaPipe's, whose numbers are shares of the picture's ``width`` and ``height``."""
    scale, below = fit
    place = item.location_data.relative_bounding_box
    side = place.width * width
    right_eye, left_eye = item.location_data.relative_keypoints[:2]  # the person's: right is on the image's left
    angle = math.atan2((left_eye.y - right_eye.y) * height, (left_eye.x - right_eye.x) * width)
    cx = (place.xmin + place.width / 2) * width - 0.5 - math.sin(angle) * below * side
    cy = (place.ymin + place.height / 2) * height - 0.5 + math.cos(angle) * below * side
    reach = side * scale / 2
    return Detection(Box(cx - reach, cy - reach, cx + reach, cy + reach), float(item.score[0]), angle)


def load_detector(setting: str = "near") -> Detector:
    """The face detector in its setting ``near`` (cameras) or ``far`` (files). DetectorError when it cannot be had."""
    if setting not in FIT:
        raise DetectorError(f"--detector {setting}: unknown; use {' or '.join(FIT)}")
    return BlazeFace(setting)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
