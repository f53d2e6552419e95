"""MediaPipe's detector behind the same interface, in an environment of its own: ``python3 run.py test-mediapipe``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tracker import Tracker, load_detector, load_model
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
