"""A labelled face, how much of its photo is kept, and which faces are for validation. ``readers`` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tracker.annotations import Flags
from tracker.core import Box, Image, Points
from tracker.datasets import DataError, in_validation, kept_apart
from tracker.markup import CELEBA5, IBUG68, Markup
from tracker.metrics import inter_ocular, inter_pupil

LABEL_OFFSET = {"300w": (0.007, 0.0)}
"""How far a set's labels sit from the points, x and y in eye-corner distances (see docs/training.md)."""

LARGEST = 176
"""Faces are kept at no more than this many pixels a side: no network here looks closer."""

SPREAD = {CELEBA5.name: 0.45}
"""Side of the square about all points of a markup, in sides of that about the 68 points, where it is much smaller."""


@dataclass(frozen=True, eq=False)
class LabelledFace:
    """``image`` (H, W, 3) RGB, a part of a photo; ``points`` (P, 2) in its pixels, in the set's own terms.

    ``known`` is False where the set does not say where a point is; such a point stands at the mean of the others and
    means nothing. None is for all known. ``occluded`` is True where the set says that something hides a point, which
    is labelled all the same; None where it does not say. ``box`` is the set's own face box in pixels of ``image``, for
    the protocols that need it, and may reach beyond the image.
    """

    name: str
    image: Image
    points: Points
    dataset: str
    markup: Markup = IBUG68
    known: Flags | None = None
    occluded: Flags | None = None
    box: Box | None = None

    @property
    def known_points(self) -> Points:
        """(K, 2): the points that are known, for boxes and crops."""
        return self.points if self.known is None else self.points[self.known]

    @property
    def known_mask(self) -> Flags:
        """(P,): which points are known."""
        return np.ones(self.markup.size, np.bool_) if self.known is None else self.known

    @property
    def has_eyes(self) -> bool:
        """Whether it is known how far the eyes are apart, by which errors are divided."""
        points, markup = self.points[None], self.markup
        needed = [*markup.eyes[0], *markup.eyes[1], *(markup.corners or ())]
        apart = inter_ocular(points, markup)[0] > 0 and inter_pupil(points, markup)[0] > 0
        return bool(apart and self.known_mask[needed].all())

    @property
    def unbiased(self) -> Points:
        """The points with the bias of the set's labels taken off: what is trained on."""
        dx, dy = label_offset(self.dataset)
        if not (dx or dy):
            return self.points
        return self.points - np.array([dx, dy], np.float32) * np.float32(inter_ocular(self.points, self.markup))


def label_offset(dataset: str) -> tuple[float, float]:
    """The offset of a set's labels, x and y in eye-corner distances; none for a set in which none was found."""
    return LABEL_OFFSET.get(dataset, (0.0, 0.0))


def held_out(faces: Sequence[LabelledFace]) -> frozenset[str]:
    """Names of the faces of one set to validate on: the list of 300-W, else those that ``kept_apart`` chooses."""
    chosen = in_validation if faces and faces[0].dataset == "300w" else kept_apart
    return frozenset(face.name for face in faces if chosen(face.name))


def kept(
    name: str,
    image: Image,
    points: Points,
    dataset: str,
    markup: Markup = IBUG68,
    known: Flags | None = None,
    occluded: Flags | None = None,
    box: Box | None = None,
) -> LabelledFace:
    """The face and its surroundings cut from ``image`` (H, W, 3) RGB, made smaller where it is larger than any network
    needs; ``points`` (P, 2) and ``box`` are in pixels of ``image``.

    DataError when the points are not those of the markup, or none of them is known.
    """
    if len(points) != markup.size:
        raise DataError(f"{name}: {len(points)} points, where {markup.name} has {markup.size}; is this another set?")
    if known is not None:
        if not known.any():
            raise DataError(f"{name}: no point of this face is known; take it out of the list")
        points = np.where(known[:, None], points, points[known].mean(0)).astype(np.float32)
        known = None if known.all() else known
    around = Box.around(points)
    side = max(around.width, around.height) / SPREAD.get(markup.name, 1.0)
    reach = 1.2 * side
    (cx, cy), (height, width) = around.centre, image.shape[:2]
    x0, y0 = max(int(cx - reach), 0), max(int(cy - reach), 0)
    part = np.ascontiguousarray(image[y0 : min(int(cy + reach) + 2, height), x0 : min(int(cx + reach) + 2, width)])
    if not part.size:
        raise DataError(f"{name}: its points lie beside the picture; is it the picture that the list means?")
    start, factors = np.array([x0, y0], np.float32), None
    if side > LARGEST:
        scale = LARGEST / side
        size = (max(int(part.shape[1] * scale), 1), max(int(part.shape[0] * scale), 1))
        factors = np.array([size[0] / part.shape[1], size[1] / part.shape[0]], np.float32)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)

    def moved(places: Points) -> Points:
        places = places - start
        return (places if factors is None else (places + 0.5) * factors - 0.5).astype(np.float32)

    if box is not None:
        corners = moved(np.array([[box.x0, box.y0], [box.x1, box.y1]], np.float32))
        box = Box(*(float(value) for value in corners.ravel()))
    return LabelledFace(name, part, moved(points), dataset, markup, known, occluded, box)
