"""Real files, made here. A picture carries its number as black and white blocks, which survive coding."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

BITS = 6


def picture(number: int, width: int = 96, height: int = 64) -> Any:
    """RGB: the number in the upper half, the lowest bit on the left; something hard to compress in the lower."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        image[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255 * (number >> bit & 1)
    image[height // 2 :] = np.random.default_rng(number).integers(0, 256, (height - height // 2, width, 3))
    return image


def number_in(image: Any) -> int:
    height, width = image.shape[:2]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(
        int(image[height // 8 : height // 3, x - 3 : x + 4].mean() > 128) << bit for bit, x in enumerate(middles)
    )


def encode(
    path: Path,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    rate: int = 10,
    times: Sequence[Fraction] | int = 30,
    sound: str | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """A video of numbered pictures at ``times`` in seconds, or of so many at the rate, with a tone if ``sound``."""
    with av.open(str(path), "w", options=container or {}) as output:
        stream: Any = output.add_stream(codec, rate, options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        tone: Any = output.add_stream(sound, 44100, layout="mono") if sound else None
        if not isinstance(times, int):
            stream.codec_context.time_base = Fraction(1, 90000)
        for number in range(times if isinstance(times, int) else len(times)):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            if not isinstance(times, int):
                frame.pts, frame.time_base = int(times[number] * 90000), Fraction(1, 90000)
            output.mux(stream.encode(frame))
            if tone:
                output.mux(tone.encode(tone_piece(number, 44100 // rate, tone.codec_context.format.name)))
        output.mux(stream.encode(None))
        if tone:
            output.mux(tone.encode(None))
    return path


def tone_piece(number: int, samples: int, kind: str) -> av.AudioFrame:
    wave = np.sin(np.arange(number * samples, (number + 1) * samples) * (440 * 2 * np.pi / 44100)) * 0.3
    full, numbers = {"flt": (1, np.float32), "s16": (2**15, np.int16), "s32": (2**31, np.int32)}[kind.rstrip("p")]
    piece = av.AudioFrame.from_ndarray((wave * full).astype(numbers)[None], format=kind, layout="mono")
    piece.sample_rate, piece.pts = 44100, number * samples
    return piece


STEPS = [Fraction(3, 2) + Fraction(number * number, 250) for number in range(25)]  # ever slower, from 1.5 s
LATE = [Fraction(3, 2) + Fraction(number, 10) for number in range(25)]


def png(image: Any) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def folder_of(path: Path, images: dict[str, bytes]) -> Path:
    path.mkdir(exist_ok=True)
    for name, data in images.items():
        (path / name).write_bytes(data)
    return path
