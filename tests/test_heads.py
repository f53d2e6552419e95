"""Confidence and presence: what they mean, that they are learnt, and that they change no point."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import drawn_face, write_300w
from hypothesis import given
from hypothesis import strategies as st

from tracker import Crop, LandmarkModel, load_model
from tracker.networks.heads import TOLERANCE, Heads, confidence
from tracker.networks.trnet import Rectifier
from tracker.training.__main__ import main
from tracker.training.augment import jittered
from tracker.training.datasets import LabelledFace
from tracker.training.heads import Seen, auc, expected_error, fit, judge, rank_correlation
from tracker.training.loop import open_run
from tracker.training.negatives import KINDS, covered, faceless, negative


def test_confidence_is_the_probability_of_being_within_the_tolerance() -> None:
    """By hand where the scale of the distribution is the tolerance (1 - 2 / e), else against a million draws from a
    Laplace distribution of two dimensions, whose distances are the sums of two exponential ones."""
    assert confidence(torch.tensor(2 * TOLERANCE)) == pytest.approx(1 - 2 / math.e, rel=1e-6)
    for expected in (0.01, 0.04, 0.2):
        drawn = np.random.default_rng(1).exponential(expected / 2, (2, 1_000_000)).sum(0)
        assert drawn.mean() == pytest.approx(expected, rel=0.01)
        assert confidence(torch.tensor(expected)).item() == pytest.approx((drawn < TOLERANCE).mean(), abs=0.002)


@given(st.floats(0.006, 1.0))
def test_the_expected_error_is_read_back_from_the_confidence(error: float) -> None:
    stated = confidence(torch.tensor([error], dtype=torch.float64)).numpy()
    assert expected_error(stated)[0] == pytest.approx(error, rel=1e-3)


def test_ranks_are_those_of_scipy() -> None:
    from scipy.stats import mannwhitneyu, spearmanr

    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, 50).astype(float), rng.normal(size=50)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other)[0])
    assert auc(one, one[:20] - 1) == pytest.approx(mannwhitneyu(one, one[:20] - 1).statistic / 1000)
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1


def test_heads_learn_what_the_features_tell() -> None:
    """The first feature tells how far off points are, the second whether there is a face; errors of crops without one
    do not count."""
    rng = np.random.default_rng(0)
    told, face = rng.uniform(-1, 1, 4000), rng.integers(0, 2, 4000)
    true = 0.03 * np.exp(told)[:, None] * [1, 2]
    errors = np.where(face[:, None] == 1, rng.gamma(2, true / 2), 50.0)
    features = np.stack([told, face + rng.normal(0, 0.2, 4000), rng.normal(size=4000)], 1)
    parts = (torch.tensor(part, dtype=torch.float32) for part in (features, errors))
    torch.manual_seed(0)
    heads = Heads((3,), 2, 16)
    fit(heads, Seen(*parts, torch.tensor(face == 1)[:, None].expand(-1, 2), torch.tensor(face).float()), 30, 0)
    with torch.no_grad():
        found = heads([torch.tensor(features, dtype=torch.float32)[:, :, None, None]])
    stated = expected_error(found["confidence"].numpy())[face == 1]
    assert np.median(np.abs(np.log(stated / true[face == 1]))) < 0.1
    assert auc(found["presence"].numpy()[face == 1], found["presence"].numpy()[face == 0]) > 0.99


def red_face() -> LabelledFace:
    """A red square, all of it and nothing else between the points."""
    image = np.full((200, 200, 3), 90, np.uint8)
    image[60:140, 60:140] = (255, 0, 0)
    x, y = np.meshgrid(np.linspace(60, 139, 17), np.linspace(60, 139, 4))
    return LabelledFace("a", image, np.stack([x.ravel(), y.ravel()], 1).astype(np.float32), "ytf68")


def red(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 200) & (picture[..., 1:].max(-1) < 60)


def test_negatives_are_what_they_are_called() -> None:
    face, grey = red_face(), [np.full((80, 80, 3), 128, np.uint8)]
    sides = {kind: [] for kind in KINDS}
    for seed in range(40):
        crop = jittered(face.points, 1.25, 64, np.random.default_rng(seed))
        whole, centre = red(crop.cut(face.image)).mean(), crop.to_input(face.points).mean(0)
        for kind in KINDS[1:]:
            picture, points = negative(kind, face, 1.25, 64, np.random.default_rng(seed), grey)
            assert picture.shape == (64, 64, 3)
            shift = np.linalg.norm(points.mean(0) - centre) * 1.25 / 64
            size = np.ptp(points, axis=0).max() / np.ptp(crop.to_input(face.points), axis=0).max()
            sides[kind].append(
                {"drifted": shift, "wrong scale": size, "half a face": red(picture).mean() / whole}[kind]
            )
        hidden = covered(face, np.random.default_rng(seed), grey)[60:140, 60:140]
        assert red(hidden).mean() < 0.1, "what is left are the corners outside an ellipse"
        assert not np.shares_memory(hidden, face.image)
    assert 0.39 < min(sides["drifted"]) < max(sides["drifted"]) < 0.91
    assert all(1 / 2.7 < size < 1 / 1.6 or 1.6 < size < 2.7 for size in sides["wrong scale"])
    assert all(0.3 < share < 0.75 for share in sides["half a face"])
    with pytest.raises(ValueError, match="no kind"):
        negative("profile", face, 1.25, 64, np.random.default_rng(0), grey)


def test_judged_by_known_answers() -> None:
    """A network that is off by as much as it says, and that says one half of what is no face."""
    image, points = drawn_face(0)
    face = LabelledFace("a", image, points.astype(np.float32), "ytf68")
    count = iter(range(10_000))

    def predict(crops: np.ndarray) -> dict[str, np.ndarray]:
        first = next(count) == 0
        errors = np.linspace(0.01, 0.1, 68)
        states = np.tile(confidence(torch.tensor(errors)).numpy(), (len(crops), 1))
        truth = Crop.around(face.points, 1.25, 64).to_input(face.points)
        moved = truth + np.stack([errors * 64 / 1.25, np.zeros(68)], 1)
        return {
            "points": np.tile(moved, (len(crops), 1, 1)),
            "confidence": states,
            "presence": np.full(len(crops), 0.9 if first else 0.4),
        }

    figures = judge(predict, [face], 1.25, 64)
    assert figures["confidence"]["rank correlation, oracle box"] == pytest.approx(1)
    assert figures["confidence"]["rank correlation, tracked"] < 0.99, "those crops lie elsewhere"
    assert figures["presence"] == {f"auc, {kind}": 1 for kind in KINDS} | {f"refused, {kind}": 1 for kind in KINDS} | {
        "kept, a face": 1
    }


@pytest.mark.parametrize("network", ["trnet20", "aan", "cnn6"])
def test_heads_change_no_point_by_a_bit(tmp_path: Path, network: str) -> None:
    write_300w(tmp_path / "data")
    data = ["--data", str(tmp_path / "data")]
    run, headed = tmp_path / "run", tmp_path / "headed"
    common = ["--sets", "300w", "--batch", "2", "--steps", "1", "--network", network]
    assert main(["train", *data, *common, "--out", str(run)]) == 0
    assert main(["heads", str(run), *data, "--out", str(headed)]) == 0
    assert (headed / "calibration.png").read_bytes().startswith(b"\x89PNG")
    for folder, name in ((run, "without"), (headed, "with")):
        assert main(["export", str(folder), "--name", name, "--out", str(tmp_path)]) == 0
    image, points = drawn_face(3)
    for suffix in (".onnx", ".safetensors"):
        plain, more = (load_model(tmp_path / f"{name}{suffix}") for name in ("without", "with"))
        assert set(more.spec.outputs) - set(plain.spec.outputs) == {"confidence", "presence"}
        crops = [plain.crop_around(points), plain.crop_around(points * 1.1)]
        for before, after in zip(plain.locate(image, crops), more.locate(image, crops), strict=True):
            np.testing.assert_array_equal(before.points, after.points)
            assert before.confidence is None
            assert before.presence is None
            assert after.confidence.shape == (68,)
            assert ((after.confidence >= 0) & (after.confidence <= 1)).all()
            assert 0 <= after.presence <= 1
    assert main(["refine", str(headed), *data, "--out", str(tmp_path / "again")]) == 2
    assert main(["heads", str(headed), *data, "--out", str(tmp_path / "again")]) == 0
    assert main(["heads", str(tmp_path / "nothing"), *data, "--out", str(tmp_path / "again")]) == 2


def test_caps_bound_the_maps_of_any_crop_and_leave_ordinary_ones_alone(tmp_path: Path) -> None:
    write_300w(tmp_path / "data")
    data = ["--data", str(tmp_path / "data")]
    run, capped = tmp_path / "run", tmp_path / "capped"
    assert main(["train", *data, "--sets", "300w", "--batch", "2", "--steps", "1", "--out", str(run)]) == 0
    assert main(["caps", str(run), *data, "--out", str(capped)]) == 0
    for folder, name in ((run, "without"), (capped, "with")):  # export compares the graph with the weights
        assert main(["export", str(folder), "--name", name, "--out", str(tmp_path)]) == 0
    image, points = drawn_face(3)
    before, after = (load_model(tmp_path / f"{name}.onnx") for name in ("without", "with"))
    crops = [before.crop_around(points)]
    np.testing.assert_allclose(after.locate(image, crops)[0].points, before.locate(image, crops)[0].points, atol=1e-3)
    network = open_run(capped)[3]
    caps = after.spec.options["caps"]
    rectifiers = [module for module in network.modules() if isinstance(module, Rectifier)]
    found: list[float] = []
    for module in rectifiers:
        module.register_forward_hook(lambda module, inputs, output: found.append(float(output.max())))
    with torch.inference_mode():
        network(100 * torch.randn(4, 3, 64, 64))
    assert len(found) == len(caps) == 11
    assert all(largest <= cap for largest, cap in zip(found, caps, strict=True))
    assert any(largest == cap for largest, cap in zip(found, caps, strict=True)), "such crops do reach them"
    assert main(["heads", str(capped), *data, "--out", str(tmp_path / "headed")]) == 0
    assert open_run(tmp_path / "headed")[1].options["caps"] == caps
    assert (
        main(["train", *data, "--sets", "300w", "--network", "cnn6", "--steps", "1", "--out", str(tmp_path / "c")]) == 0
    )
    assert main(["caps", str(tmp_path / "c"), *data, "--out", str(tmp_path / "again")]) == 2


def well_placed(portrait: np.ndarray, model: LandmarkModel) -> Crop:
    """The crop about the portrait's face."""
    (face,) = model.locate(portrait, [Crop(224, 120, 150, model.spec.input_size)])
    return model.crop_around(face.points)


def test_the_shipped_presence_tells_a_face(portrait: np.ndarray, model: LandmarkModel) -> None:
    """High for the portrait, also where a tracker's crop is a little off; low beside it, for half of it, at twice and
    half its size, and for every picture without a face."""
    crop = well_placed(portrait, model)
    side = crop.side / model.spec.context
    near = [
        Crop(crop.cx + dx * side, crop.cy, crop.side * scale, crop.size)
        for dx in (-0.05, 0.05)
        for scale in (0.95, 1.1)
    ]
    assert min(face.presence for face in model.locate(portrait, near)) > 0.5
    ways = [(0.6, 0, 1), (-0.6, 0, 1), (0, 0.6, 1), (0, -0.6, 1), (0, 0, 2.2), (0, 0, 0.45)]
    far = [Crop(crop.cx + dx * side, crop.cy + dy * side, crop.side * scale, crop.size) for dx, dy, scale in ways]
    assert max(face.presence for face in model.locate(portrait, far)) < 0.5
    half = portrait.copy()
    half[:, round(crop.cx) :] = 0
    assert model.locate(half, [crop])[0].presence < 0.5
    for picture in faceless("validation"):
        height, width = picture.shape[:2]
        assert model.locate(picture, [Crop(width / 2, height / 2, 0.8 * height, crop.size)])[0].presence < 0.5


def test_the_shipped_confidence_falls_where_something_hides_the_face(
    portrait: np.ndarray, model: LandmarkModel
) -> None:
    crop = well_placed(portrait, model)
    seen = model.locate(portrait, [crop])[0]
    x0, y0 = (int(value) for value in seen.points[48:68].min(0) - 12)
    x1, y1 = (int(value) for value in seen.points[48:68].max(0) + 12)
    hidden = portrait.copy()
    hidden[y0:y1, x0:x1] = np.random.default_rng(0).integers(0, 256, (y1 - y0, x1 - x0, 3))
    after = model.locate(hidden, [crop])[0]
    assert after.confidence[48:68].mean() < seen.confidence[48:68].mean() - 0.02
