"""Clips whose motion is known: a virtual camera over scikit-image's portrait of an astronaut (NASA, public domain)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tracker.core import Crop, Image
from tracker.sources import SourceError

WIDTH, HEIGHT, RATE, FRAMES = 640, 480, 30, 300
FACE = (222.0, 120.0)
"""Middle of the astronaut's face in the portrait, in pixels."""


def camera(number: int) -> Crop:
    """Where the virtual camera looks in frame ``number``: a square of WIDTH pixels about its picture."""
    turn = 2 * math.pi * number / FRAMES
    cx = FACE[0] + 40 * math.sin(2 * turn)
    cy = FACE[1] + 15 + 15 * math.sin(3 * turn)
    side = 260 * math.exp(0.3 * math.sin(turn - 1))
    return Crop(cx, cy, side, WIDTH, math.radians(22) * math.sin(2 * turn + 1))


def picture(portrait: Image, number: int) -> Image:
    """Frame ``number`` (HEIGHT, WIDTH, 3) of the clip."""
    matrix = camera(number).matrix
    matrix[1, 2] -= (WIDTH - HEIGHT) / 2
    return cv2.warpAffine(  # type: ignore[return-value]
        portrait, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def portrait() -> Image:
    """scikit-image's portrait (512, 512, 3). SourceError where the package is not installed."""
    try:
        from skimage.data import astronaut
    except ImportError as error:
        remedy = "pip install 'landmark-tracker[demo]', or give a video"
        raise SourceError(f"the demonstration needs scikit-image's portrait; {remedy}") from error
    return np.ascontiguousarray(astronaut())


def write_clip(path: Path, frames: int = FRAMES) -> None:
    """The first frames of ten seconds over the portrait, as H.264."""
    still = portrait()
    encode(path, (picture(still, number) for number in range(frames)))


def encode(path: Path, pictures: Iterable[Image]) -> None:
    """Write pictures of one size, with even sides, as H.264 of RATE frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(RATE), {"crf": "16", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for image in pictures:
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
