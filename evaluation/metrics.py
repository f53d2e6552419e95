"""Figures of a protocol as pure functions over arrays: normalisers, means, the CED, its area, failures.

An error is the NME of one face in one frame as a ratio (0.05 is 5 %), infinite where the face was missed. The NME
itself is ``tracker.metrics.nme``, which training shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tracker.core import Array
from tracker.markup import Markup
from tracker.metrics import inter_ocular, inter_pupil, nme

NORMALISERS = ("inter_ocular", "inter_pupil", "box_width", "box_diagonal", "box_size")
"""What errors are divided by: the distance of the outer eye corners, that of the eye centres, and of the face box its
width w, its diagonal sqrt(w^2 + h^2) and its size sqrt(w h)."""

POLICIES = ("infinite", "skip", "last")
"""What a missed face counts: an infinite error; nothing; or the points last found in the same clip."""


def normalisers(truth: Array, markup: Markup, boxes: Array | None = None) -> dict[str, Array]:
    """The lengths (F,) in pixels by the names of NORMALISERS, of truth points (F, P, 2).

    ``boxes`` (F, 4) are x0, y0, x1, y1 of the set's own face boxes; where there is none (None, or a row of NaN) the
    tight rectangle of all truth points is taken.
    """
    tight = np.concatenate([truth.min(1), truth.max(1)], axis=1)
    box = tight if boxes is None else np.where(np.isfinite(boxes), boxes, tight)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    lengths = (
        inter_ocular(truth, markup),
        inter_pupil(truth, markup),
        width,
        np.hypot(width, height),
        np.sqrt(width * height),
    )
    return dict(zip(NORMALISERS, lengths, strict=True))


def distances(
    predicted: Array,
    truth: Array,
    found: npt.NDArray[np.bool_],
    points: Sequence[int] | None = None,
    known: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Mean over points of |predicted - truth| in pixels (F,), of points (F, P, 2); infinite where not ``found`` (F,).

    ``points`` are those that count, by default all; ``known`` (F, P) leaves out points that the set does not know.
    """
    places = slice(None) if points is None else list(points)
    result = np.full(len(truth), np.inf)
    if found.any():
        flags = None if known is None else known[found][:, places]
        one, other = (array[found][:, places].astype(np.float64) for array in (predicted, truth))
        result[found] = nme(one, other, np.ones(len(one)), flags)
    return result


def normalised(distance: Array, length: Array) -> npt.NDArray[np.float64]:
    """Errors (F,): ``distance`` over ``length`` (F,) in the same pixels, infinite where a broken annotation makes the
    length zero."""
    return np.divide(distance, length, out=np.full(len(distance), np.inf), where=length > 0)


def micro(values: Array) -> float:
    """The mean of all errors (F,), all frames equal; NaN of none."""
    return float(np.mean(values)) if len(values) else float("nan")


def macro(values: Array, clips: npt.NDArray[Any]) -> float:
    """The mean over clips of the mean error of each; ``clips`` (F,) says which clip a frame is of. NaN of none."""
    if not len(values):
        return float("nan")
    _, which = np.unique(clips, return_inverse=True)
    return float(np.mean(np.bincount(which, values) / np.bincount(which)))


def ced(values: Array, at: Array) -> npt.NDArray[np.float64]:
    """The cumulative error distribution CED(x) = share of errors <= x, for each x of ``at``. Missed faces never
    count as below."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, at, side="right") / max(len(ordered), 1)


def auc(values: Array, limit: float) -> float:
    """The area under the CED up to ``limit``, over ``limit``: (1/a) integral of CED(x) from 0 to a.

    As the CED is a staircase this is exactly mean(max(0, 1 - e / a)), without a rule of integration. NaN of none.
    """
    return float(np.mean(np.maximum(0.0, 1.0 - np.asarray(values) / limit))) if len(values) else float("nan")


def failure_rate(values: Array, limit: float) -> float:
    """The share of errors above ``limit``, missed faces among them. NaN of none."""
    return float(np.mean(np.asarray(values) > limit)) if len(values) else float("nan")


def median(values: Array) -> float:
    """The error that half of the frames do not exceed; infinite when more than half are missed. NaN of none."""
    if not len(values):
        return float("nan")
    ordered = np.sort(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def held(points: Array, found: npt.NDArray[np.bool_], clips: npt.NDArray[Any]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Points (F, P, 2) in which a missed face keeps those last found in its clip, and where there are some (F,)."""
    index = np.where(found, np.arange(len(found)), -1)
    for clip in np.unique(clips):
        rows = clips == clip
        index[rows] = np.maximum.accumulate(index[rows])
    return points[np.maximum(index, 0)], index >= 0


def figures(values: Array, found: npt.NDArray[np.bool_], clips: npt.NDArray[Any]) -> dict[str, float]:
    """What a table says of errors (F,), in per cent: NME micro and macro with missed faces, NME of the faces found,
    median, AUC up to 0.08 and 0.07, failures above 0.08 and 0.10, and coverage, the share of faces found."""
    seen = values[found]
    shares = {
        "nme": micro(values),
        "nme_macro": macro(values, clips),
        "nme_found": micro(seen),
        "median": median(values),
        "auc_008": auc(values, 0.08),
        "auc_007": auc(values, 0.07),
        "failure_008": failure_rate(values, 0.08),
        "failure_010": failure_rate(values, 0.10),
        "coverage": float(np.mean(found)) if len(found) else float("nan"),
    }
    return {name: 100 * value for name, value in shares.items()}
