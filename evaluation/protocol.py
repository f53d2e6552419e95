"""The one loop of all protocols: clips in, a record of what was found out.

A set is divided into parts, each a video or a handful of pictures; a part is run in one go and kept as one file, so
that a run that is stopped goes on with the parts that are missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from evaluation.record import ARRAYS, NO_FACE, Picture, Record
from evaluation.subject import Locate, Located, Subject
from tracker.annotations import Annotation, read_pts
from tracker.core import Array, Box, Crop, Frame, Image, Points, TrackerError
from tracker.datasets import DataError, LabelledPicture, LabelledVideo
from tracker.markup import Markup

WORST = 4
"""Pictures of the worst frames that a part keeps for each mode, at most one of a clip."""


class Clip(Protocol):
    """Frames of one recording with their labels. ``categories`` it counts in."""

    @property
    def name(self) -> str: ...

    @property
    def categories(self) -> tuple[str, ...]: ...

    @property
    def mark(self) -> bytes:
        """What is another where the clip's files are others."""

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """Every frame with its number, decoded once and in order."""

    def label(self, number: int) -> Annotation: ...

    def left_out(self, number: int) -> bool:
        """Whether the protocol leaves this frame out."""

    def absent(self, number: int) -> bool:
        """Whether the face is out of the picture, so that there is nothing to find."""


@dataclass(frozen=True)
class VideoClip:
    """A video of 300VW."""

    name: str
    video: LabelledVideo
    categories: tuple[str, ...]
    left_out_numbers: frozenset[int] = frozenset()
    absent_numbers: frozenset[int] = frozenset()
    one_based: bool = True

    @property
    def mark(self) -> bytes:
        folder = self.video.folder
        kinds = ("imgs", "imgs/*", "vid.avi", "annot/*.pts")
        states = [_state(file) for kind in kinds for file in sorted(folder.glob(kind))]
        return f"{self.name!r} {states}".encode()

    def frames(self) -> Iterator[tuple[int, Frame]]:
        return self.video.frames()

    @cached_property
    def labels(self) -> dict[int, Path]:
        """The .pts files by frame number."""
        return self.video.labels()

    def label(self, number: int) -> Annotation:
        path = self.labels[number]
        return Annotation(path.stem, read_pts(path, self.one_based))

    def left_out(self, number: int) -> bool:
        return number in self.left_out_numbers

    def absent(self, number: int) -> bool:
        return number in self.absent_numbers


@dataclass(frozen=True, eq=False)
class PictureClip:
    """A picture, as a clip of one frame."""

    picture: LabelledPicture
    categories: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.picture.name

    @property
    def mark(self) -> bytes:
        return f"{self.name!r} {_state(self.picture.file)!r}".encode() + self.picture.label.points.tobytes()

    def frames(self) -> Iterator[tuple[int, Frame]]:
        yield 1, Frame(self.picture.load(), 0, 0.0, timed=False)

    def label(self, number: int) -> Annotation:
        return self.picture.label

    def left_out(self, number: int) -> bool:
        return False

    def absent(self, number: int) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Part:
    """Clips that are run in one go; ``frames`` is how many they are expected to have."""

    name: str
    clips: Sequence[Clip]
    frames: int

    @cached_property
    def file(self) -> str:
        """The name of its record: another where one of its clips is another, so that none is taken for the other's."""
        return f"{self.name}-{hashlib.sha256(b' '.join(clip.mark for clip in self.clips)).hexdigest()[:12]}.npz"

    @property
    def rest(self) -> str:
        """The name of its record when clips of it failed, so that it is run again when the run is gone on with."""
        return f"{self.name}-rest.npz"


def _state(file: Path) -> str:
    """The name of a file, its size and when it was changed; the name alone where there is no such file."""
    try:
        state = file.stat()
    except (OSError, ValueError):
        return file.name
    return f"{file.name} {state.st_size} {state.st_mtime_ns}"


def run_part(part: Part, subject: Subject, modes: Sequence[str], progress: Any = None) -> tuple[Record, dict[str, str]]:
    """Run every mode over the clips of a part; each frame is decoded once. The record, and by name the problems of the
    clips that are not in it, as they cannot be read whole or are labelled with other points than the subject's."""
    clips: list[Clip] = []
    rows: list[dict[str, Any]] = []
    spent: list[dict[str, float]] = []
    pictures: dict[str, list[Picture]] = {mode: [] for mode in modes}
    failed: dict[str, str] = {}
    for clip in part.clips:
        try:
            more, laps, worst = _run_clip(clip, subject, modes, progress)
        except (TrackerError, OSError) as error:
            failed[clip.name] = str(error)
            continue
        rows += [row | {"clip": len(clips)} for row in more]
        spent += laps
        for mode, picture in worst.items():
            pictures[mode] = sorted([*pictures[mode], picture], key=lambda picture: -picture.error)[:WORST]
        clips.append(clip)
    return _record(clips, subject.markup, modes, rows, spent, pictures), failed


def _run_clip(
    clip: Clip, subject: Subject, modes: Sequence[str], progress: Any
) -> tuple[list[dict[str, Any]], list[dict[str, float]], dict[str, Picture]]:
    """A row and the milliseconds of each frame, and the picture of each mode's worst."""
    rows: list[dict[str, Any]] = []
    spent: list[dict[str, float]] = []
    choosers = {mode: _Chooser(subject.start(mode)) for mode in modes}
    worst: dict[str, tuple[float, int, Image, Points, Points | None]] = {}
    last = perf_counter()
    for number, frame in clip.frames():
        laps = {"decode": _since(last)}
        start = perf_counter()
        label = clip.label(number)
        if len(label.points) != subject.markup.size:
            raise DataError(
                f"{clip.name}, frame {number}: labelled with {len(label.points)} points, not with the "
                f"{subject.markup.size} of {subject.markup.name}; take it out of the set"
            )
        known = np.ones(len(label.points), bool) if label.known is None else label.known
        truth = label.points[known]
        box = label.box
        row: dict[str, Any] = {
            "numbers": number,
            "truth": label.points,
            "known": known,
            "boxes": [np.nan] * 4 if box is None else [box.x0, box.y0, box.x1, box.y1],
            "left_out": clip.left_out(number),
            "absent": clip.absent(number),
        }
        laps["labels"] = _since(start)
        for mode, chooser in choosers.items():
            nothing = mode == "oracle" and row["absent"]  # there is no box to give
            face = None if nothing else chooser(frame, truth, laps, mode)
            start = perf_counter()
            row[f"points.{mode}"] = np.full_like(label.points, np.nan) if face is None else face[1]
            row[f"ids.{mode}"] = NO_FACE if face is None else face[0]
            if not (row["left_out"] or row["absent"]):
                error = _error(face and face[1][known], truth)
                if error > worst.get(mode, (-1.0,))[0]:
                    worst[mode] = (error, number, frame.image, truth, face and face[1][known])
            laps["record"] = laps.get("record", 0.0) + _since(start)
        rows.append(row)
        laps["whole"] = _since(last)
        last = perf_counter()
        spent.append(laps)
        if progress is not None:
            progress.update()
    pictures = {
        mode: Picture(error, clip.name, number, _shown(image, points, found))
        for mode, (error, number, image, points, found) in worst.items()
    }
    return rows, spent, pictures


class _Chooser:
    """Which face of a clip is scored: the one whose box overlaps the truth's most (IoU above 0); once a face was
    taken, the face of its id for as long as it is there."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._kept = NO_FACE

    def __call__(self, frame: Frame, truth: Array, laps: dict[str, float], mode: str) -> tuple[int, Points] | None:
        located: Located = self._locate(frame, truth)
        for stage, milliseconds in located.milliseconds.items():
            laps[f"{mode}.{stage}"] = milliseconds
        for face in located.faces:
            if face[0] == self._kept:
                return face
        box = Box.around(truth)
        best = max(located.faces, key=lambda face: Box.around(face[1]).iou(box), default=None)
        if best is None or Box.around(best[1]).iou(box) <= 0:
            return None
        self._kept = best[0]
        return best


def _record(
    clips: Sequence[Clip],
    markup: Markup,
    modes: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    spent: Sequence[Mapping[str, float]],
    pictures: dict[str, list[Picture]],
) -> Record:
    shapes = {"truth": (0, markup.size, 2), "known": (0, markup.size), "boxes": (0, 4)}
    kinds: dict[str, Any] = {"clip": np.int64, "numbers": np.int64, "truth": np.float32, "boxes": np.float64}

    def column(name: str, kind: Any, shape: tuple[int, ...] = (0,)) -> npt.NDArray[Any]:
        return np.array([row[name] for row in rows], kind) if rows else np.empty(shape, kind)

    stages = list(dict.fromkeys(stage for laps in spent for stage in laps))
    return Record(
        [clip.name for clip in clips],
        [list(clip.categories) for clip in clips],
        **{name: column(name, kinds.get(name, bool), shapes.get(name, (0,))) for name in ARRAYS},
        points={mode: column(f"points.{mode}", np.float32, shapes["truth"]) for mode in modes},
        ids={mode: column(f"ids.{mode}", np.int64) for mode in modes},
        milliseconds={stage: np.array([laps.get(stage, 0.0) for laps in spent], np.float32) for stage in stages},
        pictures=pictures,
    )


def _error(found: Points | None, truth: Points) -> float:
    """The mean distance of points (K, 2) over the box size, which every set has, for choosing pictures to look at."""
    if found is None:
        return float("inf")
    size = np.sqrt(Box.around(truth).area)
    return float(np.linalg.norm(found - truth, axis=-1).mean() / size) if size > 0 else float("inf")


def _shown(image: Image, truth: Points, found: Points | None, side: int = 256) -> bytes:
    """The face as a JPEG with the truth in white, what was found in orange, and lines between them."""
    crop = Crop.around(truth, 1.6, side)
    picture = np.ascontiguousarray(crop.cut(image))
    white, orange = (255, 255, 255), (230, 159, 0)
    true = np.rint(16 * crop.to_input(truth)).astype(int).tolist()
    if found is None:
        cv2.putText(picture, "missed", (8, side - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, orange, 1, cv2.LINE_AA)
    else:
        places = np.rint(16 * np.clip(crop.to_input(found), -999, 999)).astype(int).tolist()
        for one, other in zip(true, places, strict=True):
            cv2.line(picture, one, other, orange, 1, cv2.LINE_AA, 4)
            cv2.circle(picture, other, 32, orange, cv2.FILLED, cv2.LINE_AA, 4)
    for one in true:
        cv2.circle(picture, one, 24, white, cv2.FILLED, cv2.LINE_AA, 4)
    return bytes(cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())


def _since(start: float) -> float:
    return (perf_counter() - start) * 1000
