"""The demonstration: ``python -m tracker.demo [FILE]``.

Without a file a virtual camera moves over scikit-image's portrait of an astronaut (NASA, public domain), so that the
true motion of the face is known and the tracked one can be held against it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tracker.__main__ import show
from tracker.batch import Summary, run
from tracker.core import TrackerError
from tracker.jobs import InputError, Job
from tracker.markup import IBUG68
from tracker.metrics import inter_ocular
from tracker.portrait import FRAMES, HEIGHT, WIDTH, camera, write_clip
from tracker.recording import Settings
from tracker.sources import open_source


def tracked_points(path: Path) -> dict[int, npt.NDArray[np.float64]]:
    """Points (68, 2) of the first face by frame number, counted from 0, from a CSV of the tracker. InputError when it
    is none."""
    points: dict[int, npt.NDArray[np.float64]] = {}
    try:
        with path.open(newline="", encoding="ascii") as file:
            for row in csv.DictReader(file):
                if row["success"] == "1":
                    places = [[float(row[f"x_{i}"]), float(row[f"y_{i}"])] for i in range(IBUG68.size)]
                    points.setdefault(int(row["frame"]) - 1, np.array(places))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of the tracker; make it again") from error
    return points


def motion_error(points: dict[int, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """How far the tracked motion is from the known one in each found frame, as a share of the eye distance.

    Taken back through the known motion, the points of every frame should fall on the same places of the portrait;
    the error is their mean distance from where they lie on average.
    """
    shift = np.array([0, (WIDTH - HEIGHT) / 2])
    still = np.stack([camera(number).to_frame(place + shift) for number, place in points.items()])
    usual = np.median(still, axis=0)
    distance: npt.NDArray[np.float64] = np.linalg.norm(still - usual, axis=-1).mean(-1) / inter_ocular(usual, IBUG68)
    return distance


def contact_sheet(video: Path, path: Path, columns: int = 4, rows: int = 2) -> None:
    """A picture of evenly spaced frames of ``video``."""
    with open_source(video) as source:
        wanted = np.linspace(0, (source.length or 1) - 1, columns * rows).astype(int)
        frames = [frame.image for frame in source if frame.index in wanted]
    small = [cv2.resize(frame, (320, round(320 * frame.shape[0] / frame.shape[1]))) for frame in frames]
    small += [np.zeros_like(small[0])] * (columns * rows - len(small))
    sheet = np.vstack([np.hstack(small[row * columns : (row + 1) * columns]) for row in range(rows)])
    path.write_bytes(cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def main(arguments: list[str]) -> int:
    """Track the clip, or the user's video, into ``out/demo.csv`` and ``out/demo.mp4``."""
    out = Path("out")
    try:
        if len(arguments) > 1:
            raise InputError("the demonstration takes one video at most; for several: python -m tracker track")
        clip = Path(arguments[0]) if arguments else out / "clip" / "astronaut.mp4"
        if not arguments:
            write_clip(clip)
        elif not clip.is_file():
            raise InputError(f"{clip}: there is no such file")
        job = Job(clip, out / "demo")
        summary = Summary([job])
        show(run([job], Settings(formats=("csv", "video"))), summary)
        if "outputs" not in summary.records[job]:
            return 2
        (video,) = (out / output["file"] for output in summary.records[job]["outputs"] if output["format"] == "video")
        contact_sheet(video, out / "demo.jpg")
        if not arguments:
            points = tracked_points(out / "demo.csv")
            print(f"found in {len(points)} of {FRAMES} frames")
            if points:
                error = motion_error(points) * 100
                print(
                    f"tracked against known motion: {error.mean():.2f} % of the eye distance on average, "
                    f"{np.percentile(error, 95):.2f} % in the worst twentieth of frames"
                )
        print(f"watch {video}, read {out / 'demo.csv'}, look at {out / 'demo.jpg'}")
        return 0 if summary.whole else 2
    except TrackerError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"error: {problem.filename or out}: {problem.strerror}; start it in another folder", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
