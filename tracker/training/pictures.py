"""What a run shows of itself: its curves, the calibration of its heads, and its points on some validation faces.

The pictures go to the folder of the run, which git is told to ignore: faces of a data set are not to be published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tracker.core import Array, Box, Face, Frame, Result, TrackerError
from tracker.draw import draw_result
from tracker.metrics import oracle_crop
from tracker.training.datasets import LabelledFace

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#777777"
SIDE, SHOWN = 192, 12


def ignored(folder: Path) -> None:
    """Make the folder of a run, all of which git ignores wherever it lies, unless the folder has its own rules."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text("*\n")


def write_log(folder: Path, line: dict[str, Any]) -> None:
    """Show ``line`` and append it to ``log.jsonl``, not to the half of a line that a full disk may have left there."""
    path, text = folder / "log.jsonl", json.dumps(line)
    held = path.read_bytes() if path.exists() else b""
    with path.open("a") as file:
        file.write("\n" * (held[-1:] not in (b"", b"\n")) + text + "\n")
    tqdm.write(text)


def plot_log(folder: Path) -> None:
    """``log.png`` beside ``log.jsonl``: the loss and every NME over the steps. Where a run was resumed, the later line
    of a step counts; half a line does not. TrackerError without matplotlib."""
    lines = {}
    for text in (folder / "log.jsonl").read_text(errors="replace").splitlines():
        with suppress(json.JSONDecodeError):
            line = json.loads(text)
            lines[line["step"]] = line
    steps = sorted(lines)
    figure = _figure(6.4, 5.4)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(steps, [lines[step]["loss"] for step in steps], color=BLUE, marker=".")
    above.set_ylabel("loss on training faces")
    names = {"nme_pupil": "inter-pupil", "nme_ocular": "inter-ocular", "nme_box": "size of the box"}
    for (key, name), colour in zip(names.items(), (VERMILLION, BLUE, GREY), strict=True):
        known = [step for step in steps if key in lines[step]]
        if known:
            below.plot(known, [lines[step][key] for step in known], color=colour, marker=".", label=name)
            below.legend(frameon=False)
    below.set(xlabel="step", ylabel="validation NME in %")
    _save(figure, folder / "log.png")


def plot_calibration(bins: Sequence[Sequence[float]], path: Path) -> None:
    """The mean real error over the mean expected error of points sorted by the latter, both in per cent of the face."""
    expected, real = (100 * np.array(bins)).T
    figure = _figure(4.4, 4.2)
    axes = figure.subplots()
    end = 1.08 * max(expected.max(), real.max())
    axes.plot([0, end], [0, end], color=GREY, linestyle="--", linewidth=1, label="as expected")
    axes.plot(expected, real, color=BLUE, marker="o", label="validation faces")
    axes.set(xlabel="expected error, % of the face", ylabel="real error, % of the face", xlim=(0, end), ylim=(0, end))
    axes.legend(frameon=False)
    _save(figure, path)


def plot_alphas(alphas: Sequence[float], errors: Sequence[float], path: Path) -> None:
    """The validation NME of runs with LE over its alpha, as figure 4 of TRNet's paper."""
    figure = _figure(4.4, 3.2)
    axes = figure.subplots()
    axes.plot(alphas, errors, color=BLUE, marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(alphas, [f"{alpha:g}" for alpha in alphas])
    axes.set(xlabel="alpha of LE", ylabel="validation NME in %")
    _save(figure, path)


def write_samples(path: Path, faces: Sequence[LabelledFace], points: npt.NDArray[np.float64]) -> None:
    """A picture of some of ``faces`` with their points as found, (N, P, 2) in pixels of each face's image, in blue over
    the true ones in yellow."""
    tiles = []
    for index in np.linspace(0, len(faces) - 1, min(SHOWN, len(faces))).astype(int):
        face = faces[index]
        crop = oracle_crop(face.known_points, 1.25, SIDE)
        places: list[Array] = [points[index], face.unbiased if face.known is None else face.unbiased[face.known]]
        shown = [crop.to_input(place).astype(np.float32) for place in places]
        drawn = tuple(Face(number, one, 1.0, Box.around(one), crop) for number, one in enumerate(shown))
        result = Result(Frame(crop.cut(face.image), 0, 0.0), drawn[::-1])
        tiles.append(draw_result(result, face.markup, edges=False, ids=False))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 4)
    sheet = np.concatenate([np.concatenate(tiles[row : row + 4], 1) for row in range(0, len(tiles), 4)])
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    cv2.imwrite(str(part), sheet[:, :, ::-1])
    os.replace(part, path)


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrackerError("matplotlib is not installed; pip install 'landmark-tracker[train]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    figure.savefig(part, dpi=120)
    os.replace(part, path)
