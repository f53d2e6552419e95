"""The tables of a report in lines, for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.figures import TERMS
from evaluation.published import published

NAMES = {
    "inter_ocular": "eye corners",
    "inter_pupil": "eye centres",
    "box_width": "box width",
    "box_diagonal": "box diagonal",
    "box_size": "sqrt(box area)",
}
"""What errors are divided by, in words."""

Report = Mapping[str, Any]
"""What report.json holds."""


def tables(report: Report, key: str, part: str) -> str:
    """All tables, each under the heading, parted by empty lines. ``key`` and ``part`` are those of ``published``."""
    blocks = [*_errors(report), *_subsets(report), *_clips(report), *_beside_oracle(report), *_stability(report)]
    return "\n\n".join([*blocks, _stages(report), *_beside_published(report, key, part)])


def _over(report: Report) -> str:
    return NAMES[report["headline"]["normaliser"]]


def _scopes(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The rows of all points by scope."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        if row["points"] == "all":
            found.setdefault(row["scope"], []).append(row)
    return found


def _errors(report: Report) -> Iterator[str]:
    """By scope; frames that the protocol leaves out are counted for the whole only, the rest is in report.json."""
    normalisers = list(report["measured"]["normalisers"])[:2]
    own = report["headline"]["normaliser"]
    columns = ["mode", "frames", *(NAMES[name] for name in normalisers), f"macro, {NAMES[own]}"]
    columns += [*(f"found, {NAMES[name]}" for name in normalisers)]
    columns += ["median", "AUC 8", "fail 8", "fail 10", "coverage"]
    keys = [*(f"nme.{name}" for name in normalisers), f"nme_macro.{own}"]
    keys += [*(f"nme_found.{name}" for name in normalisers), "median", "auc_008", "failure_008", "failure_010"]
    for scope, rows in _scopes(report).items():
        lines = [
            [
                f"{row['mode']}, {row['terms']}" + ", with left-out frames" * (row["left_out"] == "counted"),
                str(row["frames"]),
                *(_text(row[name]) for name in (*keys, "coverage")),
            ]
            for row in rows
            if scope == "all" or row["left_out"] == "not counted"
        ]
        title = "NME in %: micro, macro, micro of the faces found; median, AUC@0.08, failures and coverage in %"
        yield _block(f"{report['heading']} | {scope}", title, columns, lines)


def _subsets(report: Report) -> Iterator[str]:
    found: dict[str, dict[str, float]] = {}
    key = f"nme_found.{report['headline']['normaliser']}"
    for row in report["rows"]:
        if (row["scope"], row["terms"], row["left_out"]) == ("all", TERMS[0], "not counted"):
            found.setdefault(row["mode"], {})[row["points"]] = row[key]
    names = list(next(iter(found.values())))
    if len(names) > 1:
        lines = [[mode, *(_text(value) for value in values.values())] for mode, values in found.items()]
        what = f"NME in % over {_over(report)}, faces found, as labelled"
        yield _block(f"{report['heading']} | points", what, ["mode", *(f"{name} points" for name in names)], lines)


def _clips(report: Report) -> Iterator[str]:
    key = f"nme_found.{report['headline']['normaliser']}"
    each: dict[str, list[str]] = {}
    for row in report["clips"]:
        if row["terms"] == TERMS[0]:
            cells = each.setdefault(row["clip"], [", ".join(row["categories"]), str(row["frames"])])
            cells.append(f"{_text(row[key])} ({row['coverage']:.1f})")
    if each:
        what = f"NME in % over {_over(report)}, faces found, as labelled; coverage in %"
        columns = ["clip", "category", "frames", *report["measured"]["modes"]]
        yield _block(f"{report['heading']} | by clip", what, columns, [[clip, *row] for clip, row in each.items()])


def _beside_oracle(report: Report) -> Iterator[str]:
    if rows := report["beside_oracle"]:
        lines = [
            [f"{row['scope']}, {row['mode']}", str(row["frames"])]
            + [_text(row[name]) for name in ("nme", "oracle", "ratio")]
            for row in rows
        ]
        what = f"NME in % over {_over(report)} of the faces both found, as labelled"
        yield _block(f"{report['heading']} | beside the oracle", what, ["", "frames", "NME", "oracle", "ratio"], lines)


def _stability(report: Report) -> Iterator[str]:
    if rows := [row for row in report["stability"] if "scope" in row]:
        names = [name for name in rows[0] if name not in ("scope", "mode")]
        lines = [[f"{row['scope']}, {row['mode']}", *(_text(row[name]) for name in names)] for row in rows]
        what = "of the points as tracked: ratios in %, means over clips; counts are sums"
        yield _block(f"{report['heading']} | stability", what, ["", *names], lines)


def _stages(report: Report) -> str:
    stages = report["timing"]["stages"]
    lines = [[name, *(_text(one[kind]) for kind in ("mean", "p50", "p95"))] for name, one in stages.items()]
    cost = f"the loop costs {report['timing']['overhead']:.1f} % over decoding and networks"
    return _block("milliseconds a frame", cost, ["stage", "mean", "p50", "p95"], lines)


def _beside_published(report: Report, key: str, part: str) -> Iterator[str]:
    name = report["subject"]["model"]
    for scope, rows in _scopes(report).items():
        for table, others in published(key, part if scope == "all" else scope):
            lines = [[method, _text(value), source] for method, value, source in others]
            for row in rows:
                if row["left_out"] == "not counted":
                    source, mine = f"this run, {row['coverage']:.1f} % found", f"{name}, {row['mode']}, {row['terms']}"
                    lines.append([mine, _text(row[f"nme_found.{table.normaliser}"]), source])
                    if table.perhaps:
                        mine = f"{mine}, over {NAMES[table.perhaps]}"
                        lines.append([mine, _text(row[f"nme_found.{table.perhaps}"]), source])
            what = f"NME in % over {NAMES[table.normaliser]}" + f"; {table.note}" * bool(table.note)
            heading = f"{report['heading']} | {scope}, beside published figures"
            yield _block(heading, what, ["method", "NME", "source"], lines)


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
