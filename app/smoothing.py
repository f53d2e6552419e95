"""The smoothing of a running pipeline: settings that may change at any frame, and what the filter does to points."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tracker.core import Points
from tracker.smoothing import OneEuro

SPAN = 1.0
"""Seconds over which the read-outs are averaged."""


class Smoothing:
    """The One-Euro settings that all faces share, and the read-outs.

    ``jitter_before`` and ``jitter`` are the mean length of a point's second difference from frame to frame, over the
    eye distance, of the points as located and as smoothed: what a still face trembles by. ``lag`` in seconds is how
    far behind the smoothed points of a moving face are: the mean of (located - smoothed) . velocity over that of
    velocity . velocity. All are NaN before they are known.
    """

    def __init__(self, on: bool, cutoff: float, beta: float) -> None:
        self.set(on, cutoff, beta)
        self.jitter_before = self.jitter = self.lag = math.nan
        self._behind = self._speed = 0.0

    def set(self, on: bool, cutoff: float, beta: float) -> None:
        self.on, self.cutoff, self.beta = on, cutoff, beta

    def filter(self) -> Callable[[Points, float, float], Points]:
        """The filter of one face, as Tracker's ``smoother``."""
        return _Filter(self)

    def note(self, bends: tuple[float, float], behind: float, speed: float, step: float) -> None:
        """Take one frame of one face into the read-outs: second differences before and after, and both products."""
        new = 1 - math.exp(-step / SPAN)
        before, after = bends
        self.jitter_before = before if math.isnan(self.jitter_before) else _mix(self.jitter_before, before, new)
        self.jitter = after if math.isnan(self.jitter) else _mix(self.jitter, after, new)
        self._behind, self._speed = _mix(self._behind, behind, new), _mix(self._speed, speed, new)
        self.lag = self._behind / self._speed if self._speed > 0 else math.nan


class _Filter:
    """One face's filter, with the last points it was given and gave."""

    def __init__(self, shared: Smoothing) -> None:
        self._shared = shared
        self._filter: OneEuro | None = None
        self._last: list[tuple[float, npt.NDArray[np.float64]]] = []  # time; (2, P, 2) located and smoothed

    def __call__(self, points: Points, size: float, time: float) -> Points:
        shared = self._shared
        smoothed = points
        if not shared.on:
            self._filter = None
        else:
            self._filter = self._filter or OneEuro()
            self._filter.cutoff, self._filter.beta = shared.cutoff, shared.beta
            smoothed = self._filter(points, size, time)
        if self._last and not 0 < time - self._last[-1][0] <= 0.5:
            self._last = []
        now = np.stack([points, smoothed]).astype(np.float64) / max(size, 1e-6)
        self._last = [*self._last, (time, now)][-3:]
        if len(self._last) == 3:
            (_, a), (before, b), (_, c) = self._last
            bends = np.linalg.norm(c - 2 * b + a, axis=-1).mean(-1)
            step = time - before
            velocity = (c[1] - b[1]) / step
            behind, speed = ((c[0] - c[1]) * velocity).mean(), (velocity**2).mean()
            shared.note((float(bends[0]), float(bends[1])), float(behind), float(speed), step)
        return smoothed


def _mix(old: float, new: float, share: float) -> float:
    return old + share * (new - old)
