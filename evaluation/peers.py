"""Other programs through the same loop, so that "more exact" is a measured word. Each needs its own package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from evaluation.subject import EvaluationError, Locate, Located, Setting, Subject
from tracker.core import Array, Box, Crop, Frame, Image, Points
from tracker.detector import quiet
from tracker.files import sha256
from tracker.markup import IBUG68

MESH_68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
"""The vertices of MediaPipe's face mesh that people commonly take for the 68 points. The mesh means other places by
some of them (the contour above all), so that this costs it accuracy that a map learnt for the purpose would not."""

MESH_CONTEXT = 2.0
"""Side of the square that MediaPipe is shown in mode oracle, in sides of the truth's box; its own detector looks in it,
as it takes no box."""

MESH_SIZE = 512
"""Pixels of that square."""


class MediaPipe:
    """MediaPipe's face mesh 0.10.21 with its refined eyes and lips, mapped to 68 points by MESH_68."""

    markup, offset = IBUG68, (0.0, 0.0)

    def __init__(self) -> None:
        try:
            from mediapipe.python.solutions.face_mesh import FaceMesh
        except ImportError as error:
            remedy = "it exists for Python 3.10 to 3.12; pip install 'mediapipe==0.10.21'"
            raise EvaluationError(f"--model mediapipe: not installed; {remedy}") from error
        self._make = FaceMesh
        self._still: Any = None

    def identity(self) -> dict[str, Any]:
        return {"model": "mediapipe", "map": list(MESH_68), "version": metadata.version("mediapipe")}

    def _made(self, still: bool) -> Any:
        with quiet():
            mesh = self._make(static_image_mode=still, max_num_faces=4, refine_landmarks=True)
            mesh.process(np.zeros((64, 64, 3), np.uint8))  # the first call logs and takes its time
        return mesh

    def start(self, mode: str) -> Locate:
        if mode == "tracker":
            mesh = self._made(still=False)
        else:
            mesh = self._still = self._still or self._made(still=True)

        def locate(frame: Frame, truth: Array) -> Located:
            start = perf_counter()
            if mode == "oracle":
                crop = Crop.around(truth, MESH_CONTEXT, MESH_SIZE)
                faces = [crop.to_frame(points).astype(np.float32) for points in _mesh(mesh, crop.cut(frame.image))]
            else:
                faces = _mesh(mesh, frame.image)
            spent = (perf_counter() - start) * 1000
            # it numbers faces by their place in its list, which is no identity: the nearest to the truth is scored
            return Located([(0, face) for face in _nearest(faces, truth)], {"landmarks": spent})

        return locate


def _mesh(mesh: Any, image: Image) -> list[Points]:
    """The 68 points (68, 2) of every face, in pixels of ``image``."""
    size = np.array([image.shape[1], image.shape[0]], np.float32)
    with quiet():
        found = mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
    return [
        np.array([[face.landmark[i].x, face.landmark[i].y] for i in MESH_68], np.float32) * size - np.float32(0.5)
        for face in found
    ]


class Dlib:
    """dlib's shape predictor for 68 points. Not run yet: dlib was not at hand."""

    markup, offset = IBUG68, (0.0, 0.0)

    def __init__(self, path: Path) -> None:
        try:
            import dlib
        except ImportError as error:
            raise EvaluationError("--model dlib: dlib is not installed; pip install dlib") from error
        if not path.is_file():
            raise EvaluationError(f"--model dlib={path}: no such file; give a shape predictor for 68 points")
        try:
            self._predictor = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise EvaluationError(f"{path}: not a shape predictor of dlib; download it again") from error
        self._path, self._dlib, self._detector = path, dlib, dlib.get_frontal_face_detector()

    def identity(self) -> dict[str, Any]:
        version = metadata.version("dlib")
        return {"model": f"dlib {self._path.name}", "sha256": sha256(self._path), "version": version}

    def start(self, mode: str) -> Locate:
        def locate(frame: Frame, truth: Array) -> Located:
            start = perf_counter()
            if mode == "oracle":
                square = Crop.around(truth, 1.0, 1)
                reach = square.side / 2
                corners = (square.cx - reach, square.cy - reach, square.cx + reach, square.cy + reach)
                boxes = [self._dlib.rectangle(*(round(value) for value in corners))]
            else:
                boxes = list(self._detector(frame.image, 0))
            faces = []
            for box in boxes:
                shape = self._predictor(frame.image, box)
                if shape.num_parts != IBUG68.size:
                    raise EvaluationError(f"{self._path}: gives {shape.num_parts} points; a predictor for 68 is needed")
                faces.append(np.array([[part.x, part.y] for part in shape.parts()], np.float32))
            spent = (perf_counter() - start) * 1000
            return Located([(0, face) for face in _nearest(faces, truth)], {"landmarks": spent})

        return locate


def _nearest(faces: list[Points], truth: Array) -> list[Points]:
    """The face whose box overlaps the truth's most, if there is one."""
    box = Box.around(truth)
    best = max(faces, key=lambda face: Box.around(face).iou(box), default=None)
    return [best] if best is not None and Box.around(best).iou(box) > 0 else []


def open_peer(setting: Setting) -> Subject:
    """The peer that ``--model`` names. EvaluationError when its package or file is not there."""
    name, _, path = setting.model.partition("=")
    return MediaPipe() if name == "mediapipe" else Dlib(Path(path))
