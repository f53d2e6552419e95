"""Below the picture: play, step, the time line, speed and loop, and the bar of numbers. Above it: the banner."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter

import numpy as np
from PyQt6.QtCore import QSignalBlocker, Qt, pyqtSignal
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QWidget

from app.charts import TimeLine
from app.history import History
from app.pipeline import Shown
from app.settings import FASTEST, Settings

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, FASTEST)


class PlaybackBar(QWidget):
    """The controls of a file; for a camera or a stream they are grey."""

    def __init__(self, actions: tuple[QAction, ...], loop: QAction, change: Callable[..., None]) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 2, 6, 4)
        for action in (*actions, loop):
            button = QToolButton()
            button.setDefaultAction(action)
            button.setAutoRaise(True)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            row.addWidget(button)
        self.line = TimeLine()
        self.clock = QLabel("-")
        self.clock.setAccessibleName("Time and frame")
        self.clock.setMinimumWidth(self.clock.fontMetrics().horizontalAdvance("00:00.000 / 00:00  #0000"))
        self.speed = QComboBox()
        self.speed.setAccessibleName("Speed")
        self.speed.setToolTip("Speed; fastest is as fast as the models go, without leaving frames out")
        for speed in SPEEDS:
            self.speed.addItem("fastest" if math.isinf(speed) else f"{speed:g} x", speed)
        self.speed.activated.connect(lambda _: change(speed=self.speed.currentData()))
        row.insertWidget(len(actions), self.line, 1)
        row.insertWidget(len(actions) + 1, self.clock)
        row.addWidget(self.speed)

    def show_settings(self, settings: Settings) -> None:
        blocked = QSignalBlocker(self.speed)
        self.speed.setCurrentIndex(max(self.speed.findData(settings.speed), 0))
        del blocked

    def show_place(self, history: History, time: float, rate: float | None) -> None:
        """Where the file is: ``time`` in seconds, of as many frames as the history knows, at ``rate`` a second."""
        self.line.show_history(history)
        length = len(history.found) / rate if rate else 0.0
        self.clock.setText(f"{_clock(time, 3)} / {_clock(length, 0)}  #{history.index + 1}")

    def show_source(self, seekable: bool, live: bool) -> None:
        """What kind of source there is now; neither for none."""
        self.line.setEnabled(seekable)
        self.speed.setEnabled(seekable)
        self.line.show_history(History())
        self.clock.setText("live" if live else "-")


class Numbers(QLabel):
    """How fast it goes: frames in the last second, the delay from capture to paint, milliseconds by stage."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Speed of processing")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._frames: deque[tuple[float, int]] = deque()  # moments, and frames processed then

    def count(self, frames: int) -> None:
        """So many more frames have been processed."""
        self._frames.append((perf_counter(), frames))

    def show_frame(self, shown: Shown, dropped: int, delays: Iterable[float]) -> None:
        """The stages of this frame, and ``delays`` in seconds of the last ones."""
        while self._frames and perf_counter() - self._frames[0][0] > 1.0:
            self._frames.popleft()
        rate = sum(count for _, count in self._frames)
        stages = "  ".join(f"{name} {spent:.1f}" for name, spent in shown.result.milliseconds.items())
        late = [1000 * delay for delay in delays]
        delay = f"{np.percentile(late, 95):.0f} ms" if late else "-"
        self.setText(f"{rate} frames/s   capture to paint {delay} (95 %)   dropped {dropped}   ms: {stages}")


class Banner(QFrame):
    """One sentence on what is wrong, with a way to try again."""

    retry = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.setStyleSheet(
            "#banner { background: #e69f00; } #banner QLabel { color: black; }"
            " #banner QPushButton { color: black; background: #f6dca0; border: 1px solid #7a5400; border-radius: 3px;"
            " padding: 3px 10px; } #banner QPushButton:hover, #banner QPushButton:focus { background: #fff3d6; }"
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 8, 6)
        self.text = QLabel("")
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.button = QPushButton("Try again")
        self.button.clicked.connect(self.retry)
        close = QPushButton("Close")
        close.setAccessibleName("Close the message")
        close.clicked.connect(self.hide)
        row.addWidget(self.text, 1)
        row.addWidget(self.button)
        row.addWidget(close)
        self.waiting = False
        self.hide()

    def tell(self, text: str, *, retry: bool = False, waiting: bool = False) -> None:
        """Show one sentence; ``waiting`` marks one that goes when pictures come again."""
        self.text.setText(text)
        self.setAccessibleName(text)
        self.button.setVisible(retry)
        self.waiting = waiting
        self.show()


def _clock(seconds: float, decimals: int) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0), decimals), 60)
    width = 3 + decimals if decimals else 2
    return f"{int(minutes):02d}:{rest:0{width}.{decimals}f}"
