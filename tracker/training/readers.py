"""Data sets in the layouts they are published in.

Each reader takes the set's folder and gives its training faces; DataError says what is missing and where to get it.
The docstrings say whether a layout was tried on the set's own files or is known from documentation only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from tracker.annotations import read_keypoints_csv, read_pts
from tracker.training.datasets import DataError, LabelledFace, kept, read_picture


def read_300w(root: Path) -> list[LabelledFace]:
    """300-W: folders afw, helen and lfpw (with or without a folder trainset inside) of .jpg or .png with .pts.

    Names are as in validation_300w.txt: ``afw/134212_1``. Tried on the set's own files."""
    paths = [path for part in ("afw", "helen", "lfpw") for path in sorted((root / part).rglob("*.pts"))]
    if not paths:
        raise DataError(
            f"{root}: no afw, helen or lfpw folder with .pts files; request 300-W at "
            "https://ibug.doc.ic.ac.uk/resources/300-W/ and unpack it there"
        )
    faces = []
    for path in tqdm(paths, desc="reading 300-W", unit=" faces", leave=False):
        name = str(path.relative_to(root).with_suffix("")).replace("\\", "/")
        faces.append(kept(name, read_picture(_beside(path)), read_pts(path), "300w"))
    return faces


def read_ytf(root: Path) -> list[LabelledFace]:
    """The YouTube Faces keypoint lists: ``training_frames_keypoints.csv`` and ``test_...`` beside the folders
    ``training`` and ``test``. The points come from a network and are in whole pixels: for pre-training.

    Tried on the set's own files."""
    faces = []
    for part in ("training", "test"):
        table = root / f"{part}_frames_keypoints.csv"
        if not table.exists():
            raise DataError(f"{table}: missing; the YouTube Faces keypoint set holds it beside its folder {part}")
        for name, points in tqdm(read_keypoints_csv(table).items(), desc="reading ytf", unit=" faces", leave=False):
            faces.append(kept(f"{part}/{name}", read_picture(root / part / name), points, "ytf68"))
    return faces


READERS: dict[str, Callable[..., list[LabelledFace]]] = {"300w": read_300w, "ytf68": read_ytf}
"""The readers by the name of the set, which is that of its folder too."""

TERMS = {
    "300w": "300-W training faces (afw, helen, lfpw): research use only",
    "ytf68": "YouTube Faces keypoints: research use only",
}
"""What a model says of the sets it was trained on."""


def _beside(path: Path) -> Path:
    """The picture beside a .pts file."""
    for suffix in (".jpg", ".png"):
        if (found := path.with_suffix(suffix)).exists():
            return found
    raise DataError(f"{path}: its picture (.jpg or .png) is missing; unpack the set again")
