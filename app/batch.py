"""The queue of recordings: many files one after the other, by ``tracker.batch``, as ``python -m tracker track``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PyQt6.QtCore import QObject, Qt, QUrl, pyqtSignal
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

from app.dialogs import VIDEOS, choose_folder, dragged_files
from app.settings import Settings
from tracker import batch, recording
from tracker.core import TrackerError
from tracker.jobs import Job, jobs

log = logging.getLogger(__name__)


@dataclass
class Item:
    """One recording of the queue: frames done of as many as expected, and a word on what came of it."""

    job: Job
    done: int = 0
    length: int | None = None
    word: str = "waiting"
    ended: bool = False
    whole: bool = False


class Worker(QObject):
    """Works the jobs off, one at a time, in a thread. ``changed`` is emitted when an item has changed, once until
    ``seen``, and at the end.

    The thread is Python's, not Qt's: to wait for another one makes Python note the waiting thread, and a QThread that
    it has noted stays on its list when it has ended.
    """

    changed = pyqtSignal()

    def __init__(self, items: Sequence[Item], settings: recording.Settings) -> None:
        super().__init__()
        self._items, self._settings = {item.job: item for item in items}, settings
        self._stopping = False
        self._told = False
        self._thread = threading.Thread(target=self._run, name="queue of recordings", daemon=True)
        self.running = False

    def start(self) -> None:
        self.running = True
        self._thread.start()

    def wait(self, patience: float) -> None:
        """Wait for the end, but no longer than so many seconds."""
        self._thread.join(patience)

    def stop(self) -> None:
        """End after the frame in work."""
        self._stopping = True

    def seen(self) -> None:
        self._told = False

    def _run(self) -> None:
        try:
            with closing(batch.run(self._left(), self._settings)) as events:
                for event in events:
                    self._note(event)
                    if self._stopping:
                        break
        except Exception as error:  # the table tells it
            log.exception("the queue")
            for item in self._items.values():
                item.word = item.word if item.ended else f"{error or type(error).__name__}"
        for item in self._items.values():
            if not item.ended and self._stopping:
                item.word = (
                    "cancelled; what was written so far is in the files named .part" if item.done else "cancelled"
                )
        self.running = False
        self.changed.emit()

    def _left(self) -> list[Job]:
        """What an earlier run with these settings has not finished."""
        left = []
        for job, item in self._items.items():
            if recording.whole_record(job, self._settings):
                item.word = item.word if item.whole else "finished before"
                item.ended = item.whole = True
            else:
                item.done, item.word, item.ended, item.whole = 0, "waiting", False, False
                left.append(job)
        return left

    def _note(self, event: batch.Event) -> None:
        item = self._items[event.job]
        if isinstance(event, batch.Progress):
            item.done, item.length, item.word = event.frames, event.total, "running"
        else:
            item.ended, item.whole = True, event.whole
            item.word = event.record["problem"] or _praise(event.record)
        if not self._told:
            self._told = True
            self.changed.emit()


def _praise(record: recording.Record) -> str:
    """What a whole recording was like."""
    quality = record["quality"]
    found = 100 * quality["frames_with_a_face"] / max(quality["frames"], 1)
    remarks = "".join(f"; {remark}" for remark in (*record["notes"], *quality["warnings"]))
    return f"{quality['frames']} frames, face in {found:.1f} %, identities: {quality['identities']}{remarks}"


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
        self._removed: set[Path] = set()
        self._items: list[Item] = []
        self._out: Path | None = None
        self.worker: Worker | None = None
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
            "Drag videos and folders here, or add them. They are worked off one after the other, with the model, the "
            "detector, the number of faces and what is drawn of the main window, and its One-Euro filter as it comes, "
            "or none. What is finished is not done again with the same choices."
        )
        self.hint.setWordWrap(True)
        self.formats = {name: QCheckBox(name) for name in recording.FORMATS}
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
        return self.worker is not None and self.worker.running

    @property
    def out(self) -> Path:
        return self._out or self._settings().out / "queue"

    def add(self, paths: Sequence[Path]) -> None:
        """Put recordings at the end of the queue: files, folders of recordings or of pictures."""
        if self.running:
            self.message.setText("The queue is at work: add these when it has ended or been cancelled")
            return
        problems = []
        for path in paths:
            try:
                new = {job.source for job in jobs([path], self.out)}
            except TrackerError as error:
                problems.append(str(error))
                continue
            known = self._removed | {item.job.source for item in self._items}
            self._removed -= new
            problems += self._plan(self._inputs if new <= known else [*self._inputs, path])
        self.message.setText("\n".join(problems))

    def run(self) -> None:
        """Begin to work the queue off."""
        if self.running or not self._items:
            return
        chosen = self._settings()
        try:
            settings = recording.Settings(
                formats=tuple(name for name, box in self.formats.items() if box.isChecked()),
                model=chosen.model,
                device=chosen.device,
                detector=chosen.detector,
                max_faces=chosen.max_faces,
                smooth="live" if chosen.smooth else "none",
                overlay=tuple(name for name in recording.OVERLAY if getattr(chosen, name)),
            )
        except TrackerError:
            self.message.setText("Choose at least one kind of result")
            return
        self._plan(self._inputs)
        self.worker = Worker(self._items, settings)
        self.worker.changed.connect(self._on_changed)
        self.worker.start()
        self._show()

    def stop(self, patience: float = 0) -> None:
        """Stop after the frame in work; wait for it as many seconds."""
        if self.worker:
            self.worker.stop()
            self.worker.wait(patience)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        if event and not self.running and dragged_files(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        if event:
            self.add(dragged_files(event))

    def _plan(self, inputs: list[Path]) -> list[str]:
        """Take the jobs for these inputs, if they make sense; else what is wrong with them."""
        try:
            known = {item.job: item for item in self._items}
            planned = [job for job in jobs(inputs, self.out) if job.source not in self._removed]
            self._items = [known.get(job) or Item(job) for job in planned]
            self._inputs = inputs
        except TrackerError as error:
            return [str(error)]
        finally:
            self._show()
        return []

    def _on_changed(self) -> None:
        if self.worker:
            self.worker.seen()
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
            bar.setValue(bar.maximum() if item.whole else min(item.done, bar.maximum()))
            bar.setFormat("%p %" if item.length or item.whole else f"{item.done} frames" if item.done else "")
        for widget in (self.files, self.directory, self.remove, self.start, self.folder, *self.formats.values()):
            widget.setEnabled(not running)
        self.remove.setEnabled(not running and bool(self._items))
        self.start.setEnabled(not running and bool(self._items))
        self.cancel.setEnabled(running)
        self.result.setEnabled(any(item.whole for item in self._items))
        self.folder.setText(f"Results in {self.out}")
        if self.worker and not running and self._items:
            self.message.setText(f"{sum(item.whole for item in self._items)} of {len(self._items)} finished")

    def _remove(self) -> None:
        rows = {index.row() for index in self.table.selectedIndexes()}
        gone = {item.job.source for row, item in enumerate(self._items) if row in rows or not rows}
        everything = len(gone) == len(self._items)
        self._removed = set() if everything else self._removed | gone
        self.worker = None
        self._plan([] if everything else self._inputs)

    def _ask_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add recordings", "", VIDEOS)
        self.add([Path(path) for path in paths])

    def _ask_directory(self) -> None:
        if path := choose_folder(self, "Add a folder of recordings or of pictures"):
            self.add([path])

    def _ask_folder(self) -> None:
        if path := choose_folder(self, "Folder for the results", self.out):
            self._out = path
            self._plan(self._inputs)

    def _show_results(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.out)))


def _button(text: str, slot: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda: slot())
    return button
