"""What training and evaluation must measure alike: the oracle box, the normalisers and the NME.

Distances are in pixels of whatever frame of reference both arguments share; NME is a ratio (0.05 is 5 %).
"""

from __future__ import annotations

import numpy as np

from tracker.annotations import Flags
from tracker.core import Array, Crop
from tracker.markup import Markup


def oracle_crop(truth: Array, context: float, size: int) -> Crop:
    """The oracle box: the axis-aligned tight rectangle of all truth points (P, 2), made square about its centre,
    times the context of the model's Spec; no rotation."""
    return Crop.around(truth, context, size)


def inter_ocular(points: Array, markup: Markup) -> Array:
    """Distance (...) of the outer eye corners of points (..., P, 2)."""
    if markup.corners is None:
        return inter_pupil(points, markup)
    left, right = markup.corners
    return np.linalg.norm(points[..., left, :] - points[..., right, :], axis=-1)


def inter_pupil(points: Array, markup: Markup) -> Array:
    """Distance (...) of the eye centres of points (..., P, 2): the means of each eye's points."""
    eyes = markup.eye_centres(points)
    return np.linalg.norm(eyes[..., 0, :] - eyes[..., 1, :], axis=-1)


def nme(predicted: Array, truth: Array, normaliser: Array, known: Flags | None = None) -> Array:
    """Normalised mean error (...) of points (..., P, 2): the mean distance over ``normaliser`` (...).

    The mean is over the points that are ``known`` (..., P), of which every face needs one; None is for all.
    Lai et al., equation 4; Yue et al., equation 5.
    """
    distances = np.linalg.norm(predicted - truth, axis=-1)
    return (distances.mean(-1) if known is None else distances.mean(-1, where=known)) / normaliser


def in_set_terms(points: Array, markup: Markup, offset: tuple[float, float]) -> Array:
    """Points (..., P, 2) moved by ``offset``, in eye-corner distances of the points themselves: the place where
    the labels of a data set sit, whose bias the training took off."""
    return points + np.asarray(offset) * inter_ocular(points, markup)[..., None, None]
