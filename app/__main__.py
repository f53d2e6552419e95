"""``python -m app``: the window."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from app.memory import spare_memory
from tracker import __version__
from tracker.core import TrackerError

if TYPE_CHECKING:
    from PyQt6.QtCore import QMessageLogContext, QtMsgType

    from app.window import Window

STARTED = perf_counter()

LIBRARIES = (
    "sudo apt-get install libgl1 libegl1 libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon0 libxkbcommon-x11-0 "
    "libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 "
    "libxcb-xkb1"
)
"""What Qt needs of a bare Debian or Ubuntu."""

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """The window; its exit code: 0, 1 when a soak has found something, 2 when it cannot be opened, 130 after Ctrl-C."""
    given = _parser().parse_args(arguments)
    if given.camera is not None and not (0 < given.camera <= 1000 and given.source):
        return _refused(f"--camera {given.camera:g}: give a rate above 0 and up to 1000, and the video to show")
    spare_memory()
    if given.soak is not None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    try:
        from PyQt6.QtCore import QtMsgType, qInstallMessageHandler
        from PyQt6.QtGui import QIcon
        from PyQt6.QtWidgets import QApplication
    except ImportError as error:
        if getattr(error, "name", None) and str(error.name).startswith("PyQt6"):
            return _refused("the window needs PyQt6, which is not installed; pip install 'landmark-tracker[app]'")
        return _refused(f"Qt lacks a system library ({error}); {LIBRARIES}")

    def on_message(kind: QtMsgType, context: QMessageLogContext, text: str | None) -> None:
        if kind == QtMsgType.QtFatalMsg:  # Qt would abort now
            os._exit(_refused(_why_not(text or "")))
        if kind != QtMsgType.QtDebugMsg:
            log.info("Qt: %s", text)

    qInstallMessageHandler(on_message)
    application = QApplication(["landmark-tracker"])
    application.setApplicationName("landmark-tracker")
    application.setApplicationDisplayName("landmark-tracker")
    application.setDesktopFileName("landmark-tracker")
    application.setWindowIcon(QIcon(str(Path(__file__).with_name("landmark-tracker.svg"))))

    import cv2

    cv2.setNumThreads(1)  # its helpers for single pictures cost more than they gain
    with ExitStack() as ending:
        soaking = None
        if given.soak is not None or given.measure:
            folder = Path(
                ending.enter_context(
                    tempfile.TemporaryDirectory(prefix="landmark-tracker-", ignore_cleanup_errors=True)
                )
            )
        if given.soak is None:
            if given.measure:
                from app.settings import keep_in

                keep_in(folder)  # what is measured is the window as it is when new
            window = _opened(given)
        else:
            from app import soak

            try:
                soaking = soak.prepared(folder, given.soak, given.source, given.model, given.out)
            except TrackerError as error:
                return _refused(str(error))
            window = soaking.window
        from tracker.cores import passing_threads
        from tracker.sources import path_exists

        interrupted = _obey_ctrl_c(window)
        sys.excepthook = _Complaint(window)
        window.show()
        if soaking:
            soaking.start()
        elif given.camera:
            from app.measure import simulated_camera

            window.start(partial(simulated_camera, given.source or "", given.camera), "simulated camera")
        elif given.source and given.source.isdecimal():
            window.open_camera(int(given.source), f"camera {given.source}")
        elif given.source and path_exists(Path(given.source)):
            window.open_paths([Path(given.source)])
        elif given.source:
            window.open(given.source)
        else:
            window.open_first_camera()
        measurement = None
        if given.measure:
            from app.measure import Measurement

            measurement = Measurement(window, given.measure, STARTED, given.json)
        code = application.exec()
        if soaking:
            code = soaking.code
        if measurement:
            code = measurement.code
        if interrupted:
            code = 130
    if window.hanging or len(passing_threads()) > 1:  # in a call that does not return, and Qt would not go without it
        sys.stdout.flush()
        os._exit(code)
    return code


def _opened(given: argparse.Namespace) -> Window:
    """The window with the settings as last saved."""
    from app.settings import load
    from app.window import Window

    settings, model = load(), given.model
    if model and Path(model).suffix in (".onnx", ".safetensors"):
        model = str(Path(model).absolute())  # it is remembered, and the next start may be from elsewhere
    return Window(replace(settings, model=model) if model else settings)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m app", description="The window of landmark-tracker.")
    parser.add_argument("--version", action="version", version=f"landmark-tracker {__version__}")
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="video, folder of images, address, or index of a camera"
    )
    parser.add_argument("--model", metavar="NAME", help="a model in weights/ or a path to one (default: the last used)")
    parser.add_argument(
        "--measure",
        type=float,
        metavar="SECONDS",
        help="play SOURCE in a loop with attention for so long, in a window with the settings of a new one, then print "
        "speed, delays and memory",
    )
    parser.add_argument(
        "--camera",
        type=float,
        metavar="RATE",
        help="show the video SOURCE as a camera of so many frames a second would",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what --measure finds to a file too")
    parser.add_argument(
        "--soak",
        type=float,
        metavar="MINUTES",
        help="change sources and models for so long, unseen, and see whether memory, handles or threads grow",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for what --soak found: soak.json and soak.txt")
    return parser


def _refused(why: str) -> int:
    print(f"error: {why}", file=sys.stderr, flush=True)
    return 2


def _why_not(text: str) -> str:
    """What Qt's last words mean, and what to do."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no screen here (neither DISPLAY nor WAYLAND_DISPLAY is set); start it on a desktop"
    if "platform plugin" in text:
        return f"Qt cannot open a window: either the screen cannot be reached, or a library is missing; {LIBRARIES}"
    return f"Qt cannot go on: {' '.join(text.split())}"


class _Complaint:
    """What an exception in the window's own code becomes: a line in its banner, not the end of the program."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self._window.close()
            return
        log.error("in the window", exc_info=(kind, error, trace))
        self._window.banner.tell(f"Something went wrong in the window itself: {error or kind.__name__}")


def _obey_ctrl_c(window: Window) -> list[int]:
    """Close the window on Ctrl-C and SIGTERM, though Qt's loop runs no Python while nothing happens. The list that is
    given gets the signal's number."""
    from PyQt6.QtCore import QSocketNotifier

    ours, pythons = socket.socketpair()
    ours.setblocking(False)
    pythons.setblocking(False)
    caught: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        caught.append(number)
        window.close()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    notifier = QSocketNotifier(ours.fileno(), QSocketNotifier.Type.Read, window)  # type: ignore[call-overload]
    notifier.activated.connect(lambda: ours.recv(4096))
    notifier.setProperty("kept", (ours, pythons))
    return caught


if __name__ == "__main__":
    sys.exit(main())
