"""The One-Euro filter, for the motion of a face and of its points, in units of face size and real time.

Source: Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tracker.core import Array, Points

Plane = npt.NDArray[np.complex128]
"""Points (P,) as x + iy, so that a product with one number turns and scales them."""


WHOLE = 2.0
"""How many times ``beta`` the motion of the face as a whole gets: all points tell of it, so that it trembles less."""
NOISE, ROUNDS = 0.01, 3
"""Distance in face sizes by which a point may miss the motion of the face as a whole and still count by half, and the
rounds in which it is found."""


class OneEuro:
    """A low-pass filter for the points (P, 2) of one face whose cutoff rises with speed.

    The motion of the face as a whole (shift, turn, scale) and what its points do beside it, as those of a mouth that
    speaks, are filtered apart (the paper filters each signal by itself): under a head or a camera that moves the points
    hardly lag.
    ``cutoff`` in Hz is what a face at rest gets: lower is steadier. ``beta`` in Hz per (face size / second) is how
    fast the cutoff rises with speed, twice as fast for the face as a whole: higher lags less. ``speed_cutoff`` in Hz
    smooths the speeds themselves. Because speeds count in face sizes a second, the same settings serve every
    resolution, distance and frame rate. After a pause of more than ``memory`` seconds, or when time runs backwards,
    it starts anew.
    """

    def __init__(self, cutoff: float = 1.5, beta: float = 16.0, speed_cutoff: float = 2.0, memory: float = 0.5) -> None:
        if not (cutoff > 0 and beta >= 0 and speed_cutoff > 0):
            raise ValueError("cutoff and speed_cutoff must be positive, beta at least 0")
        self.cutoff, self.beta, self.speed_cutoff, self.memory = cutoff, beta, speed_cutoff, memory
        self._time = -math.inf
        self._points: Plane = np.empty(0, complex)
        self._velocities: list[Plane] = []

    def __call__(self, points: Array, size: float, time: float) -> Points:
        """The smoothed points (P, 2). ``size`` is the face's size in the same pixels, ``time`` in seconds."""
        step = time - self._time
        places = points[:, 0] + 1j * points[:, 1].astype(np.float64)
        if not 0 < step <= self.memory or self._points.shape != places.shape:
            if step != 0 or self._points.shape != places.shape:
                self._points, self._velocities = places, [np.zeros_like(places), np.zeros_like(places)]
        else:
            size = max(size, 1e-6)
            moved = _moved(self._points, places, size)
            whole, rest = self._velocities
            whole += _weight(self.speed_cutoff, step) * ((moved - self._points) / (step * size) - whole)
            rest += _weight(self.speed_cutoff, step) * ((places - moved) / (step * size) - rest)
            speed = math.sqrt(np.vdot(whole, whole).real / max(len(whole), 1))
            self._points = (
                self._points
                + _weight(self.cutoff + WHOLE * self.beta * speed, step) * (moved - self._points)
                + _weight(self.cutoff + self.beta * np.abs(rest), step) * (places - moved)
            )
        self._time = time
        return np.stack([self._points.real, self._points.imag], axis=-1).astype(np.float32)


def _moved(before: Plane, now: Plane, size: float) -> Plane:
    """The points ``before`` after the motion of the face as a whole (a similarity) that brings most of them nearest to
    ``now``: least squares in which a point counts the less, the farther it is off by the round before."""
    moved = now  # at first all count alike
    for _ in range(ROUNDS):
        off = now - moved
        shares = 1 / (off.real**2 + off.imag**2 + (NOISE * size) ** 2)
        shares = shares / shares.sum() + 0j  # complex: the products below are then twice as fast
        middle, target = shares.dot(before), shares.dot(now)
        shape = before - middle
        weighted = shares * shape
        spread = np.vdot(weighted, shape).real
        turn = np.vdot(weighted, now) / spread if spread > 1e-9 * size**2 else 1.0
        moved = turn * shape + target
    return moved


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
