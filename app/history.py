"""What the charts and the time line remember of the frames that were processed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.pipeline import Sample

SPAN = 30.0
"""Seconds that the strip charts show."""
STEP = 1 / 15
"""Seconds for which a strip chart has one place: where it draws finer, it takes longer than the landmarks."""
SERIES = ("eyes", "mouth", "yaw", "pitch", "roll")
"""The columns of every table of values."""
UNSEEN, NOBODY, FOUND = 0, 1, 2
"""What the time line knows of a frame."""


class History:
    """The values (eye openness, mouth openness, yaw, pitch, roll; NaN where unknown) of the last half minute, as means
    over ``STEP``, and of a file of ``length`` frames those of every frame seen. ``length`` is a hint: tables grow when
    there are more."""

    def __init__(self, length: int | None = None) -> None:
        self._recent: deque[_Place] = deque()
        self._whole = length is not None
        self._length = length or 0
        self._found = np.zeros(self._length, np.uint8)
        self._values = np.full((self._length, len(SERIES)), np.nan, np.float32)
        self.index = 0

    @property
    def found(self) -> npt.NDArray[np.uint8]:
        """(N,) UNSEEN, NOBODY or FOUND, for every frame of a file; empty for a camera."""
        return self._found[: self._length]

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """(N, 5) for every frame of a file; empty for a camera."""
        return self._values[: self._length]

    def add(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            signals = sample.signals
            values = (np.nan,) * len(SERIES)
            if signals:
                values = (signals.eyes, signals.mouth_openness, signals.yaw, signals.pitch, signals.roll)
            if self._recent and not 0 < sample.time - self._recent[-1].time < SPAN:
                self._recent.clear()
            if not self._recent or sample.time // STEP > self._recent[-1].time // STEP:
                self._recent.append(_Place())
            self._recent[-1].add(sample.time, values, signals is not None)
            while sample.time - self._recent[0].time > SPAN:
                self._recent.popleft()
            self.index = sample.index
            if self._whole:
                self._keep(sample.index, FOUND if signals else NOBODY, values)

    def recent(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Seconds before the newest frame (n,), from -30 to 0, and the values (n, 5)."""
        if not self._recent:
            return np.empty(0), np.empty((0, len(SERIES)))
        times = np.array([place.time for place in self._recent])
        sums = np.array([place.sums for place in self._recent])
        known = np.array([place.known for place in self._recent])
        return times - times[-1], np.divide(sums, known, out=np.full_like(sums, np.nan), where=known > 0)

    def met(self, whole: bool) -> bool:
        """Whether there was a face, measured or not, in the ``whole`` file or in the last half minute."""
        return bool((self.found == FOUND).any()) if whole else any(place.face for place in self._recent)

    def _keep(self, index: int, found: int, values: tuple[float, ...]) -> None:
        if index >= len(self._found):
            more = max(1000, len(self._found) // 2, index + 1 - len(self._found))
            self._found = np.pad(self._found, (0, more))
            self._values = np.pad(self._values, ((0, more), (0, 0)), constant_values=np.nan)
        self._length = max(self._length, index + 1)
        self._found[index], self._values[index] = found, values


class _Place:
    """The frames of one STEP: the time of the last, sums of what is known of each value and of how many frames, and
    whether there was a face."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sums, self.known = np.zeros(len(SERIES)), np.zeros(len(SERIES))
        self.face = False

    def add(self, time: float, values: Sequence[float], face: bool) -> None:
        self.time = time
        known = np.isfinite(values)
        self.sums += np.where(known, values, 0.0)
        self.known += known
        self.face = self.face or face
