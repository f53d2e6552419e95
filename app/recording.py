"""What is kept of what runs in the window: the table of points, the annotated video, pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

from app.settings import NO_MAP, Settings
from tracker.core import Face, Image, Result, TrackerError
from tracker.draw import draw_result
from tracker.markup import Markup
from tracker.sinks import Sink, VideoSink, open_sink
from tracker.sources import Source


@dataclass(frozen=True)
class _Shape:
    """What a sink asks of a source, without its sound: that would not fit pictures from the middle of a film."""

    size: tuple[int, int]
    rate: float | None


class Recording:
    """Writes results to files of the given ``paths`` (.csv, .mp4) until ``close``.

    The table has the frame numbers and times of the source. The video's time begins at 0 and goes on without a gap
    over seeks and pauses. ``points`` is the number of landmarks, ``draw`` makes the pictures of the video.

    Raises SinkError when a file cannot be made.
    """

    def __init__(self, paths: Sequence[Path], source: Source, points: int, draw: Callable[[Result], Image]) -> None:
        self.paths = tuple(paths)
        shape = cast(Source, _Shape(source.size, source.rate))
        with ExitStack() as opened:
            self._sinks: list[Sink] = [opened.enter_context(open_sink(path, shape, points, draw)) for path in paths]
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
        self._last = time
        for sink in self._sinks:
            as_video = isinstance(sink, VideoSink)
            sink.write(replace(result, frame=replace(result.frame, time=self._time)) if as_video else result)

    def close(self) -> tuple[Path, ...]:
        """Finish the files and give their paths; none when there was no frame. Raises SinkError."""
        if self._last is None:
            for sink in self._sinks:
                sink.abort()
                sink.path.with_name(sink.path.name + ".part").unlink(missing_ok=True)
            return ()
        with ExitStack() as closing:
            for sink in self._sinks:
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
    return Recording(paths, source, markup.size, draw)


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
