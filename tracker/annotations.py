"""Landmark files of the data sets; the only place that knows of 1-based coordinates."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tracker.core import Points, TrackerError


class AnnotationError(TrackerError):
    """A landmark file that cannot be read."""


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
