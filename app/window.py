"""The window: sources, models and panels around the picture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PyQt6.QtCore import QEvent, QObject, Qt, QUrl
from PyQt6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
    QShowEvent,
)
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QComboBox,
    QDockWidget,
    QLabel,
    QMainWindow,
    QScrollArea,
    QStatusBar,
    QVBoxLayout,
    QWidget,
)

from app.actions import Actions
from app.batch import BatchWindow
from app.charts import Charts
from app.colours import use_colours
from app.comparison import difference
from app.dialogs import (
    choose_address,
    choose_folder,
    choose_model,
    choose_video,
    dragged_files,
    show_about,
    show_help,
)
from app.history import History
from app.panels import AttentionPanel, ModelPanel
from app.pipeline import News, attentive_models
from app.playback import Banner, Numbers, PlaybackBar
from app.recording import begin, new_path, points_table
from app.session import RELOAD, Session
from app.settings import Settings, load_layout, save
from app.view import View
from tracker.backends import ModelError, Spec
from tracker.core import TrackerError
from tracker.detector import DetectorError
from tracker.jobs import jobs
from tracker.sources import Source, cameras, open_source, path_exists
from tracker.streams import shown as without_password

log = logging.getLogger(__name__)

INVITATION = "Drag a video here, or open one with Ctrl+O"
CALM = 0.2
"""Seconds between repaints of charts and numbers."""


class Window(QMainWindow):
    """The whole of it. ``open`` starts a source; ``change`` changes settings; everything else follows from these."""

    view: View
    banner: Banner
    batch: BatchWindow
    actions_: Actions
    playback: PlaybackBar
    model_panel: ModelPanel
    attention: AttentionPanel
    charts: Charts
    numbers: Numbers

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.opened: list[str] = []  # model files from elsewhere than weights/
        self.session = Session(settings)
        self.session.news.connect(self._on_news)
        self.session.kept.connect(self._on_kept)
        self.session.failed.connect(self._on_failed)
        self.history = History()
        self.remembers = True
        """Whether the settings are kept when the window is closed."""
        self._opening: Callable[[], Source] | None = None
        self._name = ""
        self._source: Source | None = None
        self._models: tuple[Spec, ...] = ()
        self._time = 0.0
        self._calm = 0.0
        self._colours = "system"
        self._build()
        self._show_settings()
        self._restore()

    # Sources

    def open(self, text: str | Path) -> None:
        """Start the file, folder or address that ``text`` names (see ``tracker.open_source``) and remember it."""
        if path_exists(Path(text)):
            text = Path(text).absolute()
        name = without_password(str(text))
        self.change(recent=self.settings.with_recent(name).recent)
        self.start(partial(open_source, text), Path(name).name or name)

    def open_camera(self, index: int, name: str) -> None:
        """Start a camera."""
        self.start(partial(open_source, str(index)), name)

    def start(self, opening: Callable[[], Source], name: str) -> None:
        """Start the source that ``opening`` opens, in place of the one that runs; ``name`` is shown."""
        self._opening, self._name = opening, name
        self._source, self._time = None, 0.0
        self.history = History()
        self.banner.hide()
        self.attention.choose_face(None)
        self.actions_.freeze.setChecked(False)
        self.freeze(False)
        self.view.hint = f"Opening {name} …"
        self.view.show_frame(None, ())
        self._show_kind(None)
        self.numbers.clear()
        self.setWindowTitle(f"{name} - landmark-tracker")
        self.session.start(opening)

    def retry(self) -> None:
        """Open the same source again."""
        if self._opening:
            self.start(self._opening, self._name)
        else:
            self.open_first_camera()

    def open_first_camera(self) -> None:
        """The first camera, or a word on what else can be done."""
        found = cameras()
        if found:
            self.open_camera(*found[0])
        else:
            self.view.hint = INVITATION
            self.view.show_frame(None, ())
            self.banner.tell("No camera was found: plug one in and try again, or open a file.", retry=True)

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Whatever was dropped: a model, a source, or several recordings for the queue."""
        models = [path for path in paths if path.suffix in (".onnx", ".safetensors")]
        rest = [path for path in paths if path not in models]
        if models:
            self.change(model=str(models[0].absolute()))
            if not (rest or self._opening):
                self.view.hint = INVITATION
                self.view.update()
        if len(rest) == 1 and self._is_recording(rest[0]):
            self.open(rest[0])
        elif rest:
            self.show_batch()
            self.batch.add(rest)

    def _is_recording(self, path: Path) -> bool:
        """Whether this is a file or a folder of pictures; lists and other folders are for the queue, which says what is
        wrong with them."""
        if not path.is_dir():
            return path.suffix.lower() != ".txt"
        try:
            return [job.source for job in jobs([path], self.batch.out)] == [path]
        except TrackerError:
            return False

    # Settings

    def change(self, **fields: Any) -> None:
        """Change settings and do what follows from it."""
        before, self.settings = self.settings, replace(self.settings, **fields)
        if before == self.settings:
            return
        self._show_settings()
        self.session.use(self.settings)

    def _show_settings(self) -> None:
        settings = self.settings
        files = [name for name in (settings.model, settings.other) if Path(name).suffix]
        self.opened += [name for name in files if name not in self.opened]
        self.view.look(settings)
        self.model_panel.show_settings(settings, self.opened)
        self.attention.show_settings(settings)
        self.playback.show_settings(settings)
        self.actions_.show_settings(settings)
        self._show_charts()
        if self._colours != settings.colours:
            self._colours = settings.colours
            use_colours(settings.colours)

    # The pipeline

    def _on_failed(self, error: TrackerError) -> None:
        working = self.session.working
        before = {name: getattr(working, name) for name in RELOAD}
        chosen = {name: getattr(self.settings, name) for name in RELOAD}
        if isinstance(error, ModelError | DetectorError) and before != chosen:
            self.banner.tell(f"{error}. The model before is used again.")
            self.change(**before)
        else:
            self.view.hint = INVITATION
            self.view.update()
            self.banner.tell(str(error), retry=True)

    def _on_news(self, news: News) -> None:
        """Show what is new."""
        if news.source is not self._source and news.source:
            self._show_source(news.source)
        if news.models and news.models != self._models:
            self._models = news.models
            self.attention.show_model(news.models[0])
        if news.samples:
            self._time = news.samples[-1].time
            self.numbers.count(len(news.samples))
            self.history.add(news.samples)
        self.actions_.show_playing(news.playing)
        self._show_waiting(news)
        self.actions_.record.setChecked(bool(news.recording))
        self.red.setVisible(bool(news.recording))
        self.red.setToolTip("\n".join(map(str, news.recording)))
        if news.shown and not self.actions_.freeze.isChecked():
            self.view.show_frame(news.shown, self._models)
            self.attention.show_faces(news.shown)
        self._show_numbers(news)

    def _show_source(self, source: Source) -> None:
        self._source = source
        self.history = History(source.length or 0) if self.session.seekable else History()
        self._show_kind(source)

    def _show_kind(self, source: Source | None) -> None:
        seekable = source is not None and self.session.seekable
        self.actions_.show_source(seekable)
        self.playback.show_source(seekable, live=bool(source and source.live))

    def _show_waiting(self, news: News) -> None:
        if news.problem:
            self.banner.tell(news.problem)
        elif news.damage:
            self.banner.tell(news.damage, retry=True)
        elif news.stalled:
            self.banner.tell(f"{self._name} gives no picture; still waiting for it.", retry=True, waiting=True)
        elif self.banner.waiting:
            self.banner.waiting = False
            self.banner.hide()

    def _show_numbers(self, news: News) -> None:
        """Charts, time line, read-outs and the bar of numbers, ten times a second at most while it runs."""
        now = perf_counter()
        if news.playing and now - self._calm < CALM:
            return
        self._calm = now
        self._show_charts()
        if self.session.seekable:
            self.playback.show_place(self.history, self._time, self._source.rate if self._source else None)
        self.model_panel.show_smoothing(news.smoothing)
        if news.shown and news.shown.other and len(self._models) == 2:
            comparable = self._models[0].markup == self._models[1].markup
            value = difference(news.shown.result, news.shown.other, self._models[0].points) if comparable else np.nan
            self.model_panel.show_difference(value, comparable)
        if news.shown:
            self.numbers.show_frame(news.shown, news.dropped, self.view.delays)

    def _show_charts(self) -> None:
        self.charts.show_history(self.history, self.settings.whole)

    # Playback

    def play(self) -> None:
        self.session.play(not self.session.playing)

    def skip(self, seconds: float) -> None:
        """Seek so many seconds on or back."""
        rate = self._source.rate if self._source and self._source.rate else 25.0
        index = max(self.history.index + round(seconds * rate), 0)
        if self._source and self._source.length:
            index = min(index, max(self._source.length, len(self.history.found)) - 1)
        self.session.seek(index)

    # Recording, pictures and points

    def record(self, on: bool) -> None:
        """Begin or end a recording of the kinds that are switched on."""
        recording, models = None, self.session.models
        if on and not (self._source and self.session.pipeline):
            self.status.showMessage("There is nothing to record yet", 5000)
        elif on and not models:
            self.status.showMessage("The model is still being loaded; record when it is there", 5000)
        elif on and self._source:
            try:
                recording = begin(self.settings, self._name, self._source, models[0].points)
            except TrackerError as error:
                self.banner.tell(str(error))
        self.actions_.record.setChecked(recording is not None)
        self.session.record(recording)

    def _on_kept(self, paths: Sequence[Path]) -> None:
        names = " and ".join(path.name for path in paths)
        self.status.showMessage(f"Kept {names} in {paths[0].parent}", 8000)

    def screenshot(self) -> None:
        """Keep the picture as it is shown."""
        path = new_path(self.settings.out, self._name, ".png")
        image = self.view.picture()
        if image.isNull():
            self.status.showMessage("There is no picture yet", 5000)
        elif image.save(str(path)):
            self.status.showMessage(f"Kept {path}", 8000)
        else:
            self.banner.tell(f"{path}: cannot be written; choose another folder in the Record menu.")

    def copy_points(self) -> None:
        """The points of all faces in the picture as a table that a spreadsheet takes."""
        faces = self.view.shown.result.faces if self.view.shown else ()
        clipboard = QGuiApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(points_table(faces))
        self.status.showMessage(f"Copied the points of {len(faces)} faces", 5000)

    # Dialogs

    def ask_file(self) -> None:
        if path := choose_video(self):
            self.open(path)

    def ask_folder(self) -> None:
        if path := choose_folder(self, "Open a folder of images or of recordings"):
            self.open_paths([path])

    def ask_address(self) -> None:
        if address := choose_address(self):
            self.open(address)

    def ask_model(self, field: str = "model") -> None:
        if path := choose_model(self):
            self.change(**{field: str(path)})
        else:
            self._show_settings()

    def ask_out(self) -> None:
        if path := choose_folder(self, "Folder for recordings and pictures", self.settings.out):
            self.change(folder=str(path))

    def show_out(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.settings.out)))

    def ask_attention(self) -> None:
        """Switch to the first model with attention, or let one be chosen."""
        names = attentive_models()
        if names:
            self.change(model=names[0])
        else:
            self.banner.tell("No model in weights/ has attention maps; choose the file of one (AAN).")
            self.ask_model()

    def freeze(self, on: bool) -> None:
        """Keep the picture and its maps as they are; the source goes on."""
        self.view.frozen = on
        self.view.update()

    def show_batch(self) -> None:
        self.batch.show()
        self.batch.raise_()

    def show_help(self) -> None:
        show_help(self, self.actions_.all())

    def show_about(self) -> None:
        show_about(self, self._models)

    def full_screen(self, on: bool) -> None:
        self.setWindowState(
            self.windowState() | Qt.WindowState.WindowFullScreen
            if on
            else self.windowState() & ~Qt.WindowState.WindowFullScreen
        )

    # The window itself

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """What has been reached with Tab gets the keys by which it is used, though they are shortcuts. What is clicked
        leaves the keyboard to the picture, so that they stay shortcuts."""
        if event is not None and event.type() == QEvent.Type.MouseButtonPress:
            self.view.setFocus()
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride:
            slider = isinstance(watched, QAbstractSlider)
            if event.key() in ((Qt.Key.Key_Left, Qt.Key.Key_Right) if slider else (Qt.Key.Key_Space,)):
                event.accept()
                return True
        return super().eventFilter(watched, event)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        if event and dragged_files(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        if event:
            self.open_paths(dragged_files(event))

    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        if "state" not in load_layout():
            heights = [self.height() * 32 // 100, self.height() * 68 // 100]
            self.resizeDocks(self.docks[:2], heights, Qt.Orientation.Vertical)
            self.resizeDocks(self.docks[2:], [self.height() * 26 // 100], Qt.Orientation.Vertical)

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.PaletteChange and hasattr(self, "actions_"):
            self.actions_.show_playing(self.session.playing)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Remember, stop, and wait for less than a second, whatever hangs; only a recording is given time to end."""
        if self.remembers:
            save(self.settings, {"geometry": self.saveGeometry().data(), "state": self.saveState().data()})
        self.hide()
        self.session.close()
        self.batch.stop(0.4)
        self.session.wait(5000 if self.actions_.record.isChecked() else 400)
        super().closeEvent(event)

    @property
    def hanging(self) -> bool:
        """Whether a thread is still at work after the window was closed, so that Qt may not be taken down."""
        return not self.session.wait(0) or self.batch.running

    def _restore(self) -> None:
        kept = load_layout()
        self.resize(1280, 800)
        for name, put in (("geometry", self.restoreGeometry), ("state", self.restoreState)):
            if name in kept:
                put(kept[name])

    def _build(self) -> None:
        self.setWindowTitle("landmark-tracker")
        self.setAcceptDrops(True)
        self.status = QStatusBar()
        self.setStatusBar(self.status)
        self._scheme = Qt.ColorScheme.Unknown
        self.view = View()
        self.view.hint = INVITATION
        self.banner = Banner()
        self.banner.retry.connect(self.retry)
        self.batch = BatchWindow(self, lambda: self.settings)
        self.actions_ = Actions(self)
        self.playback = PlaybackBar(self.actions_.transport, self.actions_.loop, self.change)
        self.playback.line.sought.connect(self.session.seek)
        self._show_kind(None)
        self.model_panel = ModelPanel(self.change)
        self.model_panel.opening.connect(self.ask_model)
        self.attention = AttentionPanel(self.change, self.actions_.freeze)
        self.attention.switching.connect(self.ask_attention)
        self.attention.attended.connect(self._attend)
        self.attention.show_model(None)
        self.view.clicked.connect(self.attention.choose_face)
        self.charts = Charts()
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self.view, 1)
        column.addWidget(self.playback)
        self.setCentralWidget(middle)
        self.numbers = Numbers()
        self.status.addWidget(self.numbers, 1)
        self.red = QLabel("● recording")
        self.red.setStyleSheet("color: #d55e00; font-weight: bold")
        self.red.hide()
        self.status.addPermanentWidget(self.red)
        self.docks = [
            self._dock("Model", self.model_panel, Qt.DockWidgetArea.RightDockWidgetArea),
            self._dock("Attention", self.attention, Qt.DockWidgetArea.RightDockWidgetArea),
            self._dock("Charts", self.charts, Qt.DockWidgetArea.BottomDockWidgetArea),
        ]
        self.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        for part, kind in product((middle, *self.docks), (QAbstractButton, QComboBox, QAbstractSlider)):
            for widget in part.findChildren(kind):
                if widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
                    widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
                    widget.installEventFilter(self)
        self.view.setFocus()

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title)
        dock.setObjectName(title)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        bar = scroll.verticalScrollBar()
        assert bar is not None
        scroll.setMinimumWidth(max(280, widget.minimumSizeHint().width() + bar.sizeHint().width()))
        scroll.setWidget(widget)
        dock.setWidget(scroll)
        self.addDockWidget(area, dock)
        self.actions_.add_dock(dock.toggleViewAction())
        return dock

    def _attend(self, face: int | None) -> None:
        self.view.attended = face
        self.view.update()
