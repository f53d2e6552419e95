"""``python -m tracker bench``: what every stage costs on this machine, and beside it other programs that are installed.

Things that are compared are called in turn in one run, so that whatever else the machine does falls on all of them
alike. Everything is measured with one thread for each stage, as recordings are tracked.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import perf_counter, time
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from tracker import portrait
from tracker.batch import Done, run
from tracker.core import Frame, Image, Result, TrackerError
from tracker.cores import cores, set_threads
from tracker.detector import SETTINGS, load_detector, quiet
from tracker.draw import draw_result
from tracker.jobs import InputError, Job
from tracker.model import INT8, LandmarkModel, load_model, model_files
from tracker.recording import Settings, versions
from tracker.signals import measure
from tracker.smoothing import OneEuro
from tracker.sources import open_source
from tracker.tracking import Tracker

WIDTH, HEIGHT, FRAMES = 1280, 720, 150
KEPT = 30
"""Frames of the clip that the stages are measured on, there and back."""
FACES = (1, 2, 4)
LIVE = (30, 60)
"""Frames a second of the simulated camera."""
ROUNDS = 3
"""How often each chain is run."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: the median of all calls, and what one in twenty was faster and slower than."""

    median: float
    fast: float
    slow: float

    @classmethod
    def of(cls, milliseconds: list[float]) -> Timing:
        fast, slow = np.percentile(milliseconds, (5, 95))
        return cls(round(median(milliseconds), 4), round(float(fast), 4), round(float(slow), 4))


def in_turn(work: Mapping[str, Callable[[], object]], rounds: int, desc: str) -> dict[str, Timing]:
    """Call each of ``work`` once a round, in turn, after three rounds that do not count."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for number in tqdm(range(rounds + 3), desc=desc, unit=" rounds", leave=False, disable=None):
        for name, call in work.items():
            before = perf_counter()
            call()
            if number >= 3:
                spent[name].append((perf_counter() - before) * 1000)
    return {name: Timing.of(values) for name, values in spent.items()}


def bench(
    video: Path | None = None,
    models: list[str] | None = None,
    device: str = "cpu",
    rounds: int = 100,
    seconds: float = 6.0,
) -> Figures:
    """All there is to measure: what ``bench_report`` makes tables of, and ``bench.json`` holds. Every stage is called
    ``rounds`` times; the window is measured for so many ``seconds`` with each model and rate, or not at all if 0.

    The clip is ``video``, or one made from scikit-image's portrait (1280 x 720, one face, and another with four).
    TrackerError when there is no clip, no face in it, or no such model or device.
    """
    names = models or [path.stem for path in model_files() if device == "cpu" or not path.stem.endswith(INT8)]
    loaded = {name: load_model(name, device) for name in names}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    set_threads(1)
    try:
        with tempfile.TemporaryDirectory() as room:
            one, four = video, None
            if one is None:
                one, four = Path(room) / "one.mp4", Path(room) / "four.mp4"
                for path, faces in ((one, 1), (four, 4)):
                    portrait.encode(path, _pictures(faces))
            frames = _frames(one)
            figures = {"machine": _machine(), "clip": _described(one, video), "device": device}
            figures["bound"] = {"peak": _peak(), "bandwidth": _bandwidth()}
            figures["stages"] = _stages(one, frames, loaded, rounds)
            figures["networks"] = _networks(frames, loaded, rounds)
            figures["peers"] = _peers(frames, loaded, rounds)
            set_threads(None)
            figures["chain"] = _chain(one, four, names, device, Path(room))
            figures["start"] = _start(names[0], frames[0], Path(room))
            figures["live"] = _live(one, names, seconds, Path(room)) if device == "cpu" and seconds else {}
        return figures
    finally:
        cv2.setNumThreads(threads)
        set_threads(None)


def _pictures(faces: int) -> Iterator[Image]:
    """The frames of a clip with one or four faces: the demonstration's, in one or four tiles."""
    still = portrait.portrait()
    rows = round(faces**0.5)
    size = (HEIGHT * portrait.WIDTH // portrait.HEIGHT // rows, HEIGHT // rows)
    for number in tqdm(range(FRAMES), desc=f"a clip with {faces} faces", unit=" frames", leave=False, disable=None):
        tiles = [cv2.resize(portrait.picture(still, number + 75 * tile), size) for tile in range(faces)]
        picture = np.vstack([np.hstack(tiles[row * rows : (row + 1) * rows]) for row in range(rows)])
        beside = WIDTH - picture.shape[1]
        yield cv2.copyMakeBorder(  # type: ignore[misc]
            picture, 0, 0, beside // 2, beside - beside // 2, cv2.BORDER_REPLICATE
        )


def _frames(video: Path) -> list[Frame]:
    """The first frames, there and back, so that the motion goes on without a break when they are shown in a circle."""
    frames: list[Frame] = []
    with open_source(video) as source:
        for frame in source:
            frames.append(frame)
            if len(frames) == KEPT:
                break
    return frames + frames[-2:0:-1]


def _described(path: Path, video: Path | None) -> Figures:
    with open_source(path) as source:
        size = f"{source.size[0]} x {source.size[1]}"
    return {"name": "the astronaut's portrait, moved" if video is None else video.name, "size": size}


def _machine() -> Figures:
    flags, name = set(), platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags |= set(value.split()) if key.strip() == "flags" else set()
    except OSError:
        pass
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16")
    return {
        "processor": name,
        "cores": cores(),
        "instructions": [flag for flag in known if flag in flags],
        "versions": versions(),
    }


def _peak() -> float:
    """Billions of multiply-adds a second of one core in fp32: the best of many products of matrices, by numpy's
    library in a process that is told to use one thread. An OpenBLAS that does not know the processor is also told of
    older ones, whose code may be five times as fast there as what it falls back on."""
    code = (
        "import time, numpy as np\n"
        "a = np.ones((768, 768), np.float32)\n"
        "def once():\n"
        "    start = time.perf_counter(); a @ a\n"
        "    return time.perf_counter() - start\n"
        "print(768**3 / min(once() for _ in range(100)) / 1e9)\n"
    )
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")} | {"VECLIB_MAXIMUM_THREADS": "1"}
    found = []
    for kind in (dict[str, str](), {"OPENBLAS_CORETYPE": "SkylakeX"}, {"OPENBLAS_CORETYPE": "Haswell"}):
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | one | kind, capture_output=True, text=True)
        if done.returncode == 0:  # it ends at once where the processor lacks the instructions
            found.append(float(done.stdout))
    return round(max(found, default=float("nan")), 1)


def _bandwidth() -> float:
    """Gigabytes a second that one core copies, read and written bytes together, far beyond its caches."""
    source = np.ones(1 << 26, np.uint8)
    target = np.zeros_like(source)

    def once() -> float:
        before = perf_counter()
        np.copyto(target, source)
        return perf_counter() - before

    return round(2 * source.size / min(once() for _ in range(20)) / 1e9, 1)


def _stages(video: Path, frames: list[Frame], models: Mapping[str, LandmarkModel], rounds: int) -> dict[str, Timing]:
    """Everything around the network, each stage by itself on the frames in a circle."""
    model = next(iter(models.values()))
    result = _tracked(model, frames[0])
    face, image = result.faces[0], result.frame.image
    size = (image.shape[1], image.shape[0])
    steady = OneEuro()
    clock = iter(range(10**9))
    reading = _endless(video)
    work: dict[str, Callable[[], object]] = {"decode": lambda: next(reading)}
    for name in SETTINGS:
        work[f"detector {name}"] = _over(frames, load_detector(name))
    work |= {
        "crop": _over(frames, model.crop_around(face.points).cut),
        "smoothing": lambda: steady(face.points, 100.0, next(clock) / 30),
        "signals": lambda: measure(face.points, model.markup, size),
        "overlay": lambda: draw_result(result, model.markup),
    }
    try:
        return in_turn(work, rounds, "stages")
    finally:
        reading.close()


def _over(frames: list[Frame], call: Callable[[Image], object]) -> Callable[[], object]:
    """A call with the next of the frames, in a circle."""
    places = iter(range(10**9))
    return lambda: call(frames[next(places) % len(frames)].image)


def _endless(video: Path) -> Any:
    while True:
        with open_source(video) as source:
            yield from source


def _tracked(model: LandmarkModel, frame: Frame) -> Result:
    """The result of a frame; InputError when no face is in it."""
    result = Tracker(model, load_detector("far")).update(frame)
    if not result.faces:
        raise InputError("no face is found in the first frame of the video; give one that begins with a face")
    return result


def _networks(frames: list[Frame], models: Mapping[str, LandmarkModel], rounds: int) -> Figures:
    """Each model's network alone, with as many crops in one call as there are faces."""
    work: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        face = _tracked(model, frames[0]).faces[0]
        crop = model.crop_around(face.points).cut(frames[0].image)
        for count in FACES:
            work[f"{name} {count}"] = _called(model, np.stack([crop] * count))
    timings = in_turn(work, rounds, "networks")
    return {
        name: {
            "precision": model.spec.precision,
            "multiply_adds": model.spec.multiply_adds,
            "faces": {str(count): timings[f"{name} {count}"] for count in FACES},
        }
        for name, model in models.items()
    }


def _called(model: LandmarkModel, crops: Any) -> Callable[[], object]:
    return lambda: model.backend.run(crops)


def _peers(frames: list[Frame], models: Mapping[str, LandmarkModel], rounds: int) -> dict[str, Any]:
    """From the crop to the points of one face, tracked from frame to frame: our models and what else is installed."""
    work: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        work[name] = _over(frames, _Follower(model, _tracked(model, frames[0]).faces[0].points))
    missing = {}
    for name, peer in (("MediaPipe face mesh", _mesh), ("dlib (its detector alone)", _dlib)):
        try:
            work[name] = _over(frames, peer(frames[0].image))
        except ImportError:
            missing[name] = "not installed here"
        except TrackerError as error:
            missing[name] = str(error)
    return {**in_turn(work, rounds, "crop to points"), **missing}


class _Follower:
    """The points of a face in the next image, from the crop about its last ones."""

    def __init__(self, model: LandmarkModel, points: Any) -> None:
        self._model, self._points = model, points

    def __call__(self, image: Image) -> None:
        (face,) = self._model.locate(image, [self._model.crop_around(self._points)])
        self._points = face.points


def _mesh(image: Image) -> Callable[[Image], object]:
    """MediaPipe's face mesh with refined eyes and lips, which finds the face once and then follows it."""
    with quiet():
        from mediapipe.python.solutions.face_mesh import FaceMesh

        mesh = FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)
        for _ in range(5):
            found = mesh.process(np.ascontiguousarray(image))
    if not found.multi_face_landmarks:
        raise InputError("found no face")
    return mesh.process


def _dlib(image: Image) -> Callable[[Image], object]:
    """dlib's face detector, which it needs in every frame before its landmarks; the file of those is not at hand."""
    import dlib

    detector = dlib.get_frontal_face_detector()
    return lambda frame: detector(frame, 0)


def _chain(one: Path, four: Path | None, names: list[str], device: str, room: Path) -> Figures:
    """Whole recordings: frames a second of decoding alone, and of tracking to CSV with a reader's thread."""
    rates: dict[str, list[float]] = {}
    plans = [(name, one, 1) for name in names] + [(name, four, 4) for name in names if four]
    for _ in tqdm(range(ROUNDS), desc="whole recordings", unit=" rounds", leave=False, disable=None):
        rates.setdefault("decoding alone", []).append(_decoding(one))
        with _busy():
            rates.setdefault("decoding beside a busy core", []).append(_decoding(one))
        for name, path, faces in plans:
            assert path is not None
            label = name if faces == 1 else f"{name}, {faces} faces"
            rates.setdefault(label, []).append(_tracking(path, name, device, faces, room))
    return {label: round(median(values), 1) for label, values in rates.items()}


def _decoding(video: Path) -> float:
    before = perf_counter()
    with open_source(video) as source:
        count = sum(1 for _ in source)
    return count / (perf_counter() - before)


@contextmanager
def _busy() -> Iterator[None]:
    """Another core calculates meanwhile: cores that share a clock or a core's parts are slower then."""
    stop = Event()

    def calculate() -> None:
        image = np.ones((64, 64, 64), np.float32)
        while not stop.is_set():
            cv2.GaussianBlur(image, (0, 0), 2)

    worker = Thread(target=calculate)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def _tracking(video: Path, name: str, device: str, faces: int, room: Path) -> float:
    before = perf_counter()
    settings = Settings(model=name, device=device, max_faces=faces)
    (done,) = [event for event in run([Job(video, room / "tracked")], settings) if isinstance(event, Done)]
    if done.record["problem"]:
        raise InputError(str(done.record["problem"]))
    return done.record["quality"]["frames"] / (perf_counter() - before)


def _start(name: str, frame: Frame, room: Path) -> Figures:
    """Seconds from the start of a fresh process to the points of its first frame, and the most memory it had."""
    path = room / "frame.npy"
    np.save(path, frame.image)
    code = (
        "import sys, time, numpy as np\n"
        "from tracker import Frame, Tracker, load_detector, load_model\n"
        "image = np.load(sys.argv[1])\n"
        "Tracker(load_model(sys.argv[2]), load_detector('near')).update(Frame(image, 0, 0.0))\n"
        "print(time.time())\n"
        "try:\n"
        "    import resource\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))\n"
        "except ImportError:\n"
        "    print('nan')\n"
    )
    seconds, memory = [], []
    for _ in range(ROUNDS):
        before = time()
        found = subprocess.run([sys.executable, "-c", code, str(path), name], capture_output=True, text=True)
        if found.returncode:
            raise InputError(f"a fresh process failed: {found.stderr.strip().splitlines()[-1]}")
        first, most = found.stdout.split()
        seconds.append(float(first) - before)
        memory.append(float(most) / 1e6)
    return {"seconds": round(median(seconds), 3), "memory": round(median(memory), 1)}


def _live(video: Path, names: list[str], seconds: float, room: Path) -> dict[str, Any]:
    """The window with a simulated camera, as ``python -m app --measure`` finds it; in a process of its own, as nothing
    here knows of Qt."""
    found: dict[str, Any] = {}
    plans = [(name, rate) for name in names for rate in LIVE]
    for name, rate in tqdm(plans, desc="the window", unit=" runs", leave=False, disable=None):
        report = room / "live.json"
        options = ["--model", name, "--measure", str(seconds), "--camera", str(rate), "--json", str(report)]
        environment = {"QT_QPA_PLATFORM": "offscreen"} | os.environ
        command = [sys.executable, "-m", "app", str(video), *options]
        try:
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120 + seconds)
        except subprocess.TimeoutExpired as error:
            return {"not run": f"it did not end within {error.timeout:.0f} s"}
        if ended.returncode:
            why = (ended.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("error: ")
            return {"not run": why}
        found[f"{name} at {rate}"] = json.loads(report.read_text())
        report.unlink()
    return found
