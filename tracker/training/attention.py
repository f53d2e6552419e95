"""Whether AAN's attention is real: what its maps say near landmarks, against what they say elsewhere on the crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from tracker.backends import ModelError, Outputs
from tracker.core import Array, Image
from tracker.metrics import inter_ocular, oracle_crop
from tracker.model import LandmarkModel
from tracker.networks import build
from tracker.training.datasets import LabelledFace

NEAR = 0.1
"""Eye distances from a landmark within which a pixel is near one."""


def attention(model: LandmarkModel, faces: Sequence[LabelledFace], seed: int = 0) -> list[str]:
    """A table in lines: for each map of ``model`` its mean near a landmark of ``faces`` and elsewhere on the oracle
    crop, and their ratio, beside those of the same network before training (its normalisations know the faces).
    ModelError when the model has no maps."""
    spec = model.spec
    names = [name for name in spec.outputs if name.startswith("attention")]
    if not names:
        raise ModelError(f"{model.backend.path}: gives no attention maps; choose an AAN model")
    crops = [oracle_crop(face.points, spec.context, spec.input_size) for face in faces]
    cut = np.stack([crop.cut(face.image) for crop, face in zip(crops, faces, strict=True)])
    points = np.stack([crop.to_input(face.unbiased) for crop, face in zip(crops, faces, strict=True)])
    near = _near(points, NEAR * inter_ocular(points, model.markup), spec.input_size)
    trained = _means(model.backend.run, cut, names, near)
    fresh = _means(_untrained(model, cut, seed), cut, names, near)
    head = f"{'mean of the map':16}{'near':>8}{'elsewhere':>11}{'ratio':>8}   untrained"
    lines = [f"{head}   ({len(faces)} faces, near is within {NEAR} eye distances)"]
    for name, (inside, outside), (before, beyond) in zip(names, trained, fresh, strict=True):
        ratio = f"{inside / outside:8.2f}   {before / beyond:9.2f}"
        lines.append(f"{name:16}{inside:8.3f}{outside:11.3f}{ratio}")
    return lines


def _near(points: Array, radius: Array, size: int) -> npt.NDArray[np.bool_]:
    """(N, S, S): which pixels of the crops lie within ``radius`` (N,) of one of their points (N, P, 2)."""
    rows, columns = np.mgrid[:size, :size]
    pixels = np.stack([columns, rows], -1).reshape(-1, 1, 2)
    masks = [
        (np.linalg.norm(pixels - places, axis=-1).min(1) <= reach).reshape(size, size)
        for places, reach in zip(points, radius, strict=True)
    ]
    return np.stack(masks)


def _means(
    run: Callable[[Image], Outputs], cut: Image, names: Sequence[str], near: npt.NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """For each map its mean over faces near landmarks and elsewhere, stretched over the crop as it is shown."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    size = (near.shape[2], near.shape[1])
    for start in range(0, len(cut), 32):
        outputs = run(cut[start : start + 32])
        for name in names:
            for values, mask in zip(outputs[name], near[start : start + 32], strict=True):
                large = cv2.resize(np.asarray(values, np.float32), size, interpolation=cv2.INTER_LINEAR)
                found[name].append((float(large[mask].mean()), float(large[~mask].mean())))
    return [(float(near_), float(beyond)) for near_, beyond in (np.mean(found[name], axis=0) for name in names)]


def _untrained(model: LandmarkModel, cut: Image, seed: int) -> Callable[[Image], Outputs]:
    """The network of ``model`` with fresh weights, which has seen ``cut`` once for its normalisations."""
    spec = model.spec
    torch.manual_seed(seed)
    network = build(spec.network, spec.points.size, spec.options)

    def inputs(crops: Image) -> torch.Tensor:
        return (torch.from_numpy(crops).permute(0, 3, 1, 2).float() - spec.mean) / spec.std

    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 1.0
    with torch.inference_mode():
        network.train()(inputs(cut[:64]))
        network.eval()

    def run(crops: Image) -> Outputs:
        with torch.inference_mode():
            return {name: values.numpy() for name, values in network(inputs(crops)).items()}

    return run
