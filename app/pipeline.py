"""What runs beside the window: source -> tracker (and a second one to compare) -> recording -> the newest result."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from PyQt6.QtCore import QObject, QThread, pyqtSignal

from app.memory import give_back
from app.reader import Read, Reader
from app.recording import Recording
from app.settings import Settings
from app.smoothing import Smoothing
from tracker.backends import Spec
from tracker.core import Result, TrackerError
from tracker.detector import load_detector
from tracker.model import LandmarkModel, load_model, model_files
from tracker.signals import Signals, measure
from tracker.sources import Source
from tracker.tracking import Tracker

log = logging.getLogger(__name__)

WAIT = 0.05
"""Seconds that a wait for a frame may delay a command."""
STALL = 2.0
"""Seconds without a frame after which the window says so."""
LATE = 0.25
"""Seconds behind its own pace after which a file stops trying to catch up."""
GAP = 10.0
"""Seconds until a frame's turn from which on it is shown at once: the time stamps of the file jump."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One processed frame: the result of the model and of the one it is compared with, the signals of the faces by id,
    when the frame was captured (``time.perf_counter``; of a file, when its turn had come), and the number of the
    stretch of frames in which an id stands for one face: another one after each seek and in each pipeline."""

    result: Result
    other: Result | None
    signals: Mapping[int, Signals]
    captured: float
    stretch: int


@dataclass(frozen=True)
class Sample:
    """What the charts and the time line keep of a frame; ``signals`` are the first face's, None without a face."""

    index: int
    time: float
    signals: Signals | None


@dataclass(frozen=True, eq=False)
class News:
    """Everything new since the window last asked. ``shown`` is the newest frame, None when there is no new one;
    ``samples`` one for every frame processed; ``source`` None until it is open; ``models`` the Specs of the model and
    the other one, empty until they are loaded; ``finished`` the files of a recording that has just ended; ``problem``
    what is wrong with a recording, ``damage`` with the file that is played."""

    shown: Shown | None
    samples: Sequence[Sample]
    source: Source | None
    models: tuple[Spec, ...]
    playing: bool
    stalled: bool
    dropped: int
    smoothing: Smoothing
    recording: tuple[Path, ...]
    finished: tuple[Path, ...]
    problem: str | None
    damage: str | None


_stretches = itertools.count()

detector = functools.cache(load_detector)
"""The detectors in use, by setting: a new pipeline need not load them again. Only one pipeline runs at a time."""


class Pipeline(QThread):
    """One source through one or two models, until ``stop``.

    ``ready`` is emitted when there is something new, once until ``take`` has been called; ``failed`` with the
    TrackerError that ended the pipeline. All methods may be called from the window's thread; what they ask for
    happens between two frames.
    """

    ready = pyqtSignal()
    failed = pyqtSignal(object)

    def __init__(self, reader: Reader, settings: Settings, playing: bool = True, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.reader, self.settings = reader, settings
        self._playing = playing
        self._speed, self._loop_file = settings.speed, settings.loop
        self._smoothings = tuple(Smoothing(settings.smooth, settings.cutoff, settings.beta) for _ in range(2))
        self._models: tuple[LandmarkModel, ...] = ()
        self.specs: tuple[Spec, ...] = ()
        """Those of the models once they are loaded, also when these are gone."""
        self._trackers: tuple[Tracker, ...] = ()
        self._recording: Recording | None = None
        self._steps = 0 if playing else 1  # frames to process though paused
        self._pending: Read | None = None
        self._last: int | None = None  # index of the frame processed last
        self._anchor: tuple[float, float] | None = None  # a moment, and the time of the frame that is due then
        self._heard = perf_counter()
        self._stretch = next(_stretches)
        self._known: str | None = None  # damage of the source that the window knows of
        self._stopping = False
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._told = threading.Lock()  # guards what follows
        self._announced = self._stalled = False
        self._shown: Shown | None = None
        self._samples: list[Sample] = []
        self._finished: tuple[Path, ...] = ()
        self._problem: str | None = None
        self._damage: str | None = None

    # What the window calls

    def stop(self) -> None:
        """End after the frame in work."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def play(self, on: bool) -> None:
        self._command(functools.partial(self._play, on))

    def step(self, frames: int) -> None:
        """Pause, and show the frame that is so many further on or back."""
        self._command(functools.partial(self._step, frames))

    def seek(self, index: int) -> None:
        """Go on from frame ``index``; smoothing and tracks begin anew."""
        self._command(functools.partial(self._seek, index))

    def pace(self, speed: float, loop: bool) -> None:
        self._command(functools.partial(self._pace, speed, loop))

    def smooth(self, on: bool, cutoff: float, beta: float) -> None:
        for smoothing in self._smoothings:
            self._command(functools.partial(smoothing.set, on, cutoff, beta))

    def record(self, recording: Recording | None) -> None:
        """Begin a recording, or end the one under way."""
        self._command(functools.partial(self._record, recording))

    def take(self) -> News:
        """What is new; the next ``ready`` follows when there is more."""
        recording = self._recording
        with self._told:
            self._announced = False
            news = News(
                shown=self._shown,
                samples=tuple(self._samples),
                source=self.reader.source,
                models=self.specs,
                playing=self._playing,
                stalled=self._stalled,
                dropped=self.reader.dropped,
                smoothing=self._smoothings[0],
                recording=recording.paths if recording else (),
                finished=self._finished,
                problem=self._problem,
                damage=self._damage,
            )
            self._shown, self._finished, self._problem, self._damage = None, (), None, None
            self._samples.clear()
            return news

    # What happens in the thread

    def run(self) -> None:
        """The loop, in its own thread. An exception that left it would end the whole program."""
        try:
            self._load()
            while not self._stopping:
                self._turn()
        except TrackerError as error:
            self._fail(error.with_traceback(None))  # its frames would keep all of this alive
        except Exception as error:
            log.exception("the pipeline")
            self._fail(TrackerError(f"this cannot go on: {error or type(error).__name__}; try again"))
        finally:
            self._obey()  # a recording that was asked for last may not stay open
            self._record(None)
            self._trackers, self._models, self._pending = (), (), None
            give_back()

    def _fail(self, error: TrackerError) -> None:
        with self._told:
            self._stalled = False  # nothing is waited for any more
        self.failed.emit(error)

    def _load(self) -> None:
        names = [self.settings.model, self.settings.other] if self.settings.other else [self.settings.model]
        models = tuple(load_model(name, self.settings.device) for name in names)
        find = detector(self.settings.detector)
        self._trackers = tuple(
            Tracker(model, find, self.settings.max_faces, smoothing.filter)
            for model, smoothing in zip(models, self._smoothings, strict=False)
        )
        self._models, self.specs = models, tuple(model.spec for model in models)
        self._tell()

    def _turn(self) -> None:
        """Commands, then one frame if one is there and due."""
        self._obey()
        if not (self._playing or self._steps):
            self._heard = perf_counter()
            self._wait(1.0)
            return
        if self._pending is None:
            self._pending = self.reader.take(WAIT)
            if self._pending is None:
                self._without_frame()
                return
        read = self._pending
        early = self._early(read)
        if early > 0:
            self._wait(min(early, 1.0))
            return
        self._pending = None
        self._steps = max(0, self._steps - 1)
        self._process(read)

    def _obey(self) -> None:
        """Do what the window has asked for."""
        with self._wake:
            commands = list(self._commands)
            self._commands.clear()
        for command in commands:
            command()

    def _without_frame(self) -> None:
        """The end of a file, or a source that gives nothing for now."""
        if self.reader.ended:
            self._steps = 0
            damage = self.reader.source.problem if self.reader.source else None
            if self._loop_file and self._playing:
                if damage != self._known:  # once, not in every round
                    self._tell(damage=damage)
                self._known = damage or self._known
                self._seek(0)
                return
            self._playing = False
            self._tell(damage=damage)
        elif perf_counter() - self._heard > STALL and not self._stalled:
            self._tell(stalled=True)

    def _early(self, read: Read) -> float:
        """Seconds until the frame's turn at the file's own pace."""
        source = self.reader.source
        if self._steps or source is None or source.live or math.isinf(self._speed):
            return 0.0
        now, time = perf_counter(), read.frame.time
        moment, first = self._anchor or (now, time)
        early = moment + (time - first) / self._speed - now
        if self._anchor is None or not -LATE <= early <= GAP:
            self._anchor = now, time
        return early if early <= GAP else 0.0

    def _process(self, read: Read) -> None:
        source = self.reader.source
        self._last = read.frame.index
        captured = read.moment if source is not None and source.live else perf_counter()
        self._heard = perf_counter()
        result, *others = [tracker.update(read.frame) for tracker in self._trackers]
        spent = {"decode": read.milliseconds, **result.milliseconds}
        if others:
            spent["second model"] = sum(others[0].milliseconds.values())
        before = perf_counter()
        height, width = read.frame.image.shape[:2]
        signals = {
            face.id: measure(face.points, self._models[0].markup, (width, height), aspect=read.frame.aspect)
            for face in result.faces
        }
        measured = perf_counter()
        spent["signals"] = (measured - before) * 1000
        if self._recording:
            try:
                self._recording.write(result)
            except (TrackerError, ValueError) as error:  # or it is for other points
                self._record(None)
                self._tell(problem=str(error))
            spent["write"] = (perf_counter() - measured) * 1000
        first = signals[result.faces[0].id] if result.faces else None
        other = others[0] if others else None
        shown = Shown(replace(result, milliseconds=spent), other, signals, captured, self._stretch)
        self._tell(shown, Sample(read.frame.index, read.frame.time, first), stalled=False)

    def _tell(
        self,
        shown: Shown | None = None,
        sample: Sample | None = None,
        *,
        stalled: bool | None = None,
        finished: tuple[Path, ...] = (),
        problem: str | None = None,
        damage: str | None = None,
    ) -> None:
        """Lay something new out for the window, and call it unless it has been called already."""
        with self._told:
            self._shown = shown or self._shown
            if sample:
                self._samples.append(sample)
            self._stalled = self._stalled if stalled is None else stalled
            self._finished += finished
            self._problem = problem or self._problem
            self._damage = damage or self._damage
            calling, self._announced = not self._announced, True
        if calling:
            self.ready.emit()

    def _command(self, command: Callable[[], None]) -> None:
        with self._wake:
            self._commands.append(command)
            self._wake.notify_all()

    def _wait(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._commands or self._stopping, seconds)

    # Commands

    def _play(self, on: bool) -> None:
        if on and not self._playing and self.reader.ended:
            self._seek(0)
        self._playing, self._steps, self._anchor = on, 0, None
        self._tell()

    def _step(self, frames: int) -> None:
        self._playing = False
        if frames == 1:
            self._steps += 1
        elif self._last is not None:
            self._seek(max(self._last + frames, 0))
        self._tell()

    def _seek(self, index: int) -> None:
        self.reader.seek(index)
        for tracker in self._trackers:
            tracker.restart()
        self._stretch = next(_stretches)
        self._pending, self._anchor, self._heard = None, None, perf_counter()
        self._steps = 0 if self._playing else 1

    def _pace(self, speed: float, loop: bool) -> None:
        self._speed, self._loop_file, self._anchor = speed, loop, None

    def _record(self, recording: Recording | None) -> None:
        old, self._recording = self._recording, None
        if old:
            try:
                self._tell(finished=old.close())
            except TrackerError as error:
                self._tell(problem=str(error))
        self._recording = recording
        self._tell()


def attentive_models() -> list[str]:
    """The names of the models in ``weights/`` that have attention maps."""
    return [path.stem for path in model_files() if _has_attention(path)]


@functools.cache
def _has_attention(path: Path) -> bool:
    try:
        return any(name.startswith("attention") for name in load_model(path).spec.outputs)
    except TrackerError:
        return False
