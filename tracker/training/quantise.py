"""From a model in fp32 to ``NAME-int8.onnx``: whole numbers of 8 bits wherever there are feature maps."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tracker.backends import Spec, network_input, open_backend
from tracker.model import INT8
from tracker.training.augment import placed
from tracker.training.datasets import LabelledFace
from tracker.training.export import ExportError

ON_MAPS = ("Conv", "Relu", "Clip", "Add", "Mul", "MaxPool", "Pad", "Concat")
"""Operators that are calculated in 8 bits; whatever comes after the last feature map stays in fp32, which costs nothing
there, and keeps the points, the confidence and the presence as they were."""

FLAT = ("ReduceMean", "GlobalAveragePool", "Flatten", "Reshape", "Squeeze")
"""Operators that end the feature maps."""


class _Crops(CalibrationDataReader):  # type: ignore[misc]
    """One batch of network inputs after the other."""

    def __init__(self, name: str, batches: Iterator[npt.NDArray[np.float32]]) -> None:
        self.name, self.batches = name, batches

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def quantise(
    path: Path, faces: Sequence[LabelledFace], folder: Path, crops: int = 512, full_range: bool = False, seed: int = 1
) -> Path:
    """Write ``NAME-int8.onnx`` to ``folder``, with the Spec of the model at ``path`` but for its name.

    Activations are unsigned, weights signed, one scale for each channel of a convolution; the ranges are those met on
    ``crops`` training crops of ``faces``, placed as a tracker places them. Weights keep to 7 bits, because processors
    without VNNI add two products in 16 bits, which overflows with 8; ``full_range`` gives them all 8, for processors
    with VNNI only. ExportError when the model is not an .onnx in fp32, or its points are not those of the faces.
    """
    if path.suffix != ".onnx" or path.stem.endswith(INT8):
        raise ExportError(f"{path}: give a model in fp32, NAME.onnx")
    spec = open_backend(path).spec
    if {face.markup.name for face in faces} != {spec.markup}:
        raise ExportError(f"{path}: needs faces with the points of {spec.markup} to calibrate on")
    rng = np.random.default_rng(seed)

    def batches() -> Iterator[npt.NDArray[np.float32]]:
        for _ in range(0, crops, 16):
            chosen = [faces[int(rng.integers(len(faces)))] for _ in range(16)]
            pictures = [
                placed(face.image, face.unbiased, spec.points, spec.context, spec.input_size, rng, face.known)[0]
                for face in chosen
            ]
            yield network_input(np.stack(pictures), spec)

    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{path.stem}{INT8}.onnx"
    part = final.with_name(f"{final.stem}.part.onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the library speaks to everybody
    try:
        with tempfile.TemporaryDirectory() as room:
            plain = Path(room) / "plain.onnx"
            quant_pre_process(str(path), str(plain), skip_symbolic_shape=True)
            graph = onnx.load(str(plain)).graph
            quantize_static(
                str(plain),
                str(part),
                _Crops(graph.input[0].name, batches()),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(ON_MAPS),
                nodes_to_exclude=_after_maps(graph),
                per_channel=True,
                reduce_range=not full_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        model = onnx.load(str(part))
        _pad_whole_numbers(model.graph)
        _widen_colours(model.graph)
        onnx.helper.set_model_props(model, {Spec.KEY: replace(spec, name=final.stem, precision="int8").to_json()})
        model.producer_name = "landmark-tracker"
        onnx.checker.check_model(model)
        onnx.save(model, str(part))
        os.replace(part, final)
    finally:
        root.setLevel(level)
        part.unlink(missing_ok=True)
    return final


def _pad_whole_numbers(graph: onnx.GraphProto) -> None:
    """Let every Pad work on the 8 bits themselves. ONNX Runtime has no such operator between QuantizeLinear and
    DequantizeLinear, and would turn the map to fp32 and back for it."""
    makers, users = _makers(graph), _users(graph)
    for node in [node for node in graph.node if node.op_type == "Pad"]:
        before, (after,) = makers[node.input[0]], users[node.output[0]]
        if (before.op_type, after.op_type) != ("DequantizeLinear", "QuantizeLinear"):
            continue
        whole, scale, zero = before.input
        for reader in users[after.output[0]]:  # padding with zeros keeps the scale of what is padded
            reader.input[1], reader.input[2] = scale, zero
        padded = onnx.helper.make_node("Pad", [whole, node.input[1], zero], after.output, node.name, mode="constant")
        graph.node.insert(list(graph.node).index(node), padded)
        for gone in (node, after, *([before] if users[before.output[0]] == [node] else [])):
            graph.node.remove(gone)


def _widen_colours(graph: onnx.GraphProto) -> None:
    """Give the first convolution a fourth colour, all zero: with three, ONNX Runtime (1.32) takes a way that lasts
    twice as long. What is calculated does not change by a bit."""
    users = _users(graph)
    (quantised,) = users[graph.input[0].name]
    (read,) = users[quantised.output[0]]
    (convolution,) = users[read.output[0]]
    weights = {one.name: one for one in graph.initializer}
    kernel = weights[_makers(graph)[convolution.input[1]].input[0]]
    values = onnx.numpy_helper.to_array(kernel)
    missing = -values.shape[1] % 4
    wide = np.pad(values, ((0, 0), (0, missing), (0, 0), (0, 0)))
    kernel.CopyFrom(onnx.numpy_helper.from_array(wide, kernel.name))
    pads, name = f"{quantised.output[0]}_pads", f"{quantised.output[0]}_wide"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 0, 0, 0, 0, missing, 0, 0]), pads))
    padding = onnx.helper.make_node("Pad", [quantised.output[0], pads, quantised.input[2]], [name], name)
    graph.node.insert(list(graph.node).index(read), padding)
    read.input[0] = name


def _makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.node for name in node.output}


def _users(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def _after_maps(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that work on what an operator of ``FLAT`` made; the graph is in topological order."""
    flat: set[str] = set()
    names = []
    for node in graph.node:
        if node.op_type in FLAT or flat.intersection(node.input):
            flat.update(node.output)
            names.append(node.name)
    return names
