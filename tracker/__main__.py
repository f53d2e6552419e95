"""``python -m tracker``: follow the landmarks of faces in recordings."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

from tqdm import tqdm

from tracker import cluster
from tracker._version import __version__
from tracker.backends import ModelError, Spec
from tracker.batch import Done, Event, Progress, Summary, run
from tracker.core import TrackerError
from tracker.cores import cores
from tracker.jobs import InputError, Job, jobs, shard
from tracker.model import PRECISIONS, load_model, model_files
from tracker.recording import FORMATS, OVERLAY, Record, Settings, machine, whole_record
from tracker.sources import cameras


def main(arguments: list[str] | None = None) -> int:
    """The command line; its exit code: 0 when every recording is whole, 2 when one is not or the input is bad."""
    given = _parser().parse_args(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that are not UTF-8
    commands = {"track": _track, "bench": _bench, "models": _models, "cameras": _cameras, "soak": _soak}
    try:
        code = commands[given.command](given)
        sys.stdout.flush()
        return code
    except TrackerError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads the output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as of any program that this ends
    except KeyboardInterrupt:
        if given.command == "track":
            print("stopped; the same command with --resume goes on. Files named .part are unfinished", file=sys.stderr)
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
    add = tracking.add_argument
    add(
        "inputs", nargs="+", metavar="INPUT", help="video, folder of videos or pictures, pattern, or .txt list of these"
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--format", default="csv", metavar="LIST", help=f"any of {','.join(FORMATS)}, by comma (default: csv)")
    add("--jobs", type=_count, metavar="N", help="recordings at a time, which share the cores (default: one a core)")
    add("--resume", action="store_true", help="skip what an earlier run with the same options has finished")
    add("--shard", metavar="I/N", help="only part I of N of the recordings, for job arrays")
    add("--cluster", metavar="ADDRESS", help="a Dask scheduler, or local: run there (see docs/cluster.md)")
    model = tracking.add_argument_group("tracking").add_argument
    model("--model", default="trnet-68", help="name of a model (see: models) or a model file (default: trnet-68)")
    model("--device", default="cpu", choices=("cpu", "cuda"), help="what runs the model (default: cpu)")
    model(
        "--precision", default="fp32", choices=PRECISIONS, help="int8 is faster and a little less exact (default: fp32)"
    )
    model("--detector", default="far", help="near (a camera), far, mediapipe, or a .onnx file (default: far)")
    model("--max-faces", type=_count, default=4, metavar="N", help="faces to follow (default: 4)")
    model(
        "--smooth", default="live", metavar="HOW", help="live, zero-lag (forwards and backwards), none (default: live)"
    )
    model("--focal", type=float, metavar="PIXELS", help="focal length for head pose (default: the longer side)")
    video = tracking.add_argument_group("annotated video").add_argument
    video("--quality", type=int, metavar="CRF", help="x264's, 0 (lossless) to 51 (default: 18)")
    video("--overlay", metavar="LIST", help=f"any of {','.join(OVERLAY)}, or none (default: points,edges,ids)")
    video("--attention", action="store_true", help="show AAN's attention maps, and write a sheet of them")
    video("--background", metavar="WHAT", help="picture (default), or blank or blur: nobody can be recognised")
    measuring = commands.add_parser("bench", help="measure what every stage costs on this machine").add_argument
    measuring("video", nargs="?", type=Path, metavar="VIDEO", help="one that begins with a face (default: one is made)")
    measuring("--model", action="append", metavar="NAME", help="one of several to measure (default: all in weights/)")
    measuring("--device", default="cpu", choices=("cpu", "cuda"), help="what runs the models (default: cpu)")
    measuring("--rounds", type=_count, default=100, metavar="N", help="calls of each stage (default: 100)")
    measuring("--seconds", type=float, default=6.0, metavar="S", help="for the window, each time; 0: without it (6)")
    measuring("--out", type=Path, metavar="DIR", help="folder for bench.json, bench.txt and bench.png")
    commands.add_parser("models", help="list the models at hand")
    commands.add_parser("cameras", help="list the cameras at hand")
    soak = commands.add_parser("soak", help="drive the window for a while and see whether it grows")
    soak.add_argument("video", nargs="?", metavar="VIDEO", help="what it plays (default: the demonstration's clip)")
    soak.add_argument("--minutes", type=_minutes, default=60.0, metavar="N", help="how long (default: 60)")
    soak.add_argument("--model", metavar="NAME", help="a model file to change to beside those in weights/")
    soak.add_argument("--out", metavar="DIR", help="folder for soak.json and soak.txt")
    return parser


def _models(_: argparse.Namespace) -> int:
    code = 0
    for path in model_files():
        try:
            print(_described(load_model(path).spec))
        except ModelError as error:  # the others are there all the same
            print(f"error: {error}", file=sys.stderr)
            code = 2
    return code


def _cameras(_: argparse.Namespace) -> int:
    print("\n".join(f"{index}  {name}" for index, name in cameras()) or "no camera found")
    return 0


def _bench(given: argparse.Namespace) -> int:
    from tracker import bench, bench_report  # they take their time to import

    if given.out:
        _made(given.out)
    figures = bench.bench(given.video, given.model, given.device, given.rounds, given.seconds)
    print(bench_report.report(figures))
    if given.out:
        bench_report.write(figures, given.out)
    return 0


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes")
    return minutes


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another folder for the results") from error


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 999:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 999")
    return int(text)


def _settings(given: argparse.Namespace) -> Settings:
    drawn: dict[str, Any] = {name: getattr(given, name) for name in ("quality", "overlay", "background")}
    drawn = {name: value for name, value in drawn.items() if value is not None}
    if "overlay" in drawn:
        drawn["overlay"] = () if given.overlay == "none" else tuple(given.overlay.split(","))
    model, detector = (
        str(Path(name).absolute()) if given.cluster and Path(name).suffix in (".onnx", ".safetensors") else name
        for name in (given.model, given.detector)
    )  # workers are started in folders of their own
    settings = Settings(
        formats=tuple(dict.fromkeys(given.format.split(","))),
        model=model,
        device=given.device,
        precision=given.precision,
        detector=detector,
        max_faces=given.max_faces,
        smooth=given.smooth,
        focal=given.focal,
        attention=given.attention,
        **drawn,
    )
    if drawn and "video" not in settings.formats:
        raise InputError(f"--{min(drawn)}: says how the annotated video looks; ask for one with --format csv,video")
    return settings


def _soak(given: argparse.Namespace) -> int:
    """Hand over to the window, which nothing here imports."""
    words = [sys.executable, "-m", "app", "--soak", str(given.minutes)]
    words += [word for name in ("model", "out") if getattr(given, name) for word in (f"--{name}", getattr(given, name))]
    words += [given.video] if given.video else []
    if os.name == "posix":
        os.execv(words[0], words)  # whoever stops this process then stops the window
    return subprocess.run(words).returncode


def _track(given: argparse.Namespace) -> int:
    settings = _settings(given)
    machine(settings)  # says at once what is wrong with them
    todo = jobs(given.inputs, given.out)
    name = "summary.json"
    if given.shard:
        todo = shard(todo, given.shard)
        name = f"summary-{given.shard.replace('/', '-of-')}.json"
    _made(given.out)
    summary = Summary(todo)
    if given.resume:
        for job in todo:
            if record := whole_record(job, settings):
                summary.skip(job, record)
    left = summary.left()
    processes = max(1, min(given.jobs or cores(), len(left)))
    start = perf_counter()
    try:
        if left and given.cluster:
            show(cluster.run(left, settings, given.cluster, processes), summary)
        else:
            show(run(left, settings, processes, apart=True), summary)
    finally:
        seconds = perf_counter() - start
        summary.write(given.out / name, seconds, processes)
    if len(todo) != 1 or not left:
        print(summary.text(seconds))
    return 0 if summary.whole else 2


def show(events: Generator[Event, None, None], summary: Summary) -> None:
    """Show the progress of each recording and of all, print a line for each that ends, and sum them up."""
    count = len(summary.left())
    bars: dict[Job, tqdm[NoReturn]] = {}
    with closing(events), tqdm(total=count, desc="recordings", unit="", disable=None if count > 1 else True) as whole:
        try:
            for event in events:
                if isinstance(event, Progress):
                    if event.job not in bars:
                        bars[event.job] = tqdm(desc=event.job.source.name, unit=" frames", disable=None, leave=False)
                    bars[event.job].total = event.total
                    bars[event.job].update(event.frames - bars[event.job].n)
                else:
                    if event.job in bars:
                        bars.pop(event.job).close()
                    summary.add(event)
                    whole.update()
                    _report(event)
        finally:
            for bar in bars.values():
                bar.close()


def _report(done: Done) -> None:
    if "quality" in done.record:
        tqdm.write(f"{done.job.source}: {_line(done.record)}", file=sys.stdout)
    if done.record["problem"]:
        tqdm.write(f"error: {' '.join(done.record['problem'].splitlines())}", file=sys.stderr)


def _line(record: Record) -> str:
    """What a recording was like, in a line."""
    quality, frames = record["quality"], max(record["quality"]["frames"], 1)
    stages = ", ".join(f"{name} {spent / frames:.2f}" for name, spent in record["milliseconds"].items())
    rate = quality["frames"] / max(record["seconds"], 1e-9)
    remarks = "".join(f"; {remark}" for remark in (*record["notes"], *quality["warnings"]))
    return (
        f"{quality['frames']} frames, face in {100 * quality['frames_with_a_face'] / frames:.1f} %,"
        f" {quality['identities']} identities, {rate:.0f} frames/s (ms a frame: {stages}){remarks}"
    )


def _described(spec: Spec) -> str:
    size = f"{spec.input_size}x{spec.input_size}"
    network = f"{spec.network} in {spec.precision}"
    return f"{spec.name}  {network}, {spec.points.size} points, input {size}, version {spec.version}; {spec.licence}"


if __name__ == "__main__":
    sys.exit(main())
