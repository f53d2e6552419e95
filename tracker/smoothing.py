"""The One-Euro filter, for points of a face, in units of face size and real time.

Source: Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tracker.core import Array, Points


class OneEuro:
    """A low-pass filter for the points (P, 2) of one face whose cutoff rises with each point's speed.

    ``cutoff`` in Hz is what a face at rest gets: lower is steadier. ``beta`` in Hz per (face size / second) is how
    fast the cutoff rises with speed: higher lags less. ``speed_cutoff`` in Hz smooths the speed itself. Because
    speeds count in face sizes a second, the same settings serve every resolution, distance and frame rate.
    After a pause of more than ``memory`` seconds, or when time runs backwards, it starts anew.
    """

    def __init__(self, cutoff: float = 1.5, beta: float = 12.0, speed_cutoff: float = 2.0, memory: float = 0.5) -> None:
        if not (cutoff > 0 and beta >= 0 and speed_cutoff > 0):
            raise ValueError("cutoff and speed_cutoff must be positive, beta at least 0")
        self.cutoff, self.beta, self.speed_cutoff, self.memory = cutoff, beta, speed_cutoff, memory
        self._time = -math.inf
        self._points: npt.NDArray[np.float64] = np.empty(0)
        self._velocity: npt.NDArray[np.float64] = np.empty(0)

    def __call__(self, points: Array, size: float, time: float) -> Points:
        """The smoothed points (P, 2). ``size`` is the face's size in the same pixels, ``time`` in seconds."""
        step = time - self._time
        if not 0 < step <= self.memory or self._points.shape != points.shape:
            if step == 0 and self._points.shape == points.shape:
                return self._points.astype(np.float32)
            self._points = np.array(points, np.float64)
            self._velocity = np.zeros_like(self._points)
        else:
            velocity = (points - self._points) / (step * max(size, 1e-6))
            self._velocity += _weight(self.speed_cutoff, step) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
            self._points += _weight(self.cutoff + self.beta * speed, step) * (points - self._points)
        self._time = time
        return self._points.astype(np.float32)


def zero_lag(times: Array, points: Array, sizes: Array) -> Points:
    """The points (T, P, 2) of one face at ``times`` (T,) in seconds, filtered forwards and then backwards, so that the
    lag of one way takes back that of the other. ``sizes`` (T,) are the face's size in each frame.

    For recordings only, as it needs the future. Each way has a higher cutoff than the live filter, so that a face at
    rest is let through up to the same frequency: twice a first-order filter of cutoff f has the cutoff 0.64 f.
    """
    passes = math.sqrt(math.sqrt(2) - 1)
    for way in (1, -1):
        smooth = OneEuro()
        smooth.cutoff, smooth.beta = smooth.cutoff / passes, smooth.beta / passes
        steps = zip(points[::way], sizes[::way], times[::way], strict=True)
        points = np.stack([smooth(place, float(size), way * float(time)) for place, size, time in steps])[::way]
    return np.ascontiguousarray(points, np.float32)


def _weight(cutoff: npt.NDArray[np.float64] | float, step: float) -> npt.NDArray[np.float64] | float:
    """The share of the new value in a first-order low-pass filter of ``cutoff`` Hz after ``step`` seconds."""
    turn = 2 * math.pi * cutoff * step
    return turn / (turn + 1)
