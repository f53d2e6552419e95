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
from evaluation.published import published
from evaluation.record import Record, joined
from tracker._version import __version__
from tracker.core import TrackerError
from tracker.metrics import in_set_terms

CHOICE = (
    "of several faces the one whose box overlaps the truth's most is scored; a tracker is held to the id it took first "
    "for as long as it reports it, then the largest overlap chooses again, which counts as a change of identity"
)
NAMES = {
    "inter_ocular": "eye corners",
    "inter_pupil": "eye centres",
    "box_width": "box width",
    "box_diagonal": "box diagonal",
    "box_size": "sqrt(box area)",
}


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
        text = tables(report, run)
        _write(out / "report.html", page(report, text, record, pictures).encode())
    except OSError as error:
        raise ReportError(f"{out}: cannot be written ({error.strerror}); give another --out") from error
    plotted = "" if pictures else " (no plots: pip install 'landmark-tracker[evaluation]')"
    return f"{text}\n\nreport: {out / 'report.html'}{plotted}"


def tables(report: Mapping[str, Any], run: Run) -> str:
    """The tables in lines, each under the heading."""
    normalisers = run.measure.normalisers[:2]
    blocks = []
    for scope in dict.fromkeys(row["scope"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["scope"] == scope and row["points"] == "all"]
        if scope != "all":  # the others are in report.json
            rows = [row for row in rows if row["left_out"] == "not counted"]
        lines = [
            [
                f"{row['mode']}, {row['terms']}" + (", with left-out frames" * (row["left_out"] == "counted")),
                str(row["frames"]),
                *(_text(row[f"nme.{name}"]) for name in normalisers),
                *(_text(row[f"nme_found.{name}"]) for name in normalisers),
                *(_text(row[name]) for name in ("median", "auc_008", "failure_008", "failure_010", "coverage")),
            ]
            for row in rows
        ]
        columns = ["mode", "frames", *(NAMES[name] for name in normalisers)]
        columns += [f"found, {NAMES[name]}" for name in normalisers]
        columns += ["median", "AUC 8", "fail 8", "fail 10", "coverage"]
        title = "NME in %, then of the faces found only; median, AUC@0.08, failures and coverage in %"
        blocks.append(_block(f"{report['heading']} | {scope}", title, columns, lines))
    if len(run.measure.markup.subsets) and (subsets := _subsets(report)):
        columns = ["mode", *(f"{name} points" for name in subsets[0][1])]
        lines = [[mode, *(_text(value) for value in values.values())] for mode, values in subsets]
        what = f"NME in % over {NAMES[run.measure.normaliser]}, faces found, as labelled"
        blocks.append(_block(f"{report['heading']} | all", what, columns, lines))
    if report["clips"]:
        modes = list(report["measured"]["modes"])
        key = f"nme_found.{run.measure.normaliser}"
        each: dict[str, list[str]] = {}
        for row in report["clips"]:
            if row["terms"] == TERMS[0]:
                each.setdefault(row["clip"], [", ".join(row["categories"]), str(row["frames"])]).append(
                    f"{_text(row[key])} ({row['coverage']:.1f})"
                )
        what = f"NME in % over {NAMES[run.measure.normaliser]}, faces found, as labelled; coverage in %"
        lines = [[clip, *cells] for clip, cells in each.items()]
        blocks.append(_block(f"{report['heading']} | by clip", what, ["clip", "category", "frames", *modes], lines))
    if report["beside_oracle"]:
        rows = [(f"{row['scope']}, {row['mode']}", row) for row in report["beside_oracle"]]
        lines = [[what, *(_text(row[name]) for name in ("nme", "oracle", "ratio"))] for what, row in rows]
        what = f"NME in % over {NAMES[run.measure.normaliser]} of the faces the mode found, as labelled"
        blocks.append(_block(f"{report['heading']} | beside the oracle", what, ["", "NME", "oracle", "ratio"], lines))
    if steady := [row for row in report["stability"] if row.get("scope") is not None]:
        names = [name for name in steady[0] if name not in ("scope", "mode")]
        lines = [[f"{row['scope']}, {row['mode']}", *(_text(row[name]) for name in names)] for row in steady]
        blocks.append(_block(f"{report['heading']} | stability", "of the points as tracked", ["", *names], lines))
    stages = report["timing"]["stages"]
    lines = [[name, *(_text(one[kind]) for kind in ("mean", "p50", "p95"))] for name, one in stages.items()]
    cost = f"the loop costs {report['timing']['overhead']:.1f} % over decoding and networks"
    blocks.append(_block("milliseconds a frame", cost, ["stage", "mean", "p50", "p95"], lines))
    scopes = dict.fromkeys(row["scope"] for row in report["rows"])
    beside = [
        (scope, *found) for scope in scopes for found in published(run.key, run.part if scope == "all" else scope)
    ]
    for scope, table, others in beside:
        ours = [row for row in report["rows"] if row["scope"] == scope and row["points"] == "all"]
        key = f"nme_found.{table.normaliser}"
        mine = [
            (
                f"{report['subject']['model']}, {row['mode']}, {row['terms']}",
                row[key],
                f"this run, {row['coverage']:.1f} %",
            )
            for row in ours
            if row["left_out"] == "not counted"
        ]
        lines = [[method, _text(value), source] for method, value, source in [*others, *mine]]
        what = f"NME in % over {NAMES[table.normaliser]}" + (f" ({table.note})" * bool(table.note))
        blocks.append(
            _block(f"{report['heading']} | beside published figures", what, ["method", "NME", "source"], lines)
        )
    return "\n\n".join(blocks)


def _subsets(report: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """NME of the faces found by mode and number of points."""
    found: dict[str, dict[str, float]] = {}
    key = f"nme_found.{report['headline']['normaliser']}"
    for row in report["rows"]:
        if (row["scope"], row["terms"], row["left_out"]) == ("all", TERMS[0], "not counted"):
            found.setdefault(row["mode"], {})[row["points"]] = row[key]
    return list(found.items())


def _block(heading: str, what: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in [columns, *lines]) for index in range(len(columns))]
    aligned = [
        "  ".join(cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in row)
        for row in (list(enumerate(zip(line, widths, strict=True))) for line in [columns, *lines])
    ]
    return "\n".join([heading, f"({what})", *aligned])


def _text(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}"


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
