"""What the face detector learns from: where things lie in its scenes, what it is asked, its loss, its labels."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tracker import load_detector
from tracker.annotations import read_pts
from tracker.core import Box, TrackerError
from tracker.datasets import DataError
from tracker.detector import STRIDES, Detection, Detector, decode
from tracker.markup import CELEBA5, IBUG68
from tracker.model import LandmarkModel
from tracker.networks import build
from tracker.training.__main__ import main
from tracker.training.datasets import LabelledFace
from tracker.training.detect import detection_loss, train_detector
from tracker.training.export import export
from tracker.training.label import label, mean_points, other_faces, read_others
from tracker.training.loop import Run, TrainingError
from tracker.training.readers import read_pseudo
from tracker.training.scenes import Photo, Scenes, asked, textures

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)])
FIVE = np.array([(40, 40), (80, 40), (60, 60), (45, 85), (75, 85)], np.float32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn() -> LabelledFace:
    """A grey picture (120, 120, 3) with a coloured disc at each of five points."""
    image = np.full((120, 120, 3), 128, np.uint8)
    for place, colour in zip(FIVE, COLOURS, strict=True):
        cv2.circle(image, (int(place[0]), int(place[1])), 7, tuple(int(value) for value in colour), -1)
    return LabelledFace("drawn", image, FIVE, "test", CELEBA5)


def test_points_lie_on_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled, turned, mirrored and clipped, the label still lies on its disc; a mirrored left eye is a right one."""
    monkeypatch.setattr("tracker.training.scenes._photographed", lambda patch, face, rng: patch)
    scenes = Scenes([Photo.of(drawn())], [np.zeros((50, 50, 3), np.uint8)], 4, seed=3)
    seen, right, mirrored = 0, 0, 0
    for step in range(120):
        scene = scenes.scene(192, np.random.default_rng((3, step)))
        for face in scene.faces:
            if face[2] < 30:
                continue
            five = face[3:].reshape(5, 2)
            found = []
            for x, y in np.round(five).astype(int):
                if 0 <= x < 192 and 0 <= y < 192:
                    found.append(np.abs(COLOURS - scene.image[y, x].astype(int)).sum(1).argmin())
                else:
                    found.append(-1)
            straight, swapped = (
                sum(index in (expected, -1) for expected, index in zip(order, found, strict=True))
                for order in (range(5), CELEBA5.mirror)
            )
            seen, right, mirrored = seen + 1, right + (max(straight, swapped) >= 4), mirrored + (swapped > straight)
    assert seen > 30
    assert right > 0.9 * seen, "now and then the neighbour's picture lies over some"
    assert 0.3 < mirrored / seen < 0.7


def test_the_same_step_is_the_same_batch(portrait: np.ndarray) -> None:
    photos = [Photo.of(LabelledFace("a", portrait, FIVE, "test", CELEBA5))]
    for step in (0, 1):
        first, second = (Scenes(photos, textures()[:2], 3, seed=5)[step] for _ in range(2))
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)
    images, targets, states = first
    cells = sum((images.shape[1] // stride) ** 2 for stride in STRIDES)
    assert targets.shape == (len(images), cells, 13)
    assert states.shape == (len(images), cells)


def test_what_is_asked_decodes_to_the_face() -> None:
    faces = [np.array([70, 60, side, *(FIVE * side / 120 + 10).ravel()], np.float32) for side in (12, 36, 80, 200)]
    for face in faces:
        targets, states = asked([face], [], 256)
        found = decode((states == 1).astype(np.float32), targets, (256, 256), 0.5)
        assert len(found) >= 1
        np.testing.assert_allclose(found[:, 1:], np.broadcast_to(face, (len(found), 13)), atol=1e-3)
    targets, states = asked(faces[:1], [(200, 200, 40)], 256)
    level = states[: 32 * 32].reshape(32, 32)
    assert level[25, 25] == -1, "a face without a label is not asked for"
    assert level[3, 3] == 0
    assert (level == 1).sum() >= 1
    assert np.isfinite(targets).all()


def test_the_loss_asks_only_what_is_known() -> None:
    face = np.array([64, 64, 40, *(FIVE / 3 + 44).ravel()], np.float32)
    targets, states = (torch.from_numpy(values)[None] for values in asked([face], [(20, 20, 20)], 128))
    perfect = torch.cat([torch.where(states == 1, 20.0, -20.0)[..., None], targets], -1)
    levels = [16 * 16, 8 * 8, 4 * 4]
    assert sum(float(part) for part in detection_loss(perfect, targets, states, levels).values()) < 1e-4
    cells = torch.randn_like(perfect, requires_grad=True)
    loss = detection_loss(cells, targets, states, levels)
    sum(loss.values(), torch.zeros(())).backward()
    assert cells.grad is not None
    assert torch.isfinite(cells.grad).all()
    assert (cells.grad[states == -1] == 0).all()
    assert (cells.grad[states == 0][:, 1:] == 0).all(), "where there is no face its place is not asked for"
    assert (cells.grad[states == 1] != 0).all()
    empty = detection_loss(cells, targets, torch.zeros_like(states), levels)
    assert all(torch.isfinite(part) for part in empty.values())


def test_a_broken_run_ends_as_an_unbroken_one_and_is_exported(tmp_path: Path) -> None:
    photos, pictures = [Photo.of(drawn())], [np.zeros((64, 64, 3), np.uint8)]

    def run(folder: str, steps: int) -> dict[str, torch.Tensor]:
        settings = Run("facedet", options={"width": 8}, steps=6, batch=2, decay=0.0)
        settings = Run(**{**settings.__dict__, "steps": steps})
        return train_detector(
            settings, photos, pictures, photos, tmp_path / folder, ["test"], save_every=0, scenes=5
        ).state_dict()

    whole = run("whole", 6)
    run("broken", 3)
    again = run("broken", 6)
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6
    assert {"recall_0.5", "wrong_0.5", "error", "score", "box", "points"} <= set(lines[-1])
    spec = export(tmp_path / "whole", tmp_path / "weights", "tiny")
    assert spec.outputs == ("scores", "faces")
    detector = load_detector(tmp_path / "weights" / "tiny.onnx", 0.0)
    assert all(isinstance(found, Detection) for found in detector(np.zeros((70, 90, 3), np.uint8)))
    with pytest.raises(TrackerError, match="give it as --detector"):
        LandmarkModel(detector._backend)  # type: ignore[attr-defined]
    with pytest.raises(TrainingError, match=r"holds a run that differs in .*seed"):
        train_detector(Run("facedet", {"width": 8}, seed=2), photos, pictures, photos, tmp_path / "whole", [])
    with pytest.raises(TrainingError, match="no photos of faces"):
        train_detector(Run("facedet"), [], pictures, photos, tmp_path / "none", [])


def test_it_learns(tmp_path: Path) -> None:
    """Sixty steps on one drawn face."""
    folder = tmp_path / "run"
    run = Run("facedet", {"width": 16}, steps=60, batch=4, rate=5e-3)
    pictures = [np.full((64, 64, 3), 90, np.uint8)]
    train_detector(
        run, [Photo.of(drawn())], pictures, [Photo.of(drawn())], folder, ["test"], validate_every=20, scenes=5
    )
    losses = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["score"] < 0.7 * losses[0]["score"]
    assert losses[-1]["points"] < 0.7 * losses[0]["points"]


def test_labels_of_a_model(
    tmp_path: Path, portrait: np.ndarray, model: LandmarkModel, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    (pictures / "deep").mkdir(parents=True)
    cv2.imwrite(str(pictures / "deep" / "one.jpg"), portrait[:, :, ::-1])
    cv2.imwrite(str(pictures / "none.jpg"), np.full((90, 90, 3), 77, np.uint8))
    assert label(pictures, tmp_path / "out", model, detector) == (1, 2)
    points = read_pts(tmp_path / "out" / "deep" / "one.pts")
    assert np.linalg.norm(IBUG68.five(points)[2] - (222, 126)) < 6
    (face,) = read_pseudo(tmp_path / "out")
    assert face.markup is IBUG68
    # five points that are those of the face, and five that are somewhere else
    for shift, kept in ((0, 1), (60, 0)):
        x = [202 + shift, 101, 247 + shift, 103, 222 + shift, 126, 203 + shift, 140, 246 + shift, 141]
        (pictures / "trainImageList.txt").write_text("deep\\one.jpg 180 270 80 180 " + " ".join(map(str, x)) + "\n")
        assert label(pictures, tmp_path / f"five{shift}", model, detector) == (kept, 1)
    assert main(["label", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 2
    assert "no .jpg files to label" in capsys.readouterr().err


def test_a_label_is_the_same_in_the_mirror(portrait: np.ndarray, model: LandmarkModel) -> None:
    """As one view is not: it says on which side a network errs."""
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    points = model.locate(portrait, [model.crop(Box(175, 70, 275, 190))])[0].points
    last, order = portrait.shape[1] - 1, list(IBUG68.mirror)

    def turned(found: np.ndarray) -> np.ndarray:
        return np.stack([last - found[order, 0], found[order, 1]], -1).astype(np.float32)

    def apart(locate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        one, other = locate(portrait, points), turned(locate(mirrored, turned(points)))
        return float(np.linalg.norm(one - other, axis=1).mean())

    by_views = apart(lambda image, start: mean_points(model, image, start))
    by_one = apart(lambda image, start: model.locate(image, [model.crop_around(start)])[0].points)
    assert by_views < 0.5 * by_one


def test_faces_of_others_are_found(tmp_path: Path, portrait: np.ndarray, detector: Detector) -> None:
    image = np.concatenate([portrait[:260], portrait[:260]], 1)
    points = np.array([(180, 80), (270, 80), (225, 180)], np.float32)
    face = LabelledFace("two", image, points, "test", CELEBA5)
    assert other_faces([face], detector, tmp_path / "others.json") == 1
    (other,) = read_others(tmp_path / "others.json")["test/two"]
    assert math.dist(other[:2], (225 + 512, 130)) < 40
    photo = Photo.of(drawn(), [other])
    assert photo.others.shape == (1, 3)
    (tmp_path / "others.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="not a readable list of faces"):
        read_others(tmp_path / "others.json")


def test_the_detector_is_no_network_for_train(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--out", str(tmp_path), "--network", "facedet"])
    assert build("facedet", 5).input_size == 256


def test_a_stopped_run_says_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tracker.training.__main__._detector", stopped)
    assert main(["detector", "--out", str(tmp_path)]) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err
