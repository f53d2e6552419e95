"""``python -m app VIDEO --measure SECONDS``: how fast the window is on this machine."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import cv2
import numpy as np
from PyQt6.QtCore import QTimer

from app.memory import resident
from app.pipeline import News
from app.settings import FASTEST, MEAN
from app.window import Window
from tracker.core import TrackerError
from tracker.files import write_json
from tracker.sources import Camera, SourceError, open_source

TICK = 0.01
"""Seconds between the questions put to the interface."""
WARM = 3.0
"""Seconds at the beginning that do not count."""
PATIENCE = 30.0
"""Seconds within which there must be a face."""
RACE = 5.0
"""Seconds at the end that are played as fast as it goes."""
KEPT = 90
"""Frames of a video that a simulated camera shows, there and back."""


class SimulatedCapture:
    """The device of a camera that shows the first frames of ``video``, ``rate`` of them a second, each when its time
    has come; see ``tracker.sources.Capture``. SourceError when the video cannot be read."""

    def __init__(self, video: str, rate: float) -> None:
        with open_source(video) as source:
            if source.live:
                raise SourceError(f"{video}: give a video for the simulated camera to show")
            frames = [
                cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR) for _, frame in zip(range(KEPT), source, strict=False)
            ]
        self._frames, self._step = frames + frames[-2:0:-1], 1 / rate
        self._due = perf_counter()
        self._shown = 0
        self._open = True

    def isOpened(self) -> bool:
        return self._open

    def read(self) -> tuple[bool, Any]:
        self._due = max(self._due + self._step, perf_counter() - self._step)
        sleep(max(0.0, self._due - perf_counter()))
        self._shown += 1
        return True, self._frames[self._shown % len(self._frames)]

    def release(self) -> None:
        self._open = False


def simulated_camera(video: str, rate: float) -> Camera:
    """A camera that shows a video; see ``SimulatedCapture``."""
    camera = Camera("simulated camera", capture=SimulatedCapture(video, rate))
    camera.rate = rate
    return camera


class Measurement:
    """Plays what the window has open, with attention if the model has it: a camera as it comes, a file in a loop for
    ``seconds`` at its own pace and then a few more as fast as it goes. Prints what it finds, writes it to ``report``
    if that is given, and closes the window. ``started`` is the moment (``time.perf_counter``) at which the program
    began; ``code`` its exit code, 2 when there was nothing to measure, which a line says."""

    def __init__(self, window: Window, seconds: float, started: float, report: Path | None = None) -> None:
        self._window, self._seconds, self._started, self._report = window, seconds, started, report
        self.code = 0
        self._first: float | None = None  # the moment of the first frame with points
        self._begun = self._asked = perf_counter()
        self._late: list[float] = []
        self._delays: list[float] = []
        self._paints: list[float] = []
        self._memory: list[float] = []
        self._painted = 0
        self._worked = 0.0
        self._race: tuple[float, int] | None = None  # its beginning, and the frames processed by then
        self._processed = 0
        window.remembers = False
        window.change(loop=True, map=MEAN, max_faces=1, speed=1.0)
        window.session.news.connect(self._count)
        window.session.failed.connect(self._give_up)
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
            elif now - self._begun > PATIENCE:
                self._give_up(TrackerError(f"no face within {PATIENCE:.0f} s; choose a video that begins with one"))
            return
        since = now - self._first - WARM
        if since < 0:
            view.delays.clear()
            view.paints.clear()
            self._painted, self._worked = view.painted, process_time()
        elif since < self._seconds:
            if not self._memory or since > len(self._memory):  # once a second
                self._memory.append(resident())
            self._late.append(late)
            self._delays.extend(view.delays)
            self._paints.extend(view.paints)
            view.delays.clear()
            view.paints.clear()
        elif self._race is None:
            try:
                self._tell(view.painted - self._painted, since)
            except TrackerError as error:
                self._give_up(error)
                return
            self._race = now, self._processed
            if self._window.session.seekable:
                self._window.change(speed=FASTEST)
            else:
                self._end()
        elif now - self._race[0] > RACE:
            rate = (self._processed - self._race[1]) / (now - self._race[0])
            print(f"as fast as it goes: {rate:.0f} frames a second processed")
            self._end()

    def _give_up(self, error: TrackerError) -> None:
        print(f"error: {error}", file=sys.stderr, flush=True)
        self.code = 2
        self._end()

    def _end(self) -> None:
        self._timer.stop()
        self._window.close()

    def _tell(self, painted: int, seconds: float) -> None:
        late, delays, paints = (1000 * np.array(times) for times in (self._late, self._delays, self._paints))
        memory = self._memory
        first = (self._first or math.nan) - self._started
        delay, slow = (float(np.percentile(delays, part)) for part in (50, 95))
        usual, worst = float(np.percentile(late, 99)), float(late.max())
        figures = {
            "model": self._window.settings.model,
            "first": first,
            "painted": painted / seconds,
            "delay": [delay, slow],
            "paint": float(np.median(paints)),
            "late": [usual, worst],
            "core": (process_time() - self._worked) / seconds,
            "memory": [memory[0], memory[-1], max(memory)],
        }
        if self._report:
            write_json(self._report, figures)
        print(
            f"{painted / seconds:.1f} frames a second painted, over {seconds:.0f} s, {figures['core']:.0%} of one core"
        )
        print(
            f"capture to paint {delay:.1f} ms, {slow:.1f} ms at the 95th percentile, painting {figures['paint']:.2f} ms"
        )
        print(f"interface late by {usual:.0f} ms (99th percentile), {worst:.0f} at most")
        print(f"memory {memory[0]:.0f} MB at first, {memory[-1]:.0f} at last, {max(memory):.0f} at most", flush=True)
