"""Labels that a model and a detector make: landmarks of faces that have none, and where the others in a photo are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from tqdm import tqdm

from tracker.annotations import Annotation, read_five_point_list, write_pts
from tracker.core import Box, Crop, Face, Image, Points
from tracker.datasets import DataError, read_picture
from tracker.detector import Detector, expected, roll
from tracker.files import read_json
from tracker.markup import Markup
from tracker.model import LandmarkModel
from tracker.tracking import views_agree
from tracker.training.datasets import LabelledFace

View = tuple[float, float, float, float]
"""How far the crop is shifted (x, y, in sides of the crop), scaled and rolled (radians)."""

VIEWS: list[View] = [
    (dx, dy, scale, turn)
    for dx, dy, scale in ((0, 0, 1), (0.03, 0.02, 0.95), (-0.03, 0.02, 1.05), (0.02, -0.03, 1.05), (-0.02, -0.03, 0.95))
    for turn in (-0.12, 0.0, 0.12)
]
"""Those over which a label is the mean."""

STRAIGHT: list[View] = [(0, 0, 1, 0)]

FIVE_APART = 0.08
"""Mean distance of the model's five points from a set's own, in sides of the face, beyond which it saw another face."""

TEACHER_APART = 0.06
"""Mean distance of the teacher's points from the model's, in sides of the face, beyond which one of them is lost."""

TEACHER_SHARE, BESIDE_SHARE = 0.7, 0.1
"""Weights of the teachers' points and of the second model's; the rest is the model's own. Their errors are others."""

CONTOUR_TEACHER_SHARE, CONTOUR_BESIDE_SHARE = 0.15, 0.35
"""The same for the contour, about which a teacher that looks at each point knows less than a network that sees the
whole face. On the validation faces of 300-W a teacher (4.12 %; contour 7.41), trnet-68 (version 12, by its one view and
the mirror image: 4.20; 7.12) and aan-68 (version 8: 4.34) have 4.02 % together; with 0.6 of the
teacher in all points, and no second model, it is 4.05 (a script)."""


class Labeller(Protocol):
    """An image and about where the points of a face are, to points of ``markup`` that are better; None where it finds
    none."""

    @property
    def markup(self) -> Markup: ...

    def __call__(self, image: Image, points: Points) -> Points | None: ...


def label(
    folder: Path,
    out: Path,
    model: LandmarkModel,
    detector: Detector,
    teacher: Labeller | None = None,
    beside: LandmarkModel | None = None,
) -> tuple[int, int]:
    """Label the pictures of ``folder`` with ``model``, as a folder for ``read_pseudo``: how many, of how many.

    Where ``folder`` holds a ``trainImageList.txt`` of five points (the LFW and net pictures), the model starts from
    them and must agree with them; else from the largest face that ``detector`` finds. A face is kept only where the
    model agrees with itself over shifted views. Its points are then the mean over ``VIEWS`` and their mirror images,
    which err less than those of one view; with a ``teacher``, which must agree with the model, mostly its points
    (``TEACHER_SHARE``), some of a second model ``beside``, if there is one, and of each model's the mean of one view
    and its mirror image.
    What an earlier run wrote to ``out`` of a face that is now refused is taken away. DataError when there are no
    pictures, or the teacher or the second model has other points than the model.
    """
    if teacher is not None and teacher.markup.name != model.markup.name:
        raise DataError(
            f"--teacher gives the points of {teacher.markup.name}, --model {model.spec.name} those of "
            f"{model.markup.name}; give a model with the teacher's points"
        )
    if beside is not None and (teacher is None or beside.markup.name != model.markup.name):
        raise DataError(
            f"--beside {beside.spec.name}: goes with --teacher and a model of the same points, {model.markup.name}"
        )
    table = folder / "trainImageList.txt"
    known = {face.picture: face for face in read_five_point_list(table)} if table.exists() else {}
    pictures = sorted(known) or sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    if not pictures:
        raise DataError(f"{folder}: no .jpg files to label; give the folder of a set")
    out.mkdir(parents=True, exist_ok=True)
    (out / "markup.txt").write_text(model.markup.name + "\n")
    own = {(folder / name).resolve() for name in pictures}
    kept = 0
    for name in tqdm(pictures, desc=f"labelling {folder.name}", unit=" faces"):
        image = np.ascontiguousarray(read_picture(folder / name))
        face = _located(image, model, detector, known.get(name))
        points = None if face is None else _labelled(image, model, face, teacher, beside)
        target = out / name
        if points is None:
            if target.exists() and target.resolve() not in own:  # what an earlier run wrote
                target.with_suffix(".pts").unlink(missing_ok=True)
                target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target)
        write_pts(target.with_suffix(".pts"), points)
        kept += 1
    return kept, len(pictures)


def _labelled(
    image: Image, model: LandmarkModel, face: Face, teacher: Labeller | None, beside: LandmarkModel | None
) -> Points | None:
    if teacher is None:
        return mean_points(model, image, face.points)
    own = mean_points(model, image, face.points, STRAIGHT)
    other = own if beside is None else mean_points(beside, image, face.points, STRAIGHT)
    taught = teacher(image, face.points)
    if taught is None:
        return None
    side = max(face.box.width, face.box.height)
    if any(np.linalg.norm(points - own, axis=1).mean() > TEACHER_APART * side for points in (taught, other)):
        return None
    contour = list(model.markup.parts.get("contour", ()))
    shares = np.full((model.markup.size, 2), (TEACHER_SHARE, BESIDE_SHARE))
    shares[contour] = CONTOUR_TEACHER_SHARE, CONTOUR_BESIDE_SHARE
    share, share_beside = np.split(shares, 2, 1)
    return np.asarray(share * taught + share_beside * other + (1 - share - share_beside) * own, np.float32)


def _located(image: Image, model: LandmarkModel, detector: Detector, known: Annotation | None) -> Face | None:
    """The face that the known five points are of, or the largest that the detector sees, if views agree on it."""
    if known is not None:
        side = max(Box.around(known.points).width, Box.around(known.points).height) * 2.2
        cx, cy = known.points.mean(0)
        angle = roll(known.points)
        start = Crop(float(cx), float(cy), side * model.spec.context, model.spec.input_size, angle)
    else:
        seen = (expected(detection, model.markup) for detection in detector(image))
        found = max(seen, key=lambda detection: detection.box.area, default=None)
        if found is None:
            return None
        start = model.crop(found.box, found.angle)
    for _ in range(2):
        (face,) = model.locate(image, [start])
        start = model.crop_around(face.points)
    (face,) = model.locate(image, [start])
    if known is not None:
        apart = np.linalg.norm(model.markup.five(face.points) - known.points, axis=1).mean()
        if apart > FIVE_APART * max(face.box.width, face.box.height):
            return None
    return face if views_agree(model, face, image) else None


def mean_points(model: LandmarkModel, image: Image, points: Points, views: Sequence[View] = VIEWS) -> Points:
    """The points (P, 2) of the face about ``points``, as the mean of what ``model`` finds in ``views`` of ``image`` and
    in their mirror images; all in frame pixels."""
    crop = model.crop_around(points)
    crops = [crop.moved(*view) for view in views]
    last = image.shape[1] - 1
    mirrored = [Crop(last - one.cx, one.cy, one.side, one.size, -one.angle) for one in crops]
    straight = np.stack([face.points for face in model.locate(image, crops)])
    turned = np.stack([face.points for face in model.locate(np.ascontiguousarray(image[:, ::-1]), mirrored)])
    turned = turned[:, list(model.markup.mirror)]
    turned[..., 0] = last - turned[..., 0]
    return np.asarray(np.concatenate([straight, turned]).mean(0), np.float32)


def other_faces(faces: Sequence[LabelledFace], detector: Detector, out: Path) -> int:
    """Look in the picture of every labelled face for faces of others and write where they are to ``out`` (JSON: by set
    and name, a list of centre x, y and side in pixels of the face's picture): how many there are.

    The detector sees the whole picture and its four quarters at twice the size. What it finds
    on the labelled face itself does not count."""
    found: dict[str, list[list[float]]] = {}
    for face in tqdm(faces, desc="looking for others", unit=" pictures"):
        own = Box.around(face.points)
        others: list[Box] = []
        for part, x0, y0, scale in _views(face.image):
            for seen in detector(part):
                corners = np.array([[seen.box.x0, seen.box.y0], [seen.box.x1, seen.box.y1]])
                corners = (corners + 0.5) / scale - 0.5 + (x0, y0)
                box = Box(*(float(value) for value in corners.ravel()))
                mine = box.intersection(own) > 0.2 * min(box.area, own.area)
                if not mine and not any(box.iou(other) > 0.4 for other in others):
                    others.append(box)
        if others:
            found[f"{face.dataset}/{face.name}"] = [
                [round(value, 1) for value in (*box.centre, max(box.width, box.height))] for box in others
            ]
    part_file = out.with_name(out.name + ".part")
    part_file.write_text(json.dumps(found, indent=0) + "\n")
    os.replace(part_file, out)
    return sum(map(len, found.values()))


def read_others(path: Path) -> dict[str, list[list[float]]]:
    """What ``other_faces`` wrote. DataError when it cannot be read."""
    try:
        found = read_json(path)
        others = {name: [[float(value) for value in face] for face in faces] for name, faces in found.items()}
        if not all(len(face) == 3 and np.isfinite(face).all() for faces in others.values() for face in faces):
            raise ValueError("a face is not three numbers")
        return others
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a readable list of faces ({str(error)[:100]}); make it with 'others'") from error


def _views(image: Image) -> Iterable[tuple[Image, int, int, float]]:
    """The picture, and its quarters (overlapping by a fifth) at twice the size: each with its corner and its scale."""
    yield image, 0, 0, 1.0
    height, width = (round(0.6 * side) for side in image.shape[:2])
    for y0 in (0, image.shape[0] - height):
        for x0 in (0, image.shape[1] - width):
            part = np.ascontiguousarray(image[y0 : y0 + height, x0 : x0 + width])
            yield cv2.resize(part, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR), x0, y0, 2.0  # type: ignore[misc]
