"""One recording from beginning to end: tracked, written in every format asked for, and reported in NAME.run.json."""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from tracker._version import __version__
from tracker.core import MUDDLED, Box, Face, Frame, Image, Result
from tracker.cores import threads
from tracker.detector import Detector, detector_file, load_detector
from tracker.draw import Heat, attention_sheet, draw_result
from tracker.files import Bytes, SinkError, read_json, remove, sha256, write_json
from tracker.jobs import InputError, Job, record_path
from tracker.markup import Markup
from tracker.metrics import inter_pupil
from tracker.model import LandmarkModel, load_model
from tracker.quality import Quality
from tracker.sinks import Sink, open_sink
from tracker.smoothing import OneEuro, zero_lag
from tracker.sources import ImageFolder, Source, open_source, read_ahead, source_files
from tracker.tables import VERSION, Rows
from tracker.tracking import Tracker
from tracker.video import VideoSink, video_suffix

FORMATS = ("csv", "jsonl", "npz", "pts", "parquet", "video")
OVERLAY = ("points", "edges", "ids", "boxes")
SHEET = 8  # faces on the sheet of attention maps
RUN_VERSION = 1
MOST_FACES = 999

Record = dict[str, Any]
"""What NAME.run.json says (docs/outputs.md), or of a recording that could not be tracked only its ``problem``."""


@dataclass(frozen=True)
class Settings:
    """How recordings are tracked and what is written: the options of the command under their own names.

    ``smooth`` is ``live`` (the One-Euro filter), ``zero-lag`` (forwards and backwards) or ``none``; ``focal`` in
    pixels, see ``signals.measure``; ``quality`` x264's, 0 to 51. Raises InputError for what makes no sense.
    """

    formats: tuple[str, ...] = ("csv",)
    model: str = "trnet-68"
    device: str = "cpu"
    precision: str = "fp32"
    detector: str = "far"
    max_faces: int = 4
    smooth: str = "live"
    focal: float | None = None
    quality: int = 18
    overlay: tuple[str, ...] = ("points", "edges", "ids")
    background: str = "picture"
    attention: bool = False

    def __post_init__(self) -> None:
        for option, given, known in (
            ("--format", self.formats, FORMATS),
            ("--overlay", self.overlay, OVERLAY),
            ("--smooth", (self.smooth,), ("live", "zero-lag", "none")),
            ("--background", (self.background,), ("picture", "blank", "blur")),
        ):
            if unknown := [name for name in given if name not in known]:
                raise InputError(f"{option} {unknown[0] or '(empty)'}: unknown; use {', '.join(known)}")
        if not self.formats:
            raise InputError(f"--format: nothing is asked for; use {', '.join(FORMATS)}")
        if not 1 <= self.max_faces <= MOST_FACES:
            raise InputError(f"--max-faces {self.max_faces}: give a number from 1 to {MOST_FACES}")
        if not 0 <= self.quality <= 51:
            raise InputError(f"--quality {self.quality}: give a number from 0 (lossless) to 51 (poor)")
        if self.focal is not None and not 1 <= self.focal < 1e6:
            raise InputError(f"--focal {self.focal}: give the focal length in pixels, as 1200")
        if self.attention and self.background != "picture":
            raise InputError("--attention shows faces, which --background is to hide; choose one of them")
        if self.attention and self.smooth == "zero-lag":
            raise InputError("--attention does not go with --smooth zero-lag; use live or none")


def machine(settings: Settings) -> tuple[LandmarkModel, Detector, dict[str, str | None]]:
    """The model, the detector, and the SHA-256 of the file of each (None for one that has no file), loaded once in a
    process. Raises TrackerError when they cannot be had, or the model has no attention maps to show."""
    model, detector, digests = _machine(settings.model, settings.device, settings.precision, settings.detector)
    if settings.attention and "attention_0" not in model.spec.outputs:
        raise InputError(f"--attention: {settings.model} gives no attention maps; choose an AAN model")
    return model, detector, digests


@lru_cache(maxsize=1)
def _machine(
    model: str, device: str, precision: str, detector: str
) -> tuple[LandmarkModel, Detector, dict[str, str | None]]:
    loaded, finder = load_model(model, device, precision), load_detector(detector)
    files = {"model": loaded.backend.path, "detector": detector_file(detector)}
    digests = {name: sha256(path) if path else None for name, path in files.items()}
    return loaded, finder, digests


def track_recording(job: Job, settings: Settings) -> Generator[tuple[int, int | None], None, Record]:
    """Track one recording and write its outputs: a generator of the frames done and to be done (None: unknown), which
    returns what it also writes to NAME.run.json. When it is closed early, what was written stays as ``.part``.

    Raises TrackerError when the recording cannot be read or an output not be written; nothing is left of it then.
    """
    start = perf_counter()
    model, detector, digests = machine(settings)
    with open_source(job.source) as source:
        run = _Run(job, settings, model, source)  # may be refused, and then nothing has changed
        try:
            _no_longer_whole(job)
        except OSError as error:
            raise SinkError(f"{record_path(job)}: {error.strerror}; choose another folder for the results") from error
        try:
            yield from run.track(
                Tracker(model, detector, settings.max_faces, OneEuro if settings.smooth == "live" else None)
            )
        except Exception:
            for sink in run.sinks:
                sink.discard()
            raise
        record = run.record()
    record |= {
        "model": {
            "name": model.spec.name,
            "version": model.spec.version,
            "precision": model.spec.precision,
            "sha256": digests["model"],
        },
        "detector": {"name": settings.detector, "sha256": digests["detector"]},
        "seconds": round(perf_counter() - start, 3),
    }
    write_json(record_path(job), record)
    return record


def _no_longer_whole(job: Job) -> None:
    """Let the record of an earlier run, if there is one, say that its outputs are being replaced. What they are it goes
    on saying, so that they are not taken for recordings. Raises OSError and SinkError."""
    try:
        record = read_json(record_path(job))
        problem = f"{job.source}: it was to be tracked anew, and that has not ended; run it again"
        before = {**record, "whole": False, "problem": problem}
    except (OSError, ValueError, TypeError):
        remove(record_path(job))
    else:
        write_json(record_path(job), before)


def whole_record(job: Job, settings: Settings) -> Record | None:
    """NAME.run.json if it says that this recording, as it is now, has been tracked to its end with these settings, this
    model and this version, and all outputs are as long as it says; else None."""
    try:
        record: Record = read_json(record_path(job))
        whole = (
            record["schema"] == f"landmark-tracker/run/{RUN_VERSION}"
            and record["whole"]
            and record["settings"] == _plain(asdict(settings))
            and {part: record[part]["sha256"] for part in ("model", "detector")} == machine(settings)[2]
            and record["versions"]["landmark-tracker"] == __version__
            and record["input"]["measure"] == _measure(source_files(job.source))
            and all(out["bytes"] == _written(job.target.with_name(out["file"]))["bytes"] for out in record["outputs"])
        )
        return record if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def versions() -> dict[str, str]:
    """What the program and the libraries it stands on are, and the system."""
    return {
        "landmark-tracker": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
        "av": av.__version__,
        "system": f"{sys.platform} {platform.machine()}",
    }


def _written(path: Path) -> Record:
    """The measure of an output, a file or a folder."""
    return _measure([file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path])


def _measure(files: Sequence[Path]) -> Record:
    """What tells whether files have changed: their bytes and when one was changed last, in nanoseconds."""
    status = [file.stat() for file in files]
    return {
        "files": len(files),
        "bytes": sum(one.st_size for one in status),
        "changed": max((one.st_mtime_ns for one in status), default=0),
    }


def _plain(value: Any) -> Any:
    """``value`` as JSON gives it back."""
    return json.loads(json.dumps(value))


class _Run:
    """The work on one recording that is open: its outputs, and what is to be reported of it."""

    def __init__(self, job: Job, settings: Settings, model: LandmarkModel, source: Source) -> None:
        self._job, self._settings, self._markup, self._source = job, settings, model.markup, source
        self._quality = Quality(model.markup)
        self._milliseconds: dict[str, float] = defaultdict(float)
        self._notes: list[str] = []
        self.sinks: list[Sink] = []
        self._measured = _measure(source.files if isinstance(source, ImageFolder) else [job.source])
        self._first: float | None = None
        self._last: float | None = None
        self._jumps = 0
        self._timed = True
        self._sheet: list[tuple[Image, tuple[Heat, ...]]] = []
        self._every = 1  # of how many frames one is kept for the sheet
        sound = settings.background == "picture"
        self._paths = {name: self._path(f".{name}") for name in settings.formats if name != "video"}
        if "video" in settings.formats:
            self._paths["video"] = self._path(video_suffix(source) if sound else ".mp4")
            self._note_video(sound)
        if settings.attention:
            self._paths["attention"] = self._path(".attention.png")
        for path in self._paths.values():
            if path.exists() and path.samefile(job.source):
                raise InputError(f"{path}: this is the recording that is being read; choose another folder")

    def track(self, tracker: Tracker) -> Iterator[tuple[int, int | None]]:
        """Track to the end and write everything but the record; the frames done and to be done."""
        passes = 2 if self._settings.smooth == "zero-lag" else 1
        total = self._source.length and self._source.length * passes
        done = 0
        with ExitStack() as stack:
            self._open(stack)
            update = tracker.update
            if passes == 2:
                raw = []
                for result in self._results(update):
                    faces = tuple(replace(face, attention=None) for face in result.faces)  # its maps take much memory
                    raw.append(replace(result, frame=replace(result.frame, image=_NO_IMAGE), faces=faces))
                    done += 1
                    yield done, total
                steady = iter(_steadied(raw, self._markup))
                update = partial(_in_place, steady)
            for result in self._results(update):
                self._look(result)
                for sink in self.sinks:
                    before = perf_counter()
                    sink.write(result)
                    stage = "encode" if isinstance(sink, VideoSink) else "write"
                    self._milliseconds[stage] += (perf_counter() - before) * 1000
                done += 1
                yield done, total
        if self._sheet:
            chosen = np.linspace(0, len(self._sheet) - 1, min(SHEET, len(self._sheet))).round().astype(int)
            sheet = attention_sheet([self._sheet[place] for place in chosen])
            png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1]
            Bytes(self._paths["attention"], png.tobytes())

    def record(self) -> Record:
        """What there is to say about the recording after its end."""
        problem, quality = self._source.problem, self._quality.summary()
        if not self._timed:
            self._notes.append("the recording states no times: they are counted from its nominal rate")
        if self._jumps:
            self._notes.append(f"its times jump back ({self._jumps} in all), where faces begin anew with other ids")
        outputs = [
            {"file": path.name, "format": name, "schema": f"landmark-tracker/{name}/{VERSION}", **_written(path)}
            for name, path in self._paths.items()
            if path.exists()
        ]
        return {
            "schema": f"landmark-tracker/run/{RUN_VERSION}",
            "whole": problem is None,
            "problem": problem,
            "notes": self._notes,
            "quality": quality,
            "input": {
                "path": str(self._job.source.absolute()),
                "measure": self._measured,
                "width": self._source.size[0],
                "height": self._source.size[1],
                "rate": self._source.rate,
                "first_timestamp": self._first,
                "last_timestamp": self._last,
                "timed": self._timed,
            },
            "outputs": outputs,
            "settings": _plain(asdict(self._settings)),
            "versions": versions(),
            "milliseconds": {stage: round(spent, 1) for stage, spent in self._milliseconds.items()},
        }

    def _path(self, suffix: str) -> Path:
        return self._job.target.with_name(self._job.target.name + suffix)

    def _note_video(self, sound: bool) -> None:
        width, height = self._source.size
        if width % 2 or height % 2:
            self._notes.append(f"the video is {width + width % 2} x {height + height % 2}: H.264 has no odd sides")
        if self._paths["video"].suffix == ".mkv":
            self._notes.append("the video is Matroska, as MP4 does not carry this sound")
        if not sound:
            self._notes.append("the video is without sound, by which people can be recognised too")

    def _open(self, stack: ExitStack) -> None:
        """Open the sinks, which ``stack`` closes."""
        settings = self._settings
        draw: Callable[[Result], Image] = partial(
            draw_result,
            markup=self._markup,
            points="points" in settings.overlay,
            edges="edges" in settings.overlay,
            ids="ids" in settings.overlay,
            boxes="boxes" in settings.overlay,
            attention=settings.attention,
            background=settings.background,
        )
        rows = Rows(self._markup, settings.focal)
        for name, path in self._paths.items():
            if name == "video":
                sound = settings.background == "picture"
                video = VideoSink(path, self._source, draw, crf=settings.quality, threads=threads(), sound=sound)
                self.sinks.append(stack.enter_context(video))
            elif name != "attention":
                self.sinks.append(stack.enter_context(open_sink(path, self._source, rows, draw)))

    def _results(self, update: Callable[[Frame], Result]) -> Iterator[Result]:
        """The result of every frame of the source, its time by stages added up."""
        with closing(read_ahead(self._source)) as reading:
            for frame, spent in reading:
                self._milliseconds["decode"] += spent
                result = update(frame)
                for stage, spent in result.milliseconds.items():
                    self._milliseconds[stage] += spent
                yield result

    def _look(self, result: Result) -> None:
        """Take down what the result says about the recording."""
        before = perf_counter()
        frame = result.frame
        self._first = frame.time if self._first is None else self._first
        self._jumps += self._last is not None and frame.time < self._last - MUDDLED
        self._last, self._timed = frame.time, self._timed and frame.timed
        if self._settings.attention and result.faces and self._quality.frames % self._every == 0:
            face = result.faces[0]
            self._sheet.append((face.crop.cut(frame.image), face.attention or ()))
            if len(self._sheet) > 2 * SHEET:
                self._sheet, self._every = self._sheet[::2], self._every * 2
        self._quality.add(result)
        self._milliseconds["quality"] += (perf_counter() - before) * 1000


_NO_IMAGE: npt.NDArray[np.uint8] = np.zeros((1, 1, 3), np.uint8)


def _steadied(results: Sequence[Result], markup: Markup) -> list[tuple[Face, ...]]:
    """The faces of each result, with the points of every face smoothed without lag."""
    faces = [list(result.faces) for result in results]
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, result in enumerate(results):
        for place, face in enumerate(result.faces):
            places[face.id].append((index, place))
    for where in places.values():
        points = np.stack([faces[index][place].points for index, place in where])
        times = np.array([results[index].frame.time for index, _ in where])
        smooth = zero_lag(times, points, inter_pupil(points, markup))
        for (index, place), steady in zip(where, smooth, strict=True):
            faces[index][place] = replace(faces[index][place], points=steady, box=Box.around(steady))
    return [tuple(row) for row in faces]


def _in_place(faces: Iterator[tuple[Face, ...]], frame: Frame) -> Result:
    return Result(frame, next(faces))
