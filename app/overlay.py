"""The overlay on a picture in the window, drawn with QPainter: sharp at every zoom and on every screen.

Whoever calls has scaled the painter to frame pixels, with the middle of the upper left pixel at (0.5, 0.5).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QLineF, QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QFont, QImage, QPainter, QPen, QTransform

from app.settings import MEAN, NO_MAP, Settings
from tracker.core import Crop, Face, Result
from tracker.draw import COLOURS
from tracker.markup import Markup
from tracker.signals import Signals

DARK = QColor(24, 24, 24)
MODELS = (QColor(86, 180, 233), QColor(230, 159, 0))
"""Of two models in one picture: sky blue and orange of Okabe and Ito."""
AXES = (QColor(213, 94, 0), QColor(0, 158, 115), QColor(0, 114, 178))
"""Of the head: to its side, down, and forwards."""
AXIS = 60.0
"""Millimetres that an axis of the head is long."""
NOSE = (0.0, 36.0, -47.0)
"""The tip of the nose in millimetres from the middle of the outer eye corners, on the head of tracker.signals."""
LEVELS = 16
"""Colours of the scale of confidence."""

Maps = Sequence[npt.NDArray[np.float32]]


@functools.cache
def table(name: str) -> npt.NDArray[np.uint8]:
    """(256, 3) RGB of a perceptual colour map: ``viridis`` for attention, ``cividis`` for confidence."""
    code = {"viridis": cv2.COLORMAP_VIRIDIS, "cividis": cv2.COLORMAP_CIVIDIS}[name]
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], code)
    return np.ascontiguousarray(ramp[:, 0, ::-1])


@functools.cache
def confidence_colours() -> tuple[QColor, ...]:
    """From unsure (blue) to sure (yellow); the darkest quarter of the map is left out, as it vanishes on a face."""
    colours = table("cividis")[np.linspace(64, 255, LEVELS).astype(int)]
    return tuple(QColor(*(int(value) for value in colour)) for colour in colours)


def laid_map(maps: Maps, which: int) -> npt.NDArray[np.float32] | None:
    """The map that is to lie over a face: one of ``maps`` by its number, their mean (at the size of the largest), or
    None where nothing is chosen."""
    if which == NO_MAP or not maps:
        return None
    if which == MEAN:
        height, width = maps[0].shape
        return np.mean([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in maps], axis=0)
    return maps[min(which, len(maps) - 1)]


def heat(values: npt.NDArray[np.float32]) -> QImage:
    """A map (h, w) as a picture of that size, its lowest value dark blue and its highest yellow."""
    low, high = float(values.min()), float(values.max())
    levels = ((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    pixels = np.ascontiguousarray(table("viridis")[levels])
    height, width = levels.shape
    return QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()


def draw_overlay(
    painter: QPainter,
    result: Result,
    markup: Markup,
    settings: Settings,
    signals: dict[int, Signals] | None = None,
    colour: QColor | None = None,
    attended: int | None = None,
) -> None:
    """Draw what ``settings`` switch on, of every face. With a ``colour`` all of it has that colour, as one of two
    models; else each face has its own, and points that of their confidence. ``attended`` is the id of the face over
    which attention is laid, None for all."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    for face in result.faces:
        if attended not in (None, face.id):
            continue
        if face.attention and (values := laid_map(face.attention, settings.map)) is not None:
            _draw_map(painter, values, face.crop, settings.opacity)
    height, width = result.frame.image.shape[:2]
    for face in result.faces:
        own = colour or QColor(*COLOURS[face.id % len(COLOURS)])
        if settings.crop:
            _outline(painter, _corners(face.crop), own, Qt.PenStyle.DashLine)
        if settings.boxes:
            box = face.box
            ends = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
            _outline(painter, np.array(ends), own)
        if settings.edges and len(face.points) == markup.size:
            _draw_edges(painter, face, markup, own)
        if settings.points:
            _draw_points(painter, face, colour)
        if settings.pose and signals and face.id in signals:
            _draw_axes(painter, signals[face.id], (width, height), result.frame.aspect)
    if settings.ids:
        _draw_ids(painter, result, colour)


def _draw_map(painter: QPainter, values: npt.NDArray[np.float32], crop: Crop, opacity: float) -> None:
    """Stretch a map over the part of the frame that the crop covers."""
    height, width = values.shape
    origin, along, down = crop.to_frame(np.array([(0, 0), (1, 0), (0, 1)])).tolist()
    (x, y), (a, c), (b, d) = origin, np.subtract(along, origin).tolist(), np.subtract(down, origin).tolist()
    kx, ky = crop.size / width, crop.size / height
    # Pixel edges: an input coordinate u in [0, size] is u - 0.5 by centres, and the painter is 0.5 off the other way.
    x, y = x - (a + b) / 2 + 0.5, y - (c + d) / 2 + 0.5
    painter.save()
    painter.setOpacity(opacity)
    painter.setTransform(QTransform(a * kx, c * kx, b * ky, d * ky, x, y), combine=True)
    painter.drawImage(QPointF(0, 0), heat(values))
    painter.restore()


def _draw_points(painter: QPainter, face: Face, colour: QColor | None) -> None:
    places = [QPointF(x, y) for x, y in (face.points + 0.5).tolist()]
    painter.setPen(_pen(painter, DARK, 5.5))
    painter.drawPoints(*places)
    if colour:
        painter.setPen(_pen(painter, colour, 3.5))
        painter.drawPoints(*places)
        return
    sure = [face.score] * len(places) if face.confidence is None else face.confidence.tolist()
    by_level: dict[int, list[QPointF]] = defaultdict(list)
    for place, value in zip(places, sure, strict=True):
        by_level[min(max(int(value * LEVELS), 0), LEVELS - 1) if value == value else 0].append(place)
    for level, placed in by_level.items():
        painter.setPen(_pen(painter, confidence_colours()[level], 3.5))
        painter.drawPoints(*placed)


def _draw_edges(painter: QPainter, face: Face, markup: Markup, colour: QColor) -> None:
    places = (face.points + 0.5).tolist()
    painter.setPen(_pen(painter, colour, 1.2, cap=Qt.PenCapStyle.FlatCap))  # round ones take six times as long
    painter.drawLines(*(QLineF(*places[start], *places[end]) for start, end in markup.edges))


def _draw_ids(painter: QPainter, result: Result, colour: QColor | None) -> None:
    """The number of each face at the upper left corner of its box, in screen pixels so that it keeps its size."""
    transform = painter.worldTransform()
    painter.save()
    painter.resetTransform()
    font = QFont(painter.font())
    font.setBold(True)
    painter.setFont(font)
    metrics = painter.fontMetrics()
    for face in result.faces:
        place = transform.map(QPointF(face.box.x0 + 0.5, face.box.y0 + 0.5))
        text = str(face.id)
        plate = QRectF(
            place.x(), place.y() - metrics.height() - 3, metrics.horizontalAdvance(text) + 8, metrics.height()
        )
        painter.fillRect(plate, DARK)
        painter.setPen(colour or QColor(*COLOURS[face.id % len(COLOURS)]))
        painter.drawText(plate, Qt.AlignmentFlag.AlignCenter, text)
    painter.restore()


def _draw_axes(painter: QPainter, signals: Signals, size: tuple[int, int], aspect: float) -> None:
    """Three axes from the tip of the nose, as the camera sees them."""
    ends = axis_ends(signals, size, aspect)
    if ends is None:
        return
    start = QPointF(*(ends[0] + 0.5))
    for end, colour in zip(ends[1:], AXES, strict=True):
        line = QLineF(start, QPointF(*(end + 0.5)))
        painter.setPen(_pen(painter, DARK, 4.5))
        painter.drawLine(line)
        painter.setPen(_pen(painter, colour, 2.5))
        painter.drawLine(line)


def axis_ends(signals: Signals, size: tuple[int, int], aspect: float = 1.0) -> npt.NDArray[np.float64] | None:
    """(4, 2) in frame pixels: the tip of the nose, and the ends of the axes to the picture's right, down and forwards
    out of the face; None where the pose is not known. The camera is that of ``tracker.signals.measure``."""
    if not np.isfinite([signals.pitch, *signals.translation]).all():
        return None
    pitch, yaw, roll = (np.radians(angle) for angle in (signals.pitch, signals.yaw, signals.roll))
    turn = _about(0, pitch) @ _about(1, yaw) @ _about(2, roll)
    tips = np.array([(0, 0, 0), (AXIS, 0, 0), (0, AXIS, 0), (0, 0, -AXIS)]) + NOSE
    x, y, z = (tips @ turn.T + signals.translation).T
    if (z <= 1).any():
        return None
    width, height = size
    focal = max(round(width * aspect), height)
    return np.stack([x / z * focal / aspect + (width - 1) / 2, y / z * focal + (height - 1) / 2], axis=-1)


def _about(axis: int, angle: float) -> npt.NDArray[np.float64]:
    """(3, 3): the rotation by ``angle`` radians about x, y or z."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


def _corners(crop: Crop) -> npt.NDArray[np.float64]:
    low, high = -0.5, crop.size - 0.5
    return crop.to_frame(np.array([(low, low), (high, low), (high, high), (low, high)]))


def _outline(
    painter: QPainter, ends: npt.NDArray[np.float64], colour: QColor, style: Qt.PenStyle = Qt.PenStyle.SolidLine
) -> None:
    places = [QPointF(x, y) for x, y in (ends + 0.5).tolist()]
    painter.setPen(_pen(painter, colour, 1.5, style))
    painter.drawLines(*(QLineF(a, b) for a, b in zip(places, places[1:] + places[:1], strict=True)))


def _pen(
    painter: QPainter,
    colour: QColor,
    width: float,
    style: Qt.PenStyle = Qt.PenStyle.SolidLine,
    cap: Qt.PenCapStyle = Qt.PenCapStyle.RoundCap,
) -> QPen:
    """A pen of so many pixels of an ordinary screen, at any zoom and on one with finer pixels."""
    device = painter.device()
    pen = QPen(colour, width * (device.devicePixelRatioF() if device else 1.0), style, cap)
    pen.setCosmetic(True)
    return pen
