"""How steady a tracker is: flicker, jitter by time scale, losses, changes of identity, recovery.

All functions take one clip. Frames that cannot be compared with their neighbour (missed, left out, or not adjacent)
break it into runs, and differences are taken within runs only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tracker.core import Array

STANDARD_SIDE = 256
"""NMF counts in faces of this size."""

Flags = npt.NDArray[np.bool_]


def runs(numbers: npt.NDArray[np.int64], usable: Flags) -> Iterator[slice]:
    """The longest stretches of frames that are all ``usable`` (F,) and whose ``numbers`` (F,) rise by one."""
    start = 0
    for index in range(1, len(numbers) + 1):
        goes_on = (
            index < len(numbers) and usable[index] and usable[index - 1] and numbers[index] == numbers[index - 1] + 1
        )
        if not goes_on:
            if usable[start]:
                yield slice(start, index)
            start = index


def flicker(predicted: Array, truth: Array, size: Array, parts: Sequence[slice]) -> float:
    """NMF, normalised mean flicker (Micaelli et al., "Recurrence without Recurrence", CVPR 2023): with the error
    e = predicted - truth of points (F, P, 2) and ``size`` (F,) the square root of the truth's box area,
    100 * 256 * sqrt(mean over frames and points of |e(t) - e(t-1)|^2 / size(t)^2). NaN without two adjacent frames."""
    error = predicted.astype(np.float64) - truth
    squares = [
        (np.square(np.diff(error[part], axis=0)).sum(-1) / np.square(size[part][1:, None])).ravel() for part in parts
    ]
    together = np.concatenate(squares) if squares else np.empty(0)
    return float(100 * STANDARD_SIDE * np.sqrt(together.mean())) if together.size else float("nan")


def allan_deviation(predicted: Array, truth: Array, size: Array, parts: Sequence[slice], block: int) -> float:
    """NAD(m): with x = (predicted - truth) / size and its means over successive blocks of m = ``block`` frames,
    100 * sqrt(mean of (mean(k+1) - mean(k))^2 / 2) over blocks, points and both axes.

    White jitter falls as m^(-1/2), a drift rises. NaN where no run has two blocks.
    """
    share = (predicted.astype(np.float64) - truth) / size[:, None, None]
    squares = []
    for part in parts:
        count = (part.stop - part.start) // block
        if count >= 2:
            whole = share[part.start : part.start + count * block]
            means = whole.reshape(count, block, *whole.shape[1:]).mean(1)
            squares.append(np.square(np.diff(means, axis=0)).ravel() / 2)
    return float(100 * np.sqrt(np.concatenate(squares).mean())) if squares else float("nan")


def second_difference(points: Array, eyes: Array, parts: Sequence[slice]) -> float:
    """100 * mean over frames and points of |p(t+1) - 2 p(t) + p(t-1)| / eyes(t), with ``eyes`` (F,) the distance of the
    outer eye corners of the truth. It needs no truth, but counts true accelerations too. NaN without three adjacent
    frames."""
    lengths = [
        (np.linalg.norm(np.diff(points[part].astype(np.float64), 2, axis=0), axis=-1) / eyes[part][1:-1, None]).ravel()
        for part in parts
        if part.stop - part.start > 2
    ]
    return float(100 * np.concatenate(lengths).mean()) if lengths else float("nan")


def identity_changes(ids: npt.NDArray[np.int64], found: Flags) -> int:
    """How often the id (F,) of the scored face differs from that of the last frame in which it was found."""
    seen = ids[found]
    return int(np.count_nonzero(seen[1:] != seen[:-1]))


def recoveries(found: Flags, present: Flags) -> tuple[list[int], int]:
    """Frames that each recovery took, and how many losses never ended.

    A loss begins where a face that is ``present`` (F,) is not ``found`` after it was, or where it comes back after
    frames without it; the recovery is the number of its frames until the face is found, and 0 where it is found at once
    when it comes back. The wait for the first face of a clip counts too, from the first frame with a face.
    """
    taken: list[int] = []
    waiting: int | None = 0
    away = False
    for here, seen in zip(present, found, strict=True):
        if not here:
            away = True
            continue
        if away and waiting is None:
            waiting = 0
        away = False
        if seen:
            if waiting is not None:
                taken.append(waiting)
            waiting = None
        else:
            waiting = (waiting or 0) + 1
    return taken, int(waiting is not None and waiting > 0)


def stability(
    predicted: Array,
    truth: Array,
    size: Array,
    eyes: Array,
    numbers: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    found: Flags,
    present: Flags,
    scored: Flags,
) -> dict[str, float]:
    """All figures of one clip: points (F, P, 2) in frame pixels, ``size`` and ``eyes`` (F,) of the truth in pixels,
    frame ``numbers`` (F,), ``ids`` (F,) and flags (F,): the face was ``found``, it is ``present``, the frame counts.

    Differences use frames that count and in which the face was found.
    """
    parts = list(runs(numbers, found & present & scored))
    taken, unended = recoveries(found[scored], present[scored])
    there = present & scored
    result = {"nmf": flicker(predicted, truth, size, parts)}
    for block in (1, 4, 16):
        result[f"nad_{block}"] = allan_deviation(predicted, truth, size, parts, block)
    everywhere = list(runs(numbers, present & scored))
    return result | {
        "second_difference": second_difference(predicted, eyes, parts),
        "second_difference_truth": second_difference(truth, eyes, everywhere),
        "lost": 100 * float(np.mean(~found[there])) if there.any() else float("nan"),
        "false_faces": float(np.count_nonzero(found & ~present & scored)),
        "identity_changes": float(identity_changes(ids[there], found[there])),
        "recoveries": float(len(taken)),
        "recovery_mean": float(np.mean(taken)) if taken else float("nan"),
        "recovery_max": float(np.max(taken)) if taken else float("nan"),
        "never_recovered": float(unended),
    }
