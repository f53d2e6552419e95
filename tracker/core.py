"""The words of the tracker: Box, Crop, Frame, Face, Result.

Conventions, stated here once:

* Images are RGB, ``(H, W, 3)`` uint8. Other orders exist only where files or cameras are read and written.
* Coordinates are ``(x, y)`` in pixels with pixel *centres* at integers: an image of width W covers -0.5 to W - 0.5,
  so that resizing by k maps x to (x + 0.5) k - 0.5.
* Angles are in radians, positive from the x axis towards the y axis (clockwise on the screen).
* Time is in seconds as the recording states it; it is never the frame number over a nominal rate, except where
  a recording carries no times, and then ``Frame.timed`` is False.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
"""Real numbers of any precision."""

Points = npt.NDArray[np.float32]
"""(P, 2) float32: x and y of P landmarks, in the frame of reference the docstring names."""

Image = npt.NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


MUDDLED = 0.1
"""Seconds up to which a time before the last is a file's disorder and no jump."""


class TrackerError(Exception):
    """Base of every error a user can cause; its message is one line: what is wrong, where, what to do."""


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in frame pixels, edges included (x0 <= x1, y0 <= y1)."""

    x0: float
    y0: float
    x1: float
    y1: float

    @classmethod
    def around(cls, points: Array) -> Box:
        """The tight rectangle of ``points`` (P, 2)."""
        return cls(*points.min(0).tolist(), *points.max(0).tolist())

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    def intersection(self, other: Box) -> float:
        """Area common to both boxes, in square pixels."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(width, 0.0) * max(height, 0.0)

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        common = self.intersection(other)
        union = self.area + other.area - common
        return common / union if union > 0 else 0.0


@dataclass(frozen=True)
class Crop:
    """The similarity between a frame and the square input of a network.

    A square of ``side`` frame pixels about (``cx``, ``cy``), turned by ``angle``, becomes an input of
    ``size`` x ``size`` pixels.
    """

    cx: float
    cy: float
    side: float
    size: int
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (self.side > 0 and self.size > 0 and math.isfinite(self.side + self.cx + self.cy + self.angle)):
            raise ValueError(f"a crop needs a finite place and a positive size, not {self}")

    @classmethod
    def around(cls, points: Array, context: float, size: int, angle: float = 0.0) -> Crop:
        """The tight rectangle of ``points`` (P, 2, frame pixels) in axes turned by ``angle``, made square about its
        centre, times ``context``."""
        cos, sin = math.cos(angle), math.sin(angle)
        box = Box.around(points @ np.array([[cos, -sin], [sin, cos]]))
        x, y = box.centre
        side = max(box.width, box.height, 1.0) * context
        return cls(cos * x - sin * y, sin * x + cos * y, side, size, angle)

    def moved(self, dx: float, dy: float, scale: float, turn: float) -> Crop:
        """This crop shifted by so many of its sides to the frame's right and down, scaled, and turned by radians."""
        cx, cy = self.cx + dx * self.side, self.cy + dy * self.side
        return Crop(cx, cy, self.side * scale, self.size, self.angle + turn)

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(2, 3): frame coordinates to input coordinates."""
        scale = self.size / self.side
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        middle = self.size / 2 - 0.5
        return np.array(
            [
                [cos, sin, middle - cos * self.cx - sin * self.cy],
                [-sin, cos, middle + sin * self.cx - cos * self.cy],
            ]
        )

    def to_input(self, points: Array) -> npt.NDArray[np.float64]:
        """Points (..., 2) from frame pixels to input pixels."""
        matrix = self.matrix
        return points @ matrix[:, :2].T + matrix[:, 2]

    def to_frame(self, points: Array) -> npt.NDArray[np.float64]:
        """Points (..., 2) from input pixels to frame pixels."""
        scale = self.side / self.size  # written out: numpy's inverse wakes threads that then spin for a while
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        return (points - (self.size / 2 - 0.5)) @ np.array([[cos, sin], [-sin, cos]]) + (self.cx, self.cy)

    def cut(self, image: Image) -> Image:
        """The (size, size, 3) network input cut from ``image``; what lies outside the frame is black.

        A crop much larger than the input is first halved by area averaging, as often as is needed, so that nothing
        aliases.
        """
        crop, halvings = self, math.floor(math.log2(self.side / self.size))
        if halvings > 0:
            image, crop = self._shrunk(image, halvings)
        return cv2.warpAffine(  # type: ignore[return-value]
            image, crop.matrix, (self.size, self.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )

    def _shrunk(self, image: Image, halvings: int) -> tuple[Image, Crop]:
        """The part of the image under this crop with its sides halved so often, and the crop within it."""
        factor = 2**halvings
        reach = self.side * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) / 2 + factor
        height, width = image.shape[:2]
        x0, y0 = (int(min(max(c - reach, 0), end)) for c, end in ((self.cx, width), (self.cy, height)))
        x1, y1 = (int(min(max(c + reach + 1, 0), end)) for c, end in ((self.cx, width), (self.cy, height)))
        columns, rows = (x1 - x0) // factor, (y1 - y0) // factor
        if columns < 1 or rows < 1:  # the crop lies beside the frame
            return np.zeros((1, 1, 3), np.uint8), Crop(1e6, 1e6, self.side, self.size)
        small: Any = image[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
        for _ in range(halvings):
            small = halved(small)
        cx, cy = ((c - start + 0.5) / factor - 0.5 for c, start in ((self.cx, x0), (self.cy, y0)))
        return small, Crop(cx, cy, self.side / factor, self.size, self.angle)


def halved(image: Any) -> Any:
    """The picture with half its sides, each pixel the mean of four: ten times as fast as OpenCV's average over any
    other number of them, so that a picture is made much smaller by halves."""
    return cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a recording: ``image`` (H, W, 3) uint8 RGB, read-only; ``index`` counted from 0;
    ``time`` in seconds as the recording states it, or by its nominal rate where ``timed`` is False; ``aspect`` the
    width of a pixel over its height, 1 but in some video files."""

    image: Image
    index: int
    time: float
    timed: bool = True
    aspect: float = 1.0


@dataclass(frozen=True, eq=False)
class Face:
    """A face in one frame.

    ``points`` (P, 2) float32 in frame pixels; ``score`` 0 to 1, how sure the tracker is that this is a face;
    ``confidence`` (P,) 0 to 1 for each point, how likely it lies within 5 % of the face's size of its true place, and
    ``presence`` 0 to 1, how likely the crop shows one whole face in its place; both None where the model gives none;
    ``box`` the tight rectangle of the points; ``crop`` what the network saw; ``attention`` AAN's maps (h, w) float32
    from shallow to deep, in the crop's frame of reference, or None.
    """

    id: int
    points: Points
    score: float
    box: Box
    crop: Crop
    confidence: npt.NDArray[np.float32] | None = None
    attention: tuple[npt.NDArray[np.float32], ...] | None = None
    presence: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A frame, the faces found in it, and the milliseconds each stage took. The overlay is drawn from this alone,
    so that it can never lie on another picture."""

    frame: Frame
    faces: tuple[Face, ...]
    milliseconds: Mapping[str, float] = field(default_factory=dict)
