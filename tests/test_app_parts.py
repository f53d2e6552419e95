"""The parts of the window that have known answers."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from window_probe import PROBLEM

if PROBLEM:
    pytest.skip(PROBLEM, allow_module_level=True)

from PyQt6.QtCore import QSettings

from app.comparison import difference
from app.history import FOUND, NOBODY, UNSEEN, History
from app.overlay import axis_ends, heat, laid_map, table
from app.pipeline import Sample
from app.playback import _clock
from app.settings import MEAN, NO_MAP, Settings, load, load_layout, place, save
from app.smoothing import Smoothing
from tracker.core import Box, Crop, Face, Frame, Result
from tracker.markup import IBUG68
from tracker.signals import HEAD, HEAD_POINTS, Signals, measure

ROOT = Path(__file__).parents[1]
NOTHING = Signals(0.0, 0.0, 0.0, (0.0, 0.0, 500.0), 0.3, 0.3, 0.1, 0.5)


def face(points: Any, number: int = 0) -> Face:
    points = np.asarray(points, np.float32)
    return Face(number, points, 1.0, Box.around(points), Crop(0, 0, 10, 64))


def result(*faces: Face) -> Result:
    return Result(Frame(np.zeros((8, 8, 3), np.uint8), 0, 0.0), faces)


FACE = np.random.default_rng(0).uniform(0, 100, (68, 2))


def test_the_difference_of_two_models_counts_in_eye_distances() -> None:
    left, right = IBUG68.eye_centres(FACE)
    apart = np.linalg.norm(right - left)
    moved = FACE + np.array([3.0, 4.0])
    far = FACE + 500
    both = result(face(FACE), face(far, 1))
    other = result(face(far + np.array([0, 10.0]), 5), face(moved, 6))
    assert difference(result(face(FACE)), result(face(moved)), IBUG68) == pytest.approx(5 / apart, rel=1e-5)
    assert difference(both, other, IBUG68) == pytest.approx(7.5 / apart, rel=1e-4)
    assert math.isnan(difference(result(face(FACE)), result(face(far)), IBUG68))
    assert math.isnan(difference(result(), result(face(far)), IBUG68))


def test_the_lag_of_a_steady_motion_is_that_of_the_filter() -> None:
    """A first-order low-pass filter of cutoff f follows a ramp by (1 - w) / w of a step behind, w = a / (a + 1) with
    a = 2 pi f step: that is 1 / (2 pi f) seconds."""
    smoothing = Smoothing(True, cutoff=2.0, beta=0.0)
    smooth = smoothing.filter()
    for number in range(300):
        smooth(np.float32(FACE + np.array([number * 0.5, 0])), 60.0, number / 30)
    assert smoothing.lag == pytest.approx(1 / (2 * math.pi * 2.0), rel=0.02)
    assert smoothing.jitter == pytest.approx(0, abs=1e-4)


def test_the_jitter_is_the_mean_second_difference_over_the_eye_distance() -> None:
    smoothing = Smoothing(False, cutoff=1.0, beta=0.0)
    smooth = smoothing.filter()
    for number in range(200):  # two pixels to and fro: a second difference of four
        points = smooth(np.float32(FACE + np.array([2.0 * (number % 2), 0])), 80.0, number / 30)
    assert points[0, 0] == np.float32(FACE[0, 0] + 2)
    assert smoothing.jitter == smoothing.jitter_before == pytest.approx(4 / 80, rel=1e-4)
    smoothing.set(True, 1.0, 0.0)
    for number in range(200, 500):
        smooth(np.float32(FACE + np.array([2.0 * (number % 2), 0])), 80.0, number / 30)
    assert smoothing.jitter < 0.3 * smoothing.jitter_before


def test_the_read_outs_do_not_reach_over_a_gap_in_time() -> None:
    smoothing = Smoothing(True, cutoff=1.5, beta=12.0)
    smooth = smoothing.filter()
    for number in range(10):
        smooth(np.float32(FACE), 60.0, number / 30)
    for number in range(2):
        smooth(np.float32(FACE + 400), 60.0, 5 + number / 30)
    assert smoothing.jitter == pytest.approx(0, abs=1e-6)


def test_the_history_of_a_film_keeps_every_frame_and_grows() -> None:
    history = History(3)
    history.add([Sample(0, 0.0, NOTHING), Sample(2, 0.2, None), Sample(5, 0.5, NOTHING)])
    assert history.found.tolist() == [FOUND, UNSEEN, NOBODY, UNSEEN, UNSEEN, FOUND]
    assert history.values[0].tolist() == pytest.approx([0.3, 0.1, 0, 0, 0])
    assert np.isnan(history.values[[1, 2]]).all()


def test_the_history_of_a_camera_keeps_half_a_minute() -> None:
    history = History()
    history.add([Sample(number, number / 10, NOTHING) for number in range(10_000)])
    times, values = history.recent()
    assert len(times) == len(values) == 301
    assert times[0] == pytest.approx(-30)
    assert times[-1] == 0
    assert len(history.found) == 0
    history.add([Sample(3, 0.3, None)])  # a jump back begins anew
    assert history.recent()[0].tolist() == [0.0]


@pytest.mark.parametrize(
    ("seconds", "decimals", "shown"),
    [
        (0.0, 3, "00:00.000"),
        (59.7, 0, "01:00"),
        (119.6, 0, "02:00"),
        (119.4, 0, "01:59"),
        (59.9996, 3, "01:00.000"),
        (3600.25, 3, "60:00.250"),
    ],
)
def test_a_time_is_rounded_before_it_is_split(seconds: float, decimals: int, shown: str) -> None:
    assert _clock(seconds, decimals) == shown


def test_the_axes_of_the_head_come_out_of_the_nose() -> None:
    """Points of the model head itself, seen from the front at half a metre in a frame of 640 x 480."""
    points = np.zeros((68, 2))
    seen = HEAD + np.array([0, 0, 500])
    points[list(HEAD_POINTS["ibug68"])] = seen[:, :2] / seen[:, 2:] * 640 + (319.5, 239.5)
    points[[60, 61, 62, 63, 64, 65, 66, 67, 48, 54]] += (320, 300)
    ends = axis_ends(measure(points, IBUG68, (640, 480)), (640, 480))
    assert ends is not None
    tip, side, down, front = ends
    np.testing.assert_allclose(tip, points[30], atol=0.1)
    assert side == pytest.approx((tip[0] + 60 / 453 * 640, tip[1]), abs=0.2)
    assert down == pytest.approx((tip[0], tip[1] + 60 / 453 * 640), abs=0.2)
    assert front[0] == pytest.approx(tip[0], abs=0.1)
    assert front[1] > tip[1]  # towards the camera, so farther from the middle of the frame
    stored = (points + 0.5) * (0.75, 1) - 0.5  # of pixels that are wider than high
    narrow = axis_ends(measure(stored, IBUG68, (480, 480), aspect=4 / 3), (480, 480), 4 / 3)
    np.testing.assert_allclose(narrow, (ends + 0.5) * (0.75, 1) - 0.5, atol=0.1)
    assert axis_ends(Signals(math.nan, 0, 0, (0, 0, 500), 0, 0, 0, 0), (640, 480)) is None


def test_maps_are_shown_with_their_own_range() -> None:
    maps = [np.full((4, 4), 0.2, np.float32), np.array([[0.0, 1.0], [0.5, 0.25]], np.float32)]
    assert laid_map(maps, NO_MAP) is None
    assert laid_map([], MEAN) is None
    assert laid_map(maps, 1) is maps[1]
    mean = laid_map(maps, MEAN)
    assert mean is not None
    assert mean.shape == (4, 4)
    assert mean[0, 0] == pytest.approx(0.1)
    picture = heat(maps[1])
    colours = [picture.pixelColor(x, y).getRgb()[:3] for x, y in ((0, 0), (1, 0), (0, 1))]
    assert colours == [tuple(table("viridis")[level].tolist()) for level in (0, 255, 127)]


@pytest.fixture(scope="module", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(tmp_path_factory.mktemp("settings"))
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        Settings,
        model=names,
        folder=names,
        recent=st.lists(names.filter(bool), max_size=8, unique=True).map(tuple),
        smooth=st.booleans(),
        max_faces=st.integers(1, 16),
        cutoff=st.floats(0.1, 10),
        speed=st.sampled_from([0.25, 1.0, math.inf]),
        map=st.integers(-2, 3),
    )
)
def test_settings_survive(wanted: Settings) -> None:
    save(wanted, {"geometry": b"\0\xff", "state": b""})
    assert load() == wanted
    save(wanted)
    assert load_layout() == {"geometry": b"\0\xff", "state": b""}


def test_settings_that_make_no_sense_become_those_that_do() -> None:
    odd: dict[str, object] = {
        "max_faces": "-3",
        "cutoff": "nan",
        "speed": "fast",
        "smooth": "perhaps",
        "device": "abacus",
        "colours": "7",
        "opacity": "1e9",
        "model": ["a"],
        "recent": [1, 2],
        "state": "no base64!",
    }
    place().write_text(json.dumps(odd))
    assert load() == Settings(max_faces=1, opacity=1.0)
    assert load_layout() == {}
    for text in ("", "[]", "{", "[" * 100_000, "\0"):
        place().write_text(text)
        assert load() == Settings()


def test_a_damaged_layout_is_not_given_to_qt() -> None:
    """Qt dies of some: a window would never open again."""
    save(Settings(), {"state": b"where all the docks are"})
    kept = json.loads(place().read_text())
    damaged = bytearray(b64decode(kept["state"]))
    damaged[3] ^= 1
    place().write_text(json.dumps({"state": b64encode(damaged).decode()}))
    assert load_layout() == {}


def test_what_an_ini_file_holds_is_not_run(tmp_path: Path) -> None:
    """PyQt pickles what it does not know into an INI file, and a pickle may call anything when it is read."""
    ini, run = place().with_suffix(".ini"), tmp_path / "run"
    kept = QSettings(str(tmp_path / "copy.ini"), QSettings.Format.IniFormat)
    kept.setValue("model", _Call(run))
    kept.sync()
    ini.write_bytes((tmp_path / "copy.ini").read_bytes())
    load()
    load_layout()
    assert not run.exists()
    (tmp_path / "other.ini").write_bytes(ini.read_bytes())
    QSettings(str(tmp_path / "other.ini"), QSettings.Format.IniFormat).contains("model")
    assert run.exists(), "PyQt has mended it"


class _Call:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


# The program as a process


def start(*arguments: str, environment: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
    own = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **(environment or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_the_program_plays_and_measures_itself_without_torch(clip: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from app.__main__ import main; code = main(sys.argv[1:]);"
        " assert 'torch' not in sys.modules; sys.exit(code)"
    )
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    kept, report = tmp_path / "landmark-tracker" / "landmark-tracker.json", tmp_path / "figures.json"
    kept.parent.mkdir()
    kept.write_text('{"model": "aan-68", "other": "trnet-5"}')
    done = subprocess.run(
        [sys.executable, "-c", code, str(clip), "--measure", "1", "--json", str(report)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"first frame with points [0-9.]+ s after the start\n[0-9.]+ frames a second", done.stdout)
    assert json.loads(report.read_text())["model"] == Settings().model, "not the user's, who may compare two"
    assert "trnet-5" in kept.read_text()


@pytest.mark.parametrize("report", [False, True])
def test_what_cannot_be_measured_is_one_line(clip: Path, tmp_path: Path, report: bool) -> None:
    source = str(clip) if report else str(tmp_path / "missing.mp4")
    words = [source, "--measure", "1", *(["--json", str(clip / "figures.json")] if report else [])]
    with start(*words, environment={"XDG_CONFIG_HOME": str(tmp_path)}) as process:
        _, problems = process.communicate(timeout=300)
    assert process.returncode == 2
    assert len(problems.splitlines()) == 1
    assert ("figures.json" if report else "missing.mp4: no such file") in problems


def test_ctrl_c_ends_it_with_130(clip: Path, tmp_path: Path) -> None:
    process = start(str(clip), "--measure", "600", environment={"XDG_CONFIG_HOME": str(tmp_path)})
    with process:
        assert process.stdout
        assert "first frame with points" in process.stdout.readline()  # now it runs
        process.send_signal(signal.SIGINT)
        output, problems = process.communicate(timeout=60)
    assert process.returncode == 130, output + problems
    assert "Traceback" not in problems


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"QT_QPA_PLATFORM": "none-such", "DISPLAY": ":0"}, "sudo apt-get install"),
        ({"QT_QPA_PLATFORM": "xcb", "DISPLAY": "", "WAYLAND_DISPLAY": ""}, "there is no screen here"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="about the libraries of Linux")
def test_without_a_screen_it_says_so_in_one_line(environment: dict[str, str], word: str) -> None:
    with start(environment=environment) as process:
        _, problems = process.communicate(timeout=120)
    assert process.returncode == 2
    assert word in problems
    assert len(problems.splitlines()) == 1
    assert problems.startswith("error: ")


@pytest.mark.parametrize("options", [("--measure", "long"), ("--camera", "30"), ("video.mp4", "--camera", "-1")])
def test_a_bad_option_is_one_line(options: tuple[str, ...]) -> None:
    with start(*options) as process:
        _, problems = process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(problems.splitlines()) == 1
