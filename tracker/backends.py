"""What runs a network: ONNX Runtime or torch, and the Spec that a model file carries.

There is no registry: a model is the file ``NAME.onnx`` with its Spec in the metadata, or ``NAME.safetensors`` with
the same Spec for torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from tracker.core import TrackerError
from tracker.markup import MARKUPS, Markup

Outputs = Mapping[str, npt.NDArray[np.float32]]


LARGEST = 1e9
"""A finite output that no network means, and from which points of a frame would not be finite."""

FACEDET = "facedet.onnx"
"""The face detector's file among the weights."""


def weights_folder() -> Path:
    """Where the models lie that come with the program."""
    return Path(str(resources.files("weights")))


class ModelError(TrackerError):
    """A model that cannot be found, read or run."""


class NoSpecError(ModelError):
    """A model that can be read, but says nothing of itself."""


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
        words = (self.name, self.network, self.licence, self.version, *self.outputs, *self.data)
        if not all(isinstance(word, str) and len(word) <= 1000 for word in words):
            raise ValueError("name, network, outputs, data, licence and version must be words")
        if self.markup not in MARKUPS:
            raise ValueError(f"unknown markup {self.markup!r}")
        if not (isinstance(self.input_size, int) and 8 <= self.input_size <= 1024):
            raise ValueError(f"input size {self.input_size!r} is not between 8 and 1024")
        numbers = (self.context, self.mean, self.std, *self.offset)
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers) or len(self.offset) != 2:
            raise ValueError("context, mean, std and offset must be finite numbers")
        if not (0 < self.context <= 100 and 1e-3 <= self.std <= 1e6 and abs(self.mean) <= 1e6):
            raise ValueError("context must be between 0 and 100, std and mean must suit 0..255")
        if not _sizes(dict(self.options)):
            raise ValueError(
                "options must be whole numbers up to 65536, lists of 16 of them at most, or true and false"
            )
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
            raise NoSpecError(f"{path}: carries no Spec of landmark-tracker; use a model exported by tracker.training")
        try:
            values = json.loads(text)
            for key in ("outputs", "data"):
                if not isinstance(values.get(key, []), list):
                    raise ValueError(f"{key} is not a list")
            known = {f.name for f in fields(cls)}
            values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in known}
            return cls(**values)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            why = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: its Spec cannot be used ({why}); export the model again") from error


def _sizes(options: Mapping[str, Any]) -> bool:
    """Whether ``options`` can be those of a network: nothing larger than any network here could use."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and 0 <= value <= 65536

    return len(options) <= 16 and all(
        isinstance(key, str)
        and (fits(value) or (isinstance(value, list | tuple) and len(value) <= 16 and all(map(fits, value))))
        for key, value in options.items()
    )


class Backend(Protocol):
    """Runs one network. ``run`` takes crops (N, S, S, 3) uint8 RGB and gives each output by name, N first:
    ``points`` (N, P, 2) float32 in crop pixels, ``attention_0`` ... (N, h, w) from shallow to deep, ``confidence``
    (N, P) and ``presence`` (N,) from 0 to 1. For a face detector, which takes pictures (N, H, W, 3), see
    ``networks.facedet``. ``shares`` says whether several threads that ask, each for a part of the crops, gain by it."""

    spec: Spec
    path: Path
    shares: bool

    def run(self, crops: npt.NDArray[np.uint8]) -> Outputs: ...


class OnnxBackend:
    """ONNX Runtime on the processor, in the thread that asks; several may ask at once."""

    shares = True

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.path = path
        try:
            model = path.read_bytes()
            if _names_files(memoryview(model)):
                raise ModelError(f"{path}: takes its weights from other files; export it again as one file")
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )  # it would print, and try the same again
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime raises a class of its own for every kind of damage
            raise ModelError(f"{path}: not a readable ONNX model; export or download it again") from error
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: its metadata is no text; export or download it again") from error
        self.spec = Spec.from_json(metadata.get(Spec.KEY), path)
        self._input = self._session.get_inputs()[0].name
        names = tuple(output.name for output in self._session.get_outputs())
        if names != self.spec.outputs:
            raise ModelError(f"{path}: has other outputs than its Spec says; export the model again")
        _try(self)

    def run(self, crops: npt.NDArray[np.uint8]) -> Outputs:
        try:
            found = self._session.run(None, {self._input: network_input(crops, self.spec)})
        except Exception as error:  # as above
            raise ModelError(f"{self.path}: fails on a picture; export or download it again") from error
        return _sound(dict(zip(self.spec.outputs, found, strict=True)), len(crops), self)


class TorchBackend:
    """torch on ``cpu`` or ``cuda``, from a .safetensors file."""

    shares = False

    def __init__(self, path: Path, device: str) -> None:
        try:
            import torch
            from safetensors import safe_open

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
                held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            state = {name: one.float() if one.is_floating_point() else one for name, one in held.items()}
            if self.spec.network not in NETWORKS:
                raise ModelError(f"{path}: its network {self.spec.network!r} is unknown; update landmark-tracker")
            with torch.device("meta"):  # takes no memory, whatever sizes the Spec states: the weights are the file's
                self._network = build(self.spec.network, self.spec.points.size, self.spec.options)
            self._network.load_state_dict(state, strict=True, assign=True)
        except ModelError:
            raise
        except Exception as error:  # torch and safetensors raise many kinds
            raise ModelError(f"{path}: not readable as the weights of its Spec; export or download it again") from error
        self._network.eval().to(device)
        self._kept: Any = None
        if device == "cuda":
            self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _try(self)

    def run(self, crops: npt.NDArray[np.uint8]) -> Outputs:
        torch = self._torch
        try:
            with torch.inference_mode():
                if self._device == "cpu":
                    found = self._network(torch.from_numpy(network_input(crops, self.spec)))
                else:
                    with torch.autocast(self._device, torch.float16):
                        found = self._network(self._sent(crops))
                outputs = {name: found[name].float().cpu().numpy() for name in self.spec.outputs}
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{self.path}: fails on a picture; export or download it again") from error
        return _sound(outputs, len(crops), self)

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


def _try(backend: Backend) -> None:
    """Run the network once, so that one that cannot run, or is not what its Spec says, is refused at once."""
    side = 64 if backend.spec.network == "facedet" else backend.spec.input_size
    backend.run(np.zeros((2, side, side, 3), np.uint8))


def _sound(outputs: Outputs, count: int, backend: Backend) -> Outputs:
    """``outputs`` for ``count`` crops, if they are of the shapes that ``Backend`` promises and below ``LARGEST``;
    ModelError."""
    for name, values in outputs.items():
        if not (
            isinstance(values, np.ndarray)
            and values.dtype == np.float32
            and _promised(name, values.shape, count, backend.spec.points.size)
            and np.abs(values).max() < LARGEST  # not a number is not, either
        ):
            raise ModelError(f"{backend.path}: its {name} are not what its Spec says, or not finite; export it again")
    return outputs


@lru_cache(256)
def _promised(name: str, shape: tuple[int, ...], count: int, points: int) -> bool:
    """Whether an output for ``count`` crops has the shape that ``Backend`` promises."""
    shapes: Mapping[str, tuple[int | None, ...]] = {
        "points": (count, points, 2),
        "confidence": (count, points),
        "presence": (count,),
        "scores": (count, None),
        "faces": (count, None, 3 + 2 * points),
    }
    wanted = (count, None, None) if name.startswith("attention") else shapes.get(name, shape)
    return (
        0 not in shape
        and len(shape) == len(wanted)
        and all(one in (None, side) for one, side in zip(wanted, shape, strict=True))
    )


_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "file"},
}
"""Where an ONNX file (a protocol buffer, onnx.proto) can name other files: the fields, by number, of each message."""


def _names_files(message: memoryview, kind: str = "model") -> bool:
    """Whether an ONNX file takes tensors from other files, which ONNX Runtime would open, some versions wherever they
    lie. ValueError when it is no protocol buffer."""
    place = 0
    while place < len(message):
        tag, place = _number(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, place = _number(message, place)
            continue
        length, place = (8, place) if wire == 1 else (4, place) if wire == 5 else _number(message, place)
        if wire not in (1, 2, 5) or place + length > len(message):
            raise ValueError("no protocol buffer")
        inner = _MESSAGES[kind].get(number)
        if inner == "file" or (inner and wire == 2 and _names_files(message[place : place + length], inner)):
            return True
        place += length
    return False


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """The whole number of 7 bits a byte that begins at ``place``, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        value |= (message[place] & 127) << shift
        place += 1
        if message[place - 1] < 128:
            return value, place
    raise ValueError("no protocol buffer")


def network_input(crops: npt.NDArray[np.uint8], spec: Spec) -> npt.NDArray[np.float32]:
    """Crops (N, S, S, 3) uint8 as the network reads them: (N, 3, S, S) float32."""
    planes = crops.transpose(0, 3, 1, 2).astype(np.float32, order="C")
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
