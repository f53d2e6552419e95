"""LandmarkModel: an image and crops in, faces out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracker.backends import FACEDET, Backend, ModelError, Outputs, Spec, open_backend, weights_folder
from tracker.core import Array, Box, Crop, Face, Image
from tracker.cores import shared_out
from tracker.markup import Markup


class LandmarkModel:
    """A landmark network with what surrounds it: cuts the crops, runs them, maps the points back to the frame."""

    def __init__(self, backend: Backend) -> None:
        if "points" not in backend.spec.outputs:
            raise ModelError(f"{backend.path}: holds a face detector, not a landmark network; give it as --detector")
        self.backend = backend
        self.spec: Spec = backend.spec
        self.markup: Markup = backend.spec.points
        self._attention = [name for name in self.spec.outputs if name.startswith("attention")]

    def crop(self, box: Box, angle: float = 0.0) -> Crop:
        """The crop for a face whose points fill ``box`` (frame pixels; upright in axes turned by ``angle`` about
        the box's centre)."""
        cx, cy = box.centre
        return Crop(cx, cy, max(box.width, box.height, 1.0) * self.spec.context, self.spec.input_size, angle)

    def crop_around(self, points: Array, angle: float | None = None) -> Crop:
        """The crop about known points (P, 2) of a face, in frame pixels; level with the eyes unless ``angle`` says
        otherwise."""
        if angle is None:
            left, right = self.markup.eye_centres(points)
            angle = math.atan2(right[1] - left[1], right[0] - left[0])
        return Crop.around(points, self.spec.context, self.spec.input_size, angle)

    def locate(self, image: Image, crops: Sequence[Crop]) -> list[Face]:
        """One face for each crop of ``image`` (H, W, 3), in their order; ids count from 0, scores are 1. The cores
        share the crops (``cores.set_threads``) where the backend gains by it; what is found does not depend on that."""
        if not crops:
            return []

        def found(part: Sequence[Crop]) -> Outputs:
            inputs = np.empty((len(part), part[0].size, part[0].size, 3), np.uint8)
            for place, crop in enumerate(part):
                inputs[place] = crop.cut(image)
            return self.backend.run(inputs)

        outputs, *others = shared_out(found, crops) if self.backend.shares else [found(crops)]
        if others:
            parts = (outputs, *others)
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in self.spec.outputs}
        confidence, presence = outputs.get("confidence"), outputs.get("presence")
        faces = []
        for index, crop in enumerate(crops):
            points = crop.to_frame(outputs["points"][index]).astype(np.float32)
            attention = tuple(outputs[name][index] for name in self._attention) or None
            faces.append(
                Face(
                    index,
                    points,
                    1.0,
                    Box.around(points),
                    crop,
                    confidence=None if confidence is None else confidence[index],
                    attention=attention,
                    presence=None if presence is None else float(presence[index]),
                )
            )
        return faces


def model_files() -> list[Path]:
    """The landmark networks that come with the program, and those dropped in beside them: ``weights/*.onnx`` without
    the face detector and hidden files."""
    return sorted(path for path in weights_folder().glob("[!.]*.onnx") if path.name != FACEDET)


PRECISIONS = ("fp32", "int8")
INT8 = "-int8"
"""How the name of a model in whole numbers of 8 bits ends."""


def load_model(name: str | Path = "trnet-68", device: str = "cpu", precision: str = "fp32") -> LandmarkModel:
    """The model of a name in ``weights/`` or of a path to a .onnx or .safetensors file, on ``cpu`` or ``cuda``. With
    the ``precision`` int8 it is the file ``NAME-int8.onnx`` beside it, which is faster and gives slightly other points.

    ModelError when there is none, when it cannot be read, or when the device is not there.
    """
    path = Path(name)
    if path.suffix not in (".onnx", ".safetensors"):
        path = weights_folder() / f"{name}.onnx"
        if not path.is_file():
            known = ", ".join(file.stem for file in model_files()) or "none are installed"
            raise ModelError(f"--model {name}: unknown; the models here are {known}, or give a path to a .onnx file")
    if precision not in PRECISIONS:
        raise ModelError(f"--precision {precision}: unknown; use {' or '.join(PRECISIONS)}")
    if precision == "int8" and not path.stem.endswith(INT8):
        path = path.with_name(f"{path.stem}{INT8}.onnx")
        if device != "cpu":
            raise ModelError(f"--precision int8 runs on the CPU, not on {device}; leave one of the two out")
        if not path.is_file():
            raise ModelError(f"--precision int8: {path} is not there; python -m tracker.training quantise makes it")
    if device != "cpu" and path.stem.endswith(INT8):
        raise ModelError(f"--model {name}: 8 bits run on the CPU, not on {device}; give the model without {INT8}")
    return LandmarkModel(open_backend(path, device))
