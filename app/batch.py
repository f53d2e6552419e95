"""placeholder"""

from collections.abc import Callable, Sequence
from pathlib import Path

from PyQt6.QtWidgets import QWidget

from app.settings import Settings


class BatchWindow(QWidget):
    hanging = False

    def __init__(self, parent: QWidget, settings: Callable[[], Settings]) -> None:
        super().__init__()

    def add(self, paths: Sequence[Path]) -> None: ...
    def stop(self) -> None: ...
