"""Model files against labelled faces, as a user gets them: through the backend, by the oracle box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tracker.backends import ModelError
from tracker.datasets import DataError
from tracker.metrics import in_set_terms, inter_ocular, inter_pupil, nme, oracle_crop
from tracker.model import load_model
from tracker.training.datasets import LabelledFace
from tracker.training.heads import described, judge


def compare(models: Sequence[str | Path], faces: Sequence[LabelledFace]) -> list[str]:
    """A table in lines: for each model the NME in per cent on ``faces``, inter-pupil and inter-ocular in the set's own
    terms (the Spec's offset put back), and inter-pupil of the points as tracked; then, for the models that have them,
    how far confidence and presence can be trusted (see ``heads.judge``). Only known points count. ModelError for a file
    that cannot be used or that has other points than the faces, DataError when there are no faces."""
    lines = [f"{'NME in % of':24} pupils  eye corners  pupils, as tracked   ({len(faces)} faces, oracle box)"]
    trust: list[str] = []
    if not faces:
        raise DataError("no validation faces to compare on; is the set whole?")
    truth = np.stack([face.points for face in faces]).astype(np.float64)
    known = np.stack([np.ones(len(face.points), np.bool_) if face.known is None else face.known for face in faces])
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
        pupil, ocular = inter_pupil(truth, model.markup), inter_ocular(truth, model.markup)
        figures = [nme(own, truth, pupil, known), nme(own, truth, ocular, known), nme(points, truth, pupil, known)]
        first, second, third = (100 * figure.mean() for figure in figures)
        lines.append(f"{Path(path).name:24} {first:6.3f}  {second:11.3f}  {third:18.3f}")
        if "confidence" in spec.outputs:
            found = judge(model.backend.run, faces, spec.context, spec.input_size)
            trust += [f"{Path(path).name}: {line}" for line in described(found)]
    return lines + trust
