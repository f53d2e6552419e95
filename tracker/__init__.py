"""landmark-tracker: the landmarks of faces in live and recorded video, in real time, on an ordinary computer.

>>> from tracker import Tracker, load_model, load_detector, open_source
>>> with open_source("talk.mp4") as source:
...     tracker = Tracker(load_model("trnet-68"), load_detector("far"))
...     for frame in source:
...         for face in tracker.update(frame).faces:
...             print(frame.time, face.id, face.points[30])
"""

import os

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
from tracker.sinks import open_sink
from tracker.smoothing import OneEuro
from tracker.sources import open_source
from tracker.tracking import Tracker

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
