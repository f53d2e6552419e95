"""Clips made from annotated photos, in the layout of 300VW: real pixels under a camera whose motion is known.

A camera pans, zooms and rolls smoothly over a photo; what it sees is blurred by that motion, lit by changing light,
given a sensor's noise and compressed. By kind, clips are steady, shaky, have something slide over the face, or let the
face leave the picture and come back. The truth of every frame is the photo's own labels moved by the camera.

Photos of 300-W are often cut close. Around them lies their own border, so coarse that no second face appears in it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluation.command import Parser
from evaluation.subject import EvaluationError
from tracker.annotations import Annotation, read_pts
from tracker.core import Crop, Image, Points, TrackerError
from tracker.datasets import HOW_300W, PARTS_300W, LabelledPicture, beside, in_validation, read_picture

RATE = 30
KINDS = ("steady", "shaky", "occluded", "leaves")
CODECS: dict[str, dict[str, Any]] = {
    "libx264": {"pixels": "yuv420p", "options": {"crf": "23", "preset": "veryfast", "bf": "0"}},
    "mjpeg": {"pixels": "yuvj420p", "options": {"qscale": "5"}},
}
FACE = 0.3
"""Side of the face's square in heights of the frame, before zoom."""

SHUTTER = 0.5
"""Share of the time between two frames in which the shutter is open."""

TURN = 0.6
"""Seconds that the camera takes to turn away from a face, and to turn back."""

Matrix = npt.NDArray[np.float64]
"""(2, 3): pixels of the photo to pixels of the frame."""


@dataclass(frozen=True, eq=False)
class Motion:
    """The camera of one clip and what happens before it, as functions of time in seconds."""

    points: Points
    size: tuple[int, int]
    duration: float
    kind: str
    pan: tuple[Callable[[float], float], Callable[[float], float]]
    zoom: Callable[[float], float]
    roll: Callable[[float], float]
    light: Callable[[float], float]
    away: float

    def matrix(self, time: float) -> Matrix:
        """Where the photo lies in the frame."""
        width, height = self.size
        face = Crop.around(self.points, 1.0, 1)
        scale = FACE * height / face.side * math.exp(0.3 * self.zoom(time))
        angle = math.radians(15) * self.roll(time)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        side = scale * face.side
        x = width / 2 + 0.35 * side * self.pan[0](time) + self.shift(time) * (width / 2 + 1.2 * side)
        y = height / 2 + 0.3 * side * self.pan[1](time)
        return np.array([[cos, -sin, x - cos * face.cx + sin * face.cy], [sin, cos, y - sin * face.cx - cos * face.cy]])

    def shift(self, time: float) -> float:
        """How far the camera has turned away, from 0 to ``away``, which is -1 or 1: in the middle of a clip of the
        kind leaves."""
        if self.kind != "leaves":
            return 0.0
        out, back = 0.35 * self.duration, 0.65 * self.duration
        return self.away * (_step((time - out) / TURN) - _step((time - back) / TURN))

    def cover(self, time: float) -> tuple[float, float]:
        """Middle of what slides over the face, in face sides from the face's: from one side to the other and back."""
        return 1.5 * math.cos(2 * math.pi * time / self.duration), 0.25 * math.sin(2 * math.pi * time / self.duration)

    def truth(self, time: float) -> npt.NDArray[np.float64]:
        """The points (P, 2) in pixels of the frame."""
        matrix = self.matrix(time)
        return self.points @ matrix[:, :2].T + matrix[:, 2]

    def absent(self, time: float) -> bool:
        """Whether fewer than half of the points lie in the frame."""
        x, y = self.truth(time).T
        width, height = self.size
        return bool(np.mean((x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)) < 0.5)


def _step(share: float) -> float:
    """From 0 to 1 without a jump in speed."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def wander(rng: np.random.Generator, slowest: float, fastest: float) -> Callable[[float], float]:
    """A smooth random function of time in seconds, about -1 to 1, made of frequencies between two in Hz."""
    frequencies, phases = rng.uniform(slowest, fastest, 3), rng.uniform(0, 2 * math.pi, 3)
    return lambda time: float(np.sin(2 * math.pi * frequencies * time + phases).sum() / 2)


def motion_of(points: Points, kind: str, size: tuple[int, int], duration: float, rng: np.random.Generator) -> Motion:
    """A random camera for a photo with these points (P, 2)."""

    def path() -> Callable[[float], float]:
        slow, fast = wander(rng, 0.1, 0.5), wander(rng, 1.5, 3.5)
        return (lambda time: slow(time) + 0.2 * fast(time)) if kind == "shaky" else slow

    pan, zoom, roll, light = (path(), path()), wander(rng, 0.1, 0.4), path(), wander(rng, 0.2, 1.0)
    return Motion(points, size, duration, kind, pan, zoom, roll, light, float(rng.choice([-1, 1])))


def frames(photo: Image, motion: Motion, count: int, rng: np.random.Generator) -> Iterator[Image]:
    """The pictures (H, W, 3) of a clip."""
    canvas, start = surrounded(photo)
    patch = _patch(photo, motion.points)
    ramp = np.linspace(-1, 1, motion.size[0], dtype=np.float32)[None, :, None]
    sigma, slant = rng.uniform(1.5, 5.0), rng.uniform(-0.25, 0.25)
    for number in range(count):
        time = number / RATE
        image = _exposed(canvas, start, patch, motion, time)
        level = motion.light(time)
        image = 255 * (image / 255) ** math.exp(0.2 * level) * (math.exp(0.2 * level) * (1 + slant * ramp))
        image += rng.standard_normal(image.shape, np.float32) * (sigma * np.sqrt(0.3 + np.maximum(image, 0) / 255))
        yield np.clip(image, 0, 255).astype(np.uint8)


def surrounded(photo: Image) -> tuple[Image, tuple[int, int]]:
    """The photo within its own border, so coarse that no second face appears there, and where its first pixel lies."""
    height, width = photo.shape[:2]
    coarse = cv2.resize(photo, (6, 6), interpolation=cv2.INTER_AREA)
    coarse = cv2.copyMakeBorder(coarse, 6, 6, 6, 6, cv2.BORDER_REFLECT)
    canvas: Any = cv2.resize(
        cv2.GaussianBlur(coarse, (5, 5), 1.0), (3 * width, 3 * height), interpolation=cv2.INTER_CUBIC
    )
    rim = max(2, min(width, height) // 16)
    inside = np.zeros((height, width), np.float32)
    inside[rim:-rim, rim:-rim] = 1
    weight = cv2.blur(inside, (2 * rim - 1, 2 * rim - 1))[:, :, None]
    part = canvas[height : 2 * height, width : 2 * width]
    part[:] = np.rint(weight * photo + (1 - weight) * part)
    return canvas, (width, height)


def _patch(photo: Image, points: Points) -> Image:
    """What slides over the face: the photo's upper left corner, darkened, half as wide as the face."""
    side = max(8, round(Crop.around(points, 0.5, 1).side))
    corner = photo[: max(8, photo.shape[0] // 4), : max(8, photo.shape[1] // 4)]
    return (cv2.resize(corner, (side, round(1.4 * side))) * 0.7).astype(np.uint8)


def _exposed(
    canvas: Image, start: tuple[int, int], patch: Image, motion: Motion, time: float
) -> npt.NDArray[np.float32]:
    """What falls on the sensor while the shutter is open: the mean of as many views as the points move pixels."""
    opened = [time + share * SHUTTER / RATE for share in (-0.5, 0.5)]
    travel = np.linalg.norm(motion.truth(opened[1]) - motion.truth(opened[0]), axis=1).max()
    count = int(np.clip(math.ceil(travel), 1, 12))
    total = np.zeros((motion.size[1], motion.size[0], 3), np.float32)
    for share in (np.arange(count) + 0.5) / count:
        moment = opened[0] + float(share) * (opened[1] - opened[0])
        matrix = motion.matrix(moment)
        shifted = matrix.copy()
        shifted[:, 2] -= matrix[:, :2] @ start
        view: Any = cv2.warpAffine(
            canvas, shifted, motion.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        if motion.kind == "occluded":
            face = Crop.around(motion.points, 1.0, 1)
            dx, dy = motion.cover(moment)
            corner = (face.cx + dx * face.side - patch.shape[1] / 2, face.cy + dy * face.side - patch.shape[0] / 2)
            placed = matrix.copy()
            placed[:, 2] += matrix[:, :2] @ corner
            cv2.warpAffine(patch, placed, motion.size, dst=view, borderMode=cv2.BORDER_TRANSPARENT)
        total += view
    return (total / count).astype(np.float32)


def write_clip(
    folder: Path,
    picture: LabelledPicture,
    kind: str,
    codec: str,
    count: int,
    size: tuple[int, int],
    seed: Sequence[int],
) -> None:
    """One clip in the layout of 300VW, with ``clip.json`` on how it was made; one that is there already is kept.

    A TrackerError when the photo or its labels cannot be read.
    """
    rng = np.random.default_rng(list(seed))
    motion = motion_of(picture.label.points, kind, size, count / RATE, rng)
    absent = [number + 1 for number in range(count) if motion.absent(number / RATE)]
    about = {
        "photo": picture.name,
        "kind": kind,
        "codec": codec,
        "frames": count,
        "size": list(size),
        "seed": list(seed),
        "absent": ",".join(str(number) for number in absent),
    }
    stamp = folder / "clip.json"
    if stamp.exists() and stamp.read_text(encoding="utf-8", errors="replace") == json.dumps(about):
        return
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not stamp.exists()):
        raise EvaluationError(
            f"{folder}: is there already, and no clip that was made here; give another --out or --ids"
        )
    making = folder.with_name(folder.name + ".part")
    shutil.rmtree(making, ignore_errors=True)
    (making / "annot").mkdir(parents=True)
    how = CODECS[codec]
    with av.open(str(making / "vid.avi"), "w") as container:
        stream: Any = container.add_stream(codec, Fraction(RATE), how["options"])
        stream.width, stream.height, stream.pix_fmt = *size, how["pixels"]
        for number, image in enumerate(frames(picture.load(), motion, count, rng)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in motion.truth(number / RATE) + 1)
            text = f"version: 1\nn_points: {len(motion.points)}\n{{\n{rows}\n}}\n"
            (making / "annot" / f"{number + 1:06d}.pts").write_text(text)
        container.mux(stream.encode(None))
    (making / "clip.json").write_text(json.dumps(about))
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)


def _unseen(parts: Sequence[str]) -> bool:
    """Whether a path leads to one of the validation faces of 300-W, whatever folder of the set, or about it, was
    given."""
    folders = {folder.partition("/")[0] for folder in PARTS_300W["train"]}
    starts = [place for place, part in enumerate(parts[:-1]) if part in folders]
    return bool(starts) and "testset" not in parts and in_validation("/".join(parts[starts[-1] :]))


def photos(root: Path, every_face: bool) -> list[LabelledPicture]:
    """The annotated photos of a folder, in any depth: of 300-W the project's validation faces only, unless
    ``every_face``, as the others were trained on. EvaluationError when there is none."""
    paths = {
        str(path.relative_to(root).with_suffix("")).replace("\\", "/"): path for path in sorted(root.rglob("*.pts"))
    }
    if not paths:
        raise EvaluationError(f"{root}: no .pts files beside photos in it; {HOW_300W}, or give a folder of your own")
    unseen = {name: path for name, path in paths.items() if _unseen(path.resolve().with_suffix("").parts)}
    chosen = paths if every_face or not unseen else unseen
    return [
        LabelledPicture(name, Annotation(name, read_pts(path)), partial(read_picture, file), file)
        for name, path, file in ((name, path, beside(path)) for name, path in chosen.items())
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    options = Parser(prog="python -m evaluation.motion", description=__doc__)
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="photos with .pts files beside them")
    options.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the clips")
    options.add_argument("--clips", type=int, default=24, metavar="N", help="how many (24)")
    options.add_argument("--frames", type=int, default=150, metavar="N", help="of each (150, at 30 a second)")
    options.add_argument("--ids", metavar="ID,ID", help="names of the clips, in place of m001 ...")
    options.add_argument("--size", default="640x480", help="of the frames (640x480)")
    options.add_argument("--seed", type=int, default=0, help="another number makes other clips (0)")
    options.add_argument("--all-faces", action="store_true", help="also photos of 300-W that models were trained on")
    given = options.parse_args(arguments)
    try:
        width, _, height = given.size.partition("x")
        size = (int(width), int(height)) if width.isdecimal() and height.isdecimal() else (0, 0)
        if min(size) < 64 or size[0] % 2 or size[1] % 2 or given.frames < 1 or given.clips < 1:
            raise EvaluationError("--size is two even numbers from 64, as 640x480; --frames and --clips are 1 or more")
        if given.seed < 0:
            raise EvaluationError(f"--seed {given.seed}: give a number from 0")
        found = photos(given.data, given.all_faces)
        ids = given.ids.split(",") if given.ids else [f"m{number + 1:03d}" for number in range(given.clips)]
        if len(set(ids)) < len(ids) or any(not re.fullmatch(r"\w[\w.-]*", name) for name in ids):
            raise EvaluationError(f"--ids {given.ids}: give different names of letters and digits, by comma")
        order = np.random.default_rng(given.seed).permutation(len(found))
        with tqdm(total=len(ids) * given.frames, unit=" frames", disable=None) as progress:
            for index, name in enumerate(ids):
                codec = list(CODECS)[index // len(KINDS) % len(CODECS)]
                photo = found[order[index % len(found)]]
                kind = KINDS[index % len(KINDS)]
                write_clip(given.out / name, photo, kind, codec, given.frames, size, (given.seed, index))
                progress.update(given.frames)
    except TrackerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {given.out}: cannot be written ({error.strerror}); give another --out", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command makes the clips that are missing", file=sys.stderr)
        return 130
    print(f"{len(ids)} clips in {given.out}; python -m evaluation.300vw --data {given.out} --videos every")
    return 0


if __name__ == "__main__":
    sys.exit(main())
