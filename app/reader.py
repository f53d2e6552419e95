"""Reads a source in a daemon thread, so that a read that hangs keeps nothing else waiting."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from tracker.core import Frame, TrackerError
from tracker.sources import ImageFolder, Source, SourceError, VideoFile

log = logging.getLogger(__name__)

AHEAD = 3
"""Frames of a file that are read ahead."""
PATIENCE = 3.0
"""Seconds that the release of a camera is waited for."""


@dataclass(frozen=True, eq=False)
class Read:
    """A frame, the moment it was there (``time.perf_counter``) and the milliseconds that reading it took."""

    frame: Frame
    moment: float
    milliseconds: float


class Reader:
    """Opens a source and reads it in a thread of its own.

    Of a live source only the newest frame is kept, and ``dropped`` counts the others; a file is read a little ahead and
    nothing is dropped. ``source`` is None until it is open; ``ended`` is True when there is nothing more to take. If
    the reader ``before`` this one holds a camera, it is waited for, as it may be the same.
    """

    def __init__(self, opening: Callable[[], Source], before: Reader | None = None) -> None:
        self._opening = opening
        self._before = before
        self.source: Source | None = None
        self.dropped = 0
        self._error: TrackerError | None = None
        self._frames: deque[Read] = deque()
        self._start, self._turn = 0, 0  # a new turn begins with each seek
        self._exhausted = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    @property
    def seekable(self) -> bool:
        return isinstance(self.source, VideoFile | ImageFolder)

    @property
    def ended(self) -> bool:
        with self._changed:
            return self._exhausted and not self._frames

    def take(self, timeout: float) -> Read | None:
        """The next frame, or None when there is none within ``timeout`` seconds. Raises the source's error when all
        that was read before it has been taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._error or self._exhausted or self._closed, timeout)
            if self._frames:
                read = self._frames.popleft()
                self._changed.notify_all()
                return read
            if self._error:
                raise self._error
            return None

    def seek(self, index: int) -> None:
        """Go on with frame ``index``, counted from 0; what was read ahead is forgotten."""
        with self._changed:
            self._start, self._turn = max(index, 0), self._turn + 1
            self._frames.clear()
            self._exhausted = False
            self._changed.notify_all()

    def close(self, patience: float = 0.0) -> None:
        """Let the thread end, and wait for it for ``patience`` seconds; one that hangs is left behind."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
        self._thread.join(patience)

    def _run(self) -> None:
        error: TrackerError | None = None
        before, self._before = self._before, None
        if before and before.source and before.source.live:
            before.close(PATIENCE)
        try:
            with self._opening() as source:
                if isinstance(source, VideoFile) and source.length is None and source.times is not None:
                    source.length = len(source.times)  # as browsers record: what the time line needs to know
                self.source = source
                while not self._closed:
                    self._pass(source)
        except TrackerError as known:
            error = known
        except Exception as unknown:
            log.exception("reading a source")
            error = SourceError(f"this source cannot be read: {unknown or type(unknown).__name__}")
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _pass(self, source: Source) -> None:
        """Read from the last place sought, to the end or to the next seek."""
        with self._changed:
            start, turn = self._start, self._turn
        if start > 0 and isinstance(source, VideoFile) and source.times is not None:
            start = min(start, len(source.times) - 1)  # a container may promise more than there is
        frames = source.frames(start) if isinstance(source, VideoFile | ImageFolder) else iter(source)
        for read in _timed(frames):
            if not self._put(read, turn, source.live):
                return
        with self._changed:
            self._exhausted = turn == self._turn
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or turn != self._turn)

    def _put(self, read: Read, turn: int, live: bool) -> bool:
        """Hand a frame over; False when nobody wants it or its followers any more."""
        with self._changed:
            if live:
                self.dropped += len(self._frames)
                self._frames.clear()
            else:
                self._changed.wait_for(lambda: len(self._frames) < AHEAD or self._closed or turn != self._turn)
            if self._closed or turn != self._turn:
                return False
            self._frames.append(read)
            self._changed.notify_all()
            return True


def _timed(frames: Iterator[Frame]) -> Iterator[Read]:
    before = perf_counter()
    for frame in frames:
        now = perf_counter()
        yield Read(frame, now, (now - before) * 1000)
        before = perf_counter()
