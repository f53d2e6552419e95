"""Labelled faces, read from the layouts their sets are published in."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tracker.annotations import read_keypoints_csv, read_pts
from tracker.core import Box, Image, Points, TrackerError
from tracker.markup import IBUG68
from tracker.metrics import inter_ocular

log = logging.getLogger(__name__)

LABEL_OFFSET = {"300w": (0.007, 0.0)}
"""How far a set's labels sit from the points, x and y in eye-corner distances (see docs/training.md)."""

LARGEST = 176
"""Faces are kept at no more than this many pixels a side: no network here looks closer."""


class DataError(TrackerError):
    """A data set that is missing or incomplete."""


@dataclass(frozen=True, eq=False)
class LabelledFace:
    """``image`` (H, W, 3) RGB, a part of a photo; ``points`` (P, 2) in its pixels, in the set's own terms."""

    name: str
    image: Image
    points: Points
    dataset: str

    @property
    def unbiased(self) -> Points:
        """The points with the bias of the set's labels taken off: what is trained on."""
        dx, dy = LABEL_OFFSET.get(self.dataset, (0.0, 0.0))
        return self.points - np.array([dx, dy], np.float32) * np.float32(inter_ocular(self.points, IBUG68))


def read_300w(root: Path) -> list[LabelledFace]:
    """300-W: folders afw, helen and lfpw (with or without a folder trainset inside) of .jpg or .png with .pts.

    Names are as in validation_300w.txt: ``afw/134212_1``."""
    paths = [path for part in ("afw", "helen", "lfpw") for path in sorted((root / part).rglob("*.pts"))]
    if not paths:
        raise DataError(
            f"{root}: no afw, helen or lfpw folder with .pts files; request 300-W at "
            "https://ibug.doc.ic.ac.uk/resources/300-W/ and unpack it there"
        )
    faces = []
    for path in tqdm(paths, desc="reading 300-W", unit=" faces", leave=False):
        picture = next((p for end in (".jpg", ".png") if (p := path.with_suffix(end)).exists()), None)
        if picture is None:
            raise DataError(f"{path}: its picture (.jpg or .png) is missing; unpack the set again")
        name = str(path.relative_to(root).with_suffix("")).replace("\\", "/")
        faces.append(_kept(name, picture, read_pts(path), "300w"))
    return faces


def read_ytf(root: Path) -> list[LabelledFace]:
    """The YouTube Faces keypoint lists: ``training_frames_keypoints.csv`` and ``test_...`` beside the folders
    ``training`` and ``test``. The points come from a network and are in whole pixels: for pre-training."""
    faces = []
    for part in ("training", "test"):
        table = root / f"{part}_frames_keypoints.csv"
        if not table.exists():
            raise DataError(f"{table}: missing; the YouTube Faces keypoint set holds it beside its folder {part}")
        for name, points in tqdm(read_keypoints_csv(table).items(), desc="reading ytf", unit=" faces", leave=False):
            faces.append(_kept(f"{part}/{name}", root / part / name, points, "ytf68"))
    return faces


READERS = {"300w": read_300w, "ytf68": read_ytf}


def validation_names() -> frozenset[str]:
    """Names of the 300-W faces that are never trained on (before a last run that says so)."""
    text = (resources.files("tracker.training") / "validation_300w.txt").read_text()
    return frozenset(line for line in text.split("\n") if line and not line.startswith("#"))


def _kept(name: str, picture: Path, points: Points, dataset: str) -> LabelledFace:
    """The face and its surroundings, made smaller where it is larger than any network needs."""
    bgr = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if bgr is None:
        raise DataError(f"{picture}: missing or not a picture; unpack the set again")
    box = Box.around(points)
    side = max(box.width, box.height)
    reach = 1.2 * side
    (cx, cy), (height, width) = box.centre, bgr.shape[:2]
    x0, y0 = max(int(cx - reach), 0), max(int(cy - reach), 0)
    bgr = bgr[y0 : min(int(cy + reach) + 2, height), x0 : min(int(cx + reach) + 2, width)]
    points = points - np.array([x0, y0], np.float32)
    if side > LARGEST:
        scale = LARGEST / side
        size = (max(int(bgr.shape[1] * scale), 1), max(int(bgr.shape[0] * scale), 1))
        factors = np.array([size[0] / bgr.shape[1], size[1] / bgr.shape[0]], np.float32)
        bgr, points = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), (points + 0.5) * factors - 0.5
    image = np.ascontiguousarray(bgr[:, :, ::-1])
    return LabelledFace(name, image, points.astype(np.float32), dataset)
