"""The soak: it passes where nothing is left behind, and finds what is."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path

import pytest
from window_probe import PROBLEM

if PROBLEM:
    pytest.skip(PROBLEM, allow_module_level=True)

from PyQt6.QtCore import QSettings
from pytestqt.qtbot import QtBot

from app.settings import Settings
from app.soak import Material, Round, Soak, complaints, growths, make_material
from app.window import Window

ROOT = Path(__file__).parents[1]
LONG = 300_000  # milliseconds that a soak may take on a machine that is busy


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Material:
    return make_material(tmp_path_factory.mktemp("soak"), clip)


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path) -> Iterator[Window]:
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    made = Window(Settings(folder=str(tmp_path / "out")))
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()
    assert made.session.wait(LONG)


Run = Callable[..., Soak]


@pytest.fixture
def run(qtbot: QtBot, window: Window, material: Material) -> Run:
    """Soaks the window to the end, in as few rounds as there may be."""

    def soaked(*scenes: str, **options: object) -> Soak:
        soak = Soak(window, material, 0, scenes=scenes or None, frames=2, warm=1, counted=2, **options)
        soak.start()
        qtbot.waitUntil(lambda: soak.ended, timeout=LONG)
        return soak

    return soaked


def apart_from_memory(soak: Soak) -> list[str]:
    """The complaints, without memory and delays: a process that runs other tests too says nothing about these."""
    return [one for one in complaints(soak.rounds, 1) if "memory" not in one and "deaf" not in one]


def test_every_scene_is_played_and_leaves_nothing_behind(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soak = run(out=tmp_path / "found")
    assert apart_from_memory(soak) == []
    assert len(soak.rounds) == 3
    assert all(one.frames > 20 for one in soak.rounds)
    printed = capsys.readouterr().out
    table = (tmp_path / "found" / "soak.txt").read_text()
    assert printed.endswith(table)
    assert all(f"round {number}: " in printed for number in (1, 2, 3))
    found = json.loads((tmp_path / "found" / "soak.json").read_text())
    assert [one["handles"] for one in found["rounds"]] == [one.handles for one in soak.rounds]
    assert found["passed"] == (soak.code == 0)


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say how many handles there are")
def test_a_handle_that_stays_open_is_found(run: Run, window: Window, material: Material) -> None:
    left: list[TextIOWrapper] = []
    open_ = window.open

    def leaky(text: str | Path) -> None:
        left.append((material.folder / "0.jpg").open())
        open_(text)

    window.open = leaky  # type: ignore[method-assign]
    soak = run("pictures")
    for file in left:
        file.close()
    assert soak.code == 1
    (complaint,) = apart_from_memory(soak)
    handles = [round(one.handles) for one in soak.rounds]
    assert handles[2] - handles[1] == 2  # the folder, and the clip at the end of the round
    assert complaint == f"handles grew from {handles[1]} to {handles[2]}; none may be left behind"


def test_an_exception_in_the_window_fails_its_round_and_the_others_are_played(run: Run, window: Window) -> None:
    def forget() -> None:
        raise ValueError("no points")

    window.copy_points = forget  # type: ignore[method-assign]
    soak = run("recording")
    assert [one.failure for one in soak.rounds] == ["no points"] * 3
    assert soak.code == 1


def rounds(memory: list[float], **fields: object) -> list[Round]:
    flat = Round(0, 30.0, 0.0, 400.0, 12.0, 8.0, 4.0, 500, 50.0, "")
    return [replace(flat, number=n, memory=m, **fields) for n, m in enumerate(memory, 1)]


def test_what_counts_as_growth() -> None:
    steady = rounds([200.0, 300.0, 321.0, 324.0, 319.0, 322.0])
    assert complaints(steady) == []
    memory = growths(steady[2:])[0]
    assert (memory.first, memory.last, memory.peak) == (321.0, 322.0, 400.0)
    assert memory.growth == pytest.approx(100 / 321)
    assert "memory grew by 7.36 %" in complaints(rounds([200.0, *(320.0 + 4 * n for n in range(8))]))[0]
    assert "memory grew" in complaints(rounds([320.0, 320.0, 320.0, 326.5]))[0]  # 2 % is too much
    assert complaints(rounds([320.0, 320.0, 320.0, 326.3])) == []
    wavering = [302.0, 312.0, 321.0, 308.0, 316.0, 305.0] * 5
    assert complaints(rounds([200.0, 300.0, *wavering, 321.0])) == []  # a high one at last is chance
    growing = [memory + 12 * n / len(wavering) for n, memory in enumerate(wavering)]
    assert "memory grew" in complaints(rounds([200.0, 300.0, *growing, 302.0]))[0]  # and a low one no excuse
    for name, what in (("handles", "handles"), ("threads", "threads"), ("python_threads", "Python threads")):
        grown = [*steady[:-1], replace(steady[-1], **{name: 99.0})]
        assert [one.split(" grew")[0] for one in complaints(grown)] == [what]
    unknown = rounds([math.nan] * 4, handles=math.nan)
    assert complaints(unknown) == []
    assert complaints([*steady[:-1], replace(steady[-1], deaf=1001.0)]) == [
        "the interface was deaf for 1001 ms in round 6"
    ]
    assert complaints([replace(steady[0], failure="x"), *steady[1:]]) == ["round 1 failed: x"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["absent.mp4"], "absent.mp4: no such file"),
        (["--out", "{clip}"], "{clip}: "),
        (["--model", "absent"], "--model absent: unknown"),
        (["--minutes", "soon"], "argument --minutes: soon is not a number of minutes"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, clip: Path) -> None:
    given = [word.format(clip=clip) for word in words]
    done = subprocess.run([sys.executable, "-m", "tracker", "soak", *given], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert told.format(clip=clip) in line
