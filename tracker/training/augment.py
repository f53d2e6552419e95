"""One training face made from one labelled face: another place, size, roll, light, sharpness, and things before it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from tracker.annotations import Flags
from tracker.core import Array, Crop, Image
from tracker.markup import Markup

Sample = tuple[Image, npt.NDArray[np.float32], Flags | None]


def augmented(
    image: Image,
    points: Array,
    markup: Markup,
    context: float,
    size: int,
    rng: np.random.Generator,
    known: Flags | None = None,
    jitter: float = 1.0,
    damage: float = 1.0,
) -> Sample:
    """``placed`` with ``jitter`` and ``photographed`` with ``damage`` as their strengths."""
    picture, moved, known = placed(image, points, markup, context, size, rng, known, jitter)
    return photographed(picture, rng, damage), moved, known


def placed(
    image: Image,
    points: Array,
    markup: Markup,
    context: float,
    size: int,
    rng: np.random.Generator,
    known: Flags | None = None,
    strength: float = 1.0,
) -> Sample:
    """A crop (size, size, 3), its points (P, 2) in crop pixels, and which of them are known (P,), or None for all.

    ``points`` are in pixels of ``image``; the crop lies about those that are ``known``. Half of the crops are mirrored.
    All of it follows from ``rng``, and the same numbers are drawn whether or not there is a mask.
    """
    crop = jittered(points if known is None else points[known], context, size, rng, strength)
    picture = crop.cut(image)
    moved = crop.to_input(points)
    if rng.random() < 0.5:
        picture = np.ascontiguousarray(picture[:, ::-1])
        moved = moved[list(markup.mirror)]
        moved[:, 0] = size - 1 - moved[:, 0]
        known = None if known is None else known[list(markup.mirror)]
    return picture, moved.astype(np.float32), known


def jittered(points: Array, context: float, size: int, rng: np.random.Generator, strength: float = 1.0) -> Crop:
    """The crop about ``points`` with the roll, shift and scale that a tracker's own crops have, and more.

    How much of ``strength`` they have is itself drawn for each face, so that well placed crops are common and bad ones
    occur."""
    strength *= rng.random()
    angle = float(np.clip(strength * rng.normal(0, math.radians(25)), -1.2, 1.2))
    crop = Crop.around(points, context, size, angle)
    dx, dy = strength * rng.normal(0, 0.06, 2) * crop.side
    side = crop.side * math.exp(strength * rng.normal(0.02, 0.12))
    return Crop(crop.cx + dx, crop.cy + dy, side, size, angle)


def photographed(picture: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """The same crop as a worse camera, other light or a hand before the face would have it; each of these happens
    ``strength`` times as often as usual."""
    size = picture.shape[0]

    def happens(usually: float) -> bool:
        return rng.random() < usually * strength

    if happens(0.25):
        small = int(rng.integers(size // 3, size))
        way = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_NEAREST
        picture = cv2.resize(cv2.resize(picture, (small, small), interpolation=way), (size, size))  # type: ignore[assignment]
    if happens(0.2):
        picture = blurred(picture, rng)
    light = picture.astype(np.float32)
    if happens(0.7):
        gain = math.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
        middle = light.mean()
        light = (light - middle) * np.float32(math.exp(rng.normal(0, 0.25))) + middle
        light = light * gain + np.float32(rng.normal(0, 12))
    if happens(0.15):
        light[...] = light.mean(-1, keepdims=True)
    if happens(0.2):
        light = shaded(light, rng)
    if happens(0.2):
        light += rng.normal(0, rng.uniform(2, 14), light.shape).astype(np.float32)
    if happens(0.35):
        for _ in range(int(rng.integers(1, 4))):
            cover(light, rng)
    picture = np.clip(light, 0, 255).astype(np.uint8)
    if happens(0.15):
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return picture


def blurred(picture: Image, rng: np.random.Generator, size: float | None = None) -> Image:
    """Out of focus, or moved while the shutter was open; ``size`` is the side of a face's crop, by default all."""
    size = size or picture.shape[0]
    if rng.random() < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.2) * size / 64)  # type: ignore[return-value]
    length = int(rng.integers(2, 6) * size / 64) | 1
    line = np.zeros((length, length), np.float32)
    middle, angle = length // 2, rng.uniform(0, math.pi)
    reach = np.array([math.cos(angle), math.sin(angle)]) * middle
    start, end = ([round(middle + sign * value) for value in reach] for sign in (-1, 1))
    cv2.line(line, start, end, (1.0,))
    return cv2.filter2D(picture, -1, line / line.sum())  # type: ignore[return-value]


def shaded(light: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Light from one side."""
    height, width = light.shape[:2]
    x, y = np.meshgrid(np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32))
    angle = rng.uniform(0, 2 * math.pi)
    slope = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    return light * np.exp(np.float32(rng.uniform(0.2, 0.9)) * slope)[..., None]


def cover(light: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Lay a rectangle of one colour, of noise or of another part of the crop over the face; or cut the crop off
    at one side, as at the edge of a frame."""
    size = min(light.shape[:2])
    width, height = (int(value) for value in rng.integers(size // 12, size // 2, 2))
    x, y = int(rng.integers(-width // 2, size - width // 2)), int(rng.integers(-height // 2, size - height // 2))
    place = np.s_[max(y, 0) : y + height, max(x, 0) : x + width]
    kind = rng.random()
    if kind < 0.15:
        depth = int(rng.integers(1, size // 4))
        side = (np.s_[:depth], np.s_[-depth:], np.s_[:, :depth], np.s_[:, -depth:])[int(rng.integers(4))]
        light[side] = 0
    elif kind < 0.5:
        light[place] = rng.uniform(0, 255, 3)
    elif kind < 0.7:
        light[place] = rng.uniform(0, 255, light[place].shape)
    else:
        light[place] = np.roll(light, (int(rng.integers(size)), int(rng.integers(size))), (0, 1))[place]
