"""Two reports side by side, with a paired bootstrap interval of their difference."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics import auc, micro
from tracker.core import TrackerError
from tracker.files import read_json, read_text

LONGEST = 1 << 30
"""Bytes of a table of frames."""
DRAWS = 2000
"""Resamples of the bootstrap."""


class CompareError(TrackerError):
    """Two reports that cannot be set side by side."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a report that count: errors in per cent by mode, infinite where the face was missed, by the key
    (clip, number)."""

    heading: str
    normaliser: str
    errors: dict[str, dict[tuple[str, str], float]]


def compare(one: Path, other: Path) -> str:
    """A table: NME of the faces found by both and AUC@0.08, of the modes and frames that both reports have, with the
    difference and its 95 % interval. CompareError when they have nothing in common."""
    a, b = _read(one), _read(other)
    if a.normaliser != b.normaliser:
        raise CompareError(f"{other}: errors over {b.normaliser}, in {one} over {a.normaliser}; compare like with like")
    lines = [f"A  {one}: {a.heading}", f"B  {other}: {b.heading}", f"errors in % over {a.normaliser}, as labelled"]
    lines.append(f"{'':34} {'A':>8} {'B':>8} {'B - A':>8}  95 % interval")
    modes = [mode for mode in a.errors if mode in b.errors]
    for mode in modes:
        keys = [key for key in a.errors[mode] if key in b.errors[mode]]
        if not keys:
            raise CompareError(f"{other}: has no frame in common with {one}; compare runs of one set")
        first, second = (np.array([side.errors[mode][key] for key in keys]) for side in (a, b))
        clips = _units([clip for clip, _ in keys])
        both = np.isfinite(first) & np.isfinite(second)
        missed = f"{np.isinf(first).sum()} / {np.isinf(second).sum()} missed, {len(keys)} frames"
        if both.any():
            lines.append(_line(f"{mode}, NME found by both", first[both], second[both], clips[both], micro))
        lines.append(_line(f"{mode}, AUC@0.08", first, second, clips, _auc) + f"  ({missed})")
    if not modes:
        raise CompareError(f"{other}: has no mode in common with {one}")
    how = f"paired bootstrap over clips, over frames where there is one clip only, {DRAWS} draws"
    return "\n".join([*lines, f"({how}; an interval without 0 is a difference)"])


def _auc(values: npt.NDArray[np.float64]) -> float:
    return 100 * auc(values, 8.0)


def _line(what: str, first: npt.NDArray[Any], second: npt.NDArray[Any], clips: npt.NDArray[Any], figure: Any) -> str:
    low, high = paired_interval(first, second, clips, figure)
    a, b = figure(first), figure(second)
    return f"{what:34} {a:8.3f} {b:8.3f} {b - a:+8.3f}  {low:+.3f} to {high:+.3f}"


def paired_interval(
    first: npt.NDArray[Any], second: npt.NDArray[Any], clips: npt.NDArray[Any], figure: Any, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % interval of figure(second) - figure(first), of errors (F,) of the same frames.

    Percentile bootstrap (Efron and Tibshirani, 1993, section 13.3): whole ``clips`` (F,) are drawn with replacement,
    the same for both, as frames of one clip are not independent. ``figure`` is a mean over frames.
    """
    _, which = np.unique(clips, return_inverse=True)
    sizes = np.bincount(which)
    each = np.array([figure(second[i : i + 1]) - figure(first[i : i + 1]) for i in range(len(first))])
    sums = np.bincount(which, each)
    chosen = np.random.default_rng(0).integers(0, len(sizes), (draws, len(sizes)))
    differences = sums[chosen].sum(1) / sizes[chosen].sum(1)
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def _units(clips: list[str]) -> npt.NDArray[Any]:
    """What is drawn: clips, or frames where there is one clip only."""
    return np.array(clips) if len(set(clips)) > 1 else np.arange(len(clips)).astype(str)


def _read(path: Path) -> Frames:
    try:
        report = read_json(path)
        table = io.StringIO(read_text(path.with_name("frames.csv"), LONGEST), newline="")
        rows = [row for row in csv.DictReader(table) if row["left_out"] == "0" and row["absent"] == "0"]
        errors = {
            str(mode): {(row["clip"], row["frame"]): float(row[f"{mode}.nme"] or "inf") for row in rows}
            for mode in report["measured"]["modes"]
        }
        if any(not error >= 0 for kept in errors.values() for error in kept.values()):
            raise ValueError("an error below 0 or not a number")
        return Frames(str(report["heading"]), str(report["headline"]["normaliser"]), errors)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CompareError(
            f"{path}: not a report.json with its frames.csv beside it; give the files of two runs"
        ) from error
