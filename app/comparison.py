"""How far two models are apart on one frame."""

from __future__ import annotations

import math

import numpy as np

from tracker.core import Face, Result
from tracker.markup import Markup


def difference(first: Result, second: Result, markup: Markup) -> float:
    """Mean distance between the points of ``markup`` that two results of the same frame give the same faces, over the
    distance of the first's eye centres; NaN when they have no face in common. Faces are the same when their boxes
    overlap most, by at least 0.3 (intersection over union)."""
    distances = []
    for face in first.faces:
        other = max(second.faces, key=lambda candidate: face.box.iou(candidate.box), default=None)
        if other is not None and face.box.iou(other.box) >= 0.3 and face.points.shape == other.points.shape:
            distances.append(_distance(face, other, markup))
    return float(np.mean(distances)) if distances else math.nan


def _distance(face: Face, other: Face, markup: Markup) -> float:
    left, right = markup.eye_centres(face.points)
    apart = np.linalg.norm(face.points - other.points, axis=-1).mean()
    return float(apart / max(np.linalg.norm(right - left), 1e-6))
