"""Recordings in, files out: what ``python -m tracker track`` does, for use in programs too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from tracker.core import TrackerError
from tracker.sinks import Sink
from tracker.sources import IMAGE_SUFFIXES, Source
from tracker.tracking import Tracker

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "mts", "m2ts", "ts"),
        *("wmv", "flv", "3gp", "ogv", "h264", "h265", "hevc", "mjpeg"),
    )
)
"""Suffixes, in lower case, of the files that are taken as recordings when a folder is given."""


class InputError(TrackerError):
    """An input or output that cannot be used."""


@dataclass(frozen=True)
class Job:
    """One recording: what is read, and the path of its outputs without their suffix."""

    source: Path
    target: Path


@dataclass
class Summary:
    """What came of one recording: frames read, frames with a face, ids given, seconds taken, milliseconds by stage
    over all frames, and the line that says what was wrong with it."""

    frames: int = 0
    found: int = 0
    ids: set[int] = field(default_factory=set)
    seconds: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)
    problem: str | None = None

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds else 0.0
        stages = ", ".join(f"{name} {total / max(self.frames, 1):.2f}" for name, total in self.milliseconds.items())
        found = 100 * self.found / max(self.frames, 1)
        return (
            f"{self.frames} frames, face in {found:.1f} %, {len(self.ids)} identities, {rate:.0f} frames/s"
            f" (ms a frame: {stages})"
        )


def jobs(inputs: Sequence[str | Path], folder: Path) -> list[Job]:
    """One job for every recording in ``inputs``: files, folders of recordings (searched with their subfolders,
    whose structure is kept) and folders of pictures (one recording each). InputError names what is not there."""
    found: list[tuple[Path, Path]] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found += _in_folder(path)
        elif path.is_file():
            found.append((path, Path(path.name)))
        else:
            raise InputError(f"{path}: there is no such file or folder")
    stems = Counter(relative.with_suffix("") for _, relative in found)
    result = []
    for source, relative in dict.fromkeys(found):
        bare = relative.with_suffix("") if source.is_file() else relative
        result.append(Job(source, folder / (relative if stems[relative.with_suffix("")] > 1 else bare)))
    if clashes := [job.source for job in result if Counter(j.target for j in result)[job.target] > 1]:
        raise InputError(f"{clashes[0]}: would be written to the same file as {clashes[1]}; give them one by one")
    return result


def _in_folder(folder: Path) -> list[tuple[Path, Path]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if videos := [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]:
        return [(path, path.relative_to(folder)) for path in videos]
    if any(path.suffix.lower() in IMAGE_SUFFIXES and path.parent == folder for path in files):
        return [(folder, Path(folder.resolve().name))]
    raise InputError(f"{folder}: holds neither recordings nor pictures")


def track(source: Source, tracker: Tracker, sinks: Sequence[Sink], progress: tqdm[object] | None = None) -> Summary:
    """Track ``source`` to its end and write every frame to all ``sinks``, which stay open."""
    summary = Summary()
    start = last = perf_counter()
    for frame in source:
        decoded = perf_counter()
        result = tracker.update(frame)
        tracked = perf_counter()
        for sink in sinks:
            sink.write(result)
        written = perf_counter()
        summary.frames += 1
        summary.found += bool(result.faces)
        summary.ids.update(face.id for face in result.faces)
        stages = {"decode": (decoded - last) * 1000, **result.milliseconds, "write": (written - tracked) * 1000}
        for stage, spent in stages.items():
            summary.milliseconds[stage] = summary.milliseconds.get(stage, 0.0) + spent
        if progress is not None:
            progress.update()
        last = written
    summary.seconds = perf_counter() - start
    summary.problem = source.problem
    return summary
