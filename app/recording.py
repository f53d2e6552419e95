"""A recording of what runs in the window: the table of points, the annotated video, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from tracker.core import Image, Result
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
