"""The benchmark measures what it says, on the user's own video, and says what it could not run."""

import json
from pathlib import Path

import pytest

from tracker.__main__ import main
from tracker.bench import Timing, in_turn


def test_bench_measures_a_video_and_writes_its_figures(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "trnet-68", "--model", "trnet-68-int8", "--rounds", "3", "--seconds", "0"]
    assert main(["bench", str(clip), *options, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert (tmp_path / "bench.txt").read_text() == printed
    assert figures["clip"] == {"name": clip.name, "size": "640 x 480"}
    assert set(figures["stages"]) >= {"decode", "detector near", "detector far", "crop", "smoothing", "overlay"}
    assert all(0 < timing["fast"] <= timing["median"] <= timing["slow"] for timing in figures["stages"].values())
    assert figures["networks"]["trnet-68-int8"]["precision"] == "int8"
    assert figures["networks"]["trnet-68"]["multiply_adds"] == 211432512
    assert set(figures["chain"]) == {"decoding alone", "decoding beside a busy core", "trnet-68", "trnet-68-int8"}
    assert all(rate > 0 for rate in figures["chain"].values())
    assert figures["start"]["seconds"] > 0
    assert "the window: not run" in printed


def test_what_is_compared_is_called_in_turn() -> None:
    calls = []
    timings = in_turn({"one": lambda: calls.append(1), "two": lambda: calls.append(2)}, 5, "test")
    assert calls == [1, 2] * 8
    assert set(timings) == {"one", "two"}
    assert Timing.of([1.0, 2.0, 30.0]).median == 2.0


def test_a_video_without_a_face_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from tracker.portrait import encode

    encode(tmp_path / "grey.mp4", (np.full((64, 64, 3), 128, np.uint8) for _ in range(5)))
    assert main(["bench", str(tmp_path / "grey.mp4")]) == 2
    assert capsys.readouterr().err.startswith("error: no face is found")
