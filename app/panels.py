"""The panels beside the picture: models and smoothing; attention."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QRectF, QSignalBlocker, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QAction, QColor, QLinearGradient, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.charts import ORANGE
from app.overlay import heat, laid_map, table
from app.pipeline import Shown
from app.settings import MEAN, NO_MAP, Settings
from app.smoothing import Smoothing
from tracker.backends import Spec
from tracker.core import Face
from tracker.model import model_files

Change = Callable[..., None]
"""Takes fields of Settings with their new values."""


class ModelPanel(QWidget):
    """Which model looks, on what, at how many faces, how smoothly, and which other one it is compared with."""

    opening = pyqtSignal(str)
    """A model file is to be chosen, for this field of Settings."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._change = change
        self._differences: deque[float] = deque(maxlen=30)
        form = QFormLayout(self)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.model = _chooser("Model")
        self.other = _chooser("Compare with")
        self.layout_ = _chooser("Layout of the comparison", [("side by side", False), ("one over the other", True)])
        self.difference = QLabel("-")
        self.difference.setAccessibleName("Difference of the models")
        self.difference.setToolTip("Mean distance of the two models' points, the last 30 frames")
        self.device = _chooser("Device", _devices())
        self.detector = _chooser("Face detector", [("far: any size", "far"), ("near: at a camera", "near")])
        self.faces = QSpinBox()
        self.faces.setRange(1, 16)
        self.faces.setAccessibleName("Number of faces")
        self.smooth = QCheckBox("One-Euro filter")
        self.cutoff = _number("Cutoff of the filter", 0.1, 10.0, 0.1, " Hz")
        self.cutoff.setToolTip("What a face at rest gets: lower is steadier")
        self.beta = _number("Beta of the filter", 0.0, 50.0, 0.5, "")
        self.beta.setToolTip("How fast the cutoff rises with speed: higher lags less")
        self.jitter, self.lag = QLabel("-"), QLabel("-")
        self.lag.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.jitter.setToolTip(
            "Jitter as located → as shown: the points' mean second difference, % of the eye distance"
        )
        self.lag.setToolTip("Lag: how far behind a moving face the smoothed points are")
        self.jitter.setAccessibleName("Jitter")
        self.lag.setAccessibleName("Lag")
        self.compared = QWidget()
        compared = QVBoxLayout(self.compared)
        compared.setContentsMargins(0, 0, 0, 0)
        compared.addWidget(self.layout_)
        compared.addWidget(self.difference)
        for text, field in (
            ("&Model", self.model),
            ("&Compare with", self.other),
            ("", self.compared),
            ("D&evice", self.device),
            ("Detec&tor", self.detector),
            ("F&aces at most", self.faces),
            ("&Smoothing", self.smooth),
            ("Cutoff, beta", _row(self.cutoff, self.beta)),
            ("Jitter; lag", _row(self.jitter, self.lag)),
        ):
            form.addRow(text, field)
        for box, name in ((self.layout_, "overlaid"), (self.device, "device"), (self.detector, "detector")):
            box.activated.connect(lambda _, box=box, name=name: change(**{name: box.currentData()}))
        for box, name in ((self.model, "model"), (self.other, "other")):
            box.activated.connect(lambda _, box=box, name=name: self._choose(box, name))
        self.faces.valueChanged.connect(lambda value: change(max_faces=value))
        self.smooth.toggled.connect(lambda on: change(smooth=on))
        self.cutoff.valueChanged.connect(lambda value: change(cutoff=value))
        self.beta.valueChanged.connect(lambda value: change(beta=value))

    def show_settings(self, settings: Settings, opened: Sequence[str]) -> None:
        """Show these choices; ``opened`` are model files from elsewhere."""
        widgets = (self.model, self.other, self.layout_, self.device, self.detector)
        blocked = [QSignalBlocker(w) for w in (*widgets, self.faces, self.smooth, self.cutoff, self.beta)]
        names = [path.stem for path in model_files()]
        models = [(name, name) for name in names] + [(Path(path).name, path) for path in opened]
        for box, first in ((self.model, []), (self.other, [("no other model", "")])):
            box.clear()
            for text, value in [*first, *models, ("Open a model file…", None)]:
                box.addItem(text, value)
                box.setItemData(box.count() - 1, value or text, Qt.ItemDataRole.ToolTipRole)
        _select(self.model, settings.model)
        _select(self.other, settings.other)
        _select(self.layout_, settings.overlaid)
        _select(self.device, settings.device)
        _select(self.detector, settings.detector)
        self.faces.setValue(settings.max_faces)
        self.smooth.setChecked(settings.smooth)
        self.cutoff.setValue(settings.cutoff)
        self.beta.setValue(settings.beta)
        for widget in (self.cutoff, self.beta):
            widget.setEnabled(settings.smooth)
        self.compared.setVisible(bool(settings.other))
        if not settings.other:
            self._differences.clear()
            self.difference.setText("-")
        del blocked

    def show_smoothing(self, smoothing: Smoothing) -> None:
        """The live read-outs."""
        before, after = 100 * smoothing.jitter_before, 100 * smoothing.jitter
        self.jitter.setText("-" if math.isnan(after) else f"{before:.2f} → {after:.2f} %")
        self.lag.setText("-" if math.isnan(smoothing.lag) else f"{1000 * smoothing.lag:.0f} ms")

    def show_difference(self, value: float, comparable: bool) -> None:
        """The difference on one more frame, over the eye distance; NaN without a common face."""
        if not comparable:
            self.difference.setText("the models have other points")
            return
        if not math.isnan(value):
            self._differences.append(value)
        if self._differences:
            self.difference.setText(f"{100 * float(np.mean(self._differences)):.2f} % of the eye distance")

    def _choose(self, box: QComboBox, name: str) -> None:
        if box.currentData() is None:
            self.opening.emit(name)
        else:
            self._change(**{name: box.currentData()})


class AttentionPanel(QWidget):
    """The attention maps of one face, and which of them lies over the picture."""

    switching = pyqtSignal()
    """A model with attention is wanted."""
    attended = pyqtSignal(object)
    """The id of the face whose attention is shown, or None for all."""

    def __init__(self, change: Change, freeze: QAction) -> None:
        super().__init__()
        self._maps: tuple[npt.NDArray[np.float32], ...] = ()
        self._map = NO_MAP
        self._face: int | None = None
        self._stretch: int | None = None  # of the faces shown last
        self.pages = QStackedWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.pages)
        self.none = QWidget()
        lines = QVBoxLayout(self.none)
        self.why = QLabel("")
        self.why.setWordWrap(True)
        self.switch = QPushButton("Switch to a model with attention")
        self.switch.clicked.connect(self.switching)
        lines.addWidget(self.why)
        lines.addWidget(self.switch)
        lines.addStretch()
        self.pages.addWidget(self.none)

        page = QWidget()
        grid = QGridLayout(page)
        self.face = _chooser("Face whose attention is shown", [("all faces", None)])
        self.face.activated.connect(lambda _: self.choose_face(self.face.currentData()))
        button = QToolButton()
        button.setDefaultAction(freeze)
        row = QHBoxLayout()
        row.addWidget(self.face, 1)
        row.addWidget(button)
        grid.addLayout(row, 0, 0, 1, 2)
        self.thumbnails = [Thumbnail(number) for number in range(4)]
        for number, thumbnail in enumerate(self.thumbnails):
            grid.addWidget(thumbnail, 1 + number // 2, number % 2)
            thumbnail.clicked.connect(lambda number=number: change(map=NO_MAP if self._map == number else number))
        self.over = _chooser(
            "Map over the face",
            [("no map over the face", NO_MAP)]
            + [(f"map {number + 1} over the face", number) for number in range(4)]
            + [("the mean of the maps", MEAN)],
        )
        self.over.activated.connect(lambda _: change(map=self.over.currentData()))
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setAccessibleName("Opacity of the map")
        self.opacity.setToolTip("Opacity of the map over the face")
        self.opacity.valueChanged.connect(lambda value: change(opacity=value / 100))
        self.legend = Legend()
        note = QLabel(
            "Activations: where the network's attention blocks strengthen its features, from shallow (1) to deep (4). "
            "They do not explain a result."
        )
        note.setWordWrap(True)
        for line, widget in enumerate((self.over, self.opacity, self.legend, note), 3):
            grid.addWidget(widget, line, 0, 1, 2)
        grid.setRowStretch(7, 1)
        self.pages.addWidget(page)

    def show_settings(self, settings: Settings) -> None:
        blocked = [QSignalBlocker(self.over), QSignalBlocker(self.opacity)]
        self._map = settings.map
        _select(self.over, settings.map)
        self.opacity.setValue(round(100 * settings.opacity))
        self.opacity.setEnabled(settings.map != NO_MAP)
        for thumbnail in self.thumbnails:
            thumbnail.mark(settings.map in (thumbnail.number, MEAN))
        self._show_range()
        del blocked

    def show_model(self, model: Spec | None) -> None:
        """Offer to switch when this model has no attention; None while none is loaded."""
        attentive = model is not None and any(name.startswith("attention") for name in model.outputs)
        self.pages.setCurrentIndex(int(attentive))
        self.switch.setVisible(model is not None)
        self.why.setText(
            f"{model.name} has no attention maps. The Attentional Alignment Network (AAN) has four."
            if model
            else "No model is loaded yet."
        )

    def show_faces(self, shown: Shown) -> None:
        """The maps of the chosen face, or of the first when all are chosen: as they are where ids begin anew."""
        if shown.stretch != self._stretch:
            self._stretch = shown.stretch
            self.choose_face(None)
        faces = shown.result.faces
        ids = [face.id for face in faces]
        if ids != [self.face.itemData(index) for index in range(1, self.face.count())]:
            self._list_faces(ids)
        face: Face | None = next((face for face in faces if face.id == self._face), None)
        if face is None and self._face is None and faces:
            face = faces[0]
        self._maps = face.attention or () if face else ()
        for number, thumbnail in enumerate(self.thumbnails):
            thumbnail.show_map(self._maps[number] if number < len(self._maps) else None)
        self._show_range()

    def choose_face(self, face: int | None) -> None:
        self._face = face
        _select(self.face, face)
        self.attended.emit(face)

    def _list_faces(self, ids: Sequence[int]) -> None:
        """All faces, those in the picture, and the chosen one though it may be gone for a moment."""
        blocked = QSignalBlocker(self.face)
        self.face.clear()
        self.face.addItem("all faces", None)
        for number in ids:
            self.face.addItem(f"face {number}", number)
        if self._face is not None and self._face not in ids:
            self.face.addItem(f"face {self._face} (gone)", self._face)
        _select(self.face, self._face)
        del blocked

    def _show_range(self) -> None:
        self.legend.show_range(laid_map(self._maps, self._map))


class Thumbnail(QWidget):
    """One map with its number, size and range; a frame marks the one that lies over the picture."""

    clicked = pyqtSignal()

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self._values: npt.NDArray[np.float32] | None = None
        self._marked = False
        self.setMinimumSize(80, 90)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(f"Attention map {number + 1}")
        self.setToolTip("Click to lay this map over the face, or to take it away")

    def sizeHint(self) -> QSize:
        return QSize(110, 140)

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return min(width, 110) + 2 * self.fontMetrics().height() + 6

    def show_map(self, values: npt.NDArray[np.float32] | None) -> None:
        self._values = values
        self.update()

    def mark(self, marked: bool) -> None:
        self._marked = marked
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        line = 2 * painter.fontMetrics().height() + 2
        side = min(self.width() - 4, self.height() - line - 4)
        square = QRectF((self.width() - side) / 2, 2, side, side)
        if self._values is None:
            painter.fillRect(square, self.palette().color(QPalette.ColorRole.Base))
            painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
            painter.drawText(square, Qt.AlignmentFlag.AlignCenter, "no face")
            text = f"{self.number + 1}\n"
        else:
            painter.drawImage(square, heat(self._values))
            height, width = self._values.shape
            text = f"{self.number + 1}:  {width} x {height}\n{self._values.min():.2f} to {self._values.max():.2f}"
        if self._marked:
            painter.setPen(QPen(ORANGE, 3))
            painter.drawRect(square.adjusted(-0.5, -0.5, 0.5, 0.5))
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        below = QRectF(0, square.bottom() + 2, self.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, text)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        self.clicked.emit()


class Legend(QWidget):
    """The colour map with the least and the greatest value of the map that lies over the face."""

    def __init__(self) -> None:
        super().__init__()
        self._range: tuple[float, float] | None = None
        self.setMinimumHeight(34)
        self.setAccessibleName("Range of the map over the face")

    def show_range(self, values: npt.NDArray[np.float32] | None) -> None:
        self._range = None if values is None else (float(values.min()), float(values.max()))
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        bar = QRectF(2, 2, self.width() - 4, 12)
        gradient = QLinearGradient(bar.topLeft(), bar.topRight())
        for stop in range(0, 256, 15):
            red, green, blue = (int(value) for value in table("viridis")[stop])
            gradient.setColorAt(stop / 255, QColor(red, green, blue))
        painter.setOpacity(1.0 if self._range else 0.35)
        painter.fillRect(bar, gradient)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        below = QRectF(2, 15, self.width() - 4, self.height() - 15)
        low, high = (f"{end:.3f}" for end in self._range) if self._range else ("lowest", "highest")
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop, low)
        painter.drawText(below, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop, high)


def _chooser(name: str, items: Sequence[tuple[str, object]] = ()) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    for text, value in items:
        box.addItem(text, value)
    return box


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, 1)
    return row


def _select(box: QComboBox, value: object) -> None:
    box.setCurrentIndex(max(box.findData(value), 0))


def _number(name: str, low: float, high: float, step: float, unit: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(1)
    box.setSuffix(unit)
    box.setAccessibleName(name)
    box.setKeyboardTracking(False)
    return box


def _devices() -> list[tuple[str, object]]:
    """The CPU, and CUDA where a driver and torch are installed; torch itself is not imported for this."""
    cuda = which("nvidia-smi") and find_spec("torch")
    return [("CPU", "cpu"), ("CUDA (torch)", "cuda")] if cuda else [("CPU", "cpu")]
