"""Tables: what was found in every frame, as CSV, JSON lines, NPZ, Parquet and .pts.

All of them say the same, in the columns of COLUMNS and the points; docs/outputs.md describes each. A frame without a
face has a row that says so.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracker.annotations import write_pts
from tracker.core import Face, Points, Result
from tracker.files import Output, SinkError, remove
from tracker.markup import Markup
from tracker.signals import Blink, BlinkDetector, Signals, measure

VERSION = 1
"""Of the schemas in docs/outputs.md; it counts up when a column changes its name, its place or its meaning."""

HEAD_COLUMNS = ("frame", "face_id", "timestamp", "confidence", "success")
POSE_COLUMNS = ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz")
SIGNAL_COLUMNS = ("eye_left", "eye_right", "mouth_openness", "mouth_width", "blink_start", "blink_end", "blink_depth")


def columns(points: int) -> list[str]:
    """The columns of a table of ``points`` landmarks, in order."""
    places = [f"{axis}_{place}" for axis in "xy" for place in range(points)]
    return [*HEAD_COLUMNS, *POSE_COLUMNS, *places, *SIGNAL_COLUMNS, "timed"]


@dataclass(frozen=True, eq=False)
class Row:
    """One face in one frame, or a frame without a face: then all that belongs to one is None. ``frame`` counts from
    1, ``time`` is in seconds, ``timed`` False where the recording states no time; ``blink`` is one that has just
    ended."""

    frame: int
    time: float
    timed: bool
    face: Face | None = None
    signals: Signals | None = None
    blink: Blink | None = None

    @property
    def pose(self) -> tuple[float, ...]:
        """The values of POSE_COLUMNS: millimetres and radians; NaN without a face."""
        if self.signals is None:
            return (math.nan,) * 6
        angles = (self.signals.pitch, self.signals.yaw, self.signals.roll)
        return (*self.signals.translation, *map(math.radians, angles))

    @property
    def others(self) -> tuple[float, ...]:
        """The values of SIGNAL_COLUMNS; NaN for what is not there."""
        signals, blink = self.signals, self.blink
        eyes_and_mouth = (
            (signals.left_eye, signals.right_eye, signals.mouth_openness, signals.mouth_width)
            if signals
            else (math.nan,) * 4
        )
        return (*eyes_and_mouth, *((blink.start, blink.end, blink.depth) if blink else (math.nan,) * 3))


class Rows:
    """The rows of one recording's results, which several tables share: each result's are made once.

    ``markup`` says what the points mean, ``focal`` is the camera's focal length in pixels (see ``signals.measure``).
    """

    def __init__(self, markup: Markup, focal: float | None = None) -> None:
        self.markup = markup
        self._focal = focal
        self._blinks: dict[int, BlinkDetector] = {}
        self._last: tuple[Result, list[Row]] | None = None

    def of(self, result: Result) -> list[Row]:
        """The rows of the next result, one for each face or one for none. Raises ValueError for a face that has
        another number of points than the markup."""
        if self._last is None or self._last[0] is not result:
            self._last = result, self._made(result)
        return self._last[1]

    def _made(self, result: Result) -> list[Row]:
        frame = result.frame
        head = frame.index + 1, frame.time, frame.timed
        size = frame.image.shape[1], frame.image.shape[0]
        rows = []
        for face in result.faces:
            if face.points.shape != (self.markup.size, 2):
                raise ValueError(f"this is for {self.markup.size} points, and a face has {len(face.points)}")
            signals = measure(face.points, self.markup, size, self._focal, frame.aspect)
            blink = self._blinks.setdefault(face.id, BlinkDetector()).update(frame.time, signals.eyes)
            rows.append(Row(*head, face, signals, blink))
        return rows or [Row(*head)]


class _Table(Output):
    """What the tables share: rows in the order of the frames."""

    def __init__(self, path: str | Path, rows: Rows, *, folder: bool = False) -> None:
        super().__init__(path, folder=folder)
        self._rows = rows
        with self._writing():
            remove(self.part)
            self._start()
            self._begin()

    def write(self, result: Result) -> None:
        """Add one frame. Raises SinkError, or ValueError for a face with another number of points."""
        self._check_open()
        rows = self._rows.of(result)
        with self._writing():
            self._add(rows)

    def _start(self) -> None:
        raise NotImplementedError

    def _add(self, rows: list[Row]) -> None:
        raise NotImplementedError


class CSVSink(_Table):
    """A table with one row for each face, under OpenFace's column names where it has them.

    A frame without faces has one row: success and confidence 0, the other cells of a face empty. Each row is in the
    file as soon as ``write`` returns. Raises SinkError when the file cannot be made.
    """

    def _start(self) -> None:
        places = self._rows.markup.size
        self._found = "%d,%d,%.6f,%.3f,1,{pose}" + ",%.3f" * (2 * places) + ",{others},%d\n"
        self._nobody = "%d,,%.6f,0,0" + "," * (len(POSE_COLUMNS) + 2 * places + len(SIGNAL_COLUMNS)) + ",%d\n"
        self._file = self.part.open("w", encoding="ascii", newline="\n")
        self._file.write(",".join(columns(places)) + "\n")
        self._file.flush()

    def _add(self, rows: list[Row]) -> None:
        self._file.write("".join(map(self._line, rows)))
        self._file.flush()

    def _line(self, row: Row) -> str:
        if row.face is None:
            return self._nobody % (row.frame, row.time, row.timed)
        pose = [_text(value, digits) for value, digits in zip(row.pose, _POSE_DIGITS, strict=True)]
        others = [_text(value, digits) for value, digits in zip(row.others, _OTHER_DIGITS, strict=True)]
        line = self._found.format(pose=",".join(pose), others=",".join(others))
        places = row.face.points.T.ravel().tolist()
        return line % (row.frame, row.face.id, row.time, row.face.score, *places, row.timed)

    def _finish(self) -> None:
        self._file.close()


_POSE_DIGITS = (2, 2, 2, 4, 4, 4)
_OTHER_DIGITS = (4, 4, 4, 4, 6, 6, 3)


def _text(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _number(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)


class JSONSink(_Table):
    """JSON lines: one object for each frame, with a list of its faces. In the file as soon as ``write`` returns."""

    def _start(self) -> None:
        self._file = self.part.open("w", encoding="ascii", newline="\n")

    def _add(self, rows: list[Row]) -> None:
        first = rows[0]
        faces = [_face_object(row, row.face) for row in rows if row.face]
        line = {"frame": first.frame, "timestamp": round(first.time, 6), "timed": first.timed, "faces": faces}
        self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")
        self._file.flush()

    def _finish(self) -> None:
        self._file.close()


def _face_object(row: Row, face: Face) -> dict[str, Any]:
    values: dict[str, Any] = {"face_id": face.id, "confidence": round(face.score, 3)}
    values |= {n: _number(v, d) for n, v, d in zip(POSE_COLUMNS, row.pose, _POSE_DIGITS, strict=True)}
    values |= {n: _number(v, d) for n, v, d in zip(SIGNAL_COLUMNS, row.others, _OTHER_DIGITS, strict=True)}
    values["points"] = [[round(x, 3), round(y, 3)] for x, y in face.points.tolist()]
    return values


class NPZSink(_Table):
    """Arrays for numpy, a row for each face as in the CSV; kept in memory until the end."""

    def _start(self) -> None:
        self._kept: list[tuple[int, int, float, float, bool, bool, tuple[float, ...], tuple[float, ...]]] = []
        self._points: list[Points] = []
        self._nowhere: Points = np.full((self._rows.markup.size, 2), np.nan, np.float32)
        self._file = self.part.open("wb")

    def _add(self, rows: list[Row]) -> None:
        for row in rows:
            face = row.face
            number, score = (face.id, face.score) if face else (-1, 0.0)
            self._kept.append((row.frame, number, row.time, score, bool(face), row.timed, row.pose, row.others))
            self._points.append(face.points if face else self._nowhere)

    def _finish(self) -> None:
        kept = list(zip(*self._kept, strict=True)) or [()] * 8
        kinds: Sequence[Any] = (np.int64, np.int64, np.float64, np.float32, bool, bool, np.float32, np.float64)
        frame, number, time, score, success, timed, pose, others = (
            np.array(values, kind) for values, kind in zip(kept, kinds, strict=True)
        )
        others = others.reshape(-1, len(SIGNAL_COLUMNS))
        arrays: dict[str, Any] = {
            "frame": frame,
            "face_id": number,
            "timestamp": time,
            "confidence": score,
            "success": success,
            "pose": pose.reshape(-1, len(POSE_COLUMNS)),
            "points": np.array(self._points, np.float32).reshape(-1, self._rows.markup.size, 2),
            **{name: others[:, place] for place, name in enumerate(SIGNAL_COLUMNS)},
            "timed": timed,
            "markup": np.array(self._rows.markup.name),
            "schema": np.array(f"landmark-tracker/npz/{VERSION}"),
        }
        whole = io.BytesIO()  # numpy's own writer stumbles over a full disk once more when it is thrown away
        np.savez(whole, **arrays)
        with self._file:
            self._file.write(whole.getbuffer())


class ParquetSink(_Table):
    """The columns of the CSV in an Apache Parquet file, with null for what is not there. Needs pyarrow: SinkError
    says how to get it."""

    def _start(self) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            remedy = "pip install 'landmark-tracker[parquet]'"
            raise SinkError(f"{self.path}: Parquet needs pyarrow, which is not installed; {remedy}") from error
        kinds = {"frame": pyarrow.int64(), "face_id": pyarrow.int64(), "timestamp": pyarrow.float64()}
        kinds |= {name: pyarrow.bool_() for name in ("success", "timed")}
        kinds |= {name: pyarrow.float64() for name in ("blink_start", "blink_end")}
        fields = [(name, kinds.get(name, pyarrow.float32())) for name in columns(self._rows.markup.size)]
        about = {"schema": f"landmark-tracker/parquet/{VERSION}", "markup": self._rows.markup.name}
        self._schema = pyarrow.schema(fields, metadata=about)
        self._batch: list[list[Any]] = []
        self._made: Callable[..., Any] = pyarrow.record_batch
        self._array: Callable[..., Any] = pyarrow.array
        self._writer = pyarrow.parquet.ParquetWriter(str(self.part), self._schema)

    def _add(self, rows: list[Row]) -> None:
        for row in rows:
            face = row.face
            head = [row.frame, face.id if face else None, row.time, face.score if face else 0.0, face is not None]
            places = face.points.T.ravel().tolist() if face else [None] * (2 * self._rows.markup.size)
            self._batch.append([*head, *row.pose, *places, *row.others, row.timed])
        if len(self._batch) >= 4096:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            values = zip(*self._batch, strict=True)
            arrays = [
                self._array(column, kind, from_pandas=True)
                for column, kind in zip(values, self._schema.types, strict=True)
            ]
            self._writer.write_batch(self._made(arrays, schema=self._schema))
            self._batch = []

    def _finish(self) -> None:
        self._flush()
        self._writer.close()


class PtsSink(_Table):
    """A folder with ``000001.pts`` and so on, one for every frame with a face, as 300VW has them: coordinates counted
    from 1. Of several faces it has the one with the lowest id; a frame without a face has no file."""

    def __init__(self, path: str | Path, rows: Rows) -> None:
        super().__init__(path, rows, folder=True)

    def _start(self) -> None:
        self.part.mkdir()

    def _add(self, rows: list[Row]) -> None:
        faces = [row.face for row in rows if row.face]
        self._check_mine()
        if faces:
            first = min(faces, key=lambda face: face.id)
            write_pts(self.part / f"{rows[0].frame:06d}.pts", first.points)

    def _finish(self) -> None:
        pass
