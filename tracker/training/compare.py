"""Model files against labelled faces, as a user gets them: through the backend, by the oracle box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tracker.backends import ModelError
from tracker.datasets import KEPT_TOO, DataError
from tracker.metrics import in_set_terms, inter_ocular, inter_pupil, nme, oracle_crop
from tracker.model import LandmarkModel, load_model
from tracker.training.augment import photographed, placed
from tracker.training.datasets import LabelledFace
from tracker.training.heads import described, judge, predicted

ROUGH = 6
"""Crops of each face that do not lie where the oracle's does."""

LOST = 0.1
"""A face is lost where the mean error of its points is more than this many sides of the face."""


def compare(models: Sequence[str | Path], faces: Sequence[LabelledFace]) -> list[str]:
    """A table in lines: for each model the NME in per cent on ``faces``, inter-pupil and inter-ocular in the set's own
    terms (the Spec's offset put back), and inter-pupil of the points as tracked; then, by ``ROUGH`` crops of each face
    placed as a tracker may place them, and by the same made worse as in training, the mean and median error and how
    many are ``LOST``; then, for the models that have them, how far confidence and presence can be trusted (see
    ``heads.judge``), and which were trained on the faces kept for validation. Where the set has face boxes, also the
    NME over the box's size, the root of its area. Only known points count, and in what is divided by an eye distance
    only faces that have one. ModelError for a file that cannot be used or that has other points than the faces,
    DataError when there are no faces."""
    lines = [f"{'NME in % of':24} pupils  eye corners  pupils, as tracked   ({len(faces)} faces, oracle box)"]
    rough: list[str] = []
    trust: list[str] = []
    if not faces:
        raise DataError("no validation faces to compare on; is the set whole?")
    if len(markups := {face.markup.name for face in faces}) > 1:
        raise DataError(f"faces of several markups ({', '.join(sorted(markups))}); part them into folders of their own")
    truth = np.stack([face.points for face in faces]).astype(np.float64)
    known = np.stack([face.known_mask for face in faces])
    sized = np.array([face.has_eyes for face in faces])
    boxes = [face.box for face in faces if face.box is not None]
    for path in models:
        model = load_model(path)
        spec = model.spec
        if spec.markup != faces[0].markup.name:
            raise ModelError(f"{path}: has the points of {spec.markup}, the faces those of {faces[0].markup.name}")
        points = np.stack(
            [
                model.locate(face.image, [oracle_crop(face.known_points, spec.context, spec.input_size)])[0].points
                for face in tqdm(faces, desc=spec.name, unit=" faces", leave=False)
            ]
        ).astype(np.float64)
        own = in_set_terms(points, model.markup, spec.offset)
        pupil, ocular = (of(truth[sized], model.markup) for of in (inter_pupil, inter_ocular))
        ways = ((own, pupil), (own, ocular), (points, pupil))
        figures = [nme(found[sized], truth[sized], normaliser, known[sized]) for found, normaliser in ways]
        first, second, third = (100 * figure.mean() if sized.any() else np.nan for figure in figures)
        lines.append(f"{Path(path).name:24} {first:6.3f}  {second:11.3f}  {third:18.3f}")
        if len(boxes) == len(faces):
            over_box = 100 * nme(own, truth, np.sqrt([box.area for box in boxes]), known).mean()
            lines.append(f"{Path(path).name}: {over_box:.3f} % of the root of the face box's area")
        for worse in (False, True):
            errors = rough_errors(model, faces, worse)
            lost = f"{(errors > LOST).sum()} of {len(errors)} lost"
            kind = "made worse" if worse else "as a tracker's"
            rough.append(
                f"{Path(path).name}: crops {kind}: error in % of the face: mean {100 * errors.mean():.3f}, median "
                f"{100 * np.median(errors):.3f}; {lost}"
            )
        if KEPT_TOO in spec.data:
            trust.append(f"{Path(path).name}: was trained on {KEPT_TOO}; on them these figures say nothing")
        if "confidence" in spec.outputs:
            found = judge(model.backend.run, faces, spec.context, spec.input_size)
            trust += [f"{Path(path).name}: {line}" for line in described(found)]
    return lines + rough + trust


def rough_errors(model: LandmarkModel, faces: Sequence[LabelledFace], worse: bool) -> npt.NDArray[np.float64]:
    """The mean error (N ``ROUGH``,) of the known points on each crop, in sides of the face; every model of an input
    size gets the same crops."""
    spec, crops, truth = model.spec, [], []
    for index, face in enumerate(faces):
        for view in range(ROUGH):
            rng = np.random.default_rng((1, index, view))
            crop, points, mask = placed(
                face.image, face.unbiased, model.markup, spec.context, spec.input_size, rng, face.known_mask
            )
            crops.append(photographed(crop, rng) if worse else crop)
            truth.append((points, face.known_mask if mask is None else mask))
    errors = []
    for found, (points, mask) in zip(predicted(model.backend.run, crops)["points"], truth, strict=True):
        apart = np.linalg.norm(found[mask] - points[mask], axis=1).mean()
        errors.append(float(apart) / float(np.ptp(points[mask], axis=0).max()))
    return np.array(errors)
