"""CED curves and bars of every video, as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.figures import TERMS, Errors
from evaluation.metrics import ced, micro

STYLES = {
    "oracle": ("#000000", "-"),
    "detector": ("#E69F00", "--"),
    "tracker": ("#0072B2", "-"),
    "tracker-raw": ("#56B4E9", ":"),
    "tracker-gt": ("#009E73", "-."),
}
"""Colours of Okabe and Ito, and a line of its own for each mode."""

UNITS = {
    "inter_ocular": "% of the distance of the eye corners",
    "inter_pupil": "% of the distance of the eye centres",
    "box_width": "% of the width of the box",
}
SVG: Any = {"svg.hashsalt": "landmark-tracker", "svg.fonttype": "none", "font.size": 9}


def plots(out: Path, errors: Errors, heading: str, moving: bool) -> dict[str, bytes]:
    """Write ``ced`` and, for videos, ``clips`` as .png and .svg into ``out``; their PNGs by name. Empty when matplotlib
    is not installed."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return {}
    record, unit = errors.record, UNITS[errors.measure.normaliser]
    scored = ~record.absent & ~record.left_out
    made: dict[str, bytes] = {}
    with matplotlib.rc_context(SVG):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        places = np.linspace(0, 0.10, 401)
        for mode in record.ids:
            values = errors.of(mode, TERMS[0], "all", errors.measure.normaliser)[scored]
            colour, line = STYLES[mode]
            axes.plot(100 * places, 100 * ced(values, places), line, color=colour, label=mode)
        axes.axvline(8, color="#999999", linewidth=0.8)
        axes.set(xlim=(0, 10), ylim=(0, 100), xlabel=f"NME, {unit}", ylabel="% of frames, missed faces never below")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", frameon=False)
        figure.suptitle(_wrapped(heading), fontsize=9)
        made["ced"] = _saved(figure, out / "ced")
        if moving:
            count = len(record.clips)
            figure = Figure(figsize=(max(6.4, 1.5 + 0.28 * count), 4.0), layout="constrained")
            axes = figure.add_subplot()
            width = 0.8 / len(record.ids)
            for place, mode in enumerate(record.ids):
                values = errors.of(mode, TERMS[0], "all", errors.measure.normaliser)
                seen = scored & errors.found(mode)
                heights = [100 * micro(values[seen & (record.clip == index)]) for index in range(count)]
                at = np.arange(count) + (place - (len(record.ids) - 1) / 2) * width
                axes.bar(at, heights, width, color=STYLES[mode][0], label=mode)
            axes.set_xticks(range(count), record.clips, rotation=90)
            axes.set(ylabel=f"NME of the faces found,\n{unit}", xlim=(-0.6, count - 0.4))
            axes.grid(axis="y", alpha=0.3)
            axes.set_axisbelow(True)
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
            figure.suptitle(_wrapped(heading), fontsize=9)
            made["clips"] = _saved(figure, out / "clips")
    return made


def _wrapped(text: str, width: int = 100) -> str:
    import textwrap

    return textwrap.fill(textwrap.shorten(text, 3 * width, placeholder=" ..."), width)


def _saved(figure: Any, path: Path) -> bytes:
    for suffix, extra in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 150})):
        making = path.with_name(path.name + suffix + ".part")
        figure.savefig(making, format=suffix[1:], **extra)
        making.replace(path.with_suffix(suffix))
    return path.with_suffix(".png").read_bytes()
