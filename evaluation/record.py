"""What a run found out, before anything is counted: points, ids and times of every frame."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracker.core import TrackerError


class RecordError(TrackerError):
    """A record that cannot be read."""


NO_FACE = -1
"""The id of a face that was missed."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A bad frame to look at: its error, NaN-free and infinite for a missed face, and a JPEG."""

    error: float
    clip: str
    number: int
    jpeg: bytes


@dataclass(eq=False)
class Record:
    """What came of a part, or of several joined: F frames of P points.

    ``clips`` and their ``categories`` by the index that ``clip`` (F,) holds; ``numbers`` (F,); ``truth`` (F, P, 2);
    ``known`` (F, P); ``boxes`` (F, 4) the set's own face boxes, NaN where it has none; ``left_out`` and ``absent``
    (F,); by mode ``points`` (F, P, 2), as tracked, and ``ids`` (F,), NO_FACE where the face was missed; by stage
    ``milliseconds`` (F,); by mode the worst ``pictures``.
    """

    clips: list[str]
    categories: list[list[str]]
    clip: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    truth: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.float64]
    left_out: npt.NDArray[np.bool_]
    absent: npt.NDArray[np.bool_]
    points: dict[str, npt.NDArray[np.float32]]
    ids: dict[str, npt.NDArray[np.int64]]
    milliseconds: dict[str, npt.NDArray[np.float32]]
    pictures: dict[str, list[Picture]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        for name in ("points", "ids", "milliseconds"):
            arrays |= {f"{name}.{key}": value for key, value in getattr(self, name).items()}
        listed: list[list[Any]] = []
        for mode, pictures in self.pictures.items():
            for picture in pictures:
                arrays[f"picture.{len(listed)}"] = np.frombuffer(picture.jpeg, np.uint8)
                listed.append([mode, picture.error, picture.clip, picture.number])
        text = json.dumps({"clips": self.clips, "categories": self.categories, "pictures": listed})
        making = path.with_name(path.name + ".part")
        with making.open("wb") as file:
            np.savez(file, text=np.array(text), **arrays)
        os.replace(making, path)

    @classmethod
    def load(cls, path: Path) -> Record:
        """What ``save`` wrote; RecordError when it is damaged."""
        try:
            with path.open("rb") as file, np.load(file) as archive:
                held: dict[str, npt.NDArray[Any]] = {name: archive[name] for name in archive.files}
            text = json.loads(str(held["text"]))
            by_key: dict[str, Any] = {"points": {}, "ids": {}, "milliseconds": {}}
            for name in held:
                kind, _, key = name.partition(".")
                if kind in by_key:
                    by_key[kind][key] = held[name]
            pictures: dict[str, list[Picture]] = {}
            for index, (mode, error, clip, number) in enumerate(text["pictures"]):
                jpeg = held[f"picture.{index}"].tobytes()
                pictures.setdefault(str(mode), []).append(Picture(float(error), str(clip), int(number), jpeg))
            arrays: dict[str, Any] = {name: held[name] for name in ARRAYS}
            found = cls(text["clips"], text["categories"], **arrays, **by_key, pictures=pictures)
            found._check()
        except Exception as error:  # numpy and zipfile raise whatever a damaged file leads them to
            raise RecordError(f"{path}: a damaged record; take it away, then go on with --resume") from error
        return found

    def _check(self) -> None:
        """ValueError when its parts do not fit one another."""
        frames, points = self.truth.shape[:2]
        shapes = {"truth": (frames, points, 2), "known": (frames, points), "boxes": (frames, 4)}
        for name, array, kinds in (
            *((name, getattr(self, name), kinds) for name, kinds in ARRAYS.items()),
            *(("truth", array, "f") for array in self.points.values()),
            *(("ids", array, "i") for array in self.ids.values()),
            *(("milliseconds", array, "f") for array in self.milliseconds.values()),
        ):
            if array.shape != shapes.get(name, (frames,)) or array.dtype.kind not in kinds:
                raise ValueError(f"{name} of another shape")
        names = [*self.clips, *(name for names in self.categories for name in names)]
        clips = len(self.clips)
        fits = len(self.categories) == clips and bool(((self.clip >= 0) & (self.clip < clips)).all())
        if not fits or self.points.keys() != self.ids.keys() or not all(isinstance(name, str) for name in names):
            raise ValueError("clips, categories and modes do not fit")


ARRAYS = {"clip": "i", "numbers": "i", "truth": "f", "known": "b", "boxes": "f", "left_out": "b", "absent": "b"}
"""The arrays that a record has once, with the kind of their numbers (numpy's letters)."""


def joined(records: Sequence[Record]) -> Record:
    """The records of several parts as one, in their order."""
    starts = np.cumsum([0, *(len(record.clips) for record in records)])
    together: dict[str, Any] = {name: np.concatenate([getattr(record, name) for record in records]) for name in ARRAYS}
    together["clip"] = np.concatenate([record.clip + start for record, start in zip(records, starts, strict=False)])
    modes = list(records[0].ids)
    stages = dict.fromkeys(stage for record in records for stage in record.milliseconds)
    spent = {
        stage: np.concatenate([r.milliseconds.get(stage, np.zeros(len(r.clip), np.float32)) for r in records])
        for stage in stages
    }
    return Record(
        [name for record in records for name in record.clips],
        [names for record in records for names in record.categories],
        **together,
        points={mode: np.concatenate([record.points[mode] for record in records]) for mode in modes},
        ids={mode: np.concatenate([record.ids[mode] for record in records]) for mode in modes},
        milliseconds=spent,
        pictures={mode: [picture for record in records for picture in record.pictures.get(mode, [])] for mode in modes},
    )
