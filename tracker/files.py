"""Files that are whole or not there; and text that is read with a limit.

A file in the making is called ``NAME.part`` and takes its own name only when it is whole, so that an older file of
that name stays as it is until then, and no half of a file passes for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av

from tracker.core import TrackerError

if TYPE_CHECKING:  # in the standard library from Python 3.11
    from typing_extensions import Self

log = logging.getLogger(__name__)


LONGEST = 64 << 20
"""Bytes; a longer text is refused, since no list or report comes near it."""


class SinkError(TrackerError):
    """A file that cannot be written."""


class Output:
    """A file, or a folder of files, in the making: the temporary name, the end, and errors with the path in them.

    What derives from it makes ``part`` and then calls ``_begin``, and completes and closes it in ``_finish``.
    """

    def __init__(self, path: str | Path, *, folder: bool = False) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self._open = False
        self._mark: tuple[int, int] | None = None
        if self.path.exists() and self.path.is_dir() != folder:
            raise SinkError(f"{self.path}: a {'file' if folder else 'folder'} has this name; choose another")
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Finish the file and give it its name, replacing an older one. May be called again. Raises SinkError, also
        when another process has begun the same file since."""
        if self._open:
            self._open = False
            with self._writing():
                self._finish()
                self._check_mine()
                if self.part.is_dir():
                    remove(self.path)
                os.replace(self.part, self.path)

    def abort(self) -> None:
        """Give up: what has been written stays as ``NAME.part``, and an older file stays as it is. Never raises."""
        if self._open:
            self._open = False
            try:
                self._finish()
            except (OSError, av.error.FFmpegError) as error:
                log.info("%s: %s", self.part, error)

    def discard(self) -> None:
        """Give up and take away what has been written, unless another process has begun the same file since. Never
        raises."""
        self.abort()
        with suppress(OSError):
            if self._mark == _mark(self.part):
                remove(self.part)

    def _begin(self) -> None:
        """Note that ``part`` is there and is this one's."""
        self._open, self._mark = True, _mark(self.part)

    def _check_mine(self) -> None:
        if self._mark != _mark(self.part):
            raise SinkError(f"{self.path}: another process writes the same file; let only one do so")

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"{self.path}: nothing can be written after the end")

    def _finish(self) -> None:
        """Complete and close the file."""
        raise NotImplementedError

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            why = error.strerror or "it cannot be written"
            raise SinkError(f"{self.path}: {why}; check the folder, its permissions and the space left") from error


class Bytes(Output):
    """A small file written at once."""

    def __init__(self, path: str | Path, content: bytes) -> None:
        super().__init__(path)
        with self._writing():
            remove(self.part)
            self.part.write_bytes(content)
            self._begin()
        self.close()

    def _finish(self) -> None:
        pass


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON. Raises SinkError."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    Bytes(path, text.encode(errors="backslashreplace"))  # names of files that are not UTF-8: \\udcff is JSON's way too


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_text(path: Path, most: int = LONGEST) -> str:
    """The text of a file, without the mark that some programs write before it. Raises OSError, and ValueError for what
    is no text in UTF-8 or longer than ``most`` bytes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a file")
    if status.st_size > most:
        raise ValueError(f"{status.st_size} bytes, and {most} are the limit")
    return path.read_text(encoding="utf-8-sig")


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises OSError, and ValueError for what is no JSON or is nested hundreds of times."""
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def remove(path: Path) -> None:
    """Take away a file, or a folder with all that is in it, if it is there. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mark(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
