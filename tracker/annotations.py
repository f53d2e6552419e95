"""Landmark files of the data sets; the only place that knows of 1-based coordinates."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracker.core import Array, Box, Image, Points, TrackerError
from tracker.files import read_text

Flags = npt.NDArray[np.bool_]
"""(P,) bool, one for each point."""


LONGEST_PTS, LONGEST_LIST = 1 << 20, 512 << 20
"""Bytes of a .pts file and of a list; a longer one is refused, since those of 68 points have 2,000, and the longest
list, of 200,000 faces, has 25 million."""

FARTHEST = 1e6
"""Pixels; coordinates beyond are no places in a picture."""


class AnnotationError(TrackerError):
    """A landmark file that cannot be read."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a list says of one face, in pixels of its picture counted from 0.

    ``picture`` as the list names it; ``points`` (P, 2); ``box`` the list's own face box, or None; ``known`` False for
    points that the list leaves out, or None for all known; ``occluded`` True for points that it labels and calls
    hidden, or None where it does not say; ``attributes`` as the list gives them.
    """

    picture: str
    points: Points
    box: Box | None = None
    known: Flags | None = None
    occluded: Flags | None = None
    attributes: tuple[bool, ...] = ()


def read_pts(path: Path, one_based: bool = True) -> Points:
    """Points (P, 2) of an iBUG ``.pts`` file in pixels counted from 0.

    The files of 300-W and 300VW count from 1; ``one_based=False`` is for converted files that do not.
    """
    try:
        text = read_text(path, LONGEST_PTS)
        _, _, body = text.partition("{")
        values = [float(word) for word in body.partition("}")[0].split()]
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: not a readable .pts file ({_short(error)}); download the set again") from error
    if not values or len(values) % 2 or not _are_places(values):
        raise AnnotationError(f"{path}: no pairs of coordinates between braces; download the set again")
    return np.array(values, np.float32).reshape(-1, 2) - np.float32(one_based)


def read_keypoints_csv(path: Path) -> dict[str, Points]:
    """Points (68, 2) by picture name, of the YouTube Faces keypoint lists: one row a picture, its name and then
    x and y by turns, whole pixels counted from 0."""
    try:
        rows = csv.reader(io.StringIO(read_text(path, LONGEST_LIST), newline=""))
        next(rows, None)
        found = {}
        for row in rows:
            values = [float(word) for word in row[1:]]
            if not values or len(values) % 2 or not _are_places(values):
                raise ValueError(f"line {rows.line_num} has no pairs of coordinates")
            found[row[0]] = np.array(values, np.float32).reshape(-1, 2)
        if not found:
            raise ValueError("no rows")
        return found
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise AnnotationError(f"{path}: not a keypoint list ({_short(error)}); download the set again") from error


def read_five_point_list(path: Path) -> list[Annotation]:
    """The lists of LFW and net pictures (``trainImageList.txt``): picture, box as left, right, top, bottom, and x and y
    of the eyes, the nose and the mouth's corners, the image's left first. Taken to count from 0."""
    faces = []
    for number, words in _rows(path):
        left, right, top, bottom, *values = _numbers(path, number, words[1:], 14)
        box = Box(left, top, right, bottom)
        faces.append(Annotation(words[0].replace("\\", "/"), np.array(values, np.float32).reshape(5, 2), box))
    return faces


def read_wflw_list(path: Path) -> list[Annotation]:
    """The lists of WFLW (``list_98pt_rect_attr_train.txt``): x and y of 98 points, the box's x0 y0 x1 y1, six
    attributes (pose, expression, illumination, make-up, occlusion, blur) and the picture. Taken to count from 0."""
    faces = []
    for number, words in _rows(path):
        values = _numbers(path, number, words[:-1], 206)
        points, box = np.array(values[:196], np.float32).reshape(98, 2), Box(*values[196:200])
        faces.append(Annotation(words[-1], points, box, attributes=tuple(value != 0 for value in values[200:])))
    return faces


def read_celeba_list(path: Path, boxes: Path | None = None) -> list[Annotation]:
    """The landmark lists of CelebA (``list_landmarks_celeba.txt``, ``list_landmarks_align_celeba.txt``): the number of
    faces, the names of the columns, and of each face the picture and x and y of five points, the image's left first.

    ``boxes`` is ``list_bbox_celeba.txt``, which has x, y, width and height and is for the pictures in the wild only; a
    box without a size is left out. Both are taken to count from 0.
    """
    found: dict[str, Box] = {}
    for number, words in _rows(boxes)[2:] if boxes else []:
        x, y, width, height = _numbers(boxes or path, number, words[1:], 4)
        if width > 0 and height > 0:
            found[words[0]] = Box(x, y, x + width, y + height)
    faces = []
    for number, words in _rows(path)[2:]:
        points = np.array(_numbers(path, number, words[1:], 10), np.float32).reshape(5, 2)
        faces.append(Annotation(words[0], points, found.get(words[0])))
    if not faces:
        raise AnnotationError(f"{path}: holds no faces; download the set again")
    return faces


def read_celeba_parts(path: Path) -> dict[str, str]:
    """The part of each picture of CelebA (``list_eval_partition.txt``): train, validation or test."""
    parts = ("train", "validation", "test")
    rows = {words[0]: _numbers(path, number, words[1:], 1)[0] for number, words in _rows(path)}
    if not set(rows.values()) <= {0, 1, 2}:
        raise AnnotationError(f"{path}: other parts than 0, 1 and 2; download the set again")
    return {name: parts[int(value)] for name, value in rows.items()}


AFLW_TRAINING = 20_000
"""Faces of AFLW-Full for training: the first of its order; the other 4,386 are for testing."""


def read_aflw_mat(path: Path) -> tuple[list[Annotation], list[Annotation]]:
    """Training and test faces of AFLW-Full (``AFLWinfo_release.mat``, Zhu et al. 2016), in the order of its ``ra``.

    ``data`` holds 19 x and 19 y, ``bbox`` left, right, top, bottom of a square, whose width is the set's normaliser,
    ``mask_new`` 0 for hidden points. These have coordinates too, and the published errors count them: they are
    ``occluded``; ``known`` is False for points at (0, 0) or without finite coordinates. Taken to count from 0.

    Needs scipy; AnnotationError without it, and when the file is not as described.
    """
    if find_spec("scipy") is None:
        raise AnnotationError(f"{path}: needs scipy; run pip install 'landmark-tracker[data]'")
    try:
        words = [sys.executable, "-c", _LOAD_AFLW, str(path)]
        held = np.load(io.BytesIO(subprocess.run(words, capture_output=True, check=True, timeout=600).stdout))
        names = [str(name) for name in held["nameList"]]
        points = held["data"].astype(np.float32).reshape(len(names), 2, 19).transpose(0, 2, 1)
        boxes = held["bbox"].astype(np.float64).reshape(len(names), 4)
        visible = held["mask_new"].reshape(len(names), 19) != 0
        order = np.atleast_1d(held["ra"]).astype(np.int64).ravel() - 1
    except Exception as error:  # scipy raises whatever a damaged file leads it to, or dies
        raise AnnotationError(f"{path}: not the AFLWinfo_release.mat of AFLW-Full; download it again") from error
    if sorted(order) != list(range(len(names))):
        raise AnnotationError(f"{path}: its order ra does not name each face once; download it again")
    known = np.isfinite(points).all(-1) & (points != 0).any(-1)
    faces = [
        Annotation(names[i], points[i], Box(left, top, right, bottom), known[i], ~visible[i])
        for i in order
        for left, right, top, bottom in [(float(value) for value in boxes[i])]
    ]
    return faces[:AFLW_TRAINING], faces[AFLW_TRAINING:]


_LOAD_AFLW = """
import io, sys
import numpy as np
from scipy.io import loadmat
held = loadmat(sys.argv[1], squeeze_me=True)
names = np.array([str(name) for name in np.atleast_1d(held["nameList"])])
file = io.BytesIO()
np.savez(file, nameList=names, **{name: held[name] for name in ("data", "bbox", "mask_new", "ra")})
sys.stdout.buffer.write(file.getvalue())
"""
"""What a process of its own does, as some damaged files end scipy's with a segmentation fault."""


def read_cofw_mat(path: Path) -> list[Annotation]:
    """Faces of COFW (``COFW_train_color.mat``, ``COFW_test_color.mat``), named by their number from 1.

    The files are HDF5, as MATLAB writes from version 7.3 on, with every array transposed: cells ``IsTr`` of pictures,
    some of them grey, ``phisTr`` with 29 x, 29 y and 29 times 1 for hidden, ``bboxesTr`` with x, y, width and height;
    ``IsT`` and so on in the test file. They count from 1. All points are known, the ``occluded`` ones too.

    Needs h5py; AnnotationError without it, and when the file is not as described.
    """
    with _cofw(path) as (held, end):
        labels = held[f"phis{end}"][()].T
        labels, boxes = labels.reshape(len(labels), 3, 29), held[f"bboxes{end}"][()].T.reshape(len(labels), 4)
        faces = []
        for number, (label, box) in enumerate(zip(labels, boxes, strict=True), 1):
            points = label[:2].T.astype(np.float32) - np.float32(1)
            x, y, width, height = (float(value) for value in box)
            place = Box(x - 1, y - 1, x - 1 + width, y - 1 + height)
            faces.append(Annotation(f"{number:06d}", points, place, occluded=label[2] != 0))
        return faces


def read_cofw_picture(path: Path, number: int) -> Image:
    """Picture (H, W, 3) ``number``, from 1, of a file of COFW, in RGB; see ``read_cofw_mat``."""
    with _cofw(path) as (held, end):
        picture = held[held[f"Is{end}"][()].ravel()[number - 1]][()].T
        if picture.dtype != np.uint8:
            raise ValueError("not a picture")
        return np.ascontiguousarray(picture if picture.ndim == 3 else np.stack([picture] * 3, -1))


@contextmanager
def _cofw(path: Path) -> Iterator[tuple[Any, str]]:
    """The opened file and the end of its names. Whatever fails within is an AnnotationError."""
    try:
        import h5py
    except ImportError as error:
        raise AnnotationError(f"{path}: needs h5py; run pip install 'landmark-tracker[data]'") from error
    try:
        with h5py.File(path, "r") as held:
            yield held, "Tr" if "phisTr" in held else "T"
    except Exception as error:  # h5py raises whatever a damaged file leads it to
        raise AnnotationError(f"{path}: not a COFW_..._color.mat of COFW; download it again") from error


def _are_places(values: list[float]) -> bool:
    """Whether the numbers can be coordinates (or 0 and 1)."""
    return bool((np.abs(values) <= FARTHEST).all())  # False for NaN


def _short(error: Exception) -> str:
    """What an error says, without the whole of a word that may be as long as the file."""
    return " ".join(str(error).split())[:100]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a list as words, each with its number from 1, without empty lines."""
    try:
        lines = read_text(path, LONGEST_LIST).split("\n")
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: not a readable list ({_short(error)}); download the set again") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise AnnotationError(f"{path}: an empty list; download the set again")
    return rows


def _numbers(path: Path, number: int, words: list[str], count: int) -> list[float]:
    """The ``count`` finite numbers of line ``number``."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not _are_places(values):
        raise AnnotationError(f"{path}, line {number}: not a name and {count} numbers; download the set again")
    return values


def write_pts(path: Path, points: Array) -> None:
    """Points (P, 2), in pixels counted from 0, as an iBUG ``.pts`` file, which counts from 1. Raises OSError."""
    lines = "".join(f"{x + 1:.3f} {y + 1:.3f}\n" for x, y in np.asarray(points).tolist())
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}}}\n", encoding="ascii", newline="\n")
