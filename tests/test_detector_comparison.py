"""``python -m evaluation.detectors`` on a set made here, and what it calls a hit and a threshold."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.detectors import CONDITIONS, Shot, best_scores, hit, threshold_at
from tracker.annotations import write_pts
from tracker.core import Box
from tracker.datasets import kept_apart, validation_names
from tracker.detector import Detection, load_detector


@pytest.fixture
def data(tmp_path: Path, portrait: np.ndarray) -> Path:
    """The portrait in the layouts of both sets, under names that are for validation."""
    lfw, w300 = tmp_path / "lfw_net_5pt", tmp_path / "300w"
    names = [name for name in (f"lfw_5590/Some_{n}_0001.jpg" for n in range(60)) if kept_apart(name)][:2]
    (lfw / "lfw_5590").mkdir(parents=True)
    x = "202 101 247 103 222 126 203 140 246 141"
    (lfw / "trainImageList.txt").write_text("".join(f"{name} 178 270 78 170 {x}\n" for name in names))
    for name in names:
        cv2.imwrite(str(lfw / name), portrait[:300, :, ::-1])
    points = np.tile(np.array([(222, 126)], np.float32), (68, 1))
    points[36:42], points[42:48], points[48], points[54] = (202, 101), (247, 103), (203, 140), (246, 141)
    points[0], points[16], points[8] = (180, 110), (268, 112), (224, 178)
    name = min(name for name in validation_names() if name.startswith("afw/"))
    (w300 / name).parent.mkdir(parents=True)
    cv2.imwrite(str(w300 / f"{name}.jpg"), portrait[:300, :, ::-1])
    write_pts(w300 / f"{name}.pts", points)
    return tmp_path


def test_the_whole_comparison(data: Path) -> None:
    command = [sys.executable, "-m", "evaluation.detectors", "--data", str(data), "--detectors", "near,far"]
    options = ["--faces", "2", "--empty", "20", "--out", str(data / "report.json")]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((data / "report.json").read_text())
    assert report["faces"] == {"lfw_net_5pt": 2, "300w": 1}
    for name in ("lfw_net_5pt", "300w"):
        for condition, values in CONDITIONS.items():
            assert all(f"{name} {condition} {value:g}" in report for value in values)
        assert report[f"{name} size 128"]["far"]["recall"] == 1
        assert report[f"{name} size 128"]["far"]["recall_by_box"] == 1
    assert "lfw_net_5pt size 128" in done.stdout
    nothing = subprocess.run([*command[:4], str(data / "none")], capture_output=True, text=True)
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("error: ")
    assert len(nothing.stderr.strip().splitlines()) == 1


FIVE = np.array([(0, 0), (10, 0), (5, 5), (1, 10), (9, 10)], np.float32)


def test_a_hit_is_within_three_tenths_of_the_eye_distance() -> None:
    truth = Shot(np.zeros((1, 1, 3), np.uint8), FIVE, Box(-2, -5, 12, 13))

    def found(shift: float, score: float = 0.7) -> Detection:
        return Detection(Box(-2, -5, 12, 13), score, 0.0, FIVE + np.float32((shift, 0)))

    assert hit(found(2.99), truth)
    assert not hit(found(3.01), truth)
    narrow = Detection(truth.box, 0.9, 0.0, FIVE[[0, 1, 2, 4, 3]])
    assert hit(narrow, truth), "of the mouth only the middle counts, which is all that some detectors give"
    assert best_scores([found(4, 0.9), found(1, 0.6)], truth) == (0.6, 0.9)
    assert best_scores([], truth) == (0.0, 0.0)


def test_the_threshold_leaves_one_false_positive_in_a_hundred_frames() -> None:
    false = [0.9, 0.8, 0.7, 0.3]
    for frames, left in ((99, 0), (100, 1), (250, 2), (400, 4)):
        assert sum(score >= threshold_at(false, frames) for score in false) == left


def test_thresholds_are_the_detector_s(portrait: np.ndarray) -> None:
    assert len(load_detector("far", 0.05)(portrait)) >= len(load_detector("far", 0.9)(portrait))
