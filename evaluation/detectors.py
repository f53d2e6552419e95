"""``python -m evaluation.detectors``: face detectors side by side, on the same pictures in one run.

Faces of people that no detector here was trained on are laid over pictures without faces, in frames of 640x480, at a
known size, roll, blur and darkness. Truth are points set by hand: those of the LFW and net pictures (the tenth that
``tracker.datasets.kept_apart`` keeps for validation) and of the validation faces of 300-W. A hit: eye centres, tip of
the nose and middle of the mouth (the four points that every detector gives) lie on average within 0.3 eye distances of
the truth, so that no convention of boxes is favoured. False positives are counted on frames that hold no face at all.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from evaluation.command import Parser
from evaluation.subject import EvaluationError
from tracker.core import Array, Box, Image, TrackerError
from tracker.datasets import DataError, kept_apart, pictures_300w, pictures_lfw_net, read_picture
from tracker.detector import Detection, Detector, load_detector, roll
from tracker.files import Bytes
from tracker.markup import CELEBA5, IBUG68
from tracker.sources import VideoFile

WIDTH, HEIGHT = 640, 480
CONDITIONS: Mapping[str, Sequence[float]] = {
    "size": (16, 24, 32, 48, 64, 96, 128, 192, 256, 400),
    "roll": (0, 15, 30, 45, 60, 75, 90, 120, 150, 180),
    "blur": (0.01, 0.02, 0.04, 0.06, 0.08),
    "darkness": (0.5, 0.25, 0.12, 0.06),
}
"""What is changed, one at a time: the side of the face in pixels, its roll in degrees, the standard deviation of the
blur in sides of the face, and what is left of the light, with the noise of a camera."""
SIDE = 96
"""Side of the face in pixels where it is not what is changed: of the square about the face, see ``Portrait``."""
HIT, OVERLAP = 0.3, 0.4
LOWEST = 0.1
"""Score from which on detections are asked for; recall is then read off at a number of false positives."""
FALSE = 0.01
"""False positives a frame without a face at which recall is compared."""
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7")
LINES = ("o-", "s-", "o--", "s--", "^:", "v:")
NO_FACE = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_right.png", "microaneurysms.png", "logo.png")
"""Pictures in scikit-image's wheel that hold no person's face and that our detector was not trained on."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo with one labelled face: five points (5, 2) in the order of ``CELEBA5``; ``centre`` and ``side`` of the
    face's square: the box that its set gives, or the tight one of the 68 points, made square."""

    image: Image
    five: Array
    centre: tuple[float, float]
    side: float


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame with one face: its five points and its box in pixels of ``image``."""

    image: Image
    five: Array
    box: Box


def four(five: Array) -> Array:
    """(4, 2): eye centres, tip of the nose and middle of the mouth, of five points (5, 2)."""
    return np.concatenate([five[:3], five[3:].mean(0, keepdims=True)])


def portraits(data: Path, most: int) -> dict[str, list[Portrait]]:
    """At most ``most`` validation faces of each set, spread over it; DataError when a set is missing."""
    chosen = {
        "lfw_net_5pt": ([p for p in pictures_lfw_net(data / "lfw_net_5pt") if kept_apart(p.name)], CELEBA5),
        "300w": (pictures_300w(data / "300w", "validation"), IBUG68),
    }
    found: dict[str, list[Portrait]] = {}
    for name, (pictures, markup) in chosen.items():
        picked = [pictures[index] for index in np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)]
        found[name] = []
        for picture in tqdm(picked, desc=f"reading {name}", unit=" faces", leave=False):
            box = picture.label.box or Box.around(picture.label.points)
            five = markup.five(picture.label.points)
            found[name].append(Portrait(picture.load(), five, box.centre, max(box.width, box.height)))
    return found


def backgrounds() -> list[Image]:
    """The pictures of NO_FACE (H, W, 3). DataError when scikit-image is not installed."""
    try:
        import skimage.data
    except ImportError as error:
        raise DataError(
            "the backgrounds are in scikit-image, which is not installed; pip install scikit-image"
        ) from error
    folder = Path(skimage.data.__file__).parent
    return [read_picture(folder / name) for name in NO_FACE]


def empty_frame(pictures: Sequence[Image], rng: np.random.Generator) -> Image:
    """A frame filled with a part of one of ``pictures``, at a random scale, roll and place, mirrored at its edges."""
    picture = pictures[int(rng.integers(len(pictures)))]
    scale = math.exp(rng.uniform(-0.7, 0.7)) * max(HEIGHT / picture.shape[0], WIDTH / picture.shape[1])
    angle = rng.uniform(-math.pi, math.pi) if rng.random() < 0.3 else rng.normal(0, 0.2)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    cx, cy = rng.uniform(0, picture.shape[1]), rng.uniform(0, picture.shape[0])
    matrix = np.array([[cos, -sin, WIDTH / 2 - cos * cx + sin * cy], [sin, cos, HEIGHT / 2 - sin * cx - cos * cy]])
    return cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)  # type: ignore[return-value]


def shot(portrait: Portrait, background: Image, condition: str, value: float, rng: np.random.Generator) -> Shot:
    """The portrait laid over ``background`` under one condition, wholly in the frame. Where it is enlarged it is softer
    than a camera's picture would be: no photo here has a face of 400 pixels."""
    side = value if condition == "size" else SIDE
    angle = math.radians(value) * (1 if rng.random() < 0.5 else -1) if condition == "roll" else roll(portrait.five)
    scale, turn = side / portrait.side, angle - roll(portrait.five)
    reach = min(0.7 * side, HEIGHT / 2)
    cx, cy = (float(rng.uniform(reach, end - reach)) if end > 2 * reach else end / 2 for end in (WIDTH, HEIGHT))
    image = portrait.image
    if scale < 1:  # as a lens averages what falls on a pixel
        small = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    factors = np.array([image.shape[1] / portrait.image.shape[1], image.shape[0] / portrait.image.shape[0]])
    zoom = scale / factors.mean()
    linear = zoom * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])

    def small_pixels(points: Array) -> Array:
        return (points + 0.5) * factors - 0.5

    centre = small_pixels(np.array(portrait.centre))
    shift = np.array([cx, cy]) - linear @ centre
    matrix = np.column_stack([linear, shift])
    frame = background.copy()
    cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
    if condition == "blur":
        frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), value * side), np.uint8)
    if condition == "darkness":
        dark = frame * value + rng.normal(0, 3, frame.shape)
        frame = np.clip(dark, 0, 255).astype(np.uint8)
    five = small_pixels(portrait.five) @ linear.T + shift
    return Shot(frame, five, Box(cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2))


def hit(detection: Detection, truth: Shot) -> bool:
    """Whether the four points lie on average within HIT eye distances of the truth's."""
    apart = np.linalg.norm(four(detection.points) - four(truth.five), axis=1).mean()
    return bool(apart <= HIT * np.linalg.norm(truth.five[1] - truth.five[0]))


def best_scores(detections: Sequence[Detection], truth: Shot) -> tuple[float, float]:
    """The highest score of a hit, and that of a box with an intersection over union of at least OVERLAP; 0 for none."""
    by_points = max((d.score for d in detections if hit(d, truth)), default=0.0)
    by_box = max((d.score for d in detections if d.box.iou(truth.box) >= OVERLAP), default=0.0)
    return by_points, by_box


def threshold_at(false: Sequence[float], frames: int) -> float:
    """The lowest threshold at which at most FALSE false positives a frame are left, of their scores ``false``."""
    allowed = int(FALSE * frames)
    ordered = sorted(false, reverse=True)
    return LOWEST if len(ordered) <= allowed else float(np.nextafter(ordered[allowed], 2.0))


def milliseconds(detectors: Mapping[str, Detector], frames: Sequence[Image]) -> dict[str, float]:
    """Median time for a frame, of detectors that take turns."""
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for frame in frames:
        for name, detector in detectors.items():
            detector(frame)
            start = time.perf_counter()
            detector(frame)
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(names: Sequence[str], data: Path, most: int, empty: int, video: Path | None) -> dict[str, object]:
    """Everything the command reports, by detector: see ``main``."""
    cv2.setNumThreads(1)
    detectors = {name: load_detector(name, LOWEST) for name in names}
    sets, scenery = portraits(data, most), backgrounds()
    rng = np.random.default_rng(1)
    frames = [empty_frame(scenery, rng) for _ in range(empty)]
    if video is not None:
        with VideoFile(video) as source:
            frames += [frame.image for frame in source]
    false = {name: [d.score for frame in frames for d in detector(frame)] for name, detector in detectors.items()}
    thresholds = {name: threshold_at(scores, len(frames)) for name, scores in false.items()}
    usual = dict.fromkeys(names, 0.5)
    report: dict[str, Any] = {
        "frames_without_a_face": len(frames),
        "false_positives_at_0.5": {name: sum(score >= 0.5 for score in false[name]) for name in names},
        "thresholds": thresholds,
        "faces": {name: len(faces) for name, faces in sets.items()},
    }
    total = sum(len(faces) for faces in sets.values()) * sum(map(len, CONDITIONS.values()))
    with tqdm(total=total, unit=" frames") as progress:
        for title, faces in sets.items():
            for condition, values in CONDITIONS.items():
                for value in values:
                    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
                    for portrait in faces:
                        truth = shot(portrait, empty_frame(scenery, rng), condition, value, rng)
                        for name, detector in detectors.items():
                            seen[name].append(best_scores(detector(truth.image), truth))
                        progress.update()
                    scores = {name: np.array(found) for name, found in seen.items()}
                    report[f"{title} {condition} {value:g}"] = {
                        name: {
                            "recall": float((scores[name][:, 0] >= thresholds[name]).mean()),
                            "recall_at_0.5": float((scores[name][:, 0] >= usual[name]).mean()),
                            "recall_by_box": float((scores[name][:, 1] >= thresholds[name]).mean()),
                        }
                        for name in names
                    }
    report["milliseconds"] = milliseconds({name: load_detector(name) for name in names}, frames[:50])
    return report


def table(report: Mapping[str, Any], names: Sequence[str], key: str) -> list[str]:
    """Recall in per cent, one row a condition and one column a detector."""
    width = max(max(map(len, names)), 8) + 2
    lines = [" " * 28 + "".join(f"{name:>{width}}" for name in names)]
    for condition, values in report.items():
        if isinstance(values, dict) and isinstance(values.get(names[0]), dict):
            lines.append(f"{condition:28}" + "".join(f"{100 * values[name][key]:{width}.1f}" for name in names))
    return lines


def plot(report: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    """Recall over each condition, the mean of both sets, one curve a detector, as a picture. EvaluationError when
    matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError("the curves need matplotlib; pip install 'landmark-tracker[evaluation]'") from error
    sets = list(report["faces"])
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    units = {
        "size": "side, pixels",
        "roll": "degrees",
        "blur": "deviation, sides of the face",
        "darkness": "light left",
    }
    for axes, (condition, values) in zip(figure.subplots(1, 4, sharey=True), CONDITIONS.items(), strict=True):
        for name, colour, line in zip(names, COLOURS, LINES, strict=False):
            rows = [[report[f"{title} {condition} {value:g}"][name]["recall"] for value in values] for title in sets]
            axes.plot(range(len(values)), 100 * np.mean(rows, 0), line, color=colour, label=name)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values], fontsize=7)
        axes.set(title=condition, xlabel=units[condition], ylim=(0, 102))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"recall, % at {FALSE:g} false a frame")
    figure.axes[2].legend(fontsize=8)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    figure.savefig(part, dpi=110)
    os.replace(part, path)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep to one core, where the system knows how."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if before:
        os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m evaluation.detectors", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds lfw_net_5pt and 300w (data)")
    parser.add_argument(
        "--detectors", default="near,far", help="by comma: names, as mediapipe-near too, or paths of .onnx files"
    )
    parser.add_argument("--faces", type=int, default=300, help="at most so many faces of each set (300)")
    parser.add_argument("--empty", type=int, default=600, help="frames without a face (600)")
    parser.add_argument("--no-face", type=Path, metavar="VIDEO", help="a recording that holds no face, to be added")
    parser.add_argument("--out", type=Path, help="write everything to this file (.json), and curves beside it (.png)")
    given = parser.parse_args(arguments)
    names = given.detectors.split(",")
    try:
        if given.faces < 1 or given.empty < 1:
            raise EvaluationError("--faces and --empty: give numbers from 1")
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
        with _one_core():  # for all: MediaPipe chooses its own threads
            report = measure(names, given.data, given.faces, given.empty, given.no_face)
        if given.out:
            Bytes(given.out, (json.dumps(report, indent=1) + "\n").encode())
            plot(report, names, given.out.with_suffix(".png"))
    except TrackerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {given.out}: {error.strerror}; give another --out", file=sys.stderr)
        return 2
    print(f"recall in per cent at {FALSE:g} false positives a frame (hit: points within {HIT:g} eye distances)")
    print("\n".join(table(report, names, "recall")))
    print(f"\nthe same at a score of 0.5\n{chr(10).join(table(report, names, 'recall_at_0.5'))}")
    for key in ("false_positives_at_0.5", "thresholds", "milliseconds", "frames_without_a_face"):
        print(f"{key}: {report[key]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
