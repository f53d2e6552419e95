"""The queue of recordings: many files one after the other, by the code of ``python -m tracker track``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from PyQt6.QtCore import Qt, QThread, QUrl, pyqtSignal
from PyQt6.QtGui import QDesktopServices, QDragEnterEvent, QDropEvent
from PyQt6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from tqdm import tqdm

from app.settings import Settings
from tracker.__main__ import SUFFIXES
from tracker.batch import VIDEO_SUFFIXES, Job, Summary, jobs, track
from tracker.core import TrackerError
from tracker.detector import Detector, load_detector
from tracker.draw import draw_result
from tracker.model import LandmarkModel, load_model
from tracker.sinks import Sink, open_sink
from tracker.smoothing import OneEuro
from tracker.sources import open_source
from tracker.tracking import Tracker

log = logging.getLogger(__name__)


@dataclass
class Item:
    """One recording of the queue: frames done of as many as expected, and a word on what came of it."""

    job: Job
    done: int = 0
    length: int | None = None
    word: str = "waiting"
    finished: bool = False


class _Cancelled(Exception):
    """The user wants no more."""


class _Progress:
    """What ``tracker.batch.track`` tells of its progress, and where it can be stopped."""

    def __init__(self, item: Item, thread: BatchThread) -> None:
        self._item, self._thread = item, thread

    def update(self) -> None:
        self._item.done += 1
        self._thread.tell()
        if self._thread.stopping.is_set():
            raise _Cancelled


class BatchThread(QThread):
    """Works the items off. ``changed`` is emitted when one of them has changed, once until ``seen`` is called."""

    changed = pyqtSignal()

    def __init__(self, items: Sequence[Item], formats: Sequence[str], settings: Settings) -> None:
        super().__init__()
        self.items, self._formats, self._settings = tuple(items), tuple(formats), settings
        self.stopping = threading.Event()
        self._told = False

    def tell(self) -> None:
        if not self._told:
            self._told = True
            self.changed.emit()

    def seen(self) -> None:
        self._told = False

    def run(self) -> None:
        settings = self._settings
        try:
            model = load_model(settings.model, settings.device)
            detector = load_detector(settings.detector)
        except TrackerError as error:
            for item in self.items:
                item.word = str(error)
            return
        for item in self.items:
            if self.stopping.is_set():
                item.word = "cancelled"
                continue
            item.word = "running"
            self.tell()
            try:
                summary = self._track(item, model, detector)
                item.finished = True
                item.word = summary.problem or f"done: {summary}"
            except _Cancelled:
                item.word = "cancelled; what was written so far is in the files named .part"
            except TrackerError as error:
                item.word = str(error)
            except Exception as error:
                log.exception("%s", item.job.source)
                item.word = f"this recording cannot be worked off: {error or type(error).__name__}"
            self.tell()

    def _track(self, item: Item, model: LandmarkModel, detector: Detector) -> Summary:
        settings = self._settings
        smoother = partial(OneEuro, settings.cutoff, settings.beta) if settings.smooth else None
        tracker = Tracker(model, detector, settings.max_faces, smoother)
        draw = partial(draw_result, markup=model.markup)
        with open_source(item.job.source) as source, ExitStack() as outputs:
            item.length = source.length
            sinks: list[Sink] = [
                outputs.enter_context(open_sink(path, source, model.markup.size, draw))
                for path in outputs_of(item.job, self._formats)
            ]
            return track(source, tracker, sinks, cast("tqdm[object]", _Progress(item, self)))


def outputs_of(job: Job, formats: Sequence[str]) -> list[Path]:
    """The files that come of a recording."""
    return [job.target.with_name(job.target.name + SUFFIXES[name]) for name in formats]


class BatchWindow(QWidget):
    """Recordings in a table, what is to be made of them, and how far that is. ``settings`` gives the choices of the
    main window, which hold here too."""

    def __init__(self, parent: QWidget, settings: Callable[[], Settings]) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("Queue of recordings")
        self.setAcceptDrops(True)
        self.resize(860, 420)
        self._settings = settings
        self._inputs: list[Path] = []
        self._items: list[Item] = []
        self._out: Path | None = None
        self.thread_: BatchThread | None = None
        self.table = QTableWidget(0, 3)
        self.table.setAccessibleName("Recordings")
        self.table.setHorizontalHeaderLabels(["Recording", "Progress", "Result"])
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        header, numbers = self.table.horizontalHeader(), self.table.verticalHeader()
        assert header is not None
        assert numbers is not None
        numbers.hide()
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        header.resizeSection(0, 260)
        header.resizeSection(1, 150)
        self.hint = QLabel(
            "Drag videos and folders here, or add them. They are worked off one after the other, with the model and "
            "the smoothing chosen in the main window."
        )
        self.hint.setWordWrap(True)
        self.formats = {name: QCheckBox(name) for name in SUFFIXES}
        self.formats["csv"].setChecked(True)
        self.folder = QPushButton("Results in …")
        self.folder.clicked.connect(self._ask_folder)
        self.files = _button("Add &files…", self._ask_files)
        self.directory = _button("Add f&older…", self._ask_directory)
        self.remove = _button("&Remove", self._remove)
        self.start = _button("&Start", self.run)
        self.cancel = _button("&Cancel", self.stop)
        self.result = _button("Open resu&lts", self._show_results)
        above, middle, below = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        for button in (self.files, self.directory, self.remove):
            above.addWidget(button)
        above.addStretch()
        middle.addWidget(QLabel("Write"))
        for box in self.formats.values():
            middle.addWidget(box)
        middle.addStretch()
        middle.addWidget(self.folder)
        self.message = QLabel("")
        self.message.setWordWrap(True)
        below.addWidget(self.message, 1)
        for button in (self.result, self.cancel, self.start):
            below.addWidget(button)
        lines = QVBoxLayout(self)
        lines.addWidget(self.hint)
        lines.addLayout(above)
        lines.addWidget(self.table, 1)
        lines.addLayout(middle)
        lines.addLayout(below)
        self._show()

    @property
    def running(self) -> bool:
        return self.thread_ is not None and self.thread_.isRunning()

    @property
    def out(self) -> Path:
        return self._out or self._settings().out / "queue"

    def add(self, paths: Sequence[Path]) -> None:
        """Put recordings at the end of the queue: files, folders of recordings or of pictures."""
        problems = []
        for path in paths:
            if not self.running and path not in self._inputs:
                problems += self._plan([*self._inputs, path])
        self.message.setText("\n".join(problems))

    def run(self) -> None:
        """Begin to work the queue off."""
        formats = [name for name, box in self.formats.items() if box.isChecked()]
        if self.running or not self._items or not formats:
            self.message.setText("Add recordings and choose what is to be written")
            return
        self._plan(self._inputs)
        self.thread_ = BatchThread(self._items, formats, self._settings())
        self.thread_.changed.connect(self._on_changed)
        self.thread_.finished.connect(self._on_changed)
        self.thread_.start()
        self._show()

    def stop(self, patience: int = 0) -> None:
        """Stop after the frame in work; wait for it as many milliseconds."""
        if self.thread_:
            self.thread_.stopping.set()
            self.thread_.wait(patience)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        assert event is not None
        data = event.mimeData()
        if data and any(url.isLocalFile() for url in data.urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        assert event is not None
        data = event.mimeData()
        if data:
            self.add([Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()])

    def _plan(self, inputs: list[Path]) -> list[str]:
        """Take the jobs for these inputs, if they make sense; else what is wrong with them."""
        try:
            self._items = [Item(job) for job in jobs(inputs, self.out)]
            self._inputs = inputs
        except TrackerError as error:
            return [str(error)]
        finally:
            self._show()
        return []

    def _on_changed(self) -> None:
        if self.thread_:
            self.thread_.seen()
        self._show()

    def _show(self) -> None:
        running = self.running
        self.table.setRowCount(len(self._items))
        for row, item in enumerate(self._items):
            if self.table.cellWidget(row, 1) is None:
                self.table.setCellWidget(row, 1, QProgressBar())
            for column, text, tip in (
                (0, item.job.source.name, str(item.job.source)),
                (2, item.word, item.word),
            ):
                if self.table.item(row, column) is None:
                    self.table.setItem(row, column, QTableWidgetItem())
                cell = self.table.item(row, column)
                assert cell is not None
                cell.setText(text)
                cell.setToolTip(tip)
            bar = cast(QProgressBar, self.table.cellWidget(row, 1))
            bar.setRange(0, item.length or max(item.done, 1))
            bar.setValue(bar.maximum() if item.finished else min(item.done, bar.maximum()))
            bar.setFormat("%p %" if item.length or item.finished else f"{item.done} frames" if item.done else "")
        for widget in (self.files, self.directory, self.remove, self.start, self.folder, *self.formats.values()):
            widget.setEnabled(not running)
        self.remove.setEnabled(not running and bool(self._items))
        self.start.setEnabled(not running and bool(self._items))
        self.cancel.setEnabled(running)
        self.result.setEnabled(any(item.finished for item in self._items))
        self.folder.setText(f"Results in {self.out}")
        if self.thread_ and not running and self._items:
            self.message.setText(f"{sum(item.finished for item in self._items)} of {len(self._items)} finished")

    def _remove(self) -> None:
        rows = {index.row() for index in self.table.selectedIndexes()}
        gone = [item.job.source for row, item in enumerate(self._items) if row in rows or not rows]
        left = [path for path in self._inputs if path not in gone and not any(path in one.parents for one in gone)]
        self.thread_ = None
        self._plan(left)

    def _ask_files(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in sorted(VIDEO_SUFFIXES))
        paths, _ = QFileDialog.getOpenFileNames(self, "Add recordings", "", f"Videos ({kinds});;All files (*)")
        self.add([Path(path) for path in paths])

    def _ask_directory(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Add a folder of recordings or of pictures")
        if path:
            self.add([Path(path)])

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder for the results", str(self.out))
        if path:
            self._out = Path(path)
            self._plan(self._inputs)

    def _show_results(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.out)))


def _button(text: str, slot: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda: slot())
    return button
