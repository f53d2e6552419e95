"""How HEAD in tracker/signals.py was made: ``python docs/fit_head.py FOLDER...`` on .pts files (68 points).

The rigid head that explains all labelled faces best under weak perspective: by turns, the turn and scale of each face
from the head, and the head from all turns and scales. Left and right are averaged, and the outer eye corners are put
90 mm apart, the mean of men and women in Farkas, "Anthropometry of the Head and Face" (1994), to the millimetre.
"""

import sys
from pathlib import Path

import numpy as np

from tracker.annotations import read_pts
from tracker.markup import IBUG68
from tracker.signals import HEAD_POINTS

ROUNDS = 200


def turns(head: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """First two rows, scaled, (N, 2, 3) of the rotation that bring the head (P, 3) closest to the faces (N, P, 2)."""
    linear = np.linalg.lstsq(head, np.moveaxis(faces, 0, 1).reshape(len(head), -1), rcond=None)[0]
    rows = linear.T.reshape(len(faces), 2, 3)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(values.mean(-1)[:, None, None] * (left @ right))


def main(folders: list[str]) -> None:
    points = list(HEAD_POINTS["ibug68"])
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*.pts"))]
    faces = np.stack([read_pts(path)[points] for path in paths]).astype(float)
    faces -= faces.mean(1, keepdims=True)
    faces /= np.sqrt((faces**2).sum((1, 2), keepdims=True))
    mirror = [points.index(IBUG68.mirror[point]) for point in points]
    head = np.column_stack([faces.mean(0), np.zeros(len(points))])
    head[points.index(30), 2] = -0.3  # the tip of the nose is nearer than the rest
    for _ in range(ROUNDS):
        rows = turns(head, faces)
        head = np.linalg.lstsq(rows.reshape(-1, 3), np.moveaxis(faces, 1, 2).reshape(-1, len(points)), rcond=None)[0].T
        head = (head + head[mirror] * (-1, 1, 1)) / 2
        head -= head.mean(0)
    rows = turns(head, faces)
    error = np.sqrt(((faces - np.einsum("nij,pj->npi", rows, head)) ** 2).mean())
    corners = [points.index(corner) for corner in IBUG68.corners or ()]
    scale = 90 / np.linalg.norm(head[corners[0]] - head[corners[1]])
    head = (head - head[corners].mean(0)) * scale
    print(f"{len(faces)} faces, {error * scale / np.sqrt((rows**2).sum((1, 2)) / 2).mean():.1f} mm root mean square")
    for point, place in zip(points, head, strict=True):
        print(point, np.round(place, 1).tolist())


if __name__ == "__main__":
    main(sys.argv[1:])
