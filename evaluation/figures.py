"""From records to figures: every table of a report, as plain rows in per cent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics import distances, figures, held, micro, normalised, normalisers
from evaluation.record import NO_FACE, Record
from evaluation.stability import stability
from tracker.core import Array
from tracker.markup import Markup
from tracker.metrics import in_set_terms

TERMS = ("as labelled", "as tracked")
"""The points in the terms of the set's labels, with the offset of the Spec put back, or as the tracker shows them."""

NETWORK = ("landmarks", "detect")
"""The stages of a mode that are the networks' own."""


@dataclass(frozen=True)
class Measure:
    """How a set is measured: its ``markup``, the ``normaliser`` of its plain figures, and all that make sense on it."""

    markup: Markup
    normaliser: str
    normalisers: tuple[str, ...]
    missing: str = "infinite"


class Errors:
    """Errors (F,) of a record by mode, terms, points and normaliser, each computed once."""

    def __init__(self, record: Record, measure: Measure, offset: tuple[float, float]) -> None:
        self.record, self.measure = record, measure
        self.offset = offset
        self.lengths = {
            name: length
            for name, length in normalisers(record.truth.astype(np.float64), measure.markup, record.boxes).items()
            if name in measure.normalisers
        }
        self._known = None if record.known.all() else record.known
        self._distances: dict[tuple[str, str, str], npt.NDArray[np.float64]] = {}

    def found(self, mode: str) -> npt.NDArray[np.bool_]:
        """In which frames (F,) the face was found."""
        return self.record.ids[mode] != NO_FACE

    def counted(self, mode: str) -> npt.NDArray[np.bool_]:
        """In which frames (F,) there are points to measure: with ``missing`` last also some where it was missed."""
        if self.measure.missing != "last":
            return self.found(mode)
        return held(self.record.points[mode], self.found(mode), self.record.clip)[1]

    def points(self, mode: str, terms: str) -> Array:
        """Points (F, P, 2) in frame pixels."""
        points = self.record.points[mode]
        if self.measure.missing == "last":
            points, _ = held(points, self.found(mode), self.record.clip)
        return in_set_terms(points, self.measure.markup, self.offset) if terms == "as labelled" else points

    def of(self, mode: str, terms: str, points: str, normaliser: str) -> npt.NDArray[np.float64]:
        """The errors of every frame (F,), infinite where there is nothing to measure; ``points`` is ``all`` or the name
        of a subset of the markup."""
        key = (mode, terms, points)
        if key not in self._distances:
            subset = None if points == "all" else self.measure.markup.subsets[points]
            self._distances[key] = distances(
                self.points(mode, terms), self.record.truth, self.counted(mode), subset, self._known
            )
        return normalised(self._distances[key], self.lengths[normaliser])


def scopes(record: Record) -> dict[str, npt.NDArray[np.bool_]]:
    """Frames (F,) of the whole and of each category."""
    names = dict.fromkeys(name for names in record.categories for name in names)
    found = {"all": np.ones(len(record.clip), bool)}
    for name in names:
        inside = np.array([name in categories for categories in record.categories])
        found[name] = inside[record.clip]
    return found


def row(errors: Errors, mode: str, terms: str, points: str, frames: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The figures of the chosen frames (F,): each by normaliser as ``auc_008.inter_ocular``, and those of the set's own
    normaliser also as ``auc_008``; faces that were missed count as ``Measure.missing`` says, but for ``coverage``."""
    record, measure = errors.record, errors.measure
    found = errors.found(mode)[frames]
    counts = np.ones(len(found), bool) if measure.missing != "skip" else found
    result: dict[str, Any] = {"frames": int(frames.sum()), "found": int(found.sum())}
    for normaliser in measure.normalisers:
        values = errors.of(mode, terms, points, normaliser)[frames][counts]
        one = figures(values, found[counts], record.clip[frames][counts])
        del one["coverage"]
        result |= {f"{name}.{normaliser}": value for name, value in one.items()}
        if normaliser == measure.normaliser:
            result |= {name: value for name, value in one.items() if not name.startswith("nme")}
    result["coverage"] = 100 * float(found.mean()) if len(found) else float("nan")
    return result


def all_rows(errors: Errors) -> list[dict[str, Any]]:
    """Every combination of scope, mode, terms, points, and frames with or without those that the protocol leaves out;
    frames in which the face is out of the picture are in none."""
    record = errors.record
    present = ~record.absent
    rows = []
    for scope, inside in scopes(record).items():
        for left_out in (False, True) if record.left_out.any() else (False,):
            frames = inside & present & (left_out | ~record.left_out)
            for mode in record.ids:
                for terms in TERMS:
                    for points in ("all", *errors.measure.markup.subsets):
                        what = {"scope": scope, "mode": mode, "terms": terms, "points": points}
                        what |= {"left_out": "counted" if left_out else "not counted"}
                        rows.append(what | row(errors, mode, terms, points, frames))
    return rows


def clip_rows(errors: Errors) -> list[dict[str, Any]]:
    """The figures of each clip, all points, without the frames left out."""
    record = errors.record
    scored = ~record.absent & ~record.left_out
    rows = []
    for index, name in enumerate(record.clips):
        frames = scored & (record.clip == index)
        if frames.any():
            for mode in record.ids:
                for terms in TERMS:
                    what = {"clip": name, "categories": record.categories[index], "mode": mode, "terms": terms}
                    rows.append(what | row(errors, mode, terms, "all", frames))
    return rows


def oracle_rows(errors: Errors) -> list[dict[str, Any]]:
    """Each other mode beside the oracle on the same ``frames``, those in which both found the face: NME in per cent of
    both and their ratio, of the points as labelled."""
    record, rows = errors.record, []
    if "oracle" not in record.ids:
        return []
    best = errors.of("oracle", TERMS[0], "all", errors.measure.normaliser)
    for scope, inside in scopes(record).items():
        for mode in record.ids:
            frames = inside & ~record.absent & ~record.left_out & errors.found(mode) & errors.found("oracle")
            if mode == "oracle" or not frames.any():
                continue
            values = errors.of(mode, TERMS[0], "all", errors.measure.normaliser)
            pair = [100 * micro(one[frames]) for one in (values, best)]
            ratio = pair[0] / pair[1] if pair[1] else float("nan")
            what = {"scope": scope, "mode": mode, "frames": int(frames.sum())}
            rows.append(what | {"nme": pair[0], "oracle": pair[1], "ratio": ratio})
    return rows


def stability_rows(errors: Errors) -> list[dict[str, Any]]:
    """Steadiness of each mode, of the points as tracked: of each clip, and over all clips of a scope, where ratios are
    means, counts are sums and maxima are maxima."""
    record, markup = errors.record, errors.measure.markup
    lengths = normalisers(record.truth.astype(np.float64), markup, record.boxes)
    rows = []
    for mode in record.ids:
        each = []
        for index in range(len(record.clips)):
            frames = record.clip == index
            each.append(
                stability(
                    record.points[mode][frames],
                    record.truth[frames].astype(np.float64),
                    lengths["box_size"][frames],
                    lengths["inter_ocular"][frames],
                    record.numbers[frames],
                    record.ids[mode][frames],
                    errors.found(mode)[frames],
                    ~record.absent[frames],
                    ~record.left_out[frames],
                )
            )
        for scope in scopes(record):
            chosen = [one for one, names in zip(each, record.categories, strict=True) if scope in ("all", *names)]
            rows.append({"scope": scope, "mode": mode} | {name: _over(name, chosen) for name in chosen[0]})
        rows += [{"clip": name, "mode": mode} | one for name, one in zip(record.clips, each, strict=True)]
    return rows


def _over(name: str, clips: Sequence[dict[str, float]]) -> float:
    values = np.array([clip[name] for clip in clips])
    values = values[np.isfinite(values)]
    if name in ("false_faces", "identity_changes", "recoveries", "never_recovered"):
        return float(values.sum())
    if not len(values):
        return float("nan")
    return float(values.max() if name == "recovery_max" else values.mean())


def stage_rows(record: Record) -> dict[str, Any]:
    """Milliseconds by stage: mean, p50 and p95 a frame; and what the loop itself costs over decoding and the networks,
    in per cent of those."""
    stages = {
        stage: {
            "mean": float(values.mean()),
            "p50": float(np.percentile(values, 50)),
            "p95": float(np.percentile(values, 95)),
        }
        for stage, values in record.milliseconds.items()
        if len(values)
    }
    work = sum(
        float(values.sum())
        for stage, values in record.milliseconds.items()
        if stage == "decode" or stage.rpartition(".")[2] in NETWORK
    )
    whole = float(record.milliseconds["whole"].sum())
    return {"stages": stages, "overhead": 100 * (whole - work) / work if work else float("nan")}
