"""Landmark files of the data sets; the only place that knows of 1-based coordinates."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracker.core import Box, Points, TrackerError

Flags = npt.NDArray[np.bool_]
"""(P,) bool, one for each point."""


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
        text = path.read_text()
        _, _, body = text.partition("{")
        values = [float(word) for word in body.partition("}")[0].split()]
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: not a readable .pts file ({error}); download the set again") from error
    if not values or len(values) % 2 or not np.isfinite(values).all():
        raise AnnotationError(f"{path}: no pairs of coordinates between braces; download the set again")
    return np.array(values, np.float32).reshape(-1, 2) - np.float32(one_based)


def read_keypoints_csv(path: Path) -> dict[str, Points]:
    """Points (68, 2) by picture name, of the YouTube Faces keypoint lists: one row a picture, its name and then
    x and y by turns, whole pixels counted from 0."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        return {row[0]: np.array(row[1:], np.float32).reshape(-1, 2) for row in rows}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise AnnotationError(f"{path}: not a keypoint list ({error}); download the set again") from error


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


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a list as words, each with its number from 1, without empty lines."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: not a readable list ({error}); download the set again") from error
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
    if len(values) != count or not np.isfinite(values).all():
        raise AnnotationError(f"{path}, line {number}: not a name and {count} numbers; download the set again")
    return values
