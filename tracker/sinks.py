"""Where results go: tables and annotated videos, by the suffix of their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from tracker.core import Image, Result
from tracker.files import SinkError
from tracker.markup import Markup
from tracker.sources import Source
from tracker.tables import CSVSink, JSONSink, NPZSink, ParquetSink, PtsSink, Rows
from tracker.video import VideoSink

if TYPE_CHECKING:  # in the standard library from Python 3.11
    from typing_extensions import Self

__all__ = ["CSVSink", "Sink", "SinkError", "VideoSink", "open_sink"]

TABLES: dict[str, Callable[[str | Path, Rows], Sink]] = {
    ".csv": CSVSink,
    ".jsonl": JSONSink,
    ".npz": NPZSink,
    ".parquet": ParquetSink,
    ".pts": PtsSink,
}
"""What makes the table of a suffix."""

VIDEOS = (".mp4", ".mkv")


class Sink(Protocol):
    """What results are written to, in the order of their frames. ``path`` is the file it will be.

    As a context manager it is closed at the end, or aborted when an exception leaves it.
    """

    path: Path

    def write(self, result: Result) -> None:
        """Add the result of one frame. Raises SinkError when it cannot be written."""

    def close(self) -> None:
        """Finish the file and give it its name, replacing an older one. May be called again. Raises SinkError."""

    def abort(self) -> None:
        """Give up: what has been written stays as ``NAME.part``, and an older file stays as it is. Never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_sink(path: str | Path, source: Source, rows: Rows | Markup, draw: Callable[[Result], Image]) -> Sink:
    """The sink for the suffix of ``path``: a table of ``rows`` (those of a markup will do) for .csv, .jsonl, .npz,
    .parquet and .pts; for .mp4 and .mkv a video of ``source`` with the overlay that ``draw`` makes.

    Raises SinkError for another suffix and for a file that cannot be made.
    """
    suffix = Path(path).suffix.lower()
    if suffix in TABLES:
        return TABLES[suffix](path, Rows(rows) if isinstance(rows, Markup) else rows)
    if suffix in VIDEOS:
        return VideoSink(path, source, draw)
    raise SinkError(f"{path}: no such kind of output; the name has to end in {', '.join((*TABLES, *VIDEOS))}")
