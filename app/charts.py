"""Strip charts of the signals, and the time line of a file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QLineF, QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QBrush, QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from PyQt6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from app.history import FOUND, NOBODY, SPAN, History

BLUE, ORANGE, GREEN, PURPLE, RED = (
    QColor(*colour) for colour in ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0))
)
"""Of the palette of Okabe and Ito: those that stand out from a light and from a dark ground."""


class StripChart(QWidget):
    """Lines of some columns of a History, over the last half minute or over the whole file.

    ``series`` are (column, name, colour); ``low`` to ``high`` is the least range of values that is shown, which grows
    to hold all of them.
    """

    def __init__(
        self, title: str, unit: str, series: Sequence[tuple[int, str, QColor]], low: float, high: float
    ) -> None:
        super().__init__()
        self._title, self._unit, self._series = title, unit, tuple(series)
        self._low, self._high = low, high
        self._history = History()
        self._whole = False
        self.setMinimumSize(160, 84)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        names = ", ".join(name for _, name, _ in series)
        self.setAccessibleName(f"Chart of {names} over time")

    def sizeHint(self) -> QSize:
        return QSize(420, 110)

    @property
    def lack(self) -> str:
        """Why there are no lines, where there are none."""
        return "not measured with these points" if self._history.met(self._whole) else "no face yet"

    def show_history(self, history: History, whole: bool) -> None:
        self._history, self._whole = history, whole
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text, faint = _ink(self.palette())
        metrics = painter.fontMetrics()
        margin = metrics.horizontalAdvance("-00.0 ") + 4
        area = QRectF(self.rect()).adjusted(margin, metrics.height() + 12, -10, -metrics.height() - 6)
        if area.width() < 20 or area.height() < 10:
            return
        times, values = self._data(int(area.width()))
        columns = values[:, [column for column, _, _ in self._series]]
        known = columns[np.isfinite(columns)]
        low = min(self._low, float(known.min())) if known.size else self._low
        high = max(self._high, float(known.max())) if known.size else self._high
        self._draw_frame(painter, area, (low, high), text, faint)
        if not known.size:
            painter.setPen(faint)
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, self.lack)
        first, last = (0.0, 1.0) if self._whole else (-SPAN, 0.0)
        x = area.x() + (times - first) / (last - first) * area.width()
        for (_, _, colour), column in zip(self._series, columns.T, strict=True):
            colour = _on_ground(colour, self.palette())
            y = area.bottom() - (column - low) / (high - low) * area.height()
            painter.setPen(QPen(colour, 1.6))
            if lines := _lines(x, y):  # one by one, as Qt takes twice as long for a line of many corners
                painter.drawLines(*lines)
        if self._whole and len(self._history.found) > 1:
            place = area.x() + self._history.index / (len(self._history.found) - 1) * area.width()
            painter.setPen(QPen(text, 1))
            painter.drawLine(QPointF(place, area.y()), QPointF(place, area.bottom()))

    def _data(self, columns: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Places along the time axis (n,) and the values there (n, 5)."""
        if not self._whole:
            return self._history.recent()
        values = self._history.values
        step = max(1, len(values) // columns)
        places = np.arange(0, len(values), step)
        return places / max(len(values) - 1, 1), values[places].astype(np.float64)

    def _draw_frame(
        self, painter: QPainter, area: QRectF, ends: tuple[float, float], text: QColor, faint: QColor
    ) -> None:
        """Title and legend above, the range on the left, the time below."""
        metrics = painter.fontMetrics()
        x, y = area.x(), area.y() - 10
        painter.setPen(text)
        painter.drawText(QPointF(6, y), self._title)
        x = max(x, 6 + metrics.horizontalAdvance(self._title) + 14)
        for _, name, colour in self._series:
            painter.setPen(QPen(_on_ground(colour, self.palette()), 2.5))
            painter.drawLine(QPointF(x, y - metrics.ascent() / 2 + 1), QPointF(x + 14, y - metrics.ascent() / 2 + 1))
            painter.setPen(text)
            painter.drawText(QPointF(x + 18, y), name)
            x += 18 + metrics.horizontalAdvance(name) + 12
        painter.setPen(QPen(faint, 1))
        painter.drawRect(area)
        low, high = ends
        marks = [low, high] if not low < 0 < high else [low, 0.0, high]
        for value in marks:
            place = area.bottom() - (value - low) / (high - low) * area.height()
            if value == 0:
                painter.setPen(QPen(faint, 1, Qt.PenStyle.DotLine))
                painter.drawLine(QPointF(area.x(), place), QPointF(area.right(), place))
            painter.setPen(text)
            label = QRectF(0, place - metrics.height() / 2, area.x() - 5, metrics.height())
            painter.drawText(
                label, _RIGHT, f"{value:.0f}{self._unit}" if high - low > 5 else f"{value:.1f}{self._unit}"
            )
        below = QRectF(area.x(), area.bottom() + 2, area.width(), metrics.height() + 2)
        painter.drawText(below, _LEFT, "start" if self._whole else f"{-SPAN:.0f} s")
        painter.drawText(below, _RIGHT, "end" if self._whole else "now")


class Charts(QWidget):
    """The strip charts, one below the other."""

    def __init__(self) -> None:
        super().__init__()
        self._charts = (
            StripChart("Openness", "", ((0, "eyes", BLUE), (1, "mouth", ORANGE)), 0.0, 0.5),
            StripChart("Head", "°", ((2, "yaw", GREEN), (3, "pitch", PURPLE), (4, "roll", RED)), -30.0, 30.0),
        )
        strips = QHBoxLayout(self)
        strips.setContentsMargins(0, 0, 0, 0)
        for chart in self._charts:
            strips.addWidget(chart)

    def show_history(self, history: History, whole: bool) -> None:
        """The last half minute, or the ``whole`` of a file."""
        for chart in self._charts:
            chart.show_history(history, whole and bool(len(history.found)))


class TimeLine(QWidget):
    """A file's frames from left to right: where faces were found, where none, and where it is. Click or drag to seek.
    ``sought`` gives the number of the frame, counted from 0."""

    sought = pyqtSignal(int)

    def __init__(self) -> None:
        super().__init__()
        self._history = History()
        self.setMinimumSize(120, 26)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Time line")
        self.setToolTip("Click or drag to seek. Filled: a face was found. Hatched: none. Empty: not seen yet.")
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def show_history(self, history: History) -> None:
        self._history = history
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        _, faint = _ink(self.palette())
        bar = self._bar()
        painter.fillRect(bar, self.palette().color(QPalette.ColorRole.Base))
        found = self._history.found
        for state, brush in ((FOUND, QBrush(BLUE)), (NOBODY, QBrush(faint, Qt.BrushStyle.Dense6Pattern))):
            for first, last in _runs(found == state):
                left = bar.x() + first / len(found) * bar.width()
                part = QRectF(left, bar.y(), max((last - first) / len(found) * bar.width(), 1.0), bar.height())
                painter.fillRect(part, brush)
        painter.setPen(QPen(faint, 1))
        painter.drawRect(bar)
        if self.isEnabled() and len(found):
            place = bar.x() + (self._history.index + 0.5) / len(found) * bar.width()
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Base), 1))
            painter.setBrush(ORANGE)
            painter.drawRoundedRect(QRectF(place - 3.5, 2, 7, self.height() - 4), 3, 3)

    def _bar(self) -> QRectF:
        return QRectF(self.rect()).adjusted(5.5, 7.5, -5.5, -7.5)

    def _seek(self, x: float) -> None:
        count, bar = len(self._history.found), self._bar()
        if count:
            self.sought.emit(min(max(int((x - bar.x()) / bar.width() * count), 0), count - 1))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        self._seek(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._seek(event.position().x())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        assert event is not None
        ends = {Qt.Key.Key_Home: 0, Qt.Key.Key_End: len(self._history.found) - 1}
        if event.key() in ends and len(self._history.found):
            self.sought.emit(ends[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)


def _lines(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[QLineF]:
    """From each known value to the next, none where one between is not known."""
    known = np.isfinite(y)
    ends = np.stack([x[:-1], y[:-1], x[1:], y[1:]], axis=-1)[known[:-1] & known[1:]]
    return [QLineF(*four) for four in ends.tolist()]


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _ink(palette: QPalette) -> tuple[QColor, QColor]:
    """The colours of text and of thin lines on the window's ground, light or dark."""
    text = palette.color(QPalette.ColorRole.WindowText)
    faint = QColor(text)
    faint.setAlphaF(0.45)
    return text, faint


def _on_ground(colour: QColor, palette: QPalette) -> QColor:
    """The colour, lighter on a dark ground."""
    dark = palette.color(QPalette.ColorRole.Window).lightness() < 128
    return colour.lighter(145) if dark else colour


_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
