"""``python -m app VIDEO --measure SECONDS``: how fast the window is on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from PyQt6.QtCore import QTimer

from app.settings import MEAN
from app.window import Window

TICK = 0.01
"""Seconds between the questions put to the interface."""
WARM = 3.0
"""Seconds at the beginning that do not count."""


@dataclass
class _Figures:
    started: float
    first: float = math.nan
    ticked: float = field(default_factory=perf_counter)
    waits: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    painted: int = 0


def measure(window: Window, seconds: float, started: float) -> None:
    """Play in a loop with attention, then close the window and print the figures. ``started`` is the moment
    (``time.perf_counter``) at which the program began."""
    window.change(loop=True, map=MEAN, max_faces=1)
    figures = _Figures(started)
    timer = QTimer(window)

    def tick() -> None:
        now = perf_counter()
        shown = window.view.shown
        if math.isnan(figures.first):
            if shown and shown.result.faces and window.view.painted:
                figures.first = now
                figures.painted = window.view.painted
                print(f"first frame with points {now - figures.started:.2f} s after the start", flush=True)
            figures.ticked = now
            return
        if now - figures.first < WARM:
            window.view.delays.clear()
            figures.painted = window.view.painted
        else:
            figures.waits.append(now - figures.ticked - TICK)
            figures.delays.extend(window.view.delays)
            window.view.delays.clear()
            if len(figures.waits) % 100 == 1:
                figures.memory.append(_resident())
        figures.ticked = now
        if now - figures.first > WARM + seconds:
            timer.stop()
            _print(window, figures, now - figures.first - WARM)
            window.close()

    timer.timeout.connect(tick)
    timer.start(round(1000 * TICK))


def _print(window: Window, figures: _Figures, seconds: float) -> None:
    painted = window.view.painted - figures.painted
    waits, delays, memory = 1000 * np.array(figures.waits), 1000 * np.array(figures.delays), figures.memory
    print(f"{painted / seconds:.1f} frames a second painted, over {seconds:.0f} s")
    print(f"capture to paint {np.median(delays):.1f} ms, {np.percentile(delays, 95):.1f} ms at the 95th percentile")
    print(f"the interface answered {np.percentile(waits, 99):.0f} ms late (99th percentile), {waits.max():.0f} at most")
    print(f"memory {memory[0]:.0f} MB at first, {memory[-1]:.0f} at last, {max(memory):.0f} at most")


def _resident() -> float:
    """Megabytes of this process in memory; NaN where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return math.nan
