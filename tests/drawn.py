"""Drawn faces with known points, and a 300-W made of them."""

from pathlib import Path

import cv2
import numpy as np

from tracker.datasets import validation_names
from tracker.markup import IBUG68
from tracker.training.datasets import LabelledFace


def shape() -> np.ndarray:
    """A plain 68-point face about the origin, one unit wide."""
    turn = np.linspace(np.pi, 0, 17)
    contour = np.stack([0.5 * np.cos(turn), 0.1 + 0.55 * np.sin(turn)], 1)
    brows = [[x, -0.35] for x in np.linspace(-0.4, -0.1, 5)] + [[x, -0.35] for x in np.linspace(0.1, 0.4, 5)]
    nose = [[0, y] for y in np.linspace(-0.2, 0.1, 4)] + [[x, 0.15] for x in np.linspace(-0.1, 0.1, 5)]
    around = np.array([[-1, 0], [-0.4, -0.5], [0.4, -0.5], [1, 0], [0.4, 0.5], [-0.4, 0.5]])
    eyes = [around * 0.09 + [side, -0.2] for side in (-0.22, 0.22)]
    turn = np.linspace(np.pi, 3 * np.pi, 13)[:-1]
    mouth = np.stack([0.2 * np.cos(turn), 0.35 + 0.08 * np.sin(turn)], 1)
    turn = np.linspace(np.pi, 3 * np.pi, 9)[:-1]
    inner = np.stack([0.15 * np.cos(turn), 0.35 + 0.03 * np.sin(turn)], 1)
    return np.concatenate([contour, brows, nose, *eyes, mouth, inner])


def drawn_face(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (160, 160, 3) of a drawn face and its points."""
    rng = np.random.default_rng(seed)
    points = shape() * rng.uniform(60, 80) + rng.uniform(75, 85, 2)
    image = np.full((160, 160, 3), rng.integers(40, 120), np.uint8)
    cv2.fillPoly(image, [np.int32(points[:17])], (200, 160, 140))
    for a, b in IBUG68.edges:
        cv2.line(image, *(tuple(int(v) for v in points[i]) for i in (a, b)), (40, 20, 20), 1)
    return image, points


def write_300w(root: Path) -> None:
    """A 300-W of drawn faces, in the set's layout; two of them bear names of the validation list."""
    names = ["afw/1_1", "helen/trainset/2_1", "lfpw/trainset/3"]
    names += [next(n for n in sorted(validation_names()) if n.startswith(part)) for part in ("afw", "lfpw")]
    for seed, name in enumerate(names):
        image, points = drawn_face(seed)
        path = root / "300w" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points + 1)
        path.with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def drawn_labels(seed: int) -> LabelledFace:
    """The same as a labelled face."""
    image, points = drawn_face(seed)
    return LabelledFace(f"{seed}", image, points.astype(np.float32), "300w")
