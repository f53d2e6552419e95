"""Pictures to train the face detector on: photos of faces laid over backgrounds, at all sizes, rolls and lights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tracker.core import Crop, Image
from tracker.datasets import DataError, read_picture
from tracker.detector import STRIDES, roll
from tracker.training.augment import blurred, cover, shaded
from tracker.training.datasets import LabelledFace

SIZES = ((0.0, 44.0), (28.0, 100.0), (64.0, math.inf))
"""Sides of the faces, in pixels, that each level of the network is asked for; in between, two are."""
SMALLEST = 5.0
"""Side in pixels below which a face is neither asked for nor punished."""
FAINTEST = 6.0
"""Standard deviation of a face's pixels below which it is too dark or too pale to ask for."""
CANVASES = (256, 192, 320)
"""Sides of the scenes. All of a batch have the same; there are fewer of the larger."""

Others = npt.NDArray[np.float32]
"""(K, 3): centre x, y and side of faces that have no label."""


@dataclass(frozen=True, eq=False)
class Scene:
    """``image`` (S, S, 3); ``faces`` in it, each (13,): centre, side, five points x, y, in its pixels; ``unknown``:
    centre and side of those that are not known well enough to ask for them."""

    image: Image
    faces: list[npt.NDArray[np.float32]]
    unknown: list[Sequence[float]]


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture with the one face in it that is labelled: the picture and its halves, quarters and eighths; the centre,
    side and roll of the square about the landmarks; five points (5, 2); where faces of others are."""

    images: tuple[Image, ...]
    centre: tuple[float, float]
    side: float
    roll: float
    five: npt.NDArray[np.float32]
    others: Others

    @classmethod
    def of(cls, face: LabelledFace, others: Sequence[Sequence[float]] = ()) -> Photo:
        points = face.unbiased
        five = face.markup.five(points).astype(np.float32)
        angle = roll(five)
        crop = Crop.around(points, 1.0, 64, angle)
        known = np.array(others, np.float32).reshape(-1, 3)
        return cls(_pyramid(face.image), (crop.cx, crop.cy), crop.side, angle, five, known)


def _pyramid(image: Image) -> tuple[Image, ...]:
    """The picture and its halves, quarters and eighths."""
    images = [np.ascontiguousarray(image)]
    while len(images) < 4:
        height, width = (max(side // 2, 1) for side in images[-1].shape[:2])
        images.append(cv2.resize(images[-1], (width, height), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    return tuple(images)


def photos(faces: Sequence[LabelledFace], others: Mapping[str, Sequence[Sequence[float]]]) -> list[Photo]:
    """The photos of labelled faces; ``others`` is what ``label.other_faces`` found."""
    return [Photo.of(face, others.get(f"{face.dataset}/{face.name}", ())) for face in faces]


TEXTURES = (
    "brick.png",
    "cell.png",
    "chessboard_RGB.png",
    "clock_motion.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "phantom.png",
    "retina.jpg",
    "text.png",
)
"""Pictures in scikit-image's wheel that hold no face; a few others of it are kept to measure false positives on."""


def textures() -> list[Image]:
    """Pictures without faces (H, W, 3), out of scikit-image's wheel. DataError when it is not installed."""
    try:
        import skimage.data
    except ImportError as error:
        raise DataError("the textures are in scikit-image, which is not installed; pip install scikit-image") from error
    folder = Path(skimage.data.__file__).parent
    return [np.ascontiguousarray(read_picture(folder / name)) for name in TEXTURES]


class Scenes:
    """Batch number ``step`` of scenes made of ``photos`` and of ``textures`` without faces, from ``seed`` and step."""

    def __init__(self, photos: Sequence[Photo], textures: Sequence[Image], batch: int, seed: int) -> None:
        self.photos, self.textures, self.batch, self.seed = photos, textures, batch, seed

    def __getitem__(self, step: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        rng = np.random.default_rng((self.seed, step))
        size = CANVASES[0] if rng.random() < 0.5 else CANVASES[int(rng.integers(1, len(CANVASES)))]
        count = max(round(self.batch * (CANVASES[0] / size) ** 2), 1)
        scenes = [self.scene(size, rng) for _ in range(count)]
        images, targets, states = (
            np.stack(values)
            for values in zip(
                *((scene.image, *asked(scene.faces, scene.unknown, size)) for scene in scenes), strict=True
            )
        )
        return images, targets, states

    def scene(self, size: int, rng: np.random.Generator) -> Scene:
        """One photo, or a grid of several, over a background; some places stay without a face."""
        canvas = self._background(size, size, rng)
        cells = 1 if rng.random() < 0.4 else int(rng.integers(2, 5))
        cuts = [list(_cuts(size, cells, rng)) for _ in range(2)]
        faces: list[npt.NDArray[np.float32]] = []
        unknown: list[Sequence[float]] = []
        for y0, y1 in cuts[1]:
            for x0, x1 in cuts[0]:
                if rng.random() < 0.15:
                    if rng.random() < 0.5:
                        canvas[y0:y1, x0:x1] = self._background(y1 - y0, x1 - x0, rng)
                    continue
                patch = np.ascontiguousarray(canvas[y0:y1, x0:x1])
                decoy = rng.random() < 0.25
                photo = self._decoy(rng) if decoy else self.photos[int(rng.integers(len(self.photos)))]
                face, visible, others = _laid(photo, patch, cells == 1, rng)
                patch = _photographed(patch, face, rng)
                canvas[y0:y1, x0:x1] = patch
                if decoy:
                    continue
                x, y, reach = int(face[0]), int(face[1]), max(int(face[2] / 2), 1)
                shown = patch[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach].std() >= FAINTEST
                face[:2] += (x0, y0)
                face[3:].reshape(5, 2)[...] += (x0, y0)
                others[:, :2] += (x0, y0)
                unknown += others.tolist()
                if visible > 0.6 and face[2] >= SMALLEST and shown:
                    faces.append(face)
                elif visible > 0.1:
                    unknown.append(face[:3].tolist())
        if rng.random() < 0.3:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))]
            canvas = cv2.imdecode(cv2.imencode(".jpg", canvas, quality)[1], cv2.IMREAD_COLOR)  # type: ignore[assignment]
        return Scene(canvas, faces, unknown)

    def _background(self, height: int, width: int, rng: np.random.Generator) -> Image:
        """A picture without a face: one colour, a texture, or a photo whose faces are covered."""
        kind = rng.random()
        if kind < 0.12:
            return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
        if kind < 0.22:
            return _zoomed(_drawn(rng), height, width, rng)
        if kind < 0.5:
            return _zoomed(self.textures[int(rng.integers(len(self.textures)))], height, width, rng)
        return _zoomed(self._covered(rng), height, width, rng)

    def _decoy(self, rng: np.random.Generator) -> Photo:
        """Something that is laid over a background as a face is, and is none."""
        kind = rng.random()
        if kind < 0.45:
            image = _drawn(rng)
        elif kind < 0.65:
            image = _zoomed(self.textures[int(rng.integers(len(self.textures)))], 128, 128, rng)
        else:
            image = self._covered(rng)
        height, width = image.shape[:2]
        side = min(height, width) * float(rng.uniform(0.3, 0.7))
        centre = (float(rng.uniform(0.3, 0.7) * width), float(rng.uniform(0.3, 0.7) * height))
        return Photo(_pyramid(image), centre, side, 0.0, np.zeros((5, 2), np.float32), np.zeros((0, 3), np.float32))

    def _covered(self, rng: np.random.Generator) -> Image:
        """A photo whose faces are covered."""
        photo = self.photos[int(rng.integers(len(self.photos)))]
        image = photo.images[0].copy()
        squares = [(*photo.centre, photo.side), *photo.others.tolist()]
        for cx, cy, side in squares:
            reach = side * rng.uniform(0.6, 0.9)
            x0, y0 = max(int(cx - reach), 0), max(int(cy - reach), 0)
            x1, y1 = int(cx + reach) + 1, int(cy + reach) + 1
            place = image[y0:y1, x0:x1]
            if not place.size:
                continue
            if rng.random() < 0.5:
                texture = self.textures[int(rng.integers(len(self.textures)))]
                place[...] = _zoomed(texture, place.shape[0], place.shape[1], rng)
            else:
                place[...] = rng.integers(0, 256, 3)
        return image


def _cuts(size: int, cells: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """``size`` cut into ``cells`` parts of about the same length."""
    marks = (np.arange(1, cells) + rng.uniform(-0.3, 0.3, cells - 1)) * size / cells
    ends = [0, *(int(mark) for mark in marks), size]
    return pairwise(ends)


def _drawn(rng: np.random.Generator) -> Image:
    """Letters, discs, bars and lines (128, 128, 3), often in the colours of skin, over a slope of light."""
    slope = np.linspace(0, 1, 128, dtype=np.float32)[:, None, None]
    ends = rng.uniform(0, 255, (2, 1, 1, 3)).astype(np.float32)
    image = np.repeat(ends[0] + slope * (ends[1] - ends[0]), 128, 1).astype(np.uint8)
    for _ in range(int(rng.integers(1, 9))):
        light = rng.uniform(60, 255)
        skin = (light, light * rng.uniform(0.55, 0.9), light * rng.uniform(0.2, 0.8))
        colour = skin if rng.random() < 0.6 else tuple(rng.uniform(0, 255, 3))
        x, y = (int(value) for value in rng.integers(0, 128, 2))
        long, wide = (int(value) for value in rng.integers(3, 50, 2))
        thick = -1 if rng.random() < 0.6 else int(rng.integers(1, 10))
        kind = rng.random()
        if kind < 0.35:
            letters = "".join(chr(int(code)) for code in rng.integers(33, 127, int(rng.integers(1, 6))))
            font = int(rng.integers(0, 8))
            cv2.putText(
                image, letters, (x - 30, y + 20), font, rng.uniform(0.6, 4), colour, abs(thick) + 1, cv2.LINE_AA
            )
        elif kind < 0.75:
            cv2.ellipse(image, (x, y), (long, wide), rng.uniform(0, 360), 0, 360, colour, thick, cv2.LINE_AA)
        elif kind < 0.9:
            cv2.rectangle(image, (x - long, y - wide), (x + long, y + wide), colour, thick)
        else:
            cv2.line(image, (x, y), tuple(int(value) for value in rng.integers(0, 128, 2)), colour, abs(thick) + 1)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 3))  # type: ignore[assignment]
    return image


def _zoomed(image: Image, height: int, width: int, rng: np.random.Generator) -> Image:
    """A part of ``image``, at a random scale, roll and place, that fills (height, width); mirrored at its edges."""
    scale = math.exp(rng.uniform(-1.2, 1.2)) * max(height / image.shape[0], width / image.shape[1])
    if scale < 0.7:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        scale = 1.0
    angle = rng.normal(0, 0.4) if rng.random() < 0.7 else rng.uniform(-math.pi, math.pi)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    cx, cy = rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0])
    matrix = np.array([[cos, -sin, width / 2 - cos * cx + sin * cy], [sin, cos, height / 2 - sin * cx - cos * cy]])
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)  # type: ignore[return-value]


def _laid(
    photo: Photo, patch: Image, alone: bool, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], float, Others]:
    """Lay ``photo`` over ``patch``. Its face (13,): centre, side, five points in pixels of the patch; how much of its
    square is in the patch; and the faces of others."""
    height, width = patch.shape[:2]
    room = min(height, width)
    low, high = (24, 1.2 * room) if alone else (6, 0.9 * room)
    side = math.exp(rng.uniform(math.log(low), math.log(high)))
    turn = rng.random()
    if turn < 0.55:
        angle = float(rng.normal(0, 0.2))
    elif turn < 0.85:
        angle = float(rng.uniform(-1.9, 1.9))
    else:
        angle = float(rng.uniform(-math.pi, math.pi))
    reach = side * rng.uniform(0.3, 0.6)
    cx, cy = (float(rng.uniform(min(reach, end / 2), max(end - reach, end / 2))) for end in (width, height))
    mirrored = rng.random() < 0.5
    five, centre, others, own = photo.five, np.array(photo.centre), photo.others.copy(), photo.roll
    scale = side / photo.side
    level = int(np.clip(math.floor(-math.log2(scale)), 0, 3)) if scale < 1 else 0
    if level and rng.random() < 0.3:
        level -= 1  # as a camera that leaves out pixels
    image = photo.images[level]
    shrink = np.array([image.shape[1] / photo.images[0].shape[1], image.shape[0] / photo.images[0].shape[0]])
    turned = angle - own if not mirrored else angle + own
    cos, sin = scale * math.cos(turned), scale * math.sin(turned)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    shift = np.array([cx, cy]) - linear @ centre
    # the same from pixels of the smaller image
    matrix = np.column_stack([linear / shrink, shift + linear @ ((0.5 / shrink) - 0.5)])
    flags = cv2.INTER_LINEAR if rng.random() < 0.9 else cv2.INTER_NEAREST
    if rng.random() < 0.5:
        cv2.warpAffine(image, matrix, (width, height), dst=patch, flags=flags, borderMode=cv2.BORDER_TRANSPARENT)
    else:
        laid = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        away = np.hypot(np.arange(width) - cx, (np.arange(height) - cy)[:, None])[..., None] / side
        radius, soft = rng.uniform(0.7, 1.1), rng.uniform(0.05, 0.3)
        patch[...] = patch + (laid.astype(np.float32) - patch) * np.clip((radius - away) / soft, 0, 1)
    moved = five @ linear.T + shift
    if mirrored:
        moved = moved[[1, 0, 2, 4, 3]]
    face = np.concatenate([[cx, cy, side], moved.ravel()]).astype(np.float32)
    inside = np.prod([min(c + side / 2, end) - max(c - side / 2, 0) for c, end in ((cx, width), (cy, height))])
    others[:, :2] = others[:, :2] @ linear.T + shift
    others[:, 2] *= scale
    return face, float(inside / side**2), others


def _photographed(patch: Image, face: npt.NDArray[np.float32], rng: np.random.Generator) -> Image:
    """The same patch in other light, out of focus, with noise, and with something before the ``face``."""
    cx, cy, side = (float(value) for value in face[:3])
    if rng.random() < 0.3 and side >= 16:
        x0, y0 = (max(int(c - 0.75 * side), 0) for c in (cx, cy))
        near = patch[y0 : int(cy + 0.75 * side), x0 : int(cx + 0.75 * side)]
        if min(near.shape[:2]) >= 12:
            light = near.astype(np.float32)
            cover(light, rng)
            near[...] = light
    if rng.random() < 0.3:
        patch = blurred(patch, rng, side * math.exp(rng.uniform(0, 1.8)))
    table = np.arange(256, dtype=np.float64)[:, None].repeat(3, 1)
    if rng.random() < 0.8:
        dark = rng.uniform(-2.3, -0.5) if rng.random() < 0.17 else rng.normal(0, 0.3)
        gain = math.exp(dark) * np.exp(rng.normal(0, 0.1, 3))
        middle = float(patch.mean())
        table = ((table - middle) * math.exp(rng.normal(0, 0.3)) + middle + rng.normal(0, 12)) * gain
    if rng.random() < 0.12:
        patch = cv2.cvtColor(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    patch = cv2.LUT(patch, np.clip(table, 0, 255).astype(np.uint8)[None])  # type: ignore[assignment]
    if rng.random() < 0.15:
        patch = np.clip(shaded(patch.astype(np.float32), rng), 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(2, 16), patch.shape)
        patch = np.clip(patch + noise, 0, 255).astype(np.uint8)
    return patch


def asked(
    faces: Sequence[npt.NDArray[np.float32]], unknown: Sequence[Sequence[float]], size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """What each cell of a picture (size, size) should answer (C, 13), and whether it should (C,): 1 yes, 0 there is no
    face, -1 it is not asked.

    ``faces`` and ``unknown`` are those of a ``Scene``. A face is asked of the cells about its centre, on the
    levels of its size; the other cells over it, and those over ``unknown`` faces (centre, side), are not asked."""
    targets, states = [], []
    for stride, (low, high) in zip(STRIDES, SIZES, strict=True):
        count = size // stride
        target = np.zeros((count, count, 13), np.float32)
        state = np.zeros((count, count), np.int8)
        for cx, cy, side in [*unknown, *(face[:3] for face in faces)]:
            state[_about(cx, cy, 0.5 * side, stride, count)] = -1
        for face in sorted(faces, key=lambda face: -face[2]):
            cx, cy, side = face[:3]
            if not low < side <= high:
                continue
            place = _about(cx, cy, max(0.5 * stride, min(0.25 * side, 1.5 * stride)), stride, count)
            rows, columns = np.mgrid[place]
            state[place] = 1
            target[place][..., 0] = cx / stride - columns
            target[place][..., 1] = cy / stride - rows
            target[place][..., 2] = math.log(side / (4 * stride))
            target[place][..., 3:] = ((face[3:].reshape(5, 2) - (cx, cy)) / side).ravel()
        targets.append(target.reshape(-1, 13))
        states.append(state.ravel())
    return np.concatenate(targets), np.concatenate(states)


def _about(cx: float, cy: float, reach: float, stride: int, count: int) -> tuple[slice, slice]:
    """The rows and columns of the cells within ``reach`` pixels of a place."""
    (x0, x1), (y0, y1) = (
        (max(math.ceil((c - reach) / stride), 0), min(math.floor((c + reach) / stride) + 1, count)) for c in (cx, cy)
    )
    return slice(y0, max(y1, y0)), slice(x0, max(x1, x0))
