"""What is to be done: the recordings that files, folders, patterns and lists name, and where their results go."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tracker.core import TrackerError
from tracker.files import read_json, read_text
from tracker.sources import IMAGE_SUFFIXES, is_shadow

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "mts", "m2ts", "ts"),
        *("wmv", "flv", "3gp", "ogv", "h264", "h265", "hevc", "mjpeg"),
    )
)
"""Suffixes, in lower case, of the files that are taken as recordings when a folder is given."""


class InputError(TrackerError):
    """An input, output or option that cannot be used."""


@dataclass(frozen=True)
class Job:
    """One recording: what is read, and the path of its outputs without their suffix."""

    source: Path
    target: Path


def record_path(job: Job) -> Path:
    """NAME.run.json, which says what the recording was made into."""
    return job.target.with_name(job.target.name + ".run.json")


def jobs(inputs: Sequence[str | Path], folder: Path) -> list[Job]:
    """One job for every recording in ``inputs``, with its outputs in ``folder``.

    An input is a file, a folder of recordings or of pictures (searched with their subfolders, whose structure is kept;
    a folder of pictures is one recording, and pictures count only where there are no videos), a pattern with ``*``,
    ``?``, ``[...]`` or ``**`` (the structure below its fixed part is kept), or a ``.txt`` file with one input a line,
    relative to the list; a list that other lists name too is read once. A search leaves out ``folder`` where it comes
    across it. No result is written outside ``folder``. InputError names what is not there, and a recording whose
    results would take the place of another's.
    """
    lists: set[Path] = set()
    try:
        out = folder.resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise InputError(f"{folder}: leads nowhere; choose another folder for the results") from error
    try:
        found = [pair for text in inputs for pair in _found(text, out, lists)]
    except RecursionError as error:
        raise InputError(f"{inputs[0]}: lists within lists without end; write one list") from error
    stems = Counter(_on_disk(_bare(source, relative)) for source, relative in dict.fromkeys(found))
    result = []
    for source, relative in dict.fromkeys(found):
        bare = _bare(source, relative)
        result.append(Job(source, folder / (relative if stems[_on_disk(bare)] > 1 else bare)))
    targets = Counter(_on_disk(job.target) for job in result)
    if clashes := [job.source for job in result if targets[_on_disk(job.target)] > 1]:
        raise InputError(
            f"{clashes[0]}: would be written to the same file as {clashes[1]}; give the folder above both, or each by "
            "itself with another folder for its results"
        )
    for job in result:
        if other := _another(job):
            raise InputError(
                f"{job.source}: would be written over the results of {other} in {folder}; choose another folder"
            )
    return result


def _another(job: Job) -> Path | None:
    """The other recording, if it is still there, whose results have the names of those of ``job``."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        source = Path(read_json(record_path(job))["input"]["path"])
        if source.exists() and not source.samefile(job.source):
            return source
    return None


def _bare(source: Path, relative: Path) -> Path:
    return relative if source.is_dir() else relative.with_suffix("")


def _on_disk(path: Path) -> str:
    """What tells two files apart everywhere: the disks of Windows and macOS do not know capitals."""
    return str(path).casefold()


def _found(text: str | Path, out: Path, lists: set[Path]) -> Iterator[tuple[Path, Path]]:
    """Each recording that an input names, and its place in the folder of the results. ``lists`` are those read."""
    try:
        yield from _named(text, out, lists)
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{text}: cannot be looked up ({why}); check the name") from error


def _named(text: str | Path, out: Path, lists: set[Path]) -> Iterator[tuple[Path, Path]]:
    path = Path(text)
    if path.is_dir():
        yield from _in_folder(path, out)
    elif path.is_file() and path.suffix.lower() == ".txt":
        yield from _in_list(path, out, lists)
    elif path.is_file():
        yield path, Path(path.name)
    elif re.search(r"[*?\[]", str(text)):
        yield from _matching(str(text), out)
    else:
        raise InputError(f"{path}: there is no such file or folder")


def _in_folder(folder: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    files = _files(folder.rglob("*"), folder, out)
    recordings = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if recordings and pictures:
        log.warning(
            "%s: %d pictures are passed over, as it holds recordings too; give them, or their folder, by themselves",
            folder,
            len(pictures),
        )
    recordings = recordings or sorted({path.parent for path in pictures})
    if not recordings:
        raise InputError(f"{folder}: holds neither recordings nor pictures")
    for path in recordings:
        yield path, Path(folder.resolve().name or "pictures") if path == folder else path.relative_to(folder)


def _files(paths: Iterable[Path], folder: Path, out: Path) -> list[Path]:
    """The files among ``paths`` below ``folder``, sorted, without those in ``out`` where that lies below it too, and
    without shadows; where ``out`` is ``folder``, without what earlier runs have written beside them."""
    top = folder.resolve()
    files = [path for path in paths if path.is_file() and not is_shadow(path)]
    if top in out.parents:
        files = [path for path in files if not path.resolve().is_relative_to(out)]
    results = {parent: _results(parent) for parent in {path.parent for path in files}} if top == out else {}
    return sorted(path for path in files if path.name not in results.get(path.parent, ()))


def _results(folder: Path) -> frozenset[str]:
    """The names of what recordings have been made into in ``folder``, as each NAME.run.json says."""
    names: set[str] = set()
    for path in folder.glob("*.run.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            names |= {str(output["file"]) for output in read_json(path)["outputs"]}
    return frozenset(names)


LONGEST_LINE = 4096
"""Characters of a line in a list; no system has longer paths."""


def _in_list(path: Path, out: Path, lists: set[Path]) -> Iterator[tuple[Path, Path]]:
    if path.resolve() in lists:
        return
    lists.add(path.resolve())
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a list of inputs, one a line, in UTF-8 ({error})") from error
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if len(entry) > LONGEST_LINE:
            raise InputError(f"{path}, line {number}: {len(entry)} characters are no name of a file; check the list")
        if entry and not entry.startswith("#"):
            try:
                yield from _found(path.parent / entry, out, lists)
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from error


def _matching(pattern: str, out: Path) -> Iterator[tuple[Path, Path]]:
    parts = Path(pattern).parts
    first = next(place for place, part in enumerate(parts) if re.search(r"[*?\[]", part))
    fixed = Path(*parts[:first])
    if ".." in parts[first:]:  # the results would lie outside their folder
        raise InputError(f"{pattern}: .. comes after a wildcard; name the folder itself")
    kept = [part for place, part in enumerate(parts) if not part == "**" == parts[place - 1]]  # twice says no more
    pattern = str(Path(*kept))
    files = _files(map(Path, glob.glob(pattern, recursive=True)), fixed, out)
    recordings = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES]
    if not recordings:
        raise InputError(f"{pattern}: no recording matches this pattern")
    for path in recordings:
        yield path, path.relative_to(fixed)


def shard(todo: Sequence[Job], text: str) -> list[Job]:
    """The part ``I/N`` of the jobs, I from 1: every Nth, so that each part has long and short ones. The same inputs
    give the same parts. InputError when the text is something else."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise InputError(f"--shard {text}: give the number of the part and of all parts, as 1/4 ... 4/4")
    return list(todo[index - 1 :: count])
