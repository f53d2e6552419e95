"""What follows from the points of a face: head pose, eye and mouth openness, blinks.

Definitions, signs and sources in one place: docs/signals.md. Left and right are the picture's, as in the markups.
Everything here is a pure function of points and of the size of the frame, except ``BlinkDetector``, which follows one
face through time. A value that cannot be had is NaN.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tracker.core import Array
from tracker.markup import Markup

HEAD = np.array(
    [
        (-45, 0, 0),  # outer and inner corner of the eye on the picture's left
        (-19, 2, -6),
        (19, 2, -6),  # inner and outer corner of the one on its right
        (45, 0, 0),
        (0, -1, -25),  # the bridge of the nose from above, to its tip
        (0, 11, -32),
        (0, 24, -39),
        (0, 36, -47),
        (-15, 45, -24),  # below the nose from left to right
        (-8, 47, -28),
        (0, 49, -30),
        (8, 47, -28),
        (15, 45, -24),
    ],
    np.float64,
)
"""Those points of a head that neither speech nor expression moves, in millimetres: x to the picture's right, y down,
z away from the camera; between the outer eye corners is the origin. ``docs/fit_head.py`` made it."""

HEAD_POINTS = {
    "ibug68": (36, 39, 42, 45, 27, 28, 29, 30, 31, 32, 33, 34, 35),
    "wflw98": (60, 64, 68, 72, 51, 52, 53, 54, 55, 56, 57, 58, 59),
}
"""The points of HEAD in each markup that has them."""

_Opening = tuple[tuple[int, int], tuple[tuple[int, int], ...]]  # the corners, and pairs of points above each other
_EYES: dict[str, tuple[_Opening, _Opening]] = {
    "ibug68": (((36, 39), ((37, 41), (38, 40))), ((42, 45), ((43, 47), (44, 46)))),
    "wflw98": (((60, 64), ((61, 67), (62, 66), (63, 65))), ((68, 72), ((69, 75), (70, 74), (71, 73)))),
}
_MOUTH: dict[str, _Opening] = {
    "ibug68": ((48, 54), ((61, 67), (62, 66), (63, 65))),
    "wflw98": ((76, 82), ((89, 95), (90, 94), (91, 93))),
}
_STRAIGHT = np.zeros(5)  # a lens without distortion
_TURNED = math.cos(math.radians(70))  # beyond 70 degrees from the camera, eyes and mouth are too narrow to measure


@dataclass(frozen=True)
class Signals:
    """What the points of one face in one frame say.

    ``pitch``, ``yaw`` and ``roll`` in degrees are those of OpenFace (its pose_Rx, pose_Ry, pose_Rz): the rotation is
    Rx(pitch) Ry(yaw) Rz(roll) in axes to the picture's right, down, and away from the camera. Pitch is positive for a
    face turned down, yaw for one turned to the picture's left, roll for one turned clockwise on the screen.
    ``translation`` in millimetres is where the middle between the outer eye corners is, in the same axes from the
    camera, for a head of average size.

    ``left_eye`` and ``right_eye``: the eye aspect ratio, height over width, about 0.3 for an open eye and 0.1 or less
    for a closed one. ``mouth_openness`` between the inner lips and ``mouth_width`` between the corners, over the
    distance of the outer eye corners. All four are measured as from the front.
    """

    pitch: float
    yaw: float
    roll: float
    translation: tuple[float, float, float]
    left_eye: float
    right_eye: float
    mouth_openness: float
    mouth_width: float

    @property
    def eyes(self) -> float:
        """The mean openness of both eyes: what blinks are found in."""
        return (self.left_eye + self.right_eye) / 2


_NONE = Signals(math.nan, math.nan, math.nan, (math.nan,) * 3, math.nan, math.nan, math.nan, math.nan)


def measure(
    points: Array, markup: Markup, size: tuple[int, int], focal: float | None = None, aspect: float = 1.0
) -> Signals:
    """The signals of a face with ``points`` (P, 2) in pixels of a frame of ``size`` (width, height), whose pixels are
    ``aspect`` times as wide as high.

    The camera is a pinhole with its axis through the middle of the frame and the focal length ``focal`` in heights of a
    pixel; without one, the longer side of the frame (53 degrees from edge to edge). A wrong focal length moves the
    distance in proportion and hardly anything else.

    All values are NaN for a markup that HEAD_POINTS does not have and for points that no head in front of the camera
    can have; eyes and mouth are NaN on a face more than 70 degrees off the camera.
    """
    if markup.name not in HEAD_POINTS:
        return _NONE
    if aspect != 1:
        points, size = (np.asarray(points) + 0.5) * (aspect, 1) - 0.5, (round(size[0] * aspect), size[1])
    camera = _camera(size, focal)
    seen = np.asarray(points, np.float64)[list(HEAD_POINTS[markup.name])]
    if not np.isfinite(seen).all():
        return _NONE
    try:
        found, turn, shift = cv2.solvePnP(HEAD, seen, camera, _STRAIGHT, flags=cv2.SOLVEPNP_SQPNP)
        if not found or not np.isfinite(turn).all() or not shift[2, 0] > 0:
            return _NONE
        turn, shift = cv2.solvePnPRefineLM(HEAD, seen, camera, _STRAIGHT, turn, shift)
    except cv2.error:  # points in one line
        return _NONE
    rotation = np.asarray(cv2.Rodrigues(turn)[0], np.float64)
    pitch, yaw, roll = angles(rotation)
    x, y, z = (float(value) for value in shift.ravel())
    if rotation[2, 2] < _TURNED:
        return Signals(pitch, yaw, roll, (x, y, z), math.nan, math.nan, math.nan, math.nan)
    (a, b), (c, d) = rotation[:2, :2]  # its inverse written out: numpy's wakes threads that then spin for a while
    front = (np.asarray(points, np.float64) @ (np.array([(d, -b), (-c, a)]) / (a * d - b * c)).T).tolist()
    left, right, mouth = (_opening(front, opening) for opening in (*_EYES[markup.name], _MOUTH[markup.name]))
    unit = _distance(front, (HEAD_POINTS[markup.name][0], HEAD_POINTS[markup.name][3])) or math.nan
    left_eye, right_eye = (height / (width or math.nan) for height, width in (left, right))
    return Signals(pitch, yaw, roll, (x, y, z), left_eye, right_eye, mouth[0] / unit, mouth[1] / unit)


def angles(rotation: Array) -> tuple[float, float, float]:
    """Pitch, yaw and roll in degrees of a ``rotation`` (3, 3), which is Rx(pitch) Ry(yaw) Rz(roll)."""
    pitch = math.atan2(-rotation[1, 2], rotation[2, 2])
    yaw = math.asin(min(1.0, max(-1.0, float(rotation[0, 2]))))
    roll = math.atan2(-rotation[0, 1], rotation[0, 0])
    return math.degrees(pitch), math.degrees(yaw), math.degrees(roll)


def _camera(size: tuple[int, int], focal: float | None) -> npt.NDArray[np.float64]:
    width, height = size
    length = float(max(size)) if focal is None else focal
    return np.array([(length, 0, (width - 1) / 2), (0, length, (height - 1) / 2), (0, 0, 1)])


def _distance(points: list[list[float]], ends: tuple[int, int]) -> float:
    return math.dist(points[ends[0]], points[ends[1]])


def _opening(points: list[list[float]], opening: _Opening) -> tuple[float, float]:
    """Its height, the mean over the pairs, and its width."""
    corners, pairs = opening
    return sum(_distance(points, pair) for pair in pairs) / len(pairs), _distance(points, corners)


@dataclass(frozen=True)
class Blink:
    """A blink: ``start`` and ``end`` in seconds of the recording, where the eyes pass three quarters of their usual
    openness; ``depth`` from 0 to 1, the share of it that was lost when they were most closed."""

    start: float
    end: float
    depth: float


class BlinkDetector:
    """Finds the blinks of one face while it is being followed.

    The usual openness is the median over the last ``window`` seconds with open eyes. A blink begins and ends where
    the openness passes ``edge`` of that, if it fell to ``closed`` of it in between and lasted no longer than
    ``longest`` seconds. It is not found within the first half second, and not across a gap of 0.25 s or a jump back
    in time.
    """

    def __init__(self, closed: float = 0.7, edge: float = 0.75, longest: float = 0.8, window: float = 10.0) -> None:
        if not (0 < closed <= edge <= 1 and longest > 0 and window > 0):
            raise ValueError("closed and edge are shares with closed <= edge, longest and window positive")
        self._closed, self._edge, self._longest, self._window = closed, edge, longest, window
        self._open: deque[tuple[float, float]] = deque()  # times and opennesses within the window
        self._sorted: list[float] = []  # these opennesses, for their median
        self._last: tuple[float, float] | None = None
        self._start: float | None = None  # when the eyes passed the edge, while they are below it
        self._least = math.inf

    def update(self, time: float, openness: float) -> Blink | None:
        """Take the openness at ``time`` (NaN: unknown) and give the blink that ended since the last call, or None."""
        if math.isnan(openness):
            return None
        before, self._last = self._last, (time, openness)
        if before is not None and time <= before[0]:
            self._forget()
        if before is not None and not 0 < time - before[0] <= 0.25:
            before, self._start = None, None
        while self._open and self._open[0][0] < time - self._window:
            del self._sorted[bisect_left(self._sorted, self._open.popleft()[1])]
        if self._start is not None and math.isnan(self._level()):  # narrow all through the window: as they are now
            self._forget()
        level = self._level()
        edge = self._edge * level
        if openness < edge:
            if self._start is None:
                self._start, self._least = _crossing(edge, before, time, openness), math.inf
            self._least = min(self._least, openness)
            return None
        self._open.append((time, openness))
        insort(self._sorted, openness)
        start, self._start = self._start, None
        if start is None or not self._least <= self._closed * level:
            return None
        assert before is not None  # without it there is no start
        end = max(_crossing(edge, before, time, openness), before[0])  # the edge may have sunk below what came before
        return Blink(start, end, 1 - max(0.0, self._least) / level) if end - start <= self._longest else None

    def _level(self) -> float:
        """The usual openness, or NaN until half a second is known."""
        if not self._open or self._open[-1][0] - self._open[0][0] < 0.5:
            return math.nan
        low, high = self._sorted[(len(self._sorted) - 1) // 2], self._sorted[len(self._sorted) // 2]
        return (low + high) / 2

    def _forget(self) -> None:
        self._open.clear()
        self._sorted.clear()


def _crossing(edge: float, before: tuple[float, float] | None, time: float, openness: float) -> float:
    """When the straight line from the time and openness ``before`` to those now passes ``edge``; long ago if it
    had passed it before, or nothing is known of before."""
    if before is None or (before[1] < edge) == (openness < edge):
        return -math.inf
    return before[0] + (time - before[0]) * (edge - before[1]) / (openness - before[1])


def blinks(times: Sequence[float] | Array, openness: Sequence[float] | Array) -> list[Blink]:
    """The blinks in a series of one face: ``openness`` (mean of both eyes, NaN where unknown) at ``times`` in
    seconds, as a BlinkDetector with its usual settings finds them."""
    detector = BlinkDetector()
    found = (detector.update(float(time), float(value)) for time, value in zip(times, openness, strict=True))
    return [blink for blink in found if blink]
