"""The picture: the frame that was processed with its own overlay, zoomed and panned."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from PyQt6.QtCore import QPointF, QRectF, QSize, QSizeF, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QRegion, QWheelEvent
from PyQt6.QtWidgets import QSizePolicy, QWidget

from app.overlay import DARK, MODELS, draw_overlay
from app.pipeline import Shown
from app.settings import NO_MAP, Settings
from tracker.backends import Spec
from tracker.core import halved

CLOSEST = 32.0
"""Largest zoom, times the size that fits the window."""


class View(QWidget):
    """Shows one Shown at a time. ``delays`` are the last seconds from capture to paint, ``paints`` those that painting
    took; ``painted`` counts frames."""

    clicked = pyqtSignal(int)
    """The id of the face under a click."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(160, 120)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName("Picture with landmarks")
        self.settings = Settings()
        self.hint = ""
        self.attended: int | None = None  # the face over which attention is laid, None for all
        self.frozen = False
        self.shown: Shown | None = None
        self.models: tuple[Spec, ...] = ()
        self.delays: deque[float] = deque(maxlen=300)
        self.paints: deque[float] = deque(maxlen=300)
        self.painted = 0
        self._fresh = False
        self._buffers: list[Any] = [np.empty((0, 0, channels), np.uint8) for channels in (3, 4)]
        self._zoom, self._middle = 1.0, QPointF(0.5, 0.5)  # the point of the picture in the middle, in its sides
        self._grip: QPointF | None = None
        self._dragged = False

    def sizeHint(self) -> QSize:
        return QSize(960, 540)

    def show_frame(self, shown: Shown | None, models: tuple[Spec, ...]) -> None:
        """Show this frame from the next paint on, or with None the hint."""
        self.shown, self.models, self._fresh = shown, models, shown is not None
        self.update()

    def look(self, settings: Settings) -> None:
        """Draw as these settings say."""
        self.settings = settings
        self.update()

    def zoom(self, factor: float, place: QPointF | None = None) -> None:
        """Magnify about ``place`` in the widget, by default its middle."""
        place = place or QPointF(self.rect().center())
        before = self._in_picture(place)
        self._zoom = min(max(self._zoom * factor, 1.0), CLOSEST)
        after = self._in_picture(place)
        self._move_middle(before - after)

    def fit(self) -> None:
        """The whole picture, as large as it goes."""
        self._zoom, self._middle = 1.0, QPointF(0.5, 0.5)
        self.update()

    def picture(self) -> QImage:
        """What is shown as an image with the pixels of the frame, or empty; both models side by side if they are."""
        if self.shown is None:
            return QImage()
        height, width = self.shown.result.frame.image.shape[:2]
        panes = self._panes(QRectF(0, 0, width, height))
        count = 2 if len(panes) > 1 else 1
        image = QImage(width * count, height, QImage.Format.Format_RGB32)
        painter = QPainter(image)
        for number, _ in enumerate(panes):
            painter.save()
            painter.translate(number * width, 0)
            self._draw_pane(painter, number)
            painter.restore()
        painter.end()
        return image

    # Painting

    def paintEvent(self, event: QPaintEvent | None) -> None:
        began = perf_counter()
        painter = QPainter(self)
        if self.shown is None:
            painter.fillRect(self.rect(), DARK)
            painter.setPen(QColor(200, 200, 200))
            painter.drawText(self.rect().adjusted(24, 24, -24, -24), _CENTRED, self.hint)
            return
        panes = self._panes(QRectF(self.rect()))
        painter.setClipRegion(self._bare(panes))
        painter.fillRect(self.rect(), DARK)
        painter.setClipping(False)
        for number, pane in enumerate(panes):
            painter.save()
            painter.setClipRect(pane)
            scale, origin = self._placed(pane)
            painter.translate(origin)
            painter.scale(scale, scale)
            self._draw_pane(painter, number)
            painter.restore()
            if len(self.models) > 1:
                self._draw_name(painter, pane, number)
        if len(panes) == 1 and len(self.models) > 1:
            self._draw_name(painter, panes[0], 1)
        if self.frozen:
            painter.setPen(QColor(240, 228, 66))
            painter.drawText(self.rect().adjusted(8, 8, -10, -8), _UPPER_RIGHT, "frozen")
        if self._fresh:
            self._fresh = False
            self.painted += 1
            now = perf_counter()
            self.delays.append(now - self.shown.captured)
            self.paints.append(now - began)

    def _draw_pane(self, painter: QPainter, number: int) -> None:
        """The frame and the overlay of the first model, of the second, or of both, in frame pixels."""
        assert self.shown is not None
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self._zoom < 4)
        self._draw_frame(painter, self.shown.result.frame.image)
        results = [self.shown.result, self.shown.other]
        both = self.settings.overlaid and self.shown.other is not None
        for index, (result, model) in enumerate(zip(results, self.models, strict=False)):
            if result is not None and (both or index == number):
                colour = MODELS[index] if len(self.models) > 1 else None
                signals = dict(self.shown.signals) if index == 0 else None
                settings = self.settings
                if index and both:
                    settings = replace(settings, ids=False, map=NO_MAP)
                draw_overlay(painter, result, model.points, settings, signals, colour, self.attended)

    def _draw_frame(self, painter: QPainter, image: Any) -> None:
        """The frame, in buffers that are used again. Where it is shown smaller it is made so first, to a whole number
        of screen pixels, by OpenCV: Qt's own scaling costs the processor more."""
        device = painter.device()
        assert device is not None
        place, ratio = painter.worldTransform(), device.devicePixelRatioF()
        height, width = image.shape[:2]
        scale = place.m11() * ratio
        smaller = scale < 1
        if smaller:
            width, height = max(round(width * scale), 1), max(round(height * scale), 1)
            while min(image.shape[1] // width, image.shape[0] // height) > 1:
                image = halved(image)
            image = cv2.resize(image, (width, height), dst=self._buffer(height, width, 3))
        buffer = self._buffer(height, width, 4)
        cv2.cvtColor(image, cv2.COLOR_RGB2BGRA, dst=buffer)
        picture = QImage(buffer.data, width, height, 4 * width, QImage.Format.Format_RGB32)
        if not smaller:
            painter.drawImage(QPointF(0, 0), picture)
            return
        picture.setDevicePixelRatio(ratio)
        painter.resetTransform()
        painter.drawImage(QPointF(round(place.dx() * ratio) / ratio, round(place.dy() * ratio) / ratio), picture)
        painter.setWorldTransform(place)

    def _buffer(self, height: int, width: int, channels: int) -> Any:
        if self._buffers[channels - 3].shape[:2] != (height, width):
            self._buffers[channels - 3] = np.empty((height, width, channels), np.uint8)
        return self._buffers[channels - 3]

    def _draw_name(self, painter: QPainter, pane: QRectF, number: int) -> None:
        """The model's name in the corner of its picture, in its colour."""
        text = f"{'AB'[number]}  {self.models[number].name}"
        metrics = painter.fontMetrics()
        line = metrics.height() + 6
        row = number if self.settings.overlaid else 0
        plate = QRectF(pane.x() + 8, pane.y() + 8 + row * line, metrics.horizontalAdvance(text) + 12, line)
        painter.fillRect(plate, DARK)
        painter.setPen(MODELS[number])
        painter.drawText(plate, Qt.AlignmentFlag.AlignCenter, text)

    # Where things are

    def _panes(self, area: QRectF) -> list[QRectF]:
        """The parts of ``area``: one, or two side by side for two models."""
        if self.shown is None or self.shown.other is None or self.settings.overlaid:
            return [area]
        half = area.width() / 2
        return [
            QRectF(area.x(), area.y(), half - 1, area.height()),
            QRectF(area.x() + half + 1, area.y(), half - 1, area.height()),
        ]

    def _pane_at(self, place: QPointF) -> QRectF:
        panes = self._panes(QRectF(self.rect()))
        return next((pane for pane in panes if pane.contains(place)), panes[0])

    def _placed(self, pane: QRectF) -> tuple[float, QPointF]:
        """Screen pixels to a frame pixel, and where the frame's upper left corner is."""
        width, height = self._size()
        scale = self._zoom * min(pane.width() / width, pane.height() / height)
        x = pane.center().x() - self._middle.x() * width * scale
        y = pane.center().y() - self._middle.y() * height * scale
        return scale, QPointF(x, y)

    def _bare(self, panes: list[QRectF]) -> QRegion:
        """What of the widget no picture covers."""
        bare = QRegion(self.rect())
        width, height = self._size()
        for pane in panes:
            scale, origin = self._placed(pane)
            covered = QRectF(origin, QSizeF(width * scale, height * scale)).intersected(pane)
            bare -= QRegion(covered.adjusted(1, 1, -1, -1).toAlignedRect())  # its edge may be half of a screen pixel
        return bare

    def _size(self) -> tuple[int, int]:
        """Width and height of the frame."""
        if self.shown is None:
            return 1, 1
        height, width = self.shown.result.frame.image.shape[:2]
        return width, height

    def _in_picture(self, place: QPointF) -> QPointF:
        """A place in the widget, in sides of the picture."""
        scale, origin = self._placed(self._pane_at(place))
        width, height = self._size()
        return QPointF((place.x() - origin.x()) / (scale * width), (place.y() - origin.y()) / (scale * height))

    def _move_middle(self, by: QPointF) -> None:
        """Pan, but never so far that the picture leaves the window."""
        half = 0.5 / self._zoom
        x, y = (min(max(v, half), 1 - half) for v in (self._middle.x() + by.x(), self._middle.y() + by.y()))
        self._middle = QPointF(x, y)
        self.update()

    # The mouse

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        assert event is not None
        self.zoom(1.2 ** (event.angleDelta().y() / 120), event.position())

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        self._grip, self._dragged = event.position(), False

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        if self._grip is None:
            return
        before, now = self._in_picture(self._grip), self._in_picture(event.position())
        self._dragged = self._dragged or (event.position() - self._grip).manhattanLength() > 3
        if self._dragged:
            self._grip = event.position()
            self._move_middle(before - now)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        if self._grip is not None and not self._dragged and self.shown is not None:
            place = self._in_picture(event.position())
            width, height = self._size()
            x, y = place.x() * width - 0.5, place.y() * height - 0.5
            for face in self.shown.result.faces:
                if face.box.x0 <= x <= face.box.x1 and face.box.y0 <= y <= face.box.y1:
                    self.clicked.emit(face.id)
                    break
        self._grip = None

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        self.fit()


_UPPER_RIGHT = int(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight)
_CENTRED = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
