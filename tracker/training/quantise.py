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

ON_MAPS = ("Conv", "Relu", "Clip", "Add", "Mul", "MaxPool", "Pad", "Concat", "Transpose", "Flatten")
"""Operators on feature maps, which are calculated in 8 bits."""

LAST = ("GlobalAveragePool", "Gemm")
"""Those that end the maps, in 8 bits too where they read one. What comes after stays in fp32, which costs little and
keeps the points, the confidence and the presence as they were."""

FLAT = ("ReduceMean", "Reshape", "Squeeze")
"""Those that end the maps and are themselves in fp32."""

FAR = 5.0
"""Standard deviations of an output's weights in a linear layer beyond which they are cut off: with a few far away, the
other thousands would share out some of the 8 bits."""


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
            model = onnx.load(str(plain))
            graph = model.graph
            _pool_means(graph)
            _read_maps(graph)
            onnx.save(model, str(plain))
            quantize_static(
                str(plain),
                str(part),
                _Crops(graph.input[0].name, batches()),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*ON_MAPS, *LAST],
                nodes_to_exclude=_after_maps(graph),
                per_channel=True,
                reduce_range=not full_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
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


def _pool_means(graph: onnx.GraphProto) -> None:
    """Let the means of maps that only the heads read be those of a pooling, for which ONNX Runtime has an operator in 8
    bits. That which the points come from stays in fp32."""
    users = _users(graph)
    for node in [node for node in graph.node if node.op_type == "ReduceMean"]:
        if {user.op_type for user in users[node.output[0]]} == {"Concat"}:
            pooled = f"{node.output[0]}_pooled"
            pool = onnx.helper.make_node("GlobalAveragePool", node.input[:1], [pooled], pooled)
            flat = onnx.helper.make_node("Flatten", [pooled], node.output, node.name)
            _replace(graph, node, pool, flat)


def _read_maps(graph: onnx.GraphProto) -> None:
    """Make linear layers that read a whole map fit for 8 bits: weights within ``FAR``, in the order of its memory,
    channels last. In the other, ONNX Runtime (1.32) takes ten times as long for the pooling before it."""
    makers, weights = _makers(graph), {one.name: one for one in graph.initializer}
    sizes = {one.name: [side.dim_value for side in one.type.tensor_type.shape.dim] for one in graph.value_info}
    for linear in [node for node in graph.node if node.op_type == "Gemm"]:
        flat = makers.get(linear.input[0])
        if flat is None or flat.op_type != "Flatten" or makers[flat.input[0]].op_type not in ON_MAPS:
            continue
        matrix, turned = weights[linear.input[1]], f"{flat.input[0]}_turned"
        values = onnx.numpy_helper.to_array(matrix)
        far = FAR * values.std(1, keepdims=True)
        values = values.clip(-far, far).reshape(len(values), *sizes[flat.input[0]][1:])
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1).reshape(len(values), -1))
        matrix.CopyFrom(onnx.numpy_helper.from_array(values, matrix.name))
        turn = onnx.helper.make_node("Transpose", flat.input, [turned], turned, perm=[0, 2, 3, 1])
        _replace(graph, flat, turn, onnx.helper.make_node("Flatten", [turned], flat.output, flat.name))


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, *others: onnx.NodeProto) -> None:
    place = list(graph.node).index(node)
    graph.node.remove(node)
    for other in reversed(others):
        graph.node.insert(place, other)


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
        _replace(graph, node, padded)
        for gone in (after, *([before] if users[before.output[0]] == [node] else [])):
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
    """Names of the nodes in fp32: those of ``FLAT``, and all after them and after ``LAST``; the graph is in topological
    order."""
    flat: set[str] = set()
    names = []
    for node in graph.node:
        after = bool(flat.intersection(node.input))
        if after or node.op_type in (*FLAT, *LAST):
            flat.update(node.output)
        if after or node.op_type in FLAT:
            names.append(node.name)
    return names
