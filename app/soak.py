"""``python -m app --soak MINUTES [VIDEO]``, or ``python -m tracker soak``: whether memory, handles and threads stay as
they are while sources and models change, as they would over a day.

A round takes the real window through everything a user does with sources, models and recordings, and ends in the same
settled state, in which it is measured. What the rounds need they make themselves: a clip (or the user's), pictures, a
camera, and an http stream on the loopback address.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import cv2
import numpy as np
from PyQt6.QtCore import QCoreApplication, QEvent, QTimer
from PyQt6.QtWidgets import QDialog
from tqdm import tqdm

from app.memory import give_back, resident, status
from app.settings import FASTEST, MEAN, NO_MAP, Settings, keep_in
from app.window import Window
from tracker.core import Image, TrackerError
from tracker.cores import passing_threads
from tracker.files import Bytes, write_json
from tracker.jobs import InputError
from tracker.model import load_model, model_files
from tracker.portrait import write_clip
from tracker.sources import Camera, Source, SourceError, open_source

TICK = 0.01
"""Seconds between the questions put to the interface."""
WARM = 2
"""Rounds at the beginning that do not count: libraries, fonts, and whatever is made once."""
COUNTED = 3
"""Rounds after those that there are at least, however short the time."""
PATIENCE = 120.0
"""Seconds that a step may take before its round has failed."""
GROWTH = 2.0
"""Per cent by which memory may not grow from the first counted rounds to the last."""
AROUND = 9
"""Counted rounds at either end, at most, whose median is their memory: that of one wavers by more than may grow."""
DEAF = 1.0
"""Seconds for which the interface may not be deaf, without those in which other programs had the processor."""
KEPT = 60
"""Frames of the video that camera, stream and pictures are made of."""
RATE = 30

Step = tuple[str, Callable[[], object]]
"""What is waited for, in words, and whether it is there."""
Script = Generator[Step, None, None]


@dataclass(frozen=True)
class Material:
    """What the rounds play: a video as it is (or the demonstration's clip), the same in 1280x720, a folder of pictures,
    and pictures (H, W, 3) BGR for camera and stream."""

    clip: Path
    large: Path
    folder: Path
    pictures: Sequence[Image]


def make_material(folder: Path, video: Path | None = None) -> Material:
    """Make all of it in ``folder``. Raises TrackerError when the video cannot be read, or when there is none and the
    demonstration's clip cannot be made."""
    clip = video or folder / "clip.mp4"
    if video is None:
        write_clip(clip, KEPT)
    with open_source(clip) as source:
        pictures = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR) for frame in itertools.islice(source, KEPT)]
    large = _write_large(folder / "large.mp4", pictures)
    (folder / "pictures").mkdir()
    for number, picture in enumerate(pictures[::4]):
        (folder / "pictures" / f"{number}.jpg").write_bytes(_jpeg(picture))
    return Material(clip, large, folder / "pictures", pictures)  # type: ignore[arg-type]


def _write_large(path: Path, pictures: Sequence[Any]) -> Path:
    """The pictures as a video of 1280x720, in the middle of black."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", RATE, {"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for picture in pictures:
            height, width = picture.shape[:2]
            scale = min(1280 / width, 720 / height)
            inner = cv2.resize(picture, (round(scale * width), round(scale * height)))
            image = np.zeros((720, 1280, 3), np.uint8)
            top, left = (720 - inner.shape[0]) // 2, (1280 - inner.shape[1]) // 2
            image[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def _jpeg(picture: Any) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


class SimulatedCamera:
    """The pictures over and over at 30 a second, as cv2.VideoCapture gives them, until it is unplugged."""

    def __init__(self, pictures: Sequence[Image]) -> None:
        self._pictures = itertools.cycle(pictures)
        self.unplugged = False

    def isOpened(self) -> bool:
        return not self.unplugged

    def read(self) -> tuple[bool, Image]:
        time.sleep(1 / RATE)
        return True, next(self._pictures)

    def release(self) -> None:
        self.unplugged = True


class StreamServer(ThreadingHTTPServer):
    """An MJPEG camera on the loopback address. While ``silent`` it keeps its connections but sends nothing; ``drop``
    ends those that there are."""

    daemon_threads = True

    def __init__(self, pictures: Sequence[Image]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.pictures = [_jpeg(picture) for picture in pictures]
        self.silent = False
        self.turn = 0
        self.address = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, name="stream server", daemon=True).start()

    def drop(self) -> None:
        self.turn += 1


class _Answer(BaseHTTPRequestHandler):
    server: StreamServer

    def do_GET(self) -> None:
        turn = self.server.turn
        with suppress(OSError):  # whoever listened has gone
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.end_headers()
            for data in itertools.cycle(self.server.pictures):
                while self.server.silent and self.server.turn == turn:
                    time.sleep(1 / RATE)
                if self.server.turn != turn:
                    return
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(1 / RATE)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Round:
    """What was measured at the end of a round: megabytes in memory (``peak``: the most during the round), open handles,
    threads of the process and of Python; NaN where the system does not say. Beside that the frames processed, the
    longest time in milliseconds for which the interface was deaf with what was waited for then, and what failed."""

    number: int
    seconds: float
    memory: float
    peak: float
    handles: float
    threads: float
    python_threads: float
    frames: int
    deaf: float
    deaf_at: str
    failure: str | None = None

    def __str__(self) -> str:
        failed = f"; FAILED: {self.failure}" if self.failure else ""
        return (
            f"round {self.number}: {self.seconds:.0f} s, {self.memory:.1f} MB (peak {self.peak:.1f}), "
            f"{self.handles:.0f} handles, {self.threads:.0f} threads ({self.python_threads:.0f} of Python), "
            f"{self.frames} frames, deaf for {self.deaf:.0f} ms at most ({self.deaf_at}){failed}"
        )


@dataclass(frozen=True)
class Growth:
    """How something went over the counted rounds. ``first`` and ``last`` are the rounds at the ends; for memory, the
    medians of up to ``AROUND`` rounds there and at most a third of all. ``fitted`` is the growth of the line through
    all of them. Both growths are in per cent of ``first``."""

    what: str
    first: float
    last: float
    peak: float
    growth: float
    fitted: float

    def __str__(self) -> str:
        return (
            f"{self.what:<16}{self.first:>10.1f}{self.last:>10.1f}{self.peak:>10.1f}{self.growth:>+10.2f} %"
            f"{self.fitted:>+10.2f} %"
        )


HEAD = f"{'':<16}{'first':>10}{'last':>10}{'peak':>10}{'growth':>12}{'fitted':>12}"
MEASURED = (
    ("memory (MB)", "memory"),
    ("handles", "handles"),
    ("threads", "threads"),
    ("Python threads", "python_threads"),
)


def _around(counted: Sequence[Round]) -> int:
    return max(1, min(AROUND, len(counted) // 3))


def growths(rounds: Sequence[Round]) -> list[Growth]:
    """One for each thing measured, of the ``rounds`` that count."""
    found = []
    for what, name in MEASURED:
        values = np.array([getattr(one, name) for one in rounds], float)
        slope = float(np.polyfit(np.arange(len(values)), values, 1)[0]) if np.isfinite(values).all() else math.nan
        ends = _around(rounds) if name == "memory" else 1
        first, last = float(np.median(values[:ends])), float(np.median(values[-ends:]))
        grown, fitted = 100 * (last - first) / first, 100 * slope * (len(values) - 1) / first
        peak = max(one.peak for one in rounds) if name == "memory" else float(values.max())
        found.append(Growth(what, first, last, peak, grown, fitted))
    return found


def complaints(rounds: Sequence[Round], warm: int = WARM) -> list[str]:
    """What is wrong with these rounds, of which the first ``warm`` do not count for growth; nothing if all is well."""
    wrong = [f"round {one.number} failed: {one.failure}" for one in rounds if one.failure]
    memory, *others = growths(rounds[warm:])
    if max(memory.growth, memory.fitted) >= GROWTH:
        grown = max(memory.growth, memory.fitted)
        wrong.append(f"memory grew by {grown:.2f} %; below {GROWTH:g} % is asked for")
    wrong += [
        f"{one.what} grew from {one.first:.0f} to {one.last:.0f}; none may be left behind"
        for one in others
        if one.growth > 0
    ]
    deaf = max(rounds, key=lambda one: one.deaf)
    if deaf.deaf > 1000 * DEAF:
        wrong.append(f"the interface was deaf for {deaf.deaf:.0f} ms in round {deaf.number}")
    return wrong


class Soak:
    """Takes the window through rounds of ``scenes`` for so many ``minutes``, prints a line for each and at last what
    came of it, and closes the window. ``others`` are models beside those in ``weights/``; ``frames`` is how many are
    waited for at each step. ``code`` is the exit code: 0 when all was well, 1 when something grew or failed, and until
    the end."""

    def __init__(
        self,
        window: Window,
        material: Material,
        minutes: float,
        *,
        out: Path | None = None,
        others: Sequence[str] = (),
        frames: int = 20,
        scenes: Sequence[str] | None = None,
        warm: int = WARM,
        counted: int = COUNTED,
    ) -> None:
        self.rounds: list[Round] = []
        self.code, self.ended = 1, False
        self.window, self._material, self._minutes, self._out = window, material, minutes, out
        self._models = [*(path.stem for path in model_files()), *others]
        self._frames, self._warm, self._least = frames, warm, warm + counted
        self._scenes = [getattr(self, f"_{name}") for name in scenes or SCENES]
        self._server = StreamServer(material.pictures)
        self._processed = 0
        self._broken: list[str] = []  # exceptions in the window's own code
        self._starved = starvation()
        self._deaf, self._deaf_at = 0.0, ""
        self._peak = 0.0
        self._complain = sys.excepthook
        window.remembers = False
        window.session.news.connect(self._count)
        self._others: set[threading.Thread] = set()  # those that were there before
        self._script = self._play()
        self._what = "the beginning"
        self._there: Callable[[], object] = lambda: True
        self._started = self._asked = self._since = 0.0
        self._timer = QTimer(window)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        """Begin; the rest is done by the event loop."""
        self._complain, sys.excepthook = sys.excepthook, self._note_exception
        self._bar = tqdm(
            disable=None, total=round(self._minutes, 2), unit="min", bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} min"
        )
        self._others = passing_threads()
        self._started = self._asked = self._since = perf_counter()
        self._timer.start(round(1000 * TICK))

    # The script, one step after another

    def _tick(self) -> None:
        now = perf_counter()
        starved = starvation()
        late = now - self._asked - TICK - (starved - self._starved)
        self._asked, self._starved = now, starved
        if late > self._deaf:
            self._deaf, self._deaf_at = late, self._what
        try:
            if self._there():
                self._what, self._there = next(self._script)
                self._since = now
                self._peak = max(self._peak, resident())
            elif now - self._since > PATIENCE:
                self._since = now
                self._what, self._there = self._script.throw(TimeoutError(f"waited in vain for {self._what}"))
        except StopIteration:
            self._end()

    def _play(self) -> Script:
        """The rounds. What is wrong with one does not keep the others from being played."""
        for number in itertools.count(1):
            start, processed, failure = perf_counter(), self._processed, None
            self._deaf = self._peak = 0.0
            try:
                for scene in self._scenes:
                    yield from scene()
            except Exception as error:
                failure = f"{error}" or type(error).__name__
            try:
                yield from self._settle()
            except TimeoutError as error:
                failure = failure or f"{error}"
            if self._broken:
                failure = failure or self._broken[0]
                self._broken.clear()
            self._measure(number, perf_counter() - start, self._processed - processed, failure)
            minutes = (perf_counter() - self._started) / 60
            self._bar.update(min(minutes, self._minutes) - self._bar.n)
            if minutes >= self._minutes and number >= self._least:
                return

    def _measure(self, number: int, seconds: float, frames: int, failure: str | None) -> None:
        deaf = 1000 * self._deaf
        for _ in range(2):
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
            gc.collect()
        most = resident()
        give_back()  # what the C library keeps in hand comes and goes; what it cannot give back counts
        memory = resident()
        found = Round(
            number,
            seconds,
            memory,
            peak=max(self._peak, most),
            handles=open_handles(),
            threads=process_threads(),
            python_threads=len(passing_threads()),
            frames=frames,
            deaf=deaf,
            deaf_at=self._deaf_at,
            failure=failure,
        )
        self.rounds.append(found)
        self._bar.write(str(found), file=sys.stdout)
        sys.stdout.flush()
        shutil.rmtree(self.window.settings.out, ignore_errors=True)
        self._asked, self._starved = perf_counter(), starvation()  # what this took is not the window's doing

    def _end(self) -> None:
        self._timer.stop()
        self._bar.close()
        self._server.shutdown()
        self._server.server_close()
        sys.excepthook = self._complain
        try:
            self._tell()
        except TrackerError as error:
            print(f"error: {error}", file=sys.stderr)
            self.code = 2
        finally:
            self.ended = True
            self.window.close()

    def _tell(self) -> None:
        """Print and write what came of it."""
        wrong = complaints(self.rounds, self._warm)
        text = verdict(self.rounds, wrong, self._warm)
        print(text, end="", flush=True)
        self.code = 1 if wrong else 0
        if self._out:
            write_json(self._out / "soak.json", as_json(self.rounds, wrong, self._warm))
            Bytes(self._out / "soak.txt", text.encode())

    def _count(self, news: Any) -> None:
        self._processed += len(news.samples)

    def _note_exception(self, kind: Any, error: Any, trace: Any) -> None:
        self._broken.append(f"{kind.__name__} in the window: {error}")
        self._complain(kind, error, trace)

    # Steps

    def _painted(self, what: str, more: Callable[[], object] = lambda: True) -> Script:
        """Wait until some more frames have been painted, and for ``more``."""
        view = self.window.view
        before = view.painted
        yield what, lambda: view.painted >= before + self._frames and more()

    def _opened(self, path: Path | str) -> Script:
        self.window.open(path)
        yield from self._painted(f"{path} to play")

    def _at(self, index: int) -> Script:
        """Pause at a frame of a file."""
        session = self.window.session
        session.play(False)
        yield "the pause", lambda: not session.playing
        session.seek(index)
        yield f"frame {index}", lambda: self._shown_index() == index

    def _shown_index(self) -> int | None:
        shown = self.window.view.shown
        return shown.result.frame.index if shown else None

    def _told(self, what: str) -> Script:
        """Wait for the banner."""
        yield what, self.window.banner.isVisible

    # Scenes

    def _file(self) -> Script:
        """A file in a loop, sought, stepped, fast."""
        window = self.window
        window.change(loop=True, speed=1.0, smooth=True)
        yield from self._opened(self._material.large)
        last = len(self._material.pictures) - 1
        for index in (last // 2, 0, last):
            yield from self._at(index)
        window.session.step(-1)
        yield "a step back", lambda: self._shown_index() == max(last - 1, 0)
        window.play()
        window.change(speed=FASTEST, whole=True, smooth=False, boxes=True, crop=True, pose=True)
        yield from self._painted("playing fast")
        window.change(speed=1.0, whole=False, smooth=True, boxes=False, crop=False, pose=False)

    def _camera(self) -> Script:
        """A camera that is unplugged and plugged in again."""
        window, cameras = self.window, list[SimulatedCamera]()

        def plug_in() -> Source:
            cameras.append(SimulatedCamera(self._material.pictures))
            return Camera("simulated camera", capture=cameras[-1])

        window.start(plug_in, "simulated camera")
        yield from self._painted("pictures of the camera")
        cameras[-1].unplugged = True
        yield from self._told("word that the camera has gone")
        window.retry()
        yield from self._painted("pictures of the camera again")
        window.start(partial(_absent, "camera 0: it is absent"), "camera 0")
        yield from self._told("word that there is no camera")

    def _stream(self) -> Script:
        """A stream that stalls, breaks off and comes back."""
        server = self._server
        yield from self._opened(server.address)
        server.silent = True
        yield from self._told("word that the stream stalls")
        server.drop()
        server.silent = False
        yield from self._painted("the stream to come back")

    def _pictures(self) -> Script:
        self.window.change(loop=True)
        yield from self._opened(self._material.folder)

    def _switching(self) -> Script:
        """Every model, the detectors and the number of faces, changed while a file plays."""
        window = self.window
        window.change(loop=True)
        yield from self._opened(self._material.clip)
        for model in self._models:
            window.change(model=model, map=MEAN)
            yield from self._painted(f"the model {model}", partial(self._works, model))
        for fields in ({"detector": "near"}, {"detector": "far", "max_faces": 1}, {"max_faces": 4}):
            window.change(**fields)
            yield from self._painted(f"{fields}")
        for name in (*self._models, *self._models):  # quicker than any of them starts
            window.change(model=name)
        usual = Settings().model
        window.change(model=usual, map=NO_MAP)
        yield from self._painted(f"the model {usual} again", partial(self._works, usual))

    def _works(self, model: str) -> bool:
        """Whether it is in use, with its maps if it has any."""
        view, session = self.window.view, self.window.session
        if session.working.model != model or view.shown is None:
            return False
        attentive = any(name.startswith("attention") for name in view.models[0].outputs)
        return not attentive or any(face.attention for face in view.shown.result.faces)

    def _comparison(self) -> Script:
        """Two models side by side, over each other, and one again."""
        window, view = self.window, self.window.view
        window.change(loop=True)
        yield from self._opened(self._material.clip)
        for overlaid in (False, True):
            window.change(other=self._models[-1], overlaid=overlaid)
            yield from self._painted("two models", lambda: view.shown and view.shown.other)
        window.change(other="", overlaid=False)
        yield from self._painted("one model", lambda: view.shown and not view.shown.other)

    def _recording(self) -> Script:
        """A recording with table and video, pictures, points, a frozen picture, a magnified one, a dialog."""
        window = self.window
        window.change(loop=True, record_csv=True, record_video=True)
        yield from self._opened(self._material.clip)
        window.actions_.record.trigger()
        yield "the recording to begin", window.red.isVisible
        yield from self._painted("frames to record")
        window.screenshot()
        window.copy_points()
        window.actions_.freeze.trigger()
        window.view.zoom(4.0)
        yield "the frozen picture", lambda: window.view.frozen
        window.actions_.freeze.trigger()
        window.view.fit()
        window.actions_.record.trigger()
        yield (
            "the recording to end",
            lambda: not window.red.isVisible() and not list(window.settings.out.glob("*.part")),
        )
        if not {path.suffix for path in window.settings.out.iterdir()} >= {".csv", ".mp4", ".png"}:
            raise SourceError(f"only {sorted(path.name for path in window.settings.out.iterdir())} was kept")
        window.show_help()
        for dialog in window.findChildren(QDialog):
            dialog.close()

    def _queue(self) -> Script:
        """The queue of recordings, in which a broken one is."""
        window, queue = self.window, self.window.batch
        broken = self._material.folder.with_name("broken.mp4")
        broken.write_bytes(b"nothing")
        window.show_batch()
        queue.add([self._material.large, broken])  # what is in it already is not added again
        queue.run()
        yield "the queue to end", lambda: queue.worker and not queue.running
        yield "word of the queue", lambda: queue.message.text() == "1 of 2 finished"
        queue.close()

    def _ending(self) -> Script:
        """A file that ends, one that cannot be read, and a model that cannot."""
        window = self.window
        window.change(loop=False, speed=FASTEST)
        yield from self._opened(self._material.clip)
        yield "the end of the file", lambda: not window.session.playing
        broken = self._material.folder.with_name("broken.onnx")
        broken.write_bytes(b"nothing")
        window.banner.hide()
        window.change(model=str(broken))
        yield from self._told("word of the broken model")
        window.banner.hide()
        window.open(self._material.folder.with_name("absent.mp4"))
        yield from self._told("word of the missing file")
        window.change(speed=1.0)

    def _settle(self) -> Script:
        """The same state after every round: the clip at its first frame, and of all the threads that were begun only
        the one that reads it."""
        window = self.window
        self._server.silent = False
        self._server.drop()
        if window.actions_.record.isChecked():
            window.record(False)
        window.change(model=Settings().model, other="", loop=True, speed=1.0, map=NO_MAP, detector="far", max_faces=4)
        yield from self._opened(self._material.clip)
        yield from self._at(0)
        yield "threads to end", lambda: len(passing_threads() - self._others) <= 1
        for _ in range(20):  # what Qt puts off
            yield "a moment", lambda: True


SCENES = (
    "file",
    "camera",
    "stream",
    "pictures",
    "switching",
    "comparison",
    "recording",
    "queue",
    "ending",
)
"""What a round is made of."""


def prepared(folder: Path, minutes: float, video: str | None, model: str | None, out: Path | None) -> Soak:
    """A soak with a window of its own, which neither reads nor writes the user's settings; all that it makes is in
    ``folder``. Raises TrackerError when the video, the model or ``out`` is of no use."""
    if model:
        load_model(model)
    try:
        if out:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; choose another folder for the results") from error
    material = make_material(folder, Path(video) if video else None)
    keep_in(folder / "settings")
    window = Window(Settings(folder=str(folder / "out")))
    return Soak(window, material, minutes, out=out, others=[model] if model else [])


def _absent(why: str) -> NoReturn:
    raise SourceError(why)


def verdict(rounds: Sequence[Round], wrong: Sequence[str], warm: int = WARM) -> str:
    """The table of what came of it."""
    counted = rounds[warm:]
    hours, frames = sum(one.seconds for one in rounds) / 3600, sum(one.frames for one in rounds)
    lines = [
        f"{len(rounds)} rounds in {60 * hours:.1f} minutes, {frames} frames; round {counted[0].number} against round "
        f"{counted[-1].number} (memory: the median of the {_around(counted)} there)",
        HEAD,
        *map(str, growths(counted)),
        f"the interface was deaf for {max(one.deaf for one in rounds):.0f} ms at most",
        *wrong,
        "FAILED" if wrong else "passed",
    ]
    return "\n".join(lines) + "\n"


def as_json(rounds: Sequence[Round], wrong: Sequence[str], warm: int = WARM) -> dict[str, Any]:
    """All of it for other programs; what is not known is null."""

    def plain(thing: Round | Growth) -> dict[str, Any]:
        known = asdict(thing)
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in known.items()}

    return {
        "passed": not wrong,
        "complaints": list(wrong),
        "warm": warm,
        "growth": [plain(one) for one in growths(rounds[warm:])],
        "rounds": [plain(one) for one in rounds],
    }


def process_threads() -> float:
    """Threads of this process, also those that are not Python's; NaN where the system does not say."""
    return status("Threads")


def open_handles() -> float:
    """Files, sockets and pipes that are open; NaN where the system does not say."""
    folder = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    try:
        return float(len(os.listdir(folder)))
    except OSError:
        return math.nan


def starvation() -> float:
    """Seconds for which this thread was ready to run but had no processor; 0 where the system does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
