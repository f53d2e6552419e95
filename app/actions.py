"""The menus: every action with its shortcut, in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from PyQt6.QtCore import QPointF, QSignalBlocker, Qt
from PyQt6.QtGui import QAction, QActionGroup, QColor, QIcon, QKeySequence, QPainter, QPalette, QPixmap, QPolygonF

from app.settings import MEAN, NO_MAP, Settings
from tracker.sources import cameras

if TYPE_CHECKING:
    from app.window import Window

Group = QPalette.ColorGroup
Thing = TypeVar("Thing")


class Actions:
    """The actions of a window, in its menu bar. Those that stand for a setting are named after its field."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._toggles: dict[str, QAction] = {}
        self._settings = Settings()
        bar = window.menuBar()
        assert bar is not None
        names = ("&Source", "&Playback", "&View", "&Record", "&Help")
        self._menus = {name.replace("&", ""): _made(bar.addMenu(name)) for name in names}

        self._cameras = _made(self._menus["Source"].addMenu("&Camera"))
        self._cameras.aboutToShow.connect(self._list_cameras)
        self._add("Source", "Open &video…", "Ctrl+O", window.ask_file)
        self._add("Source", "Open &folder…", "Ctrl+Shift+O", window.ask_folder)
        self._add("Source", "Open &stream…", "Ctrl+U", window.ask_address)
        self._recent = _made(self._menus["Source"].addMenu("&Recent"))
        self._recent.aboutToShow.connect(self._list_recent)
        self._menus["Source"].addSeparator()
        self._add("Source", "Open &model…", "Ctrl+M", window.ask_model)
        self._add("Source", "&Queue of recordings…", "Ctrl+B", window.show_batch)
        self._menus["Source"].addSeparator()
        self._add("Source", "&Quit", "Ctrl+Q", window.close)

        self.playing = self._add("Playback", "&Pause", "Space", window.play)
        back = self._add("Playback", "Step &back", ",", partial(window.session.step, -1))
        on = self._add("Playback", "Step &on", ".", partial(window.session.step, 1))
        self._skips = [
            self._add("Playback", "One second back", "Left", partial(window.skip, -1.0)),
            self._add("Playback", "One second on", "Right", partial(window.skip, 1.0)),
        ]
        self.loop = self._toggle("Playback", "&Loop", "L", "loop")
        self.transport = (self.playing, back, on)
        self._showing: tuple[bool, str, str] | None = None
        self.show_playing(True)

        for text, key, field in (
            ("&Points", "P", "points"),
            ("&Edges", "E", "edges"),
            ("&Numbers of faces", "I", "ids"),
            ("Bo&xes", "B", "boxes"),
            ("&Crop of the network", "C", "crop"),
            ("&Head pose", "H", "pose"),
        ):
            self._toggle("View", text, key, field)
        self._add("View", "Next &attention map", "A", self._next_map)
        self.freeze = self._switch("View", "&Freeze", "F", window.freeze)
        self.freeze.setToolTip("Keep this picture and its maps in view while the source goes on (F)")
        self._menus["View"].addSeparator()
        self._add("View", "Zoom &in", "Ctrl++", partial(window.view.zoom, 1.25))
        self._add("View", "Zoom &out", "Ctrl+-", partial(window.view.zoom, 0.8))
        self._add("View", "&Whole picture", "Ctrl+0", window.view.fit)
        self._switch("View", "F&ull screen", "F11", window.full_screen)
        self._menus["View"].addSeparator()
        self._toggle("View", "Charts over the w&hole file", "W", "whole")
        self._colours = _made(self._menus["View"].addMenu("Co&lours"))
        self._schemes = QActionGroup(self._colours)
        for text, value in (("As the &system", "system"), ("&Light", "light"), ("&Dark", "dark")):
            action = _made(self._colours.addAction(text))
            action.setCheckable(True)
            action.setData(value)
            _obey(action, partial(window.change, colours=value))
            self._schemes.addAction(action)
        self._menus["View"].addSeparator()

        self.record = self._switch("Record", "&Record", "Ctrl+R", window.record)
        self._toggle("Record", "&Points (CSV)", "", "record_csv")
        self._toggle("Record", "Annotated &video", "", "record_video")
        self._menus["Record"].addSeparator()
        self._add("Record", "&Screenshot", "Ctrl+S", window.screenshot)
        self._add("Record", "&Copy points", "Ctrl+C", window.copy_points)
        self._menus["Record"].addSeparator()
        self._add("Record", "&Folder for all of it…", "", window.ask_out)
        self._add("Record", "&Open that folder", "Ctrl+D", window.show_out)

        self._add("Help", "&How to use it", "F1", window.show_help)
        self._add("Help", "&About", "", window.show_about)

    def all(self) -> list[tuple[str, list[QAction]]]:
        """The menus with their actions that have a shortcut, for the help page."""
        return [
            (name, [action for action in menu.actions() if not action.shortcut().isEmpty()])
            for name, menu in self._menus.items()
        ]

    def add_dock(self, action: QAction | None) -> None:
        self._menus["View"].addAction(_made(action))

    def show_settings(self, settings: Settings) -> None:
        self._settings = settings
        for field, action in self._toggles.items():
            blocked = QSignalBlocker(action)
            action.setChecked(getattr(settings, field))
            del blocked
        for action in self._schemes.actions():
            action.setChecked(action.data() == settings.colours)

    def show_source(self, seekable: bool) -> None:
        """What can be asked of a file cannot be asked of a camera."""
        for action in (*self.transport, *self._skips, self.loop):
            action.setEnabled(seekable)

    def show_playing(self, playing: bool) -> None:
        palette = self._window.palette()
        ink, pale = (
            palette.color(group, QPalette.ColorRole.ButtonText).name() for group in (Group.Active, Group.Disabled)
        )
        if self._showing == (playing, ink, pale):  # every frame asks, and Qt would lay the buttons out anew
            return
        self._showing = playing, ink, pale
        self.playing.setText("&Pause" if playing else "&Play")
        symbols = ("pause" if playing else "play", "back", "on")
        for action, symbol in zip(self.transport, symbols, strict=True):
            action.setIcon(_icon(symbol, ink, pale))

    def _next_map(self) -> None:
        """No map, the four of them from shallow to deep, their mean, and again."""
        order = [NO_MAP, 0, 1, 2, 3, MEAN]
        self._window.change(map=order[(order.index(self._settings.map) + 1) % len(order)])

    def _list_cameras(self) -> None:
        self._cameras.clear()
        for index, name in cameras():
            action = _made(self._cameras.addAction(name.replace("&", "&&")))
            _obey(action, partial(self._window.open_camera, index, name))
        if self._cameras.isEmpty():
            _made(self._cameras.addAction("no camera found")).setEnabled(False)

    def _list_recent(self) -> None:
        self._recent.clear()
        for text in self._settings.recent:
            action = _made(self._recent.addAction(text.replace("&", "&&")))
            _obey(action, partial(self._window.open, text))
        if self._recent.isEmpty():
            _made(self._recent.addAction("nothing yet")).setEnabled(False)

    def _add(self, menu: str, text: str, key: str, slot: Callable[[], object]) -> QAction:
        action = QAction(text, self._window)
        if key:
            action.setShortcut(QKeySequence(key))
        name = text.replace("&", "").removesuffix("…")
        action.setToolTip(f"{name} ({key})" if key else name)
        _obey(action, slot)
        self._menus[menu].addAction(action)
        return action

    def _switch(self, menu: str, text: str, key: str, slot: Callable[[bool], object]) -> QAction:
        """An action that is on or off."""
        action = self._add(menu, text, key, lambda: None)
        action.setCheckable(True)
        action.triggered.connect(slot)
        return action

    def _toggle(self, menu: str, text: str, key: str, field: str) -> QAction:
        """An action that switches a setting."""
        action = self._switch(menu, text, key, lambda on: self._window.change(**{field: on}))
        self._toggles[field] = action
        return action


def _obey(action: QAction, slot: Callable[[], object]) -> None:
    """Call ``slot``, without the state that Qt hands over, when the action is chosen."""
    action.triggered.connect(lambda _=False: slot())


SHAPES = {
    "play": [[(20, 12), (54, 32), (20, 52)]],
    "pause": [[(16, 12), (26, 12), (26, 52), (16, 52)], [(38, 12), (48, 12), (48, 52), (38, 52)]],
    "back": [[(44, 14), (44, 50), (18, 32)], [(12, 14), (17, 14), (17, 50), (12, 50)]],
    "on": [[(20, 14), (20, 50), (46, 32)], [(47, 14), (52, 14), (52, 50), (47, 50)]],
}
"""The symbols of the buttons, in 64ths of their side."""


@functools.cache
def _icon(symbol: str, ink: str, pale: str) -> QIcon:
    """A symbol in the colours of text that can be pressed and text that cannot: Qt's own are black on any ground."""
    icon = QIcon()
    for colour, mode in ((ink, QIcon.Mode.Normal), (pale, QIcon.Mode.Disabled)):
        picture = QPixmap(64, 64)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colour))
        for corners in SHAPES[symbol]:
            painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
        painter.end()
        icon.addPixmap(picture, mode)
    return icon


def _made(thing: Thing | None) -> Thing:
    """What Qt has just made; its annotations allow None."""
    assert thing is not None
    return thing
