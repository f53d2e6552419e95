"""MediaPipe's detector behind the same interface, in an environment of its own: ``python3 run.py test-mediapipe``."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tracker import Tracker, load_detector, load_model
from tracker.annotations import read_pts, write_pts
from tracker.core import Crop, Frame
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


def interrupted(make: Callable[..., Any], after: int) -> Callable[..., Any]:
    """``make``, until somebody presses Ctrl-C after so many calls."""
    calls = count()

    def made(*words: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return make(*words)

    return made


def test_a_teacher_learns_from_its_mesh_and_labels_faces(
    portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the portrait in many places, with labels a little below the points of trnet-68: what the teacher says lies
    by the labels, not by the model it is shown. A run that was broken off ends where an unbroken one does."""
    import torch

    from tracker.training import teacher
    from tracker.training.__main__ import main
    from tracker.training.datasets import LabelledFace
    from tracker.training.mesh import FaceMesh
    from tracker.training.teacher import Labeller, teaching_run, train_teacher

    (face,) = Tracker(load_model("trnet-68"), load_detector("far")).update(Frame(portrait, 0, 0.0)).faces
    truth = face.points + np.float32([0, 5])
    rng, faces = np.random.default_rng(0), []
    for number in range(66):
        crop = Crop.around(truth, 2.2 + rng.uniform(0, 1), 200, rng.normal(0, 0.2))
        points = crop.to_input(truth).astype(np.float32)
        faces.append(LabelledFace(str(number), crop.cut(portrait), points, "made"))
    mesh, run = FaceMesh(), teaching_run(6, 1)
    train_teacher(run, faces, faces[:2], tmp_path / "whole", mesh)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["nme_start"] < 1.5, "where the mesh puts them"
    with monkeypatch.context() as patch:
        patch.setattr(teacher, "_sample", interrupted(teacher._sample, 4 * run.batch))
        with pytest.raises(KeyboardInterrupt):
            train_teacher(run, faces, faces[:2], tmp_path / "broken", mesh, save_every=0)
    assert torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)["step"] == 4
    train_teacher(run, faces, faces[:2], tmp_path / "broken", None)  # its meshes are kept
    ends = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "broken")]
    assert ends[0]["step"] == 6
    assert all(torch.allclose(value, ends[1]["average"][name], atol=1e-5) for name, value in ends[0]["average"].items())

    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "one.jpg"), portrait[:, :, ::-1])
    words = ["label", str(tmp_path / "pictures"), "--out", str(tmp_path / "out")]
    assert main([*words, "--teacher", str(tmp_path / "whole")]) == 0
    found = read_pts(tmp_path / "out" / "one.pts")
    assert np.linalg.norm(found - truth, axis=1).mean() < 3 < np.linalg.norm(face.points - truth, axis=1).mean()
    assert main([*words, "--teacher", str(tmp_path / "whole"), "--beside", "aan-68"]) == 0
    mixed, contour = read_pts(tmp_path / "out" / "one.pts"), slice(0, 17)
    moved = np.linalg.norm(mixed - found, axis=1)
    assert moved[contour].mean() > moved[17:].mean() > 0, "a second model counts most on the contour"
    assert main([*words, "--teacher", str(tmp_path / "whole"), str(tmp_path / "nowhere")]) == 2

    train_teacher(teaching_run(6, 2), faces, faces[:2], tmp_path / "other", mesh)
    names = ["whole"], ["other"], ["whole", "other"]
    one, other, both = (
        Labeller([tmp_path / name for name in folders], mesh)(portrait, face.points) for folders in names
    )
    assert np.abs(one - other).max() > 0.01
    assert np.allclose(both, (one + other) / 2, atol=1e-3), "several teachers: the mean of what each finds"


def test_a_vertex_of_the_mesh_is_on_the_same_spot_in_the_mirror(portrait: np.ndarray) -> None:
    from tracker.training.mesh import FaceMesh

    looks = FaceMesh()(np.ascontiguousarray(portrait[:256, 94:350]))[..., :2]
    apart = np.linalg.norm(looks - looks.mean(0), axis=-1)
    assert looks.shape == (6, 478, 2)
    assert apart.mean() < 1
    assert apart.max() < 6
