"""A run as a table on the terminal, ``report.json``, ``frames.csv``, plots and a page."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.figures import (
    TERMS,
    Errors,
    Measure,
    all_rows,
    clip_rows,
    oracle_rows,
    stability_rows,
    stage_rows,
)
from evaluation.page import page
from evaluation.plots import plots
from evaluation.record import Record, joined
from evaluation.tables import NAMES, tables
from tracker._version import __version__
from tracker.core import TrackerError
from tracker.metrics import in_set_terms

CHOICE = (
    "of several faces the one whose box overlaps the truth's most is scored; a tracker is held to the id it took first "
    "for as long as it reports it, then the largest overlap chooses again, which counts as a change of identity"
)
WHAT = ("scope", "mode", "terms", "points", "left_out")
"""What a row is about; the rest are its figures."""


class ReportError(TrackerError):
    """A report that cannot be written or read."""


@dataclass(frozen=True)
class Run:
    """What was run: see ``command.Benchmark`` and ``subject.Subject``; ``modes`` with what each means."""

    name: str
    key: str
    part: str
    measure: Measure
    identity: dict[str, Any]
    offset: tuple[float, float]
    modes: Mapping[str, str]


def write_report(
    out: Path,
    run: Run,
    records: Sequence[Record],
    *,
    partial: Sequence[str],
    notes: Sequence[str],
    failed: Mapping[str, str],
    timing: dict[str, Any],
    command: str,
    save_points: bool,
) -> str:
    """Write all files into ``out`` and give the tables for the terminal. ReportError when that cannot be done."""
    record = joined(records)
    errors = Errors(record, run.measure, run.offset)
    heading = f"{run.name}, {run.identity['model']}" + (f": PARTIAL ({'; '.join(partial)})" if partial else "")
    mode = next(iter(run.modes))
    rows = all_rows(errors)
    moving = len(record.clip) > len(record.clips)
    head = next(row for row in rows if (row["scope"], row["mode"], row["terms"]) == ("all", mode, TERMS[0]))
    plain = {name: value for name, value in head.items() if name not in WHAT}
    report = {
        "heading": heading,
        "partial": list(partial),
        "failed": dict(failed),
        "headline": {"mode": mode, "terms": TERMS[0], "points": "all", "normaliser": run.measure.normaliser},
        **plain,
        "subject": run.identity,
        "measured": {
            "modes": dict(run.modes),
            "choice": CHOICE,
            "missing": run.measure.missing,
            "offset": list(run.offset),
            "normalisers": {name: NAMES[name] for name in run.measure.normalisers},
            "notes": list(notes),
        },
        "rows": rows,
        "clips": clip_rows(errors) if moving else [],
        "beside_oracle": oracle_rows(errors),
        "stability": stability_rows(errors) if moving else [],
        "versions": _versions(run),
        "command": command,
        "timing": timing | stage_rows(record),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / "report.json", json.dumps(_finite(report), indent=1).encode())
        _write(out / "frames.csv", _frames(errors, run).encode())
        for old in out.glob("points*.npz"):
            old.unlink()
        if save_points:
            for name in run.modes:
                _save_points(out / ("points.npz" if name == mode else f"points-{name}.npz"), record, errors, name)
        pictures = plots(out, errors, heading, moving)
        text = tables(report, run.key, run.part)
        _write(out / "report.html", page(report, text, record, pictures).encode())
    except OSError as error:
        raise ReportError(f"{out}: cannot be written ({error.strerror}); give another --out") from error
    plotted = "" if pictures else " (no plots: pip install 'landmark-tracker[evaluation]')"
    return f"{text}\n\nreport: {out / 'report.html'}{plotted}"


def _frames(errors: Errors, run: Run) -> str:
    """One row a frame: errors in per cent of the set's own normaliser, empty where the face was missed, and the
    normalisers in pixels."""
    record = errors.record
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    columns = ["clip", "frame", "categories", "left_out", "absent", *errors.lengths]
    table.writerow([*columns, *(f"{mode}.{what}" for mode in run.modes for what in ("id", "nme", "nme_as_tracked"))])
    each = {
        (mode, terms): 100 * errors.of(mode, terms, "all", run.measure.normaliser)
        for mode in run.modes
        for terms in TERMS
    }
    for index in range(len(record.clip)):
        clip = record.clip[index]
        row: list[Any] = [record.clips[clip], record.numbers[index], " ".join(record.categories[clip])]
        row += [int(record.left_out[index]), int(record.absent[index])]
        row += [f"{length[index]:.3f}" for length in errors.lengths.values()]
        for mode in run.modes:
            seen = errors.found(mode)[index]
            row.append(record.ids[mode][index] if seen else "")
            row += [f"{each[mode, terms][index]:.5f}" if seen else "" for terms in TERMS]
        table.writerow(row)
    return file.getvalue()


def _save_points(path: Path, record: Record, errors: Errors, mode: str) -> None:
    """``names`` CLIP/NUMBER, or that of the picture; ``points`` (F, P, 2) in frame pixels counted from 0, in the terms
    of the labels; ``points_as_tracked``; ``found`` (F,)."""
    moving = len(record.clip) > len(record.clips)
    names = [
        f"{record.clips[clip]}/{number:06d}" if moving else record.clips[clip]
        for clip, number in zip(record.clip, record.numbers, strict=True)
    ]
    found, tracked = errors.found(mode), record.points[mode]
    own = in_set_terms(tracked, errors.measure.markup, errors.offset).astype(np.float32)
    making = path.with_name(path.name + ".part")
    with making.open("wb") as file:
        np.savez(file, names=np.array(names), points=own, points_as_tracked=tracked, found=found)
    os.replace(making, path)


def _write(path: Path, content: bytes) -> None:
    """The file, whole or not at all."""
    making = path.with_name(path.name + ".part")
    making.write_bytes(content)
    os.replace(making, path)


def _finite(value: Any) -> Any:
    """The same without infinite numbers and NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _versions(run: Run) -> dict[str, str]:
    found = {"landmark-tracker": __version__, "python": platform.python_version()}
    for name in ("numpy", "onnxruntime", "opencv-python", "opencv-contrib-python", "av", "torch", "mediapipe", "dlib"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
