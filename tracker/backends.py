"""What runs a network: ONNX Runtime or torch, and the Spec that a model file carries.

There is no registry: a model is the file ``NAME.onnx`` with its Spec in the metadata, or ``NAME.safetensors`` with
the same Spec for torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from tracker.core import TrackerError
from tracker.markup import MARKUPS, Markup

Outputs = Mapping[str, npt.NDArray[np.float32]]


FACEDET = "facedet.onnx"
"""The face detector's file among the weights."""


def weights_folder() -> Path:
    """Where the models lie that come with the program."""
    return Path(str(resources.files("weights")))


class ModelError(TrackerError):
    """A model that cannot be found, read or run."""


@dataclass(frozen=True)
class Spec:
    """What a model file says of itself.

    ``network`` and ``options`` rebuild the torch module; ``markup`` names what the points mean; the network reads
    square crops of ``input_size`` pixels, the face's tight square box times ``context``, as (value - mean) / std of
    0..255; ``offset`` is what puts points back into the terms of the training labels, x and y in distances of the
    outer eye corners (see ``metrics.in_set_terms``); ``outputs`` are names in the graph's order; ``precision`` is fp32
    or int8; ``multiply_adds`` what one crop takes, 0 where it was not counted.
    """

    name: str
    network: str
    markup: str
    input_size: int
    context: float
    mean: float = 127.5
    std: float = 64.0
    offset: tuple[float, float] = (0.0, 0.0)
    outputs: tuple[str, ...] = ("points",)
    options: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    licence: str = ""
    version: str = "1"
    precision: str = "fp32"
    multiply_adds: int = 0

    KEY = "landmark-tracker"

    def __post_init__(self) -> None:
        if self.markup not in MARKUPS:
            raise ValueError(f"unknown markup {self.markup!r}")
        if not (isinstance(self.input_size, int) and 8 <= self.input_size <= 1024):
            raise ValueError(f"input size {self.input_size!r} is not between 8 and 1024")
        numbers = (self.context, self.mean, self.std, *self.offset)
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers) or len(self.offset) != 2:
            raise ValueError("context, mean, std and offset must be finite numbers")
        if not (self.context > 0 and self.std > 0):
            raise ValueError("context and std must be positive")
        if not self.outputs:
            raise ValueError("a network needs outputs")

    @property
    def points(self) -> Markup:
        return MARKUPS[self.markup]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None, path: Path) -> Spec:
        """The Spec in a model file's metadata; ModelError when it has none or one that makes no sense."""
        if not text:
            raise ModelError(f"{path}: carries no Spec of landmark-tracker; use a model exported by tracker.training")
        try:
            values = json.loads(text)
            known = {f.name for f in fields(cls)}
            values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in known}
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: its Spec cannot be used ({error}); export the model again") from error


class Backend(Protocol):
    """Runs one network. ``run`` takes crops (N, S, S, 3) uint8 RGB and gives each output by name, N first:
    ``points`` (N, P, 2) float32 in crop pixels, ``attention_0`` ... (N, h, w) from shallow to deep, ``confidence``
    (N, P) and ``presence`` (N,) from 0 to 1. For a face detector, which takes pictures (N, H, W, 3), see
    ``networks.facedet``."""

    spec: Spec
    path: Path

    def run(self, crops: npt.NDArray[np.uint8]) -> Outputs: ...


class OnnxBackend:
    """ONNX Runtime on the processor: one thread, which sleeps when it has nothing to do."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a class of its own for every kind of damage
            raise ModelError(f"{path}: not a readable ONNX model; export or download it again") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.spec = Spec.from_json(metadata.get(Spec.KEY), path)
        self._input = self._session.get_inputs()[0].name
        names = tuple(output.name for output in self._session.get_outputs())
        if names != self.spec.outputs:
            raise ModelError(f"{path}: has outputs {names}, its Spec says {self.spec.outputs}; export the model again")

    def run(self, crops: npt.NDArray[np.uint8]) -> Outputs:
        found = self._session.run(None, {self._input: network_input(crops, self.spec)})
        return dict(zip(self.spec.outputs, found, strict=True))


class TorchBackend:
    """torch on ``cpu`` or ``cuda``, from a .safetensors file."""

    def __init__(self, path: Path, device: str) -> None:
        try:
            import torch
            from safetensors import SafetensorError, safe_open

            from tracker.networks import NETWORKS, build
        except ImportError as error:
            raise ModelError(
                f"{path}: needs torch, which is not installed; pip install 'landmark-tracker[torch]'"
            ) from error
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelError(
                "--device cuda: torch finds no CUDA device here; use --device cpu, or a CUDA build of torch"
            )
        self.path, self._torch, self._device = path, torch, device
        try:
            with safe_open(str(path), framework="pt", device=device) as file:
                self.spec = Spec.from_json((file.metadata() or {}).get(Spec.KEY), path)
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if self.spec.network not in NETWORKS:
                raise ModelError(f"{path}: its network {self.spec.network!r} is unknown; update landmark-tracker")
            self._network = build(self.spec.network, self.spec.points.size, self.spec.options)
            self._network.load_state_dict(state, strict=True)
        except (SafetensorError, OSError, RuntimeError, TypeError) as error:
            raise ModelError(f"{path}: not readable as the weights of its Spec; export or download it again") from error
        self._network.eval().to(device)
        self._kept: Any = None
        if device == "cuda":
            self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, crops: npt.NDArray[np.uint8]) -> Outputs:
        torch = self._torch
        with torch.inference_mode():
            if self._device == "cpu":
                found = self._network(torch.from_numpy(network_input(crops, self.spec)))
            else:
                with torch.autocast(self._device, torch.float16):
                    found = self._network(self._sent(crops))
            return {name: found[name].float().cpu().numpy() for name in self.spec.outputs}

    def _sent(self, crops: npt.NDArray[np.uint8]) -> Any:
        """The crops on the GPU as the network reads them, channels last: they go as bytes, through memory that the
        copy needs not wait for, and become numbers there."""
        torch = self._torch
        if self._kept is None or len(self._kept) < len(crops):
            self._kept = torch.empty(crops.shape, dtype=torch.uint8, pin_memory=True)
        pinned = self._kept[: len(crops)]
        pinned.copy_(torch.from_numpy(crops))
        pixels = pinned.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return (pixels.half() - self.spec.mean) / self.spec.std


def network_input(crops: npt.NDArray[np.uint8], spec: Spec) -> npt.NDArray[np.float32]:
    """Crops (N, S, S, 3) uint8 as the network reads them: (N, 3, S, S) float32."""
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
    planes -= np.float32(spec.mean)
    planes *= np.float32(1 / spec.std)
    return planes


def open_backend(path: Path, device: str = "cpu") -> Backend:
    """The backend for a model file: ``.onnx`` runs in ONNX Runtime on the CPU, ``.safetensors`` in torch; on
    ``cuda`` the ``.safetensors`` beside an ``.onnx`` is taken. ModelError when it cannot be used."""
    if device not in ("cpu", "cuda"):
        raise ModelError(f"--device {device}: unknown; use cpu or cuda")
    if device == "cuda" and path.suffix == ".onnx":
        path = path.with_suffix(".safetensors")
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file")
    if path.suffix == ".onnx":
        return OnnxBackend(path)
    if path.suffix == ".safetensors":
        return TorchBackend(path, device)
    raise ModelError(f"{path}: a model is a .onnx or a .safetensors file")
