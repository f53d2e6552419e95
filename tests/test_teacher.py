"""What a teacher learns of meshes, on made ones. The real ones are in test_mediapipe.py, where MediaPipe is."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import shape, write_300w
from test_readers import write

from tracker import LandmarkModel, load_model
from tracker.annotations import write_pts
from tracker.core import Image
from tracker.datasets import DataError
from tracker.detector import Detector
from tracker.markup import CELEBA5, IBUG68
from tracker.networks.teacher import Teacher
from tracker.training.__main__ import main
from tracker.training.datasets import LabelledFace
from tracker.training.label import label
from tracker.training.loop import TrainingError
from tracker.training.mesh import CODE, VERTICES, Form, MeshError, mirror, upright
from tracker.training.teacher import Labeller, Seen, _sample, teaching_run, train_teacher


def made(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Meshes (N, 478, 3) of faces of many shapes, turned, moved and scaled, and their points (N, 68, 2), which follow
    from them."""
    rng = np.random.default_rng(seed)
    plain = rng.uniform((0, -0.6, -0.3), (0.5, 0.6, 0.3), (VERTICES, 3))
    left = np.arange(VERTICES) > mirror()
    plain[left] = plain[mirror()][left] * (-1, 1, 1)
    modes = rng.normal(0, 0.003, (2 * CODE, VERTICES, 3))
    weights = rng.dirichlet(np.full(VERTICES, 0.005), 68)
    for index, other in enumerate(IBUG68.mirror):  # the points of a mirrored face are the mirrored points
        if index < other:
            weights[other] = weights[index][mirror()]
        elif index == other:
            weights[index] = (weights[index] + weights[index][mirror()]) / 2
    meshes, points = [], []
    for _ in range(count):
        mesh = plain + np.tensordot(rng.normal(0, 1, len(modes)), modes, 1)
        angle, scale = rng.normal(0, 0.3), rng.uniform(90, 140)
        turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        moved = np.concatenate([mesh[:, :2] @ turn + rng.uniform(110, 150, 2), scale * mesh[:, 2:]], 1)
        points.append(weights @ moved[:, :2])
        meshes.append(moved)
    return np.stack(meshes).astype(np.float32), np.stack(points)


def test_points_follow_from_meshes_of_new_faces(tmp_path: Path) -> None:
    """However a face lies: the similarity is taken off before the map, and put back."""
    meshes, points = made(120)
    form = Form.learnt(meshes[:100], points[:100], IBUG68)
    placed = form.placed(meshes[100:], 96)
    face = np.ptp(points[100:], axis=1).max(1)
    assert (np.linalg.norm(placed.points - points[100:], axis=-1).mean(1) / face).max() < 0.02
    inputs = np.einsum("nij,npj->npi", placed.matrices[:, :, :2], placed.points) + placed.matrices[:, None, :, 2]
    assert inputs.min() > 0
    assert inputs.max() < 95
    assert np.abs((inputs.min(1) + inputs.max(1)).mean(0) / 2 - 47.5).max() < 5, "in the middle"
    form.save(tmp_path / "form.npz")
    again = Form.load(tmp_path / "form.npz").placed(meshes[100:], 96)
    np.testing.assert_array_equal(again.points, placed.points)
    np.testing.assert_array_equal(again.codes, placed.codes)
    (tmp_path / "form.npz").write_bytes(b"no")
    with pytest.raises(MeshError, match="not the form of a teacher"):
        Form.load(tmp_path / "form.npz")
    with pytest.raises(MeshError, match="at least 64"):
        Form.learnt(meshes[: CODE - 1], points[: CODE - 1], IBUG68)


def test_a_mirrored_face_has_the_mirrored_code() -> None:
    meshes, points = made(100)
    form = Form.learnt(meshes, points, IBUG68)
    turned = meshes[:5][:, mirror()] * np.float32([-1, 1, 1]) + np.float32([255, 0, 0])
    plain, other = form.placed(meshes[:5], 96), form.placed(turned, 96)
    np.testing.assert_allclose(other.codes, plain.mirrored_codes, atol=1e-3)
    np.testing.assert_allclose(255 - other.points[..., 0], plain.points[:, list(IBUG68.mirror), 0], atol=1e-3)


def test_it_reads_what_is_about_the_points_it_is_given() -> None:
    """A picture that is moved under the points gives other points."""
    torch.manual_seed(0)
    network = Teacher().eval()
    start = torch.from_numpy(shape() * 60 + 47.5).float()[None]
    crop = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        still, moved = (network(crop, start, torch.zeros(1, CODE))[-1] for crop in (crop, crop.roll(9, -1)))
    assert still.shape == (1, 68, 2)
    assert (still - moved).abs().mean() > 0.01


def faces_with_meshes(count: int, seed: int, dataset: str) -> tuple[list[LabelledFace], Callable[[Image], np.ndarray]]:
    """Pictures of noise, each with points of its own, and what finds a mesh in the crop of each."""
    rng = np.random.default_rng(seed)
    faces = [
        LabelledFace(f"{dataset}{one}", rng.integers(0, 256, (200, 200, 3)).astype(np.uint8), points, dataset)
        for one, points in enumerate(np.float32(shape() * 100 + 100 + rng.uniform(-9, 9, 2)) for _ in range(count))
    ]
    crops = (upright(face.points, IBUG68).cut(face.image).tobytes() for face in faces)
    meshes = dict(zip(crops, made(count, seed)[0], strict=True))
    return faces, lambda picture: np.repeat(meshes[picture.tobytes()][None], 6, 0)


def test_a_teacher_also_learns_from_faces_that_were_labelled_and_looks_for_a_mesh_once(tmp_path: Path) -> None:
    faces, mesh = faces_with_meshes(CODE, 0, "300w")
    labelled, mesh_too = faces_with_meshes(5, 1, "pseudo")
    looked: list[Image] = []

    def found(picture: Image) -> np.ndarray:
        looked.append(picture)
        try:
            return mesh(picture)
        except KeyError:
            return mesh_too(picture)

    words = faces, faces[:3], tmp_path / "run"
    train_teacher(teaching_run(1, 1), *words, found, labelled=labelled)
    assert len(looked) == CODE + 3 + 5
    train_teacher(teaching_run(2, 1), *words, found, labelled=labelled)
    assert len(looked) == CODE + 3 + 5, "what was found is kept"
    with pytest.raises(TrainingError, match="differs in sets"):
        train_teacher(teaching_run(2, 1), *words, found)
    seen = [Seen(some, found, name, tmp_path / name) for name, some in (("one", faces), ("other", labelled))]
    form = Form.load(tmp_path / "run" / "form.npz")
    sources = [(some, some.placed(form, 96)) for some in seen]
    seen[0].pictures[:], seen[1].pictures[:] = 0, 255
    drawn = [_sample(sources, 0.5, IBUG68, 96, np.random.default_rng(n))[0].mean() > 40 for n in range(200)]
    assert 60 < sum(drawn) < 140
    drawn = [_sample(sources[:1], 0.5, IBUG68, 96, np.random.default_rng(n))[0].mean() > 40 for n in range(50)]
    assert not any(drawn)
    five = LabelledFace("five", faces[0].image, faces[0].points[:5], "pseudo", CELEBA5)
    with pytest.raises(TrainingError, match="five: labelled with"):
        train_teacher(teaching_run(1, 1), faces, faces[:3], tmp_path / "other", found, labelled=[five])


def test_a_teacher_labels_beside_a_model_of_its_points_only(tmp_path: Path, detector: Detector) -> None:
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    run.mkdir()
    state = {"run": asdict(teaching_run(1, 1)), "markup": "ibug68", "average": Teacher().state_dict()}
    torch.save(state, run / "checkpoint.pt")
    Form.learnt(*made(CODE), IBUG68).save(run / "form.npz")
    write(pictures / "one.jpg", np.full((90, 90, 3), 77, np.uint8))
    teacher = Labeller([run], None)  # which is not asked as far as its mesh
    with pytest.raises(DataError, match="--teacher gives the points of ibug68, --model trnet-5 those of"):
        label(pictures, tmp_path / "out", load_model("trnet-5"), detector, teacher)
    models = load_model("trnet-68"), load_model("trnet-5"), load_model("aan-68")
    for beside, taught in ((models[1], teacher), (models[2], None)):
        with pytest.raises(
            DataError, match=f"--beside {beside.spec.name}: goes with --teacher and a model of the same"
        ):
            label(pictures, tmp_path / "out", models[0], detector, taught, beside)
    assert not (tmp_path / "out").exists()


def test_a_face_that_is_refused_keeps_no_label_of_an_earlier_run(
    tmp_path: Path, portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    pictures, out, grey = tmp_path / "pictures", tmp_path / "out", np.full((512, 512, 3), 77, np.uint8)
    for image, count in ((portrait, 1), (grey, 0)):
        write(pictures / "deep" / "one.jpg", image)
        assert label(pictures, out, model, detector) == (count, 1)
        files = ["deep/one.jpg", "deep/one.pts"] * count
        assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [*files, "markup.txt"]
    write_pts(pictures / "deep" / "one.pts", shape())
    assert label(pictures, pictures, model, detector) == (0, 1)
    assert sorted(path.name for path in (pictures / "deep").iterdir()) == ["one.jpg", "one.pts"], "the user's own"


def test_without_mediapipe_it_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_300w(tmp_path / "data")
    assert main(["teacher", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "landmark-tracker[train,mediapipe]" in error
    assert main(["label", str(tmp_path), "--teacher", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
