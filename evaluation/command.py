"""What the protocols' commands share: their options, the run over all parts, and the reports at its end."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import cv2
from tqdm import tqdm

from evaluation.compare import compare
from evaluation.figures import Measure
from evaluation.metrics import POLICIES
from evaluation.protocol import Clip, Part, PictureClip, run_part
from evaluation.record import Record
from evaluation.report import Run, write_report
from evaluation.subject import MODES, EvaluationError, Setting, Subject, modes_of, open_subject
from tracker._version import __version__
from tracker.core import TrackerError
from tracker.cores import set_threads
from tracker.datasets import KEPT_TOO, LabelledPicture

PICTURES_IN_A_PART = 100
"""Pictures that are run in one go; after each such part a stopped run can go on."""

STILL_MODES = ("oracle", "detector")
"""What a set of pictures is measured in, unless --modes says otherwise."""

NAMED = 10
"""Clips that failed which a heading names; of more it says how many."""


@dataclass(frozen=True)
class Benchmark:
    """A set that is ready to be run: ``name`` for headings; ``key`` and ``part`` of ``published``; how it is measured;
    its ``parts``; ``total`` frames or faces that count in the protocol, by which a run is partial, 0 where there is
    none; ``known`` frames of each clip in the protocol; ``notes`` on what is peculiar to it; ``partial`` says why a
    part of it is run."""

    name: str
    key: str
    part: str
    measure: Measure
    parts: Sequence[Part]
    total: int
    unit: str = "faces"
    known: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; {self.prog} --help says more\n")


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that all protocols have; ``name`` is that of the module and of the set's folder."""
    found = Parser(prog=f"python -m evaluation.{name}", description=description)
    found.add_argument(
        "--data", type=Path, metavar="DIR", help=f"folder of the set, or one that holds it as {name} ($LANDMARK_DATA)"
    )
    found.add_argument(
        "--model", default="trnet-68", help="a model by name or file, mediapipe, or dlib=FILE (trnet-68)"
    )
    found.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="what runs the model (cpu)")
    found.add_argument("--detector", default="far", help="the detector's setting (far)")
    found.add_argument("--modes", metavar="MODE,MODE", help=f"any of {', '.join(MODES)}, by comma")
    found.add_argument("--missing", choices=POLICIES, default="infinite", help="what a missed face counts (infinite)")
    found.add_argument("--out", type=Path, metavar="DIR", help=f"folder for the report (out/{name})")
    found.add_argument("--jobs", type=_count, default=1, metavar="N", help="processes (1)")
    found.add_argument("--resume", action="store_true", help="go on with what a stopped run has left in --out")
    found.add_argument("--save-points", action="store_true", help="write all predicted points as npz")
    found.add_argument("--zero-based", action="store_true", help="the .pts files count from 0, not from 1 as published")
    found.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A.json", "B.json"), help="only set two reports side by side"
    )
    found.set_defaults(name=name)
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text} is not a number of processes from 1 to 256")
    return int(text)


def main(
    options: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    benchmark: Callable[[argparse.Namespace], Benchmark],
    modes: Sequence[str] = STILL_MODES,
) -> int:
    """Run a command; its exit code: 0, or 1 when a clip failed, 2 for bad input, 130 when stopped."""
    given = options.parse_args(arguments)
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "-m", f"evaluation.{given.name}", *words])
    try:
        if given.compare:
            print(compare(*given.compare))
            return 0
        return _evaluate(given, benchmark, modes, command)
    except TrackerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on from here", file=sys.stderr)
        return 130


def data_folder(given: argparse.Namespace) -> Path:
    """The folder of the set: --data or one named like the set in it."""
    root: Path = given.data or Path(os.environ.get("LANDMARK_DATA") or "data")
    return root / given.name if (root / given.name).is_dir() else root


def picture_parts(pictures: Sequence[tuple[LabelledPicture, tuple[str, ...]]]) -> list[Part]:
    """Pictures, each with the categories it counts in, as parts."""
    clips: list[Clip] = [PictureClip(picture, categories) for picture, categories in pictures]
    groups = [clips[start : start + PICTURES_IN_A_PART] for start in range(0, len(clips), PICTURES_IN_A_PART)]
    return [Part(f"{index:04d}", group, len(group)) for index, group in enumerate(groups)]


def _evaluate(
    given: argparse.Namespace,
    benchmark: Callable[[argparse.Namespace], Benchmark],
    default: Sequence[str],
    command: str,
) -> int:
    known = modes_of(given.model)
    modes = given.modes.split(",") if given.modes else [mode for mode in default if mode in known]
    setting = Setting(given.model, given.device, given.detector, tuple(dict.fromkeys(modes)))
    subject = open_subject(setting)
    what = benchmark(given)
    if subject.markup is not what.measure.markup:
        raise EvaluationError(
            f"--model {given.model}: has the points of {subject.markup.name}, {what.name} those of "
            f"{what.measure.markup.name}; give a model trained on them"
        )
    out: Path = given.out or Path("out") / given.name
    identity = subject.identity()
    folder = _prepared(out, given, what, identity, setting)
    start = perf_counter()
    failed = _run(what, subject, setting, folder, given.jobs)
    seconds = perf_counter() - start
    for problem in dict.fromkeys(failed.values()):
        print(f"error: {problem}", file=sys.stderr)
    if all(clip.name in failed for part in what.parts for clip in part.clips):
        return 1
    records = [Record.load(folder / _file(part, failed)) for part in what.parts]
    named = {mode: known[mode] for mode in setting.modes}
    run = Run(what.name, what.key, what.part, what.measure, identity, subject.offset, named)
    notes = [*what.notes, f".pts files are taken to count from {0 if given.zero_based else 1}"]
    if KEPT_TOO in identity.get("spec", {}).get("data", ()):
        notes.append(f"the model was trained on {KEPT_TOO}")
    text = write_report(
        out,
        run,
        records,
        partial=_partial(what, records, failed),
        notes=notes,
        failed=failed,
        timing={"seconds": seconds, "jobs": given.jobs},
        command=command,
        save_points=given.save_points,
    )
    print(text)
    return 1 if failed else 0


def _prepared(
    out: Path, given: argparse.Namespace, what: Benchmark, identity: dict[str, Any], setting: Setting
) -> Path:
    """The folder for the parts' records, empty, or with those of the run that is gone on with."""
    folder, stamp = out / "parts", out / "run.json"
    settings = json.dumps(
        {
            "set": what.name,
            "subject": identity,
            "modes": setting.modes,
            "one_based": not given.zero_based,
            "version": __version__,
        }
    )
    try:
        if given.resume and stamp.exists():
            if stamp.read_text(encoding="utf-8", errors="replace") != settings:
                raise EvaluationError(
                    f"{out}: holds a run with other settings or weights; leave --resume away, or give another --out"
                )
        else:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        stamp.write_text(settings)
    except OSError as error:
        raise EvaluationError(f"{out}: cannot be written ({error.strerror}); give another --out") from error
    return folder


def _run(what: Benchmark, subject: Subject, setting: Setting, folder: Path, jobs: int) -> dict[str, str]:
    """Run the parts whose record is not there yet; the problems of the clips that failed, by their names."""
    todo = [part for part in what.parts if not (folder / part.file).exists()]
    failed: dict[str, str] = {}
    unit = " frames" if what.unit == "frames" else " faces"
    with tqdm(total=sum(part.frames for part in what.parts), unit=unit, disable=None, smoothing=0.05) as progress:
        progress.update(sum(part.frames for part in what.parts) - sum(part.frames for part in todo))
        done = _here(todo, subject, setting, folder, progress) if jobs == 1 else _spread(todo, setting, folder, jobs)
        for part, problems in done:
            failed |= problems
            if jobs > 1:
                progress.update(part.frames)
    return {clip.name: failed[clip.name] for part in what.parts for clip in part.clips if clip.name in failed}


def _file(part: Part, failed: Container[str]) -> str:
    """The name of a part's record, when clips of these names failed."""
    return part.rest if any(clip.name in failed for clip in part.clips) else part.file


def _here(
    parts: Sequence[Part], subject: Subject, setting: Setting, folder: Path, progress: Any
) -> Iterator[tuple[Part, dict[str, str]]]:
    for part in parts:
        yield part, _attempt(part, subject, setting.modes, folder, progress)


def _attempt(part: Part, subject: Subject, modes: Sequence[str], folder: Path, progress: Any = None) -> dict[str, str]:
    """Run a part and keep its record; the problems of the clips that failed, by their names."""
    record, failed = run_part(part, subject, modes, progress)
    try:
        record.save(folder / _file(part, failed))
    except OSError as error:
        raise EvaluationError(f"{folder}: cannot be written ({error.strerror}); make room, then --resume") from error
    return failed


_subject: tuple[Subject, Setting, Path] | None = None
"""What a process of its own runs parts with."""


def _begin(setting: Setting, folder: Path) -> None:
    global _subject
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    set_threads(1)
    _subject = open_subject(setting), setting, folder


def _in_process(part: Part) -> dict[str, str]:
    assert _subject is not None
    subject, setting, folder = _subject
    return _attempt(part, subject, setting.modes, folder)


def _spread(parts: Sequence[Part], setting: Setting, folder: Path, jobs: int) -> Iterator[tuple[Part, dict[str, str]]]:
    """Run parts in processes of their own, the longest first."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, max(len(parts), 1)), context, _begin, (setting, folder))
    try:
        ordered = sorted(parts, key=lambda part: -part.frames)
        running: dict[Future[dict[str, str]], Part] = {pool.submit(_in_process, part): part for part in ordered}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise EvaluationError("a process of --jobs ended at once; use fewer, then go on with --resume") from error
    finally:
        for process in multiprocessing.active_children():
            process.terminate()


def _partial(what: Benchmark, records: Sequence[Record], failed: Mapping[str, str]) -> list[str]:
    """Why a run is not the whole protocol; empty when it is."""
    reasons = list(what.partial)
    if failed:
        more = f" and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
        reasons.append(f"failed: {', '.join(list(failed)[:NAMED])}{more}")
    for record in records:
        for index, name in enumerate(record.clips):
            frames = int((record.clip == index).sum())
            if frames != what.known.get(name, frames):
                reasons.append(f"{name} has {frames:,} of {what.known[name]:,} frames")
    scored = sum(int((~record.left_out & ~record.absent).sum()) for record in records)
    if what.total and (scored != what.total or reasons):
        reasons.insert(0, f"{scored:,} of {what.total:,} {what.unit}")
    return reasons
