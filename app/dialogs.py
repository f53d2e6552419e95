"""Help on one screen, what the program is made of, and choosing files."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PyQt6.QtCore import PYQT_VERSION_STR, QT_VERSION_STR, Qt
from PyQt6.QtGui import QAction, QDropEvent, QKeySequence
from PyQt6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QInputDialog,
    QLabel,
    QMainWindow,
    QVBoxLayout,
    QWidget,
)

from tracker import __version__
from tracker.backends import Spec
from tracker.jobs import VIDEO_SUFFIXES

STEPS = """<p><b>Look.</b> The window opens the first camera. Drag a video, or a folder of pictures, onto it, or choose
one in <i>Source</i>. The wheel zooms, dragging pans, a double click shows the whole picture; a click on a face shows
its attention.</p>
<p><b>Measure.</b> Blue points are unsure, yellow ones are sure. The charts show how far eyes and mouth are open and
where the head is turned. Points are smoothed: lower the cutoff for a steadier picture, raise beta for less lag.</p>
<p><b>Compare.</b> Choose a second model under <i>Compare with</i>; the difference is counted in eye distances.</p>
<p><b>Keep.</b> <i>Record</i> writes a table of all points and an annotated video while it runs. For many files use the
<i>Queue of recordings</i>.</p>"""


def dragged_files(event: QDropEvent) -> list[Path]:
    """The files and folders that are dragged over a window, or dropped on it."""
    data = event.mimeData()
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()] if data else []


def show_help(window: QMainWindow, menus: Sequence[tuple[str, Sequence[QAction]]]) -> None:
    """One page: what to do, and the shortcuts of all menus side by side."""
    columns = []
    for name, actions in menus:
        rows = "".join(
            f"<tr><td align='right'{_WHOLE}><b>{escape(action.shortcut().toString(_NATIVE))}</b>  </td>"
            f"<td{_WHOLE}>{escape(action.text().replace('&', '').removesuffix('…'))}</td></tr>"
            for action in actions
        )
        columns.append(f"<td style='padding-right: 24px'><i>{name}</i><table>{rows}</table></td>")
    _show(window, "How to use it", f"{STEPS}<table><tr>{''.join(columns)}</tr></table>")


def show_about(window: QMainWindow, models: Sequence[Spec]) -> None:
    """Versions of what is inside, and the terms of the weights in use."""
    parts = [("Python", platform.python_version()), ("Qt", QT_VERSION_STR), ("PyQt6", PYQT_VERSION_STR)]
    for name in ("onnxruntime", "av", "numpy", "opencv-contrib-python", "opencv-python", "mediapipe"):
        try:
            parts.append((name, version(name)))
        except PackageNotFoundError:
            continue
    inside = ", ".join(f"{name} {number}" for name, number in parts)
    weights = "".join(
        f"<p><b>{escape(spec.name)}</b>, version {escape(spec.version)}: {escape(spec.network)}, {spec.points.size} "
        f"points.<br>{escape(spec.licence or 'no licence is stated')}."
        + (f"<br>Trained on: {escape('; '.join(spec.data))}." if spec.data else "")
        + "</p>"
        for spec in models
    )
    text = (
        f"<h3>landmark-tracker {__version__}</h3>"
        "<p>Follows the landmarks of faces in live and recorded video. Nothing leaves this computer.</p>"
        f"{weights or '<p>No model is loaded.</p>'}"
        "<p>The program is under the MIT licence. This window uses PyQt6, which is under the GPLv3, so that a bundle "
        f"that contains it is under the GPLv3 as a whole.</p><p>{escape(inside)}</p>"
    )
    _show(window, "About", text)


def choose_video(parent: QWidget) -> Path | None:
    path, _ = QFileDialog.getOpenFileName(parent, "Open a video", "", VIDEOS)
    return Path(path) if path else None


def choose_folder(parent: QWidget, title: str, start: Path | None = None) -> Path | None:
    path = QFileDialog.getExistingDirectory(parent, title, str(start or ""))
    return Path(path) if path else None


def choose_model(parent: QWidget) -> Path | None:
    path, _ = QFileDialog.getOpenFileName(parent, "Open a model", "", "Models (*.onnx *.safetensors)")
    return Path(path) if path else None


def choose_address(parent: QWidget) -> str:
    """The address of a stream, or nothing."""
    text, good = QInputDialog.getText(parent, "Open a stream", "Address: http://… of an MJPEG camera, or rtsp://…")
    return text.strip() if good else ""


def _show(window: QMainWindow, title: str, text: str) -> None:
    dialog = QDialog(window)
    dialog.setWindowTitle(title)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setMinimumWidth(640)
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    buttons.rejected.connect(dialog.close)
    lines = QVBoxLayout(dialog)
    lines.addWidget(label)
    lines.addWidget(buttons)
    dialog.show()


VIDEOS = f"Videos ({' '.join(f'*{suffix}' for suffix in sorted(VIDEO_SUFFIXES))});;All files (*)"
_WHOLE = " style='white-space: pre'"
_NATIVE = QKeySequence.SequenceFormat.NativeText
