"""``python -m tracker``: follow the landmarks of faces in recordings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from tracker._version import __version__
from tracker.backends import Spec
from tracker.batch import InputError, Job, jobs, track
from tracker.core import TrackerError
from tracker.detector import load_detector
from tracker.draw import draw_result
from tracker.markup import Markup
from tracker.model import load_model, model_files
from tracker.sinks import Sink, open_sink
from tracker.smoothing import OneEuro
from tracker.sources import cameras, open_source
from tracker.tracking import Tracker

SUFFIXES = {"csv": ".csv", "video": ".mp4"}


def main(arguments: list[str] | None = None) -> int:
    """The command line; its exit code: 0 when every recording is whole, 2 when one is not or the input is bad."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "models":
            for path in model_files():
                print(_described(load_model(path).spec))
            return 0
        if given.command == "cameras":
            print("\n".join(f"{index}  {name}" for index, name in cameras()) or "no camera found")
            return 0
        return _track(given)
    except TrackerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was written so far is kept in the files named .part", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m tracker", description=__doc__)
    parser.add_argument("--version", action="version", version=f"landmark-tracker {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    tracking = commands.add_parser("track", help="track recordings and write points and annotated videos")
    tracking.add_argument("inputs", nargs="+", metavar="INPUT", help="video file, folder of videos, folder of pictures")
    tracking.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    tracking.add_argument("--format", default="csv", help="any of csv, video, by comma (default: csv)")
    tracking.add_argument(
        "--model", default="trnet-68", help="name of a model (see: models) or a model file (default: trnet-68)"
    )
    tracking.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="what runs the model (default: cpu)")
    tracking.add_argument(
        "--detector",
        default="far",
        help="near (for faces close to a camera), far, mediapipe, or a .onnx file (default: far)",
    )
    tracking.add_argument("--max-faces", type=_count, default=4, metavar="N", help="faces to follow (default: 4)")
    tracking.add_argument("--no-smooth", action="store_true", help="write the points as located, without the filter")
    commands.add_parser("models", help="list the models at hand")
    commands.add_parser("cameras", help="list the cameras at hand")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not a number of faces from 1 to 64")
    return int(text)


def _track(given: argparse.Namespace) -> int:
    formats = given.format.split(",")
    if unknown := [name for name in formats if name not in SUFFIXES]:
        raise InputError(
            f"--format {unknown[0] or given.format}: unknown; use {' or '.join(SUFFIXES)}, or both by comma"
        )
    todo = jobs(given.inputs, given.out)
    model = load_model(given.model, given.device)
    detector = load_detector(given.detector)
    smoother = None if given.no_smooth else OneEuro
    whole = 0
    for job in todo:
        try:
            whole += track_job(job, formats, Tracker(model, detector, given.max_faces, smoother), model.markup)
        except TrackerError as error:
            print(f"error: {error}", file=sys.stderr)
    if len(todo) > 1 and whole < len(todo):
        print(f"{len(todo) - whole} of {len(todo)} recordings are not whole", file=sys.stderr)
    return 0 if whole == len(todo) else 2


def track_job(job: Job, formats: Sequence[str], tracker: Tracker, markup: Markup) -> bool:
    """Track one recording with a progress bar and print its line; whether it was whole."""
    with open_source(job.source) as source, ExitStack() as outputs:
        paths = [job.target.with_name(job.target.name + SUFFIXES[name]) for name in formats]
        draw = partial(draw_result, markup=markup)
        sinks: list[Sink] = [outputs.enter_context(open_sink(path, source, markup.size, draw)) for path in paths]
        with tqdm(total=source.length, desc=job.source.name, unit=" frames", disable=None, leave=False) as progress:
            summary = track(source, tracker, sinks, progress)
    print(f"{job.source}: {summary}")
    if summary.problem:
        print(f"error: {summary.problem}", file=sys.stderr)
    return summary.problem is None


def _described(spec: Spec) -> str:
    size = f"{spec.input_size}x{spec.input_size}"
    return (
        f"{spec.name}  {spec.network}, {spec.points.size} points, input {size}, version {spec.version}; {spec.licence}"
    )


if __name__ == "__main__":
    sys.exit(main())
