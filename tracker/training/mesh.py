"""Where a teacher starts: the dense mesh that MediaPipe finds on a face, and what of it follows for our points.

MediaPipe's face mesh (0.10.21, Apache licence) was trained on far more faces than are at hand here. Its 478 vertices
mean other places than the 68 points, but a linear map learnt on the labelled faces brings the one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tracker.core import Array, Crop, Image, TrackerError
from tracker.detector import quiet, roll
from tracker.markup import Markup

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

SIZE, CONTEXT = 256, 2.0
"""Pixels of the square about a face that MediaPipe is shown, and its side in sides of the tight square."""

VERTICES = 478

LOOKS = ((0.0, 1.0, 0.0, 0.0), (8.0, 1.12, 6.0, 4.0), (-8.0, 0.9, -6.0, -4.0))
"""Degrees (against the clock), scale and shift in pixels of the looks at one face; each is mirrored too."""

RIDGE = 1500.0
"""Weight against large maps from meshes to points, in square pixels of a face of half of ``SIZE``; of 1 to 10,000 all
between 300 and 3,000 gave the same on the validation faces within 0.02 %."""

CODE = 64
"""How many numbers say what shape a mesh has."""


class MeshError(TrackerError):
    """MediaPipe is not there."""


class FaceMesh:
    """MediaPipe's mesh of the one face in a square about it."""

    def __init__(self) -> None:
        try:
            from mediapipe.python.solutions.face_mesh import FaceMesh as Solution
        except ImportError as error:
            raise MeshError(
                "the teacher starts from MediaPipe's mesh, which is not installed here; in an environment of its own "
                "(Python 3.10 to 3.12): pip install 'landmark-tracker[train,mediapipe]'"
            ) from error
        with quiet():
            self._solution: Any = Solution(static_image_mode=True, max_num_faces=1, refine_landmarks=True)
            self._solution.process(np.zeros((64, 64, 3), np.uint8))  # the first call logs

    def __call__(self, picture: Image) -> npt.NDArray[np.float32]:
        """The meshes (2 ``LOOKS``, 478, 3) of the face in ``picture`` (``SIZE``, ``SIZE``, 3), in its pixels, depth in
        pixels too, each vertex on the same spot of the face in every look; NaN where it finds no face."""
        found = np.full((2 * len(LOOKS), VERTICES, 3), np.nan, np.float32)
        for index, (degrees, scale, dx, dy) in enumerate(LOOKS):
            matrix = cv2.getRotationMatrix2D(((SIZE - 1) / 2, (SIZE - 1) / 2), degrees, scale)
            matrix[:, 2] += np.array([dx, dy])
            back = cv2.invertAffineTransform(matrix)
            look = cv2.warpAffine(picture, matrix, (SIZE, SIZE))
            for mirrored in (0, 1):
                faces = self._faces(np.ascontiguousarray(look[:, ::-1]) if mirrored else look)
                if not faces:
                    continue
                mesh = np.array([(one.x, one.y, one.z) for one in faces[0].landmark]) * SIZE
                mesh[:, :2] -= 0.5
                if mirrored:
                    mesh = mesh[mirror()]
                    mesh[:, 0] = SIZE - 1 - mesh[:, 0]
                mesh[:, :2] = mesh[:, :2] @ back[:, :2].T + back[:, 2]
                mesh[:, 2] /= scale
                found[2 * index + mirrored] = mesh
        return found

    def _faces(self, picture: Any) -> Any:
        return self._solution.process(picture).multi_face_landmarks


def upright(points: Array, markup: Markup) -> Crop:
    """The square that MediaPipe is shown: about ``points`` (P, 2), level with the eyes."""
    return Crop.around(points, CONTEXT, SIZE, roll(markup.five(points)))


@cache
def mirror() -> Integers:
    """Which vertex (478,) is the mirror image of which; found once from the meshes of 2,010 faces and of their mirror
    images, as the nearest."""
    return np.loadtxt(Path(__file__).with_name("mesh_mirror.txt"), dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Placed:
    """What follows from N meshes: ``points`` (N, P, 2) in pixels of the same pictures, ``matrices`` (N, 2, 3) from
    these pixels to a network's input, ``codes`` (N, ``CODE``) of the shape, and those of its mirror image."""

    points: Floats
    matrices: Floats
    codes: npt.NDArray[np.float32]
    mirrored_codes: npt.NDArray[np.float32]

    def __getitem__(self, index: int) -> tuple[Floats, Floats, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return self.points[index], self.matrices[index], self.codes[index], self.mirrored_codes[index]


@dataclass(frozen=True, eq=False)
class Form:
    """How meshes lie on average, and the linear maps from a mesh, brought to that place, to points and to a code.

    ``middle`` (478, 2) is the mean mesh, its own mirror image; a mesh is a vector of 3 * 478 numbers: all
    x, all y, all depths, in the pixels of ``middle``. ``level`` and ``side`` are the centre (on the line of mirroring)
    and the side of the square that a network sees.
    """

    middle: Floats
    mean: Floats
    points_mean: Floats
    to_points: Floats
    to_code: Floats
    level: float
    side: float

    @classmethod
    def learnt(cls, meshes: npt.NDArray[np.float32], points: Array, markup: Markup) -> Form:
        """From meshes (N, 478, 3) and the points (N, P, 2) of the same faces, both in pixels of pictures of ``SIZE``;
        every face also counts mirrored. MeshError for fewer faces than a code has numbers."""
        if len(meshes) < CODE:
            raise MeshError(f"a mesh was found on {len(meshes)} faces; a teacher needs at least {CODE} to learn from")
        order = np.array(markup.mirror)
        middle = meshes[:, :, :2].mean(0).astype(np.float64)
        for _ in range(5):
            place = _similarity(meshes, middle)
            vectors = _brought(meshes[..., :2], *place)
            middle = np.stack([vectors.real, vectors.imag], -1).mean(0)
        middle = (middle + middle[mirror()] * (-1, 1) + (2 * middle[:, 0].mean(), 0)) / 2
        middle -= middle.mean(0)
        place = _similarity(meshes, middle)
        inputs = _vectors(meshes, place)
        brought = _brought(points, *place)
        wanted = np.concatenate([brought.real, brought.imag], 1)
        inputs = np.concatenate([inputs, _mirrored(inputs, mirror(), 3)])
        wanted = np.concatenate([wanted, _mirrored(wanted, order, 2)])
        mean, points_mean = inputs.mean(0), wanted.mean(0)
        left, sizes, right = np.linalg.svd(inputs - mean, full_matrices=False)
        to_points = right.T @ ((sizes / (sizes**2 + RIDGE))[:, None] * (left.T @ (wanted - points_mean)))
        to_code = right[:CODE].T / (sizes[:CODE] / math.sqrt(len(inputs)))
        x, y = points_mean.reshape(2, -1)
        side = 1.3 * max(np.ptp(x), np.ptp(y))
        level = float(y.min() + y.max()) / 2
        return cls(middle, mean, points_mean, to_points, to_code, level, float(side))

    def placed(self, meshes: npt.NDArray[np.float32], size: int) -> Placed:
        """What follows from meshes (N, 478, 3) for a network with an input of ``size`` pixels."""
        centre, turn = place = _similarity(meshes, self.middle)
        vectors = _vectors(meshes, place)
        x, y = np.split((vectors - self.mean) @ self.to_points + self.points_mean, 2, 1)
        back = (x + 1j * y) / turn[:, None]
        points = np.stack([back.real, back.imag], -1) + centre[:, None]
        scale = size / self.side
        matrices = np.zeros((len(meshes), 2, 3))
        matrices[:, 0, 0] = matrices[:, 1, 1] = scale * turn.real
        matrices[:, 1, 0], matrices[:, 0, 1] = scale * turn.imag, -scale * turn.imag
        offset = np.array([(size - 1) / 2, (size - 1) / 2 - scale * self.level])
        matrices[:, :, 2] = offset - np.einsum("nij,nj->ni", matrices[:, :, :2], centre)
        mirrored = _mirrored(vectors, mirror(), 3)
        codes = (((values - self.mean) @ self.to_code).astype(np.float32) for values in (vectors, mirrored))
        return Placed(points, matrices, *codes)

    def save(self, path: Path) -> None:
        part = path.with_name(f"{path.stem}.part{path.suffix}")
        np.savez(part, **{one.name: getattr(self, one.name) for one in fields(self)})
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Form:
        """MeshError when it is not what ``save`` wrote."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                values: dict[str, Any] = {one.name: saved[one.name] for one in fields(cls)}
        except (OSError, ValueError, KeyError) as error:
            raise MeshError(f"{path}: not the form of a teacher; give the folder of a finished run") from error
        return cls(**values | {name: float(values[name]) for name in ("level", "side")})


def _similarity(meshes: Array, middle: Floats) -> tuple[Floats, npt.NDArray[np.complex128]]:
    """The centre (N, 2) of each mesh, and the turn and scale (N,), one complex number, that bring it nearest to
    ``middle`` by least squares."""
    centres = meshes[:, :, :2].mean(1).astype(np.float64)
    apart = meshes[:, :, :2] - centres[:, None]
    here = apart[..., 0] + 1j * apart[..., 1]
    there = middle - middle.mean(0)
    return centres, (here.conj() * (there[:, 0] + 1j * there[:, 1])).sum(1) / (np.abs(here) ** 2).sum(1)


def _brought(points: Array, centres: Floats, turns: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """Points (N, K, 2) where their mesh's similarity puts them, as complex numbers (N, K)."""
    apart = points - centres[:, None]
    return (apart[..., 0] + 1j * apart[..., 1]) * turns[:, None]


def _vectors(meshes: Array, place: tuple[Floats, npt.NDArray[np.complex128]]) -> Floats:
    flat = _brought(meshes[..., :2], *place)
    return np.concatenate([flat.real, flat.imag, meshes[..., 2] * np.abs(place[1])[:, None]], 1)


def _mirrored(vectors: Floats, order: Sequence[int] | Integers, parts: int) -> Floats:
    """Vectors of all x, all y (and all depths) of the mirror images."""
    x, *others = (part[:, order] for part in np.split(vectors, parts, 1))
    return np.concatenate([-x, *others], 1)
