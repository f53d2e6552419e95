"""Light and dark."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor, QGuiApplication, QPalette
from PyQt6.QtWidgets import QApplication

Role, Group = QPalette.ColorRole, QPalette.ColorGroup


def use_colours(which: str) -> None:
    """Show the whole program in ``light`` or ``dark`` colours, or in those of the ``system``. Where Qt cannot ask the
    desktop for them, it gets a palette."""
    hints = QGuiApplication.styleHints()
    assert hints is not None
    QApplication.setPalette(QPalette())
    wanted = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}.get(which, Qt.ColorScheme.Unknown)
    hints.setColorScheme(wanted)
    if which != "system" and (QGuiApplication.palette().color(Role.Window).lightness() < 128) != (which == "dark"):
        QApplication.setPalette(_dark() if which == "dark" else QPalette(QColor(239, 239, 239)))


def _dark() -> QPalette:
    palette = QPalette(QColor(50, 50, 52))
    for role, colour in (
        (Role.Base, QColor(34, 34, 36)),
        (Role.AlternateBase, QColor(44, 44, 46)),
        (Role.ToolTipBase, QColor(34, 34, 36)),
        (Role.ToolTipText, QColor(235, 235, 235)),
        (Role.Highlight, QColor(0, 114, 178)),
        (Role.HighlightedText, QColor(255, 255, 255)),
        (Role.Link, QColor(86, 180, 233)),
    ):
        palette.setColor(role, colour)
    for role in (Role.WindowText, Role.Text, Role.ButtonText):
        palette.setColor(role, QColor(235, 235, 235))
        palette.setColor(Group.Disabled, role, QColor(130, 130, 130))
    palette.setColor(Role.PlaceholderText, QColor(150, 150, 150))
    return palette
