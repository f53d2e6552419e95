"""The long trials, as commands; tests/test_batch.py and tests/test_cluster.py run them small.

``python tests/stress.py kills [--clips 40 --kills 10]``: killed with SIGKILL at random moments and resumed each time.
``python tests/stress.py cluster [--clips 40]``: on a local Dask cluster of two workers, of which one is killed.
``python tests/stress.py throughput``: eight copies of a 720p clip, two at a time against one at a time.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from tracker.core import Crop, Image
from tracker.portrait import FACE, picture

ROOT = Path(__file__).parents[1]


def write_clips(folder: Path, count: int, frames: int = 20) -> Path:
    """So many clips of 320x240 in subfolders, each of another piece of the demonstration's camera path."""
    portrait = _portrait()
    for number in range(count):
        path = folder / f"day{number % 3}" / f"clip{number:02d}.mp4"
        images = (cv2.resize(picture(portrait, 7 * number + frame), (320, 240)) for frame in range(frames))
        _encode(path, images, (320, 240))
    return folder


def _portrait() -> Image:
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut())


def _encode(path: Path, images, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(30), {"crf": "18", "preset": "veryfast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))


def command(inputs: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "tracker", "track", str(inputs), "--out", str(out), *words]


def finish(inputs: Path, out: Path, *words: str) -> str:
    """Run the command to its end, which has to be a good one, and give what it printed."""
    done = subprocess.run(command(inputs, out, *words), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(inputs: Path, out: Path, *words: str, session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(inputs, out, *words),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=session,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored when the tests run in background
    )


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that work for this one."""
    found = []
    for pid in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in map(int, pid.read_text().split()):
            line = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in line:
                found.append(child)
    return found


def parts(out: Path) -> list[Path]:
    return sorted(out.rglob("*.part"))


def working(out: Path, since: float) -> bool:
    """Whether something is being written in ``out`` that was not before the time ``since``."""
    with contextlib.suppress(FileNotFoundError):
        return any(path.stat().st_mtime > since for path in parts(out))
    return False


def tables(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.csv"))}


def until(condition, process: subprocess.Popen[str], patience: float = 300) -> bool:
    """Wait for a condition; False when the process ends before."""
    end = time.monotonic() + patience
    while process.poll() is None:
        if condition():
            return True
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return False


def killed_and_resumed(inputs: Path, out: Path, moments: list[float], seconds: float, *words: str) -> list[int]:
    """Start, kill at each of the ``moments`` (shares of ``seconds`` after the first output) and resume, at last to the
    end. How many recordings were whole at each kill."""
    whole = []
    for moment in moments:
        begin = time.time()
        process = start(inputs, out, "--resume", *words)
        before = len(list(out.rglob("*.run.json"))) if out.exists() else 0
        if until(partial(working, out, begin), process):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment * seconds)
        process.kill()
        process.communicate()
        whole.append(len(list(out.rglob("*.run.json"))))
        assert whole[-1] >= before, "what was whole stays whole"
    finish(inputs, out, "--resume", *words)
    return whole


def kills(count: int, times: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = write_clips(folder / "clips", count)
        process = start(clips, folder / "a", "--jobs", "2")
        assert until(partial(working, folder / "a", 0), process)
        begin = time.monotonic()
        process.communicate()
        seconds = time.monotonic() - begin
        moments = [random.random() for _ in range(times)]
        whole = killed_and_resumed(clips, folder / "b", moments, seconds / times * 1.5, "--jobs", "2")
        first, second = tables(folder / "a"), tables(folder / "b")
        print(f"{len(first)} tables; {seconds:.0f} s of work undisturbed; whole at each kill: {whole}")
        print(f"byte-identical: {first == second}; temporary files left: {len(parts(folder / 'b'))}")
        assert len(first) == count
        assert first == second
        assert not parts(folder / "b")


def cluster(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = write_clips(folder / "clips", count)
        finish(clips, folder / "a", "--jobs", "2")
        print(worker_killed(clips, folder / "b", "--cluster", "local", "--jobs", "2"))
        print(f"byte-identical: {tables(folder / 'a') == tables(folder / 'b')}")
        assert tables(folder / "a") == tables(folder / "b")
        assert not parts(folder / "b")


def worker_killed(inputs: Path, out: Path, *words: str) -> str:
    """Run to the end while one worker is killed in the middle of a recording; what was printed."""
    process = start(inputs, out, *words)
    assert until(lambda: out.exists() and bool(parts(out)) and len(workers(process)) == 2, process)
    os.kill(workers(process)[0], signal.SIGKILL)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.strip().splitlines()[-2]


def throughput(frames: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, portrait = Path(name), _portrait()

        def view(number: int) -> Image:
            crop = Crop(FACE[0] + 30 * np.sin(number / 40), FACE[1] + 20, 400, 1280, 0.2 * np.sin(number / 25))
            matrix = crop.matrix
            matrix[1, 2] -= 280
            return cv2.warpAffine(portrait, matrix, (1280, 720), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

        (folder / "clips").mkdir()
        _encode(folder / "clips" / "0.mp4", map(view, range(frames)), (1280, 720))
        for number in range(1, 8):
            shutil.copy(folder / "clips" / "0.mp4", folder / "clips" / f"{number}.mp4")
        seconds = {}
        for jobs in (1, 2):
            out = folder / str(jobs)
            process = start(folder / "clips", out, "--format", "csv,video", "--jobs", str(jobs))
            assert until(partial(working, out, 0), process)
            begin = time.monotonic()
            process.communicate()
            seconds[jobs] = time.monotonic() - begin
            summary = json.loads((out / "summary.json").read_text())
            shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in summary["stages"].items())
            print(
                f"--jobs {jobs}: {8 * frames} frames in {seconds[jobs]:.1f} s from the first output to the end, "
                f"{summary['seconds']:.1f} s with the start; {shares}",
                flush=True,
            )
        print(f"--jobs 2 is {seconds[1] / seconds[2]:.2f} times --jobs 1")
        assert tables(folder / "1") == tables(folder / "2")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "cluster", "throughput"))
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--frames", type=int, default=100)
    given = parser.parse_args()
    if given.what == "kills":
        kills(given.clips, given.kills)
    elif given.what == "cluster":
        cluster(given.clips)
    else:
        throughput(given.frames)
