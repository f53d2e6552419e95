"""Crops of no face, of half a face and of a face in a wrong place: what the presence of a crop is learnt from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tracker.core import Array, Box, Crop, Image, TrackerError
from tracker.training.augment import jittered
from tracker.training.datasets import LabelledFace

KINDS = ("no face", "half a face", "drifted", "wrong scale")

PICTURES = {
    "training": ("coffee", "brick", "gravel", "text", "moon", "rocket", "motorcycle_left", "coins", "color", "ihc"),
    "validation": ("chelsea", "grass", "page", "retina", "clock_motion", "cell", "horse", "chessboard_RGB"),
}
"""scikit-image's pictures without a human face, by the part they serve in."""


def faceless(part: str) -> list[Image]:
    """The pictures without a face that scikit-image's wheel holds, for ``training`` or ``validation``; nothing is
    downloaded, and one that a later wheel lacks is left out. TrackerError without scikit-image."""
    try:
        import skimage
        from skimage.io import imread
    except ImportError as error:
        raise TrackerError("scikit-image is not installed; pip install 'landmark-tracker[train]'") from error
    folder = Path(skimage.__file__).parent / "data"
    read = [imread(path) for name in PICTURES[part] for path in sorted(folder.glob(f"{name}.*"))]
    flat = [picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2) for picture in read]
    return [np.ascontiguousarray(picture[..., :3], np.uint8) for picture in flat]


def negative(
    kind: str, face: LabelledFace, context: float, size: int, rng: np.random.Generator, pictures: Sequence[Image]
) -> tuple[Image, Array]:
    """A crop (size, size, 3) of a kind of ``KINDS``, made from ``face`` and from ``pictures`` without a face, and the
    place (P, 2) of the face's points in it, in crop pixels; for "no face" they mean nothing.

    A half is one side of the face's middle line, covered to within 5 % of the face. A drift is 0.4 to 0.9 sides of the
    face in any direction, and a wrong scale a factor of 1.7 to 2.6, up or down.
    """
    crop = jittered(face.known_points, context, size, rng)
    if kind == "no face":
        return _faceless_crop(face, crop, rng, pictures), crop.to_input(face.unbiased)
    if kind == "drifted":
        reach, way = crop.side / context * rng.uniform(0.4, 0.9), rng.uniform(0, 2 * math.pi)
        crop = Crop(crop.cx + reach * math.cos(way), crop.cy + reach * math.sin(way), crop.side, size, crop.angle)
    elif kind == "wrong scale":
        crop = Crop(crop.cx, crop.cy, crop.side * rng.uniform(1.7, 2.6) ** rng.choice((-1, 1)), size, crop.angle)
    elif kind != "half a face":
        raise ValueError(f"no kind {kind!r}")
    picture, points = crop.cut(face.image), crop.to_input(face.unbiased)
    if kind == "half a face":
        _cover_half(picture, Box.around(crop.to_input(face.known_points)), rng, pictures)
    return picture, points


def _faceless_crop(face: LabelledFace, crop: Crop, rng: np.random.Generator, pictures: Sequence[Image]) -> Image:
    """Part of a picture without a face, a photo whose face is covered, a face in pieces, or nothing in particular."""
    size, kind = crop.size, rng.random()
    if kind < 0.4:
        return _part(pictures, size, size, rng)
    if kind < 0.75:
        image = covered(face, rng, pictures)
        height, width = image.shape[:2]
        if rng.random() < 0.5:
            side = crop.side * rng.uniform(0.35, 1.4)
            crop = Crop(rng.uniform(0, width), rng.uniform(0, height), side, size, crop.angle)
        return crop.cut(image)
    if kind < 0.9:
        count = int(rng.integers(2, 5))
        cuts = np.linspace(0, size, count + 1).astype(int)
        tile = size // count
        picture = crop.cut(face.image)
        tiles = [picture[y : y + tile, x : x + tile].copy() for y in cuts[:-1] for x in cuts[:-1]]
        order = rng.permutation(count * count)
        for place, index in zip(order, np.roll(order, 1), strict=True):  # no tile stays where it was
            y, x = cuts[place // count], cuts[place % count]
            picture[y : y + tile, x : x + tile] = tiles[index]
        return picture
    return _fill(size, size, rng, pictures)


def covered(face: LabelledFace, rng: np.random.Generator, pictures: Sequence[Image]) -> Image:
    """A copy of the face's photo in which something lies over the face: a rectangle, or the ellipse about it."""
    image, box = face.image.copy(), Box.around(face.known_points)
    x0, y0 = (max(int(c - 0.12 * box.height), 0) for c in (box.x0, box.y0))
    x1, y1 = (int(c + 0.12 * box.height) + 1 for c in (box.x1, box.y1))
    part = image[y0:y1, x0:x1]
    height, width = part.shape[:2]
    mask = np.ones((height, width), np.uint8)
    if rng.random() < 0.5:
        mask[:] = 0
        middle = (width // 2, height // 2)
        cv2.ellipse(mask, middle, middle, 0, 0, 360, (1,), cv2.FILLED)
    np.copyto(part, _fill(height, width, rng, pictures), where=mask[..., None].astype(np.bool_))
    return image


def _cover_half(picture: Image, box: Box, rng: np.random.Generator, pictures: Sequence[Image]) -> None:
    """Lay something over one half of the face in ``box``, and over the crop beyond it."""
    size, (cx, cy), lean = picture.shape[0], box.centre, rng.uniform(-0.05, 0.05)
    x, y = (int(np.clip(round(value), 1, size - 1)) for value in (cx + lean * box.width, cy + lean * box.height))
    half = (np.s_[:, :x], np.s_[:, x:], np.s_[:y], np.s_[y:])[int(rng.integers(4))]
    part = picture[half]
    part[...] = _fill(part.shape[0], part.shape[1], rng, pictures)


def _fill(height: int, width: int, rng: np.random.Generator, pictures: Sequence[Image]) -> Image:
    """Black, one colour, a slope of colours, noise of some coarseness, or part of a picture."""
    kind = rng.random()
    if kind < 0.2:
        return np.zeros((height, width, 3), np.uint8)
    if kind < 0.35:
        return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    if kind < 0.65:
        coarse = int(rng.integers(2, 24))
        noise = rng.integers(0, 256, (coarse, coarse, 3)).astype(np.uint8)
        way = cv2.INTER_LINEAR if kind < 0.55 else cv2.INTER_NEAREST
        return cv2.resize(noise, (width, height), interpolation=way)  # type: ignore[return-value]
    return _part(pictures, height, width, rng)


def _part(pictures: Sequence[Image], height: int, width: int, rng: np.random.Generator) -> Image:
    """A turned part (height, width, 3) of one of the pictures, at any scale."""
    picture = pictures[int(rng.integers(len(pictures)))]
    size = max(height, width)
    side = math.exp(rng.uniform(math.log(24), math.log(min(picture.shape[:2]))))
    x, y = (rng.uniform(min(side / 2, end / 2), max(end - side / 2, end / 2)) for end in picture.shape[1::-1])
    return Crop(x, y, side, size, rng.uniform(-math.pi, math.pi)).cut(picture)[:height, :width]
