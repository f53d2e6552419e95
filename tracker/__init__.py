"""landmark-tracker: the landmarks of faces in live and recorded video, in real time, on an ordinary computer.

>>> from tracker import Tracker, load_model, load_detector, open_source
>>> with open_source("talk.mp4") as source:
...     tracker = Tracker(load_model("trnet-68"), load_detector("far"))
...     for frame in source:
...         for face in tracker.update(frame).faces:
...             print(frame.time, face.id, face.points[30])
"""

import os
from typing import TYPE_CHECKING, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before anything imports onnxruntime, or it calls home
# As in tracker.sources; OpenCV reads them when it is loaded, and its own limit is gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_WIDTH", str(1 << 14))
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_HEIGHT", str(1 << 14))
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))

from tracker._version import __version__
from tracker.backends import Spec
from tracker.core import Box, Crop, Face, Frame, Result, TrackerError
from tracker.detector import Detection, load_detector
from tracker.markup import AFLW19, CELEBA5, COFW29, IBUG68, MARKUPS, WFLW98, Markup
from tracker.model import LandmarkModel, load_model
from tracker.smoothing import OneEuro
from tracker.tracking import Tracker

if TYPE_CHECKING:
    from tracker.sinks import open_sink
    from tracker.sources import open_source

__all__ = [
    "AFLW19",
    "CELEBA5",
    "COFW29",
    "IBUG68",
    "MARKUPS",
    "WFLW98",
    "Box",
    "Crop",
    "Detection",
    "Face",
    "Frame",
    "LandmarkModel",
    "Markup",
    "OneEuro",
    "Result",
    "Spec",
    "Tracker",
    "TrackerError",
    "__version__",
    "load_detector",
    "load_model",
    "open_sink",
    "open_source",
]


def __getattr__(name: str) -> Any:
    """What opens and writes videos, loaded when it is first asked for: a fifth of the time of ``import tracker`` would
    be libav's, which pictures do not need."""
    if name == "open_source":
        from tracker.sources import open_source

        return open_source
    if name == "open_sink":
        from tracker.sinks import open_sink

        return open_sink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
