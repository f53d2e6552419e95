"""MediaPipe's detector behind the same interface, in an environment of its own: ``python3 run.py test-mediapipe``."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker import Tracker, load_detector, load_model
from tracker.annotations import write_pts
from tracker.core import Frame
from tracker.detector import MEDIAPIPE

pytest.importorskip("mediapipe", reason="MediaPipe is tested in an environment of its own: run.py test-mediapipe")


@pytest.mark.parametrize("name", MEDIAPIPE)
def test_its_points_and_box_lie_on_the_face(portrait: np.ndarray, name: str) -> None:
    (found,) = load_detector(name)(portrait[:300, 60:460])
    seen = np.array([(142, 101), (187, 103), (162, 126), (165, 141), (165, 141)])
    assert np.abs(found.points - seen).max() < 12
    ours = max(load_detector("far")(portrait[:300, 60:460]), key=lambda detection: detection.score)
    assert found.box.iou(ours.box) > 0.6
    assert abs(found.angle - ours.angle) < 0.15


def test_a_face_is_tracked_with_it(portrait: np.ndarray) -> None:
    tracker = Tracker(load_model("trnet-68"), load_detector("mediapipe"))
    ids = [[face.id for face in tracker.update(Frame(portrait, n, n / 30)).faces] for n in range(10)]
    assert ids == [[0]] * 10


def test_its_libraries_say_nothing_on_the_terminal(clip: Path, tmp_path: Path) -> None:
    command = ["-m", "tracker", "track", str(clip), "--out", str(tmp_path), "--detector", "mediapipe"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0
    assert "W0000" not in done.stderr
    assert "TensorFlow" not in done.stderr


def test_its_face_mesh_runs_through_the_evaluation(
    portrait: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the points of trnet-68 for truth: its mesh means other places, but not other parts of the face."""
    tracker = Tracker(load_model("trnet-68"), load_detector("far"))
    (face,) = tracker.update(Frame(portrait, 0, 0.0)).faces
    (tmp_path / "ibug").mkdir()
    cv2.imwrite(str(tmp_path / "ibug" / "one.png"), portrait[:, :, ::-1])
    write_pts(tmp_path / "ibug" / "one.pts", face.points)
    words = ["--data", str(tmp_path), "--subset", "challenging", "--out", str(tmp_path / "out"), "--model", "mediapipe"]
    w300 = importlib.import_module("evaluation.300w")
    assert w300.main(words) == 0
    assert capfd.readouterr().err == ""
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["coverage"] == 100
    assert report["nme.inter_ocular"] < 12
    assert "its own detector" in report["measured"]["modes"]["detector"]
    assert w300.main([*words, "--modes", "tracker-gt"]) == 2
