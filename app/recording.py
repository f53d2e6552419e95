"""What is kept of what runs in the window: the table of points, the annotated video, pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from app.settings import NO_MAP, Settings
from tracker.core import Face, Image, Result, TrackerError
from tracker.draw import draw_result
from tracker.files import remove
from tracker.markup import Markup
from tracker.sinks import CSVSink, Sink, VideoSink
from tracker.sources import Source
from tracker.tables import Rows


class Recording:
    """Writes results to files of the given ``paths`` (.csv, .mp4) until ``close``.

    The table has the frame numbers and times of the source. The video's time begins at 0 and goes on without a gap
    over seeks and pauses; it has no sound, as that would not fit then. ``draw`` makes its pictures.

    Raises SinkError when a file cannot be made.
    """

    def __init__(self, paths: Sequence[Path], source: Source, markup: Markup, draw: Callable[[Result], Image]) -> None:
        self.paths = tuple(paths)
        self._tables: list[Sink] = []
        self._videos: list[Sink] = []
        with ExitStack() as opened:
            for path in paths:
                if path.suffix == ".mp4":
                    self._videos.append(opened.enter_context(VideoSink(path, source, draw, sound=False)))
                else:
                    self._tables.append(opened.enter_context(CSVSink(path, Rows(markup))))
            opened.pop_all()
        self._step = 1 / (source.rate or 30.0)
        self._time = 0.0  # of the video
        self._last: float | None = None  # time of the last frame in the source

    def write(self, result: Result) -> None:
        """Add one frame. Raises SinkError when it cannot be written."""
        time = result.frame.time
        if self._last is not None:
            step = time - self._last
            self._time += step if 0 < step < 1 else self._step
        for sink in self._tables:
            sink.write(result)
        for sink in self._videos:
            sink.write(replace(result, frame=replace(result.frame, time=self._time)))
        self._last = time

    def close(self) -> tuple[Path, ...]:
        """Finish the files and give their paths; none when there was no frame. Raises SinkError."""
        sinks = [*self._tables, *self._videos]
        if self._last is None:
            for sink in sinks:
                sink.abort()
                remove(sink.path.with_name(f"{sink.path.name}.part"))
            return ()
        with ExitStack() as closing:
            for sink in sinks:
                closing.callback(sink.close)
        return self.paths


class NothingToRecord(TrackerError):
    """Neither table nor video is wanted."""


def begin(settings: Settings, name: str, source: Source, markup: Markup) -> Recording:
    """The recording that the settings ask for, of a source called ``name``, from now on. Raises TrackerError."""
    suffixes = [".csv"] * settings.record_csv + [".mp4"] * settings.record_video
    if not suffixes:
        raise NothingToRecord("Nothing would be recorded; choose points, video or both in the Record menu.")
    draw = partial(
        draw_result,
        markup=markup,
        points=settings.points,
        edges=settings.edges,
        ids=settings.ids,
        boxes=settings.boxes,
        attention=settings.map != NO_MAP,
        opacity=settings.opacity,
    )
    paths = [new_path(settings.out, name, suffix) for suffix in suffixes]
    return Recording(paths, source, markup, draw)


def new_path(folder: Path, name: str, suffix: str) -> Path:
    """A file in ``folder``, which is made, named after the source and the time; none that exists."""
    with suppress(OSError):  # whoever writes the file says what is wrong
        folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "_", Path(name).stem) or "recording"
    base = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = folder / f"{base}{suffix}", 2
    while path.exists() or path.with_name(f"{path.name}.part").exists():
        path, number = folder / f"{base}-{number}{suffix}", number + 1
    return path


def points_table(faces: Sequence[Face]) -> str:
    """The points of ``faces`` with tabs between the columns, as spreadsheets take it: face, point, x, y."""
    rows = ["face\tpoint\tx\ty"]
    for face in faces:
        rows += [f"{face.id}\t{number}\t{x:.3f}\t{y:.3f}" for number, (x, y) in enumerate(face.points.tolist())]
    return "\n".join(rows) + "\n"
