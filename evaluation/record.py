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
        with np.load(path) as file:
            text = json.loads(str(file["text"]))
            by_key: dict[str, Any] = {"points": {}, "ids": {}, "milliseconds": {}}
            for name in file.files:
                kind, _, key = name.partition(".")
                if kind in by_key:
                    by_key[kind][key] = file[name]
            pictures: dict[str, list[Picture]] = {}
            for index, (mode, error, clip, number) in enumerate(text["pictures"]):
                jpeg = file[f"picture.{index}"].tobytes()
                pictures.setdefault(mode, []).append(Picture(error, clip, number, jpeg))
            arrays: dict[str, Any] = {name: file[name] for name in ARRAYS}
        return cls(text["clips"], text["categories"], **arrays, **by_key, pictures=pictures)


ARRAYS = ("clip", "numbers", "truth", "known", "boxes", "left_out", "absent")


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
