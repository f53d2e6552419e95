"""From a checkpoint to ``NAME.onnx`` and ``NAME.safetensors``, each with the Spec inside."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tracker.backends import Spec, open_backend
from tracker.core import TrackerError
from tracker.datasets import KEPT_TOO
from tracker.model import INT8
from tracker.networks.aan import AAN
from tracker.training.loop import open_run
from tracker.training.readers import terms

log = logging.getLogger(__name__)


class ExportError(TrackerError):
    """A model that cannot be written."""


class _Named(nn.Module):
    """The network with its outputs as a tuple, as a graph wants them."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self.network(x)
        return tuple(found[name] for name in self.names)


def export(run_folder: Path, folder: Path, name: str, version: str = "1") -> Spec:
    """Write the averaged network of the run in ``run_folder`` to ``folder`` and check that both files give the same. A
    ``NAME-int8.onnx`` that is there was made of the model before, and is taken away.

    TrainingError when there is no run; ExportError when the points differ by more than 1e-4 of the crop, or another
    output by more than 1e-4.
    """
    saved, run, markup, network = open_run(run_folder)
    sets = saved.get("sets", ("300w", "ytf68"))  # older ones do not state them
    data = tuple(terms(name, saved.get("pseudo", ())) for name in sets)
    if saved.get("kept_too"):
        data += (KEPT_TOO,)
    if isinstance(network, AAN):
        network.equalise()
    size = network.input_size
    unused: tuple[str, ...] = getattr(network, "training_only", ())
    example = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        outputs = tuple(network(example))
    spec = Spec(
        name=name,
        network=run.network,
        markup=markup.name,
        input_size=size,
        context=run.context,
        mean=run.mean,
        std=run.std,
        offset=saved["offset"],
        outputs=outputs,
        options=run.options | dict.fromkeys(unused, False),
        data=data,
        licence="weights: research, non-commercial (terms of the training sets)",
        version=version,
        multiply_adds=multiply_adds(network),
    )
    folder.mkdir(parents=True, exist_ok=True)
    graph, weights = folder / f"{name}.onnx", folder / f"{name}.safetensors"
    parts = [path.with_name(f"{path.stem}.part{path.suffix}") for path in (graph, weights)]
    _write_onnx(_Named(network, outputs), example, spec, parts[0])
    state = {key: value.contiguous() for key, value in network.state_dict().items() if key.split(".")[0] not in unused}
    save_file(state, str(parts[1]), metadata={Spec.KEY: spec.to_json()})
    _compare(parts[0], parts[1], size)
    short = folder / f"{name}{INT8}.onnx"
    if short.exists():
        short.unlink()
        log.info("%s, of the model before, is taken away; python -m tracker.training quantise makes it again", short)
    for part, final in zip(parts, (graph, weights), strict=True):
        part.chmod(0o644)  # safetensors makes files that only their owner may read
        os.replace(part, final)
    return spec


def multiply_adds(network: nn.Module) -> int:
    """Multiply-adds of the convolutions and linear layers for one crop; of a face detector, for 256 x 256 pixels."""
    counted = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        weights = cast(Tensor, layer.weight)
        counted += weights[0].numel() * output.numel()

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    size = getattr(network, "input_size", 256)
    with torch.inference_mode():
        network(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return counted


def _write_onnx(network: nn.Module, example: Tensor, spec: Spec, path: Path) -> None:
    axes = {name: {0: "faces"} for name in ("crops", *spec.outputs)}
    if spec.network == "facedet":  # takes pictures of any size
        axes = {"crops": {0: "pictures", 2: "height", 3: "width"}} | {
            n: {0: "pictures", 1: "cells"} for n in spec.outputs
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers its other exporter, which needs one package more
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["crops"],
            output_names=list(spec.outputs),
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    model = onnx.load(str(path))
    _fold_normalisation(model.graph)
    onnx.helper.set_model_props(model, {Spec.KEY: spec.to_json()})
    model.producer_name = "landmark-tracker"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _fold_normalisation(graph: onnx.GraphProto) -> None:
    """Put a normalisation before a linear layer into its weights, as the exporter does it only after convolutions."""
    weights = {one.name: one for one in graph.initializer}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        (linear,) = [node for node in graph.node if norm.output[0] in node.input]
        scale, bias, mean, variance = (onnx.numpy_helper.to_array(weights[name]) for name in norm.input[1:])
        epsilon = next(one.f for one in norm.attribute if one.name == "epsilon")
        factors = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        matrix, shift = (onnx.numpy_helper.to_array(weights[name]).astype(np.float64) for name in linear.input[1:])
        folded = matrix * factors, shift + matrix @ (bias - factors * mean)
        for name, values in zip(linear.input[1:], folded, strict=True):
            weights[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        linear.input[0] = norm.input[0]
        graph.node.remove(norm)
        for name in norm.input[1:]:
            graph.initializer.remove(weights[name])


def _compare(graph: Path, weights: Path, size: int) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.uint8)
    first, second = (open_backend(path).run(crops) for path in (graph, weights))
    for name, values in first.items():
        if not np.abs(values - second[name]).max() <= 1e-4 * (size if name == "points" else 1):
            raise ExportError(f"{graph}: gives other {name} than {weights}; nothing was written")
