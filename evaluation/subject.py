"""What is measured: a landmark network of ours in one of the modes, or a peer (``peers``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from tracker.core import Array, Box, Frame, Points, TrackerError
from tracker.detector import Detector, detector_file, expected, load_detector
from tracker.files import sha256
from tracker.markup import Markup
from tracker.metrics import oracle_crop
from tracker.model import LandmarkModel, load_model
from tracker.smoothing import OneEuro
from tracker.tracking import Tracker

MODES: Mapping[str, str] = {
    "oracle": "the box from the truth in every frame, one forward pass: what papers report",
    "detector": "the detector in every frame, one forward pass on the box that overlaps the truth most",
    "tracker": "started by the detector, then the tracker's own loop with smoothing, as a user gets it",
    "tracker-raw": "the same without smoothing",
    "tracker-gt": "the truth's box in the first frame only, then the tracker's own loop with smoothing",
}


class EvaluationError(TrackerError):
    """An evaluation that cannot be run as asked."""


@dataclass(frozen=True, eq=False)
class Located:
    """The faces found in a frame, as id and points (P, 2) in its pixels, and the milliseconds each stage took."""

    faces: Sequence[tuple[int, Points]]
    milliseconds: Mapping[str, float]


Locate = Callable[[Frame, Array], Located]
"""Takes the next frame of a clip and the truth's known points (K, 2), which each mode uses as far as MODES says."""


class Subject(Protocol):
    """``offset`` puts points into the terms of the labels (``metrics.in_set_terms``); ``identity`` is what a report
    says of it; ``start`` gives what locates the faces of one clip."""

    markup: Markup
    offset: tuple[float, float]

    def identity(self) -> dict[str, Any]: ...

    def start(self, mode: str) -> Locate: ...


@dataclass(frozen=True)
class Setting:
    """What a subject is made from, so that every process can make its own."""

    model: str = "trnet-68"
    device: str = "cpu"
    detector: str = "far"
    modes: tuple[str, ...] = tuple(MODES)


class OwnModel:
    """A landmark network of ours, with the detector where a mode needs one."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.model: LandmarkModel = load_model(setting.model, setting.device)
        self.markup, self.offset = self.model.markup, self.model.spec.offset
        self._detects = bool(set(setting.modes) - {"oracle"})
        self._detector: Detector = load_detector(setting.detector) if self._detects else _none

    def identity(self) -> dict[str, Any]:
        path = self.model.backend.path
        detector = detector_file(self._setting.detector) if self._detects else None
        return {
            "model": self.model.spec.name,
            "sha256": sha256(path),
            "file": path.name,
            "device": self._setting.device,
            "detector": self._setting.detector,
            "detector_sha256": None if detector is None else sha256(detector),
            "spec": asdict(self.model.spec),
        }

    def start(self, mode: str) -> Locate:
        if mode == "oracle":
            return self._oracle
        if mode == "detector":
            return self._detect
        tracker = Tracker(self.model, self._detector, smoother=None if mode == "tracker-raw" else OneEuro)
        first = mode == "tracker-gt"

        def track(frame: Frame, truth: Array) -> Located:
            nonlocal first
            result = tracker.start(frame, Box.around(truth)) if first else tracker.update(frame)
            first = False
            return Located([(face.id, face.points) for face in result.faces], result.milliseconds)

        return track

    def _oracle(self, frame: Frame, truth: Array) -> Located:
        start = perf_counter()
        spec = self.model.spec
        faces = self.model.locate(frame.image, [oracle_crop(truth, spec.context, spec.input_size)])
        return Located([(0, face.points) for face in faces], {"landmarks": (perf_counter() - start) * 1000})

    def _detect(self, frame: Frame, truth: Array) -> Located:
        start = perf_counter()
        box = Box.around(truth)
        seen = (expected(found, self.model.markup) for found in self._detector(frame.image))
        best = max(seen, key=lambda found: found.box.iou(box), default=None)
        detected = perf_counter()
        crops = [self.model.crop(best.box, best.angle)] if best and best.box.iou(box) > 0 else []
        faces = self.model.locate(frame.image, crops)
        end = perf_counter()
        spent = {"detect": (detected - start) * 1000, "landmarks": (end - detected) * 1000}
        return Located([(0, face.points) for face in faces], spent)


PEERS: Mapping[str, Mapping[str, str]] = {
    "mediapipe": {
        "oracle": "shown the square about the true face only, in which its own detector looks, as it takes no box",
        "detector": "its own detector in every frame, the face that overlaps the truth most",
        "tracker": "the frames as a video, with its own tracking and smoothing",
    },
    "dlib": {
        "oracle": "the truth's tight square as its box in every frame",
        "detector": "its own frontal detector in every frame, the face that overlaps the truth most",
    },
}
"""The modes of other programs (see ``peers``)."""


def peer(model: str) -> str | None:
    """Which of PEERS ``--model`` names, if any."""
    name, equals, _ = model.partition("=")
    return name if name in PEERS and bool(equals) == (name == "dlib") else None


def modes_of(model: str) -> Mapping[str, str]:
    """The modes that ``--model`` can be run in, and what each means."""
    name = peer(model)
    return PEERS[name] if name else MODES


def _none(image: Any) -> list[Any]:
    """No detector."""
    return []


def open_subject(setting: Setting) -> Subject:
    """What ``--model`` names: a model of ours by name or path, ``mediapipe``, or ``dlib=FILE``. A TrackerError when it
    cannot be had or has no such mode."""
    known = modes_of(setting.model)
    if unknown := [mode for mode in setting.modes if mode not in known]:
        name = Path(setting.model).name
        raise EvaluationError(f"--modes {unknown[0]}: {name} has no such mode; it has {', '.join(known)}")
    if peer(setting.model):
        from evaluation.peers import open_peer

        return open_peer(setting)
    return OwnModel(setting)
