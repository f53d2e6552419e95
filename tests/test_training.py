"""The whole way on a tiny set made here: read, train, be killed, resume, export, load."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn import drawn_face, drawn_labels, shape, write_300w
from safetensors.torch import load_file
from torch import Tensor

from tracker import load_model
from tracker.backends import weights_folder
from tracker.core import Box
from tracker.datasets import KEPT_TOO, DataError, kept_apart, pictures_300w, validation_names
from tracker.draw import COLOURS
from tracker.markup import AFLW19, IBUG68, MARKUPS, Markup
from tracker.metrics import inter_pupil, nme, oracle_crop
from tracker.networks import build
from tracker.training.__main__ import main
from tracker.training.augment import augmented, jittered
from tracker.training.compare import compare
from tracker.training.datasets import LARGEST, LabelledFace, held_out, kept
from tracker.training.export import ExportError
from tracker.training.loop import Batches, Run, TrainingError, measure, normalised, open_run, predict, train
from tracker.training.pictures import plot_log
from tracker.training.quantise import quantise
from tracker.training.readers import read_300w
from tracker.training.refine import part_errors


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_300w(tmp_path / "data")
    return tmp_path / "data"


COMMON = ["--sets", "300w", "--batch", "4", "--network", "trnet20", "--seed", "7"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_reading_300w(data: Path) -> None:
    faces = read_300w(data / "300w")
    assert len(faces) == 5
    image, points = drawn_face(0)
    first = next(face for face in faces if face.name == "afw/1_1")
    spot = tuple(int(v) for v in first.points[30])
    true = tuple(int(v) for v in points[30])
    np.testing.assert_array_equal(first.image[spot[1], spot[0]], image[true[1], true[0], ::-1])
    moved = first.points - first.unbiased
    np.testing.assert_allclose(moved[:, 0] / np.linalg.norm(points[36] - points[45]), 0.007, atol=1e-5)
    assert sum(face.name in validation_names() for face in faces) == 2


def test_the_test_faces_of_300w_are_never_trained_on(data: Path) -> None:
    train, test = data / "300w" / "helen" / "trainset", data / "300w" / "helen" / "testset"
    test.mkdir()
    for path in train.iterdir():
        (test / path.name).write_bytes(path.read_bytes())
    assert len(read_300w(data / "300w")) == 5


def test_validation_faces_are_kept_out_wherever_they_lie(data: Path) -> None:
    """Helen's and LFPW's faces without a folder trainset have other names, and are the same faces."""
    root = data / "300w"
    for path in [*root.glob("*/trainset/*")]:
        path.rename(path.parents[1] / path.name)
    faces = read_300w(root)
    unseen = held_out(faces)
    assert len(faces) == 5
    assert {name.partition("/")[0] for name in unseen} == {"afw", "lfpw"}
    assert {picture.name for picture in pictures_300w(root, "validation")} == unseen
    assert len(unseen) == 2
    listed = [(name.partition("/")[0], Path(name).name) for name in validation_names()]
    assert len(set(listed)) == len(listed)


def test_a_missing_set_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="request 300-W"):
        read_300w(tmp_path)
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_augmented_points_stay_on_the_face() -> None:
    """Wherever the crop goes and whether it is mirrored, a point drawn red is found where the picture is red."""
    points = shape() * 70 + 80
    image = np.zeros((160, 160, 3), np.uint8)
    for x, y in points[36:42]:  # the eye on the image's left, which a mirrored crop has on its right
        cv2.circle(image, (round(x), round(y)), 4, (255, 0, 0), -1)
    seen = []
    for seed in range(60):
        picture, moved, _ = augmented(image, points, IBUG68, 1.25, 64, np.random.default_rng(seed))
        reds = [picture[:, :, 0].astype(int)[tuple(np.int32(moved[eye].mean(0).round()))[::-1]] for eye in EYES]
        seen.append(max(reds) - min(reds) > 60 and reds[0] < reds[1])
        mirrored = moved[16, 0] < moved[0, 0]
        assert not mirrored, "the contour runs from the image's left to its right in every crop"
    assert 10 < sum(seen) < 50, "half of the crops are mirrored"


EYES = (slice(36, 42), slice(42, 48))


@pytest.mark.parametrize("markup", MARKUPS.values(), ids=lambda markup: markup.name)
def test_mirrored_points_change_places_with_their_masks(markup: Markup) -> None:
    """In a mirrored crop each point stands where its mirror point was, and what was known of that one is known of it;
    an unknown point moves no crop, wherever it is said to be."""
    rng = np.random.default_rng(0)
    image = np.zeros((160, 160, 3), np.uint8)
    points = rng.uniform(40, 120, (markup.size, 2))
    known = np.arange(markup.size) != 0
    points[0] = 1e4
    mirrored = []
    for seed in range(20):
        _, moved, mask = augmented(image, points, markup, 1.25, 64, np.random.default_rng(seed), known)
        straight = jittered(points[1:], 1.25, 64, np.random.default_rng(seed)).to_input(points)
        turned = np.array([[63 - straight[i, 0], straight[i, 1]] for i in markup.mirror])
        mirrored.append(not np.allclose(moved, straight, rtol=1e-5))
        np.testing.assert_allclose(moved, turned if mirrored[-1] else straight, rtol=1e-5, atol=1e-3)
        assert list(np.flatnonzero(~mask)) == [markup.mirror[0] if mirrored[-1] else 0]
    assert 3 < sum(mirrored) < 17


def test_a_mask_draws_no_other_numbers() -> None:
    """A set in which all points are known gives the same crops as ever, also beside one in which some are not."""
    image, points = drawn_face(0)
    points = points.astype(np.float32)
    full = LabelledFace("a", image, points, "300w")
    masked = LabelledFace("a", image, points, "300w", known=np.ones(68, np.bool_))
    run = Run(steps=10, batch=6)
    for one, other in (
        (Batches([[full]], run, 64, IBUG68)[s], Batches([[masked]], run, 64, IBUG68)[s]) for s in (0, 9)
    ):
        assert all(torch.equal(one[i], other[i]) for i in (0, 1))
        assert one[2] is None
        assert other[2].all()


def test_the_end_of_a_run_is_without_the_sets_labelled_otherwise_and_calmer() -> None:
    points = (shape() * 100 + 50).astype(np.float32)
    shades = {"300w": 60, "ytf68": 120, "pseudo": 180}
    sets = [
        [LabelledFace(name, np.full((200, 200, 3), shade, np.uint8), points, name)] for name, shade in shades.items()
    ]

    def seen(step: int, calm: float) -> Tensor:
        """The brightest of each crop, which tells its set where nothing else is done to it, as with no strength."""
        run = Run(steps=100, batch=200, coarse=0.5, decay=0.5, calm=calm, jitter=0.0)
        return Batches(sets, run, 64, IBUG68)[step][0].amax((1, 2, 3))

    share = (seen(60, 0.0) == 180).double().mean()
    assert set(seen(60, 0.0).tolist()) == {60, 180}
    assert 0.15 < share < 0.35

    def spread(step: int, **strengths: float) -> float:
        """How far the crops are moved."""
        run = Run(steps=100, batch=200, decay=0.5, **strengths)
        return float(Batches(sets, run, 64, IBUG68)[step][1].std(0).mean())

    assert spread(60) < 0.7 * spread(10)
    assert spread(60, calm=0.0) == spread(60) > spread(60, jitter=0.0)


def test_what_is_kept_of_a_photo_fits_its_labels() -> None:
    """Points and box are cut and shrunk with the picture; unknown points are put among the known ones and widen
    nothing."""
    image = np.zeros((900, 1200, 3), np.uint8)
    points = np.stack([np.linspace(500, 900, 19), np.linspace(300, 700, 19)], 1).astype(np.float32)
    for x, y in points:
        cv2.circle(image, (round(x), round(y)), 6, (255, 0, 0), -1)
    points[4] = 0
    known = np.arange(19) != 4
    face = kept("x", image, points, "aflw", AFLW19, known, box=Box(480.5, 280.5, 920.5, 720.5))
    assert max(np.ptp(face.known_points, axis=0)) == pytest.approx(LARGEST, rel=0.01)
    assert all(face.image[round(y), round(x), 0] > 100 for x, y in face.known_points)
    np.testing.assert_allclose(face.points[4], face.known_points.mean(0), atol=1e-3)
    assert face.box.width / np.ptp(face.known_points[:, 0]) == pytest.approx(440 / 400, rel=1e-3)
    assert face.box.x0 == pytest.approx(face.points[0, 0] - 19.5 * LARGEST / 400, abs=0.3)
    assert face.image.nbytes < 500_000
    assert kept("x", image, points, "aflw", AFLW19, np.ones(19, np.bool_)).known is None
    with pytest.raises(DataError, match="19 points, where ibug68 has 68"):
        kept("x", image, points, "300w")
    with pytest.raises(DataError, match="no point"):
        kept("x", image, points, "aflw", AFLW19, np.zeros(19, np.bool_))
    with pytest.raises(DataError, match="beside the picture"):
        kept("x", image, points + 9000, "aflw", AFLW19)


def test_crops_stay_around_the_face() -> None:
    points = shape() * 70 + 80
    sides = [jittered(points, 1.25, 64, np.random.default_rng(seed)).side / (1.25 * 70) for seed in range(200)]
    assert 0.6 < min(sides) < 0.95
    assert 1.1 < max(sides) < 2


def test_a_run_that_is_killed_and_resumed_ends_where_an_unbroken_one_ends(data: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = ["train", "--data", str(data), "--steps", "12", *COMMON]
    train = [sys.executable, "-m", "tracker.training", *command, "--out"]  # as a user: each in a process of its own
    assert subprocess.run([*train, str(whole)], capture_output=True).returncode == 0
    code = "import sys, tracker.training.loop as l, functools, tracker.training.__main__ as m;"
    code += "m.train = functools.partial(l.train, save_every=0.0); sys.exit(m.main(sys.argv[1:]))"
    worker = subprocess.Popen([sys.executable, "-c", code, *command, "--out", str(broken)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "checkpoint.pt").exists() and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert weights(broken)["step"] >= 1
    assert subprocess.run([*train, str(broken)], capture_output=True).returncode == 0
    one, other = weights(whole), weights(broken)
    assert one["step"] == other["step"] == 12
    for part in ("network", "average"):
        assert all(torch.equal(value, other[part][key]) for key, value in one[part].items())


def test_a_folder_with_another_run_is_not_overwritten(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "1", *COMMON]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--loss", "l2"]) == 2
    assert "differs in loss" in capsys.readouterr().err


def test_a_run_is_not_set_back_by_fewer_steps(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *COMMON, "--steps"]
    assert main([*command, "3"]) == 0
    final = (tmp_path / "run" / "final.json").read_bytes()
    capsys.readouterr()
    assert main([*command, "2"]) == 2
    assert "has 3 steps behind it; give --steps 3 or more" in capsys.readouterr().err
    assert weights(tmp_path / "run")["step"] == 3
    assert main([*command, "3"]) == 0, "nothing is left to do"
    assert (tmp_path / "run" / "final.json").read_bytes() == final


def test_a_run_goes_on_with_its_own_faces_and_its_model_says_where_they_are_from(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lfw/one/2_1", "films/3"):
        (data / "pseudo" / name).parent.mkdir(parents=True)
        for suffix in (".png", ".pts"):
            (data / "pseudo" / name).with_suffix(suffix).write_bytes((data / f"300w/afw/1_1{suffix}").read_bytes())
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *COMMON, "--steps", "1"]
    assert main([*command, "--sets", "300w,pseudo"]) == 0
    for other, said in ((["--sets", "300w"], "sets"), (["--sets", "300w,pseudo", "--all-faces"], "all_faces")):
        capsys.readouterr()
        assert main([*command, *other]) == 2
        assert f"differs in {said};" in capsys.readouterr().err
    words = ["--data", str(data), "--out"]
    assert main(["refine", str(tmp_path / "run"), *words, str(tmp_path / "refined"), "--steps", "1"]) == 0
    assert main(["heads", str(tmp_path / "refined"), *words, str(tmp_path / "heads")]) == 0
    assert main(["export", str(tmp_path / "heads"), "--name", "mine", "--out", str(tmp_path)]) == 0
    assert load_model(tmp_path / "mine.onnx").spec.data[1:] == ("pseudo-labels (films, lfw)",)


def test_a_model_that_learnt_from_the_validation_faces_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So do those that began with its run or with its file, gone on with or not, through all that may come after."""
    step = ["--data", str(data), *COMMON, "--steps"]
    exported = ["--out", str(tmp_path), "--name"]
    first, file = str(tmp_path / "first"), str(tmp_path / "first.safetensors")
    assert main(["train", *step, "1", "--all-faces", "--out", first]) == 0
    assert main(["export", first, *exported, "first"]) == 0
    second, third = (str(tmp_path / name) for name in ("second", "third"))
    for start, folder in ((first, second), (file, third)):
        for steps in ("1", "2"):
            assert main(["train", *step, steps, "--start", start, "--out", folder]) == 0
    refined, headed = (str(tmp_path / name) for name in ("refined", "headed"))
    assert main(["refine", second, "--data", str(data), "--out", refined, "--steps", "1"]) == 0
    assert main(["heads", refined, "--data", str(data), "--out", headed]) == 0
    for folder, name in ((headed, "headed"), (third, "third")):
        capsys.readouterr()
        assert main(["export", folder, *exported, name]) == 0
        assert main(["compare", str(tmp_path / f"{name}.onnx"), "--data", str(data)]) == 0
        assert f"was trained on {KEPT_TOO};" in capsys.readouterr().out
    words = ["--data", str(data), "--subset", "validation", "--modes", "oracle", "--out", str(tmp_path / "out")]
    assert import_module("evaluation.300w").main([*words, "--model", str(tmp_path / "third.onnx")]) == 0
    assert KEPT_TOO in (tmp_path / "out" / "report.json").read_text()


def test_the_schedules() -> None:
    """AAN's falls to a tenth after 25,000 and 40,000 steps; the other one warms up, stays, and falls to zero."""
    paper = Run(schedule="aan", rate=1e-3, steps=50_000)
    assert [paper.rate_at(step) for step in (0, 24_999, 25_000, 39_999, 40_000, 49_999)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )
    own = Run(rate=1e-3, steps=100, warmup=0.1, decay=0.5)
    assert [own.rate_at(step) for step in (0, 5, 10, 50, 75, 100)] == pytest.approx([0, 5e-4, 1e-3, 1e-3, 5e-4, 0])


def test_a_run_shows_its_curves_and_some_faces(data: Path, tmp_path: Path) -> None:
    """The points of the untrained network lie on the validation faces in blue, the true ones in yellow, in a folder
    that git ignores; a line of the log that a broken run wrote twice counts once."""
    folder = tmp_path / "run"
    assert main(["train", "--data", str(data), "--out", str(folder), "--steps", "2", *COMMON]) == 0
    assert (folder / ".gitignore").read_text() == "*\n"
    sheet = cv2.imread(str(folder / "samples.jpg"))[:, :, ::-1].astype(int)
    assert sheet.shape == (192, 4 * 192, 3)
    for colour in COLOURS[:2]:
        assert (np.abs(sheet[:, : 2 * 192] - colour).max(-1) < 60).sum() > 40
    assert not sheet[:, 2 * 192 + 16 :].any(), "there are two validation faces"
    curves = cv2.imread(str(folder / "log.png"))
    line = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(line + line)
    plot_log(folder)
    np.testing.assert_array_equal(cv2.imread(str(folder / "log.png")), curves)


def test_half_a_line_of_the_log_stops_no_run(data: Path, tmp_path: Path) -> None:
    """As a full disk leaves it: it is not plotted, and the next line is one of its own."""
    folder = tmp_path / "run"
    command = ["train", "--data", str(data), "--out", str(folder), *COMMON, "--steps"]
    assert main([*command, "1"]) == 0
    whole = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(whole + whole[:20])
    assert main([*command, "2"]) == 0
    first, half, last = (folder / "log.jsonl").read_text().splitlines()
    assert (first + "\n", half) == (whole, whole[:20])
    assert json.loads(last)["step"] == weights(folder)["step"] == 2


def test_a_run_cannot_train_heads_with_the_points(data: Path, tmp_path: Path) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--options", '{"heads": 8}', *COMMON]
    assert main(command) == 2
    assert not (tmp_path / "run").exists()


def aflw_faces(number: int) -> list[LabelledFace]:
    """Drawn faces with 19 points, of which three are unknown, one of them an eye corner in every second face."""
    own = [17, 19, 21, 22, 24, 26, 36, 37, 39, 42, 43, 45, 31, 30, 35, 48, 51, 54, 8]
    faces = []
    for seed in range(number):
        image, points = drawn_face(seed)
        known = ~np.isin(np.arange(19), [0, 18, 6 if seed % 2 else 1])
        faces.append(
            kept(f"{seed}", image, points[own].astype(np.float32), "aflw", AFLW19, known, box=Box(9, 9, 99, 99))
        )
    return faces


def test_a_set_with_unknown_points_is_trained_measured_and_exported(tmp_path: Path) -> None:
    faces = aflw_faces(4)
    train(Run(steps=2, batch=4), [faces], faces, tmp_path / "run", validate_every=1)
    assert weights(tmp_path / "run")["offset"] == (0.0, 0.0), "an offset of the labels is known of 300-W only"
    assert main(["export", str(tmp_path / "run"), "--name", "mine", "--out", str(tmp_path)]) == 0
    model = load_model(tmp_path / "mine.onnx")
    assert model.markup is AFLW19
    with pytest.raises(TrainingError, match="differs in markup"):
        train(Run(steps=2, batch=4), [[drawn_labels(0)]], [], tmp_path / "run")


def test_the_error_counts_known_points_and_divides_by_known_sizes() -> None:
    """A network that is one pixel off where points are known, and anywhere elsewhere."""
    faces = aflw_faces(2)

    class Near(torch.nn.Module):
        input_size = 64

        def forward(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
            off = [face.points + np.where(face.known, 1, 50)[:, None] * [0, 1] for face in faces]
            moved = [oracle_crop(f.known_points, 1.25, 64).to_input(o) for f, o in zip(faces, off, strict=True)]
            return {"points": torch.from_numpy(np.stack(moved)).float()}

    figures = measure(Near(), faces, Run())
    assert figures["nme_box"] == pytest.approx(100 / 90, rel=1e-3)
    eyes = np.linalg.norm(faces[0].points[6] - faces[0].points[11])  # the second face lacks a corner
    assert figures["nme_ocular"] == pytest.approx(100 / eyes, rel=1e-3)


def test_sets_of_several_markups_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="several markups"):
        train(Run(steps=1), [aflw_faces(1), [drawn_labels(0)]], [], tmp_path / "run")
    with pytest.raises(TrainingError, match="without training faces"):
        train(Run(steps=1), [aflw_faces(1), []], [], tmp_path / "run")
    assert not (tmp_path / "run").exists(), "a run that cannot start leaves nothing behind"
    mixed = [drawn_labels(0), *aflw_faces(1)]
    with pytest.raises(DataError, match="several markups"):
        compare(["trnet-68"], mixed)
    with pytest.raises(ExportError, match="needs faces with the points of ibug68"):
        quantise(weights_folder() / "trnet-68.onnx", mixed, tmp_path)


def test_a_run_begins_with_the_weights_of_another_that_fit(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ["train", "--data", str(data), "--out", str(tmp_path / "first"), "--steps", "2", *COMMON]
    assert main(first) == 0
    folder = tmp_path / "five" / "lfw_net_5pt"
    (folder / "lfw_5590").mkdir(parents=True)
    lines = []
    for number in range(12):
        image, points = drawn_face(number)
        eyes = [points[list(eye)].mean(0) for eye in IBUG68.eyes]
        corners = np.array([*eyes, points[30], points[48], points[54]])
        cv2.imwrite(str(folder / f"lfw_5590/Face_{number}_0001.jpg"), image)
        lines.append(f"lfw_5590/Face_{number}_0001.jpg 9 90 9 90 {' '.join(map(str, corners.ravel()))}")
    (folder / "trainImageList.txt").write_text("\n".join(lines))
    command = ["train", "--data", str(tmp_path / "five"), *COMMON, "--sets", "lfw_net_5pt"]
    command += ["--start", str(tmp_path / "first")]
    assert main([*command, "--out", str(tmp_path / "second"), "--steps", "1", "--rate", "0"]) == 0
    theirs, ours = weights(tmp_path / "first")["average"], weights(tmp_path / "second")["network"]
    learnt = [name for name in ours if name.endswith("weight") and not name.startswith("linear")]
    assert learnt
    assert all(torch.equal(theirs[name], ours[name]) for name in learnt)
    assert ours["linear.weight"].shape[0] == 10
    capsys.readouterr()
    assert main([*command, "--network", "cnn6", "--out", str(tmp_path / "third"), "--steps", "1"]) == 2
    assert "another kind of network" in capsys.readouterr().err


def test_frozen_parts_keep_the_weights_of_a_file_and_the_others_learn(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their normalisation does not follow the new faces either, also in a run that is resumed."""
    shipped = weights_folder() / "trnet-68.safetensors"
    command = ["train", "--data", str(data), *COMMON, "--start", str(shipped), "--frozen", "stem,stages.0"]
    for steps in ("2", "3"):
        assert main([*command, "--out", str(tmp_path / "run"), "--steps", steps]) == 0
    before, after = load_file(shipped), weights(tmp_path / "run")["network"]
    kept = [name for name in after if name.startswith(("stem.", "stages.0."))]
    assert any(name.endswith("running_mean") for name in kept)
    assert all(torch.equal(before[name], after[name]) for name in kept)
    learnt = [name for name in after if name.startswith("stages.1.") and name.endswith(("weight", "running_mean"))]
    assert learnt
    assert not any(torch.equal(before[name], after[name]) for name in learnt)
    capsys.readouterr()
    for wrong, said in (
        (["--frozen", "stem,roots"], "roots: no such part of the network; there are stem, stages, linear"),
        (["--frozen", ""], "holds a run that differs in frozen"),
        (["--start", str(data / "300w/afw/1_1.pts.safetensors")], "cannot be read; give a file of weights"),
    ):
        folder = "run" if wrong[1] == "" else "third"
        assert main([*command, *wrong, "--out", str(tmp_path / folder), "--steps", "3"]) == 2
        assert said in capsys.readouterr().err
    assert main([*command[: command.index("--start")], "--frozen", "stem", "--out", str(tmp_path / "third")]) == 2
    assert "give it too" in capsys.readouterr().err
    assert not (tmp_path / "third" / "checkpoint.pt").exists()


def test_an_older_checkpoint_is_resumed_and_exported(data: Path, tmp_path: Path) -> None:
    """One that states neither the markup nor the sets and faces, nor an option that was not there yet."""
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "2", *COMMON]
    assert main(command) == 0
    state = weights(tmp_path / "run")
    del state["markup"], state["sets"], state["all_faces"], state["pseudo"], state["run"]["warmup"]
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    assert main(["export", str(tmp_path / "run"), "--name", "mine", "--out", str(tmp_path)]) == 0
    assert load_model(tmp_path / "mine.onnx").markup is IBUG68
    assert main([*command, "--steps", "3"]) == 0
    assert weights(tmp_path / "run")["step"] == 3


@pytest.mark.parametrize(("network", "attention"), [("trnet20", 0), ("aan", 4)])
def test_an_exported_network_loads_and_finds_faces(data: Path, tmp_path: Path, network: str, attention: int) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "2", *COMMON]
    assert main([*command, "--network", network]) == 0
    assert main(["export", str(tmp_path / "run"), "--name", "mine", "--out", str(tmp_path)]) == 0
    image, points = drawn_face(3)
    for suffix in (".onnx", ".safetensors"):
        model = load_model(tmp_path / f"mine{suffix}")
        (face,) = model.locate(image, [model.crop_around(points)])
        assert face.points.shape == (68, 2)
        assert len(face.attention or ()) == attention
    assert not list(tmp_path.glob("*.part*"))


def test_the_validation_error_is_that_of_the_set() -> None:
    """A network that answers the truth without its bias has no error in the set's terms, and one without them."""
    image, points = drawn_face(0)
    face = LabelledFace("x", image, points.astype(np.float32), "300w")

    class Perfect(torch.nn.Module):
        input_size = 64

        def forward(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
            crop = oracle_crop(face.points, 1.25, 64)
            return {"points": torch.from_numpy(crop.to_input(face.unbiased))[None].float()}

    figures = measure(Perfect(), [face], Run())
    assert figures["nme_pupil"] == pytest.approx(0, abs=1e-3)
    assert figures["nme_pupil_tracked"] > 0.9  # 0.7 % of the eye corners' distance
    assert figures["offset_x"] == pytest.approx(0.007, abs=1e-4)


def test_training_reduces_the_error(data: Path, tmp_path: Path) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "60", *COMMON, "--batch", "8"]
    assert main([*command, "--average", "0.9"]) == 0
    import json

    first = main([*command[:3], "--out", str(tmp_path / "none"), "--steps", "1", *COMMON])
    assert first == 0
    figures = [json.loads((tmp_path / run / "log.jsonl").read_text().split("\n")[0]) for run in ("none", "run")]
    assert figures[1]["nme_pupil"] < 0.6 * figures[0]["nme_pupil"]


def test_the_refined_module_changes_the_last_layer_only(data: Path, tmp_path: Path) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "3", *COMMON]
    assert main(command) == 0
    refined = tmp_path / "refined"
    assert main(["refine", str(tmp_path / "run"), "--data", str(data), "--out", str(refined), "--steps", "3"]) == 0
    before, after = weights(tmp_path / "run")["average"], weights(refined)["average"]
    assert {key for key, value in before.items() if not torch.equal(value, after[key])} == {
        "linear.weight",
        "linear.bias",
    }
    assert main(["export", str(refined), "--name", "mine", "--out", str(tmp_path)]) == 0


def lfw_of_five(folder: Path, portrait: np.ndarray) -> None:
    """LFW's list of five points, of twelve copies of the portrait."""
    (folder / "lfw_5590").mkdir(parents=True)
    names = [f"lfw_5590/Some_{number}_0001.jpg" for number in range(60)]
    names = [name for name in names if kept_apart(name)][:2] + [name for name in names if not kept_apart(name)][:10]
    for name in names:
        cv2.imwrite(str(folder / name), portrait[:, :, ::-1])
    box_and_points = "178 270 78 170 202 101 247 103 222 126 203 140 246 141"
    (folder / "trainImageList.txt").write_text("".join(f"{name} {box_and_points}\n" for name in names))


def test_the_refined_module_takes_other_points_too(
    tmp_path: Path, portrait: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    lfw_of_five(tmp_path / "lfw_net_5pt", portrait)
    data, run = ["--data", str(tmp_path)], str(tmp_path / "run")
    assert main(["train", *data, "--out", run, "--steps", "2", "--batch", "4", "--sets", "lfw_net_5pt"]) == 0
    capsys.readouterr()
    assert main(["refine", run, *data, "--out", str(tmp_path / "refined"), "--steps", "2"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["eye", "nose", "mouth", "all"]
    assert weights(tmp_path / "refined")["offset"] == (0.0, 0.0), "an offset of the labels is known of 300-W only"


def half_known(face: LabelledFace) -> LabelledFace:
    """The face, of which it is not known where the left eye is: unknown points stand at the mean of the others."""
    known = ~np.isin(np.arange(68), range(36, 42))
    points = np.where(known[:, None], face.points, face.points[known].mean(0)).astype(np.float32)
    return replace(face, points=points, known=known)


def test_faces_without_known_eyes_are_divided_by_no_eye_distance(data: Path) -> None:
    known, other = read_300w(data / "300w")[:2]
    run = Run(context=1.15)
    network = build("trnet20", 68).eval()
    assert part_errors(network, [known, half_known(other)], run) == part_errors(network, [known], run)
    assert measure(network, [known, half_known(other)], run) == measure(network, [known], run)
    alone, both = (compare(["trnet-68"], faces)[1] for faces in ([known], [known, half_known(other)]))
    assert both == alone


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--options", '{"foo": 1}'], "--options"),
        (["--options", "[1]"], "--options"),
        (["--network", "aan", "--options", '{"widths": [16]}'], "--options"),
        (["--batch", "0"], "--batch 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--context", "0"], "--context 0"),
        (["--out", "FILE"], "FILE"),
    ],
)
def test_what_makes_no_run_is_one_line(
    data: Path, tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "FILE").write_text("a file")
    words = [word.replace("FILE", str(tmp_path / "FILE")) for word in words]
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "--data", str(data), *out, "--steps", "1", *COMMON, *words]) == 2
    error = re.split("[\r\n]", capsys.readouterr().err.strip())[-1]  # a bar is before it
    assert error.startswith("error: ")
    assert told in error


def test_dead_channels_are_renewed_and_the_points_stay(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sixty channels of the shipped network are held at zero. None of them is after it, as a second time finds; filters
    that were made four times as large are small; variances of long ago are those of now; and a run begins with what is
    written."""
    run, revived = tmp_path / "run", tmp_path / "revived"
    command = ["train", "--data", str(data), *COMMON, "--steps", "1"]
    shipped = weights_folder() / "trnet-68.safetensors"
    assert main([*command, "--rate", "1e-9", "--start", str(shipped), "--out", str(run)]) == 0
    saved = weights(run)
    for name, count in (("stem.0", 8), ("stages.0.1.first", 20), ("stages.2.1.first", 32)):
        saved["average"][f"{name}.1.bias"][:count] = -50
    for name, factor in (("0.weight", 4), ("1.running_mean", 4), ("1.running_var", 16)):
        saved["average"][f"stages.1.1.second.{name}"] *= factor
    for name, factor in (("weight", 17), ("running_var", 17**2)):  # what channels that were fed by dead ones had kept
        saved["average"][f"stages.2.2.second.1.{name}"] *= factor
    torch.save(saved, run / "checkpoint.pt")
    renewed = []
    for folder, out in ((run, revived), (revived, tmp_path / "again")):
        capsys.readouterr()
        assert main(["revive", str(folder), "--data", str(data), "--out", str(out)]) == 0
        renewed.append(int(capsys.readouterr().out.split()[0]))
    assert renewed[0] >= 60
    assert renewed[1] < 6
    faces = read_300w(data / "300w")
    before, after = (predict(open_run(folder)[3], faces, Run(), "cpu") for folder in (run, revived))
    sizes = inter_pupil(np.stack([face.points for face in faces]), IBUG68)
    assert nme(after, before, sizes).mean() < 0.03
    _, options, _, network = open_run(revived)
    crops = []  # those that it was settled on
    for index, face in enumerate(face for face in faces if face.name not in validation_names()):
        rng = np.random.default_rng((options.seed, index))
        place = (IBUG68, options.context, 64, rng, face.known, options.jitter, options.calm)
        crops.append(augmented(face.image, face.unbiased, *place)[0])
    inputs = normalised(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), options)
    filters = [value for value in network.state_dict().values() if value.ndim == 4]
    assert max(float(value.square().mean().sqrt()) for value in filters) < 0.13
    with torch.no_grad():
        still, learning = network(inputs)["points"], network.train()(inputs)["points"]
    assert (still - learning).norm(dim=-1).mean() < 1, "normalised by the batch, too"
    assert not np.array_equal(after, before)
    assert main([*command, "--start", str(revived), "--out", str(tmp_path / "on")]) == 0
    assert main([*command, "--network", "cnn6", "--out", str(tmp_path / "other")]) == 0
    assert main(["revive", str(tmp_path / "other"), "--data", str(data), "--out", str(tmp_path / "none")]) == 2
    assert "holds neither a TRNet-20" in capsys.readouterr().err


def test_filters_of_an_aan_that_have_grown_are_made_small(data: Path, tmp_path: Path) -> None:
    run, revived = tmp_path / "run", tmp_path / "revived"
    command = ["train", "--data", str(data), *COMMON, "--network", "aan", "--steps", "1"]
    assert main([*command, "--out", str(run)]) == 0
    saved = weights(run)
    for part in ("stem", "blocks.2.spatial"):
        for name, factor in (("0.weight", 20), ("1.running_mean", 20), ("1.running_var", 400)):
            saved["average"][f"{part}.{name}"] *= factor
    torch.save(saved, run / "checkpoint.pt")
    assert main(["revive", str(run), "--data", str(data), "--out", str(revived)]) == 0
    before, after = (open_run(folder)[3] for folder in (run, revived))
    sizes = [
        max(float(v.square().mean().sqrt()) for v in network.state_dict().values() if v.ndim == 4)
        for network in (before, after)
    ]
    assert sizes[0] > 0.5 > 0.13 > sizes[1]
    crops = torch.rand(4, 3, 128, 128)
    with torch.inference_mode():
        maps = [network(crops)["attention_3"] for network in (before, after)]
        points = [network(crops)["points"] for network in (before, after)]
    assert (maps[0] - maps[1]).abs().max() < 0.01
    assert (points[0] - points[1]).norm(dim=-1).max() < 0.5
    assert main([*command, "--start", str(revived), "--out", str(tmp_path / "on")]) == 0


def test_an_aan_gets_more_filters_and_finds_the_same_points_at_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, wide, on = tmp_path / "run", tmp_path / "wide", tmp_path / "on"
    command = ["train", "--data", str(data), *COMMON, "--network", "aan", "--steps", "1"]
    shipped = weights_folder() / "aan-68.safetensors"
    had = load_model(shipped).spec.options
    same = ["--options", json.dumps({"widths": had["widths"]})] if "widths" in had else []
    assert main([*command, "--rate", "1e-9", "--start", str(shipped), "--out", str(run), *same]) == 0
    before = open_run(run)[3]
    widths = [width + 16 for width in before.widths]
    assert (
        main(["revive", str(run), "--data", str(data), "--out", str(wide), "--widths", ",".join(map(str, widths))]) == 0
    )
    after = open_run(wide)[3]
    assert [block.spatial[0].out_channels for block in after.blocks] == widths
    faces = read_300w(data / "300w")
    crops = np.stack([oracle_crop(face.points, 1.25, 128).cut(face.image) for face in faces])
    inputs = normalised(torch.from_numpy(crops).permute(0, 3, 1, 2), Run())
    with torch.inference_mode():
        old, new = before(inputs), after(inputs)
    assert set(new) == set(old)
    assert (old["points"] - new["points"]).norm(dim=-1).max() < 0.01
    for level in range(4):
        assert (old[f"attention_{level}"] - new[f"attention_{level}"]).abs().max() < 0.01
    for branch, wider in zip(before.branches, after.branches, strict=True):
        assert torch.allclose(branch.weight * branch.scale, (wider.weight * wider.scale)[:, : branch.in_features])
        assert not wider.weight[:, branch.in_features :].any()
    options = ["--options", json.dumps({"widths": widths})]
    assert main([*command, "--steps", "2", "--start", str(wide), "--out", str(on), *options]) == 0
    learnt = open_run(on)[0]["network"]
    assert learnt["blocks.1.reduce.0.weight"][: before.widths[1], 4 * before.widths[0] :].any(), "new ones are read"
    assert main([*command, "--start", str(wide), "--out", str(tmp_path / "narrow"), *same]) == 2
    assert json.dumps({"widths": widths}) in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["revive", str(run), "--data", str(data), "--out", str(wide), "--widths", "wide"])
    assert "wide: give four whole numbers" in capsys.readouterr().err
    for widths_, said in (("8,8,8,8", "none smaller"), ("64,64", "give four")):
        assert main(["revive", str(run), "--data", str(data), "--out", str(wide), "--widths", widths_]) == 2
        assert said in capsys.readouterr().err


def test_models_are_compared_on_the_validation_faces(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "trnet-68", "trnet-68-int8", "--data", str(data)]) == 0
    heading, first, second, *others = capsys.readouterr().out.strip().split("\n")
    assert "2 faces" in heading
    assert [line.split()[0] for line in (first, second)] == ["trnet-68", "trnet-68-int8"]
    assert len(first.split()) == 4
    rough, trust = others[:4], others[4:]
    assert [line.split(": ")[0] for line in rough] == ["trnet-68"] * 2 + ["trnet-68-int8"] * 2
    assert all("of 12 lost" in line for line in rough)
    assert [line.split(": ")[0] for line in trust] == ["trnet-68"] * 3 + ["trnet-68-int8"] * 3
    assert [line.split(": ")[1].split()[0] for line in trust[:3]] == ["presence", "confidence", "expected"]


def test_a_model_is_not_compared_on_other_points(
    tmp_path: Path, portrait: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    lfw_of_five(tmp_path / "lfw_net_5pt", portrait)
    assert main(["compare", "trnet-68", "--set", "lfw_net_5pt", "--data", str(tmp_path)]) == 2
    assert "has the points of ibug68, the faces those of celeba5" in capsys.readouterr().err


def test_ablations_fill_the_tables_and_are_not_trained_twice(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ablations", "--data", str(data), "--out", str(tmp_path / "runs"), "--steps", "2"]
    assert main(command) == 0
    runs = tmp_path / "runs" / "2-steps-seed-1"
    table = (runs / "tables.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:3] != "|--"]
    named = {row[0]: row for row in rows}
    for label in ("CNN-6 + Wing", "TRNet-20 + ENME + refined module", "8", "AAN", "without both"):
        assert 0 < float(named[label][2]) < 1000, label
    assert (runs / "alpha.png").exists()
    done = (runs / "aan" / "final.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == table == (runs / "tables.md").read_text()
    assert (runs / "aan" / "final.json").stat().st_mtime_ns == done


def test_the_mean_of_two_runs(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Filters count alike however large they have grown: with one run twice, larger the second time, it is that run.
    Half of what another has more in its last layer is there, and runs of different networks have no mean."""
    run, larger, shifted = (tmp_path / name for name in ("run", "larger", "shifted"))
    command = ["train", "--data", str(data), *COMMON, "--steps", "1"]
    assert main([*command, "--out", str(run)]) == 0
    shutil.copytree(run, larger)
    saved = weights(larger)
    for name, factor in (("0.weight", 5), ("1.running_mean", 5), ("1.running_var", 25)):
        saved["average"][f"stem.1.{name}"] *= factor
    torch.save(saved, larger / "checkpoint.pt")
    shutil.copytree(larger, shifted)
    saved["average"]["linear.bias"] += 0.1
    torch.save(saved, shifted / "checkpoint.pt")
    torch.save(weights(run) | {"kept_too": True, "sets": ("300w", "ytf68")}, run / "checkpoint.pt")
    for other in (larger, shifted):
        assert main(["mean", str(run), str(other), "--out", str(tmp_path / f"of {other.name}")]) == 0
    crops = torch.rand(4, 3, 64, 64)
    with torch.inference_mode():
        alone, same, between = (
            open_run(tmp_path / name)[3](crops)["points"] for name in ("run", "of larger", "of shifted")
        )
    torch.testing.assert_close(same, alone, rtol=0, atol=0.02)
    torch.testing.assert_close(between, alone + 0.05 * 64, rtol=0, atol=0.02)
    seen = weights(tmp_path / "of shifted")
    assert seen["kept_too"], "as the first has seen the faces kept for validation"
    assert set(seen["sets"]) == {"300w", "ytf68"}
    assert main([*command, "--network", "cnn6", "--out", str(tmp_path / "cnn")]) == 0
    assert main(["mean", str(run), str(tmp_path / "cnn"), "--out", str(tmp_path / "none")]) == 2
    assert main([*command, "--context", "1.4", "--out", str(tmp_path / "wide")]) == 0
    assert main(["mean", str(run), str(tmp_path / "wide"), "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("its network or context is another") == 2
    assert not (tmp_path / "none").exists()
