"""``python -m app VIDEO --measure SECONDS``: how fast the window is on this machine."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from PyQt6.QtCore import QTimer

from app.memory import resident
from app.pipeline import News
from app.settings import FASTEST, MEAN
from app.window import Window

TICK = 0.01
"""Seconds between the questions put to the interface."""
WARM = 3.0
"""Seconds at the beginning that do not count."""
RACE = 5.0
"""Seconds at the end that are played as fast as it goes."""


class Measurement:
    """Plays what the window has open in a loop, with attention if the model has it: for ``seconds`` at its own pace,
    then a few more as fast as it goes. Prints what it finds and closes the window. ``started`` is the moment
    (``time.perf_counter``) at which the program began."""

    def __init__(self, window: Window, seconds: float, started: float) -> None:
        self._window, self._seconds, self._started = window, seconds, started
        self._first: float | None = None  # the moment of the first frame with points
        self._asked = perf_counter()
        self._late: list[float] = []
        self._delays: list[float] = []
        self._memory: list[float] = []
        self._painted = 0
        self._race: tuple[float, int] | None = None  # its beginning, and the frames processed by then
        self._processed = 0
        window.remembers = False
        window.change(loop=True, map=MEAN, max_faces=1, speed=1.0)
        window.session.news.connect(self._count)
        self._timer = QTimer(window)
        self._timer.timeout.connect(self._tick)
        self._timer.start(round(1000 * TICK))

    def _count(self, news: News) -> None:
        self._processed += len(news.samples)

    def _tick(self) -> None:
        now, view = perf_counter(), self._window.view
        late, self._asked = now - self._asked - TICK, now
        if self._first is None:
            if view.painted and view.shown and view.shown.result.faces:
                self._first = now
                print(f"first frame with points {now - self._started:.2f} s after the start", flush=True)
            return
        since = now - self._first - WARM
        if since < 0:
            view.delays.clear()
            self._painted = view.painted
        elif since < self._seconds:
            if not self._memory or since > len(self._memory):  # once a second
                self._memory.append(resident())
            self._late.append(late)
            self._delays.extend(view.delays)
            view.delays.clear()
        elif self._race is None:
            self._tell(view.painted - self._painted, since)
            self._race = now, self._processed
            self._window.change(speed=FASTEST)
        elif now - self._race[0] > RACE:
            rate = (self._processed - self._race[1]) / (now - self._race[0])
            print(f"as fast as it goes: {rate:.0f} frames a second processed")
            self._timer.stop()
            self._window.close()

    def _tell(self, painted: int, seconds: float) -> None:
        late, delays, memory = 1000 * np.array(self._late), 1000 * np.array(self._delays), self._memory
        print(f"{painted / seconds:.1f} frames a second painted, over {seconds:.0f} s")
        print(f"capture to paint {np.median(delays):.1f} ms, {np.percentile(delays, 95):.1f} ms at the 95th percentile")
        print(f"interface late by {np.percentile(late, 99):.0f} ms (99th percentile), {late.max():.0f} at most")
        print(f"memory {memory[0]:.0f} MB at first, {memory[-1]:.0f} at last, {max(memory):.0f} at most", flush=True)
