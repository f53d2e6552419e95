"""The protocols from their commands to their reports, on clips and pictures made here from the portrait."""

import csv
import hashlib
import importlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from test_readers import photo, points_of, write, write_aflw, write_cofw, write_pts

from evaluation import motion
from evaluation.compare import paired_interval
from evaluation.metrics import micro
from evaluation.subject import MODES
from tracker import Crop, LandmarkModel
from tracker.annotations import read_pts
from tracker.backends import FACEDET, Spec, weights_folder
from tracker.datasets import LabelledVideo, protocol_300vw
from tracker.markup import AFLW19, CELEBA5, COFW29, WFLW98, Markup

vw = importlib.import_module("evaluation.300vw")
w300 = importlib.import_module("evaluation.300w")
IDS = protocol_300vw().categories[3]
FRAMES = 3


@pytest.fixture(scope="session")
def faces(portrait: np.ndarray, model: LandmarkModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait's head with the model's own points beside it."""
    folder = tmp_path_factory.mktemp("faces")
    (face,) = model.locate(portrait, [Crop(225, 132, 135, 64)])
    (face,) = model.locate(portrait, [model.crop_around(face.points)])
    write(folder / "astronaut.png", portrait[:300, 70:370])
    write_pts(folder / "astronaut.pts", face.points - [70, 0])
    return folder


@pytest.fixture(scope="session")
def miniature(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos of category 3, of three frames each."""
    root = tmp_path_factory.mktemp("data") / "300vw"
    words = ["--data", str(faces), "--out", str(root), "--frames", str(FRAMES), "--size", "320x240"]
    assert motion.main([*words, "--ids", ",".join(IDS)]) == 0
    return root


@pytest.fixture(scope="session")
def unbroken(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all modes over the miniature."""
    out = tmp_path_factory.mktemp("run")
    assert vw.main(["--data", str(miniature.parent), "--category", "3", "--out", str(out), "--save-points"]) == 0
    return out


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def without_time(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in ("timing", "command")}


def test_all_modes_over_a_miniature_of_category_3(unbroken: Path, miniature: Path) -> None:
    report = report_of(unbroken)
    total = FRAMES * len(IDS)
    assert f"PARTIAL ({total} of 26,338 frames" in report["heading"], "its videos are shorter than the set's"
    assert f"410 has {FRAMES} of 1,315 frames" in report["partial"]
    assert {row["mode"] for row in report["rows"]} == set(MODES)
    found = {(row["mode"], row["terms"], row["points"]): row for row in report["rows"] if row["scope"] == "category 3"}
    oracle = found["oracle", "as tracked", "all"]
    assert (oracle["frames"], oracle["found"]) == (total, total)
    assert 0 < oracle["nme.inter_ocular"] < 4, "the truth is what the same model says of the still photo"
    for mode in MODES:
        assert found[mode, "as tracked", "all"]["coverage"] > 90
        assert found[mode, "as tracked", "all"]["nme_found.inter_ocular"] < 8
    assert report["nme.inter_ocular"] == found["oracle", "as labelled", "all"]["nme.inter_ocular"]
    assert set(report) >= {"auc_008", "failure_008", "failure_010", "nme.inter_pupil", "nme.box_diagonal"}
    assert {row["points"] for row in report["rows"]} == {"all", "66", "51", "49"}
    assert [row["clip"] for row in report["clips"]][:: 2 * len(MODES)] == list(IDS)
    assert report["subject"]["sha256"]
    assert report["timing"]["stages"]["decode"]["p95"] > 0


def test_the_points_that_are_saved_give_the_figures_of_the_report(unbroken: Path, miniature: Path) -> None:
    with np.load(unbroken / "points.npz") as file:
        names, points, found = file["names"], file["points"].astype(np.float64), file["found"]
    assert list(names[:2]) == ["410/000001", "410/000002"]
    truth = np.stack([read_pts(miniature / name[:3] / "annot" / f"{name[4:]}.pts") for name in names])
    errors = np.linalg.norm(points - truth, axis=-1).mean(-1)
    errors /= np.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)
    assert found.all()
    assert 100 * errors.mean() == pytest.approx(report_of(unbroken)["nme.inter_ocular"], rel=1e-5)
    assert (unbroken / "points-tracker.npz").exists()


def test_a_report_has_a_row_a_frame_pictures_and_a_page(unbroken: Path) -> None:
    with (unbroken / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], row["frame"]) for row in rows[:4]] == [("410", "1"), ("410", "2"), ("410", "3"), ("411", "1")]
    mean = np.mean([float(row["oracle.nme"]) for row in rows])
    assert mean == pytest.approx(report_of(unbroken)["nme.inter_ocular"], abs=1e-3)
    for name in ("ced.png", "clips.png"):
        assert cv2.imread(str(unbroken / name)).std() > 10
    for name in ("ced.svg", "clips.svg"):
        assert "tracker-gt" in (unbroken / name).read_text()
    text = (unbroken / "report.html").read_text()
    assert text.count("PARTIAL") > 5
    assert "AAN without both" in text, "published rows stand beside ours"
    assert "12.84" in text
    assert ", over eye centres" in text, "and ours by the normaliser that theirs may have"
    assert text.count("data:image/jpeg") == 5 * 12
    assert 'src="http' not in text


def test_killed_and_resumed_it_gives_the_same_report(miniature: Path, unbroken: Path, tmp_path: Path) -> None:
    words = ["--data", str(miniature), "--category", "3", "--out", str(tmp_path), "--save-points"]
    running = subprocess.Popen([sys.executable, "-m", "evaluation.300vw", *words], stderr=subprocess.PIPE)
    try:
        while len(list((tmp_path / "parts").glob("*.npz"))) < 2:
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    assert not (tmp_path / "report.json").exists()
    left = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.npz")}
    done = subprocess.run(
        [sys.executable, "-m", "evaluation.300vw", *words, "--resume", "--jobs", "2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in left} == left, "what was done is not done again"
    assert without_time(report_of(tmp_path)) == without_time(report_of(unbroken))
    assert (tmp_path / "frames.csv").read_text() == (unbroken / "frames.csv").read_text()


def test_a_run_with_other_settings_is_not_gone_on_with(
    miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(miniature), "--videos", "410", "--out", str(tmp_path), "--modes", "oracle"]
    assert vw.main(words) == 0
    assert "videos chosen by hand" in report_of(tmp_path)["heading"]
    assert vw.main([*words, "--zero-based", "--resume"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.fixture
def copied(miniature: Path, tmp_path: Path) -> Path:
    """Three of the videos, to be damaged."""
    for name in ("410", "411", "516"):
        shutil.copytree(miniature / name, tmp_path / "data" / name)
    return tmp_path / "data"


def test_a_clip_that_has_changed_is_run_again(copied: Path, miniature: Path, tmp_path: Path) -> None:
    words = ["--data", str(copied), "--videos", "every", "--out", str(tmp_path / "out"), "--modes", "oracle"]
    assert vw.main(words) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").glob("*.npz")}
    shutil.rmtree(copied / "410")
    shutil.copytree(miniature / IDS[3], copied / "410")
    assert vw.main([*words, "--resume"]) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").glob("*.npz")}
    assert len(after.keys() - before.keys()) == 1
    assert before.items() <= after.items(), "the others are not"
    (label,) = (copied / "411" / "annot").glob("000002.pts")
    write_pts(label, read_pts(label) + 1)  # put right by hand
    assert vw.main([*words, "--resume"]) == 0
    assert vw.main([*words[:-4], "--out", str(tmp_path / "anew"), *words[-2:]]) == 0
    assert without_time(report_of(tmp_path / "out")) == without_time(report_of(tmp_path / "anew"))


def test_a_frame_painted_over_in_place_is_run_again(copied: Path, tmp_path: Path) -> None:
    """The folder imgs looks as before."""
    for number, frame in LabelledVideo(copied / "410").frames():
        write(copied / "410" / "imgs" / f"{number:06d}.png", frame.image)
    words = ["--data", str(copied), "--videos", "410", "--modes", "oracle", "--out"]
    assert vw.main([*words, str(tmp_path / "out")]) == 0
    before = report_of(tmp_path / "out")
    write(copied / "410" / "imgs" / "000002.png", np.zeros_like(frame.image))
    assert vw.main([*words, str(tmp_path / "out"), "--resume"]) == 0
    assert vw.main([*words, str(tmp_path / "anew")]) == 0
    assert (
        without_time(report_of(tmp_path / "out")) == without_time(report_of(tmp_path / "anew")) != without_time(before)
    )


def test_a_run_with_another_detector_of_the_same_name_is_not_gone_on_with(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.onnx"
    shutil.copy(weights_folder() / FACEDET, file)
    words = ["--data", str(copied), "--videos", "410", "--out", str(tmp_path / "out"), "--detector", str(file)]
    assert vw.main([*words, "--modes", "detector"]) == 0
    was = hashlib.sha256(file.read_bytes()).hexdigest()
    assert report_of(tmp_path / "out")["subject"]["detector_sha256"] == was
    assert was in (tmp_path / "out" / "report.html").read_text()
    held = onnx.load(file)
    held.producer_name = "trained further"
    onnx.save(held, file)
    assert vw.main([*words, "--modes", "detector", "--resume"]) == 2
    assert "other settings" in capsys.readouterr().err
    file.unlink()
    assert vw.main([*words, "--modes", "oracle"]) == 0, "which asks no detector"
    assert report_of(tmp_path / "out")["subject"]["detector_sha256"] is None


def test_a_frame_too_few_fails_by_name_and_the_others_go_on(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "411" / "annot" / "000003.pts").unlink()
    words = ["--data", str(copied), "--videos", "411,410,516", "--modes", "oracle", "--out", str(tmp_path / "out")]
    assert vw.main(words) == 1
    said = capsys.readouterr()
    error = said.err.strip().split("\n")[-1]
    assert "411" in error
    assert "3 frames can be decoded, and there are 2 .pts files" in error
    assert "imgs" in error, "the remedy"
    report = report_of(tmp_path / "out")
    assert "failed: 411" in report["heading"]
    assert [row["clip"] for row in report["clips"]] == ["410", "410", "516", "516"]
    headings = [block.split("\n")[0] for block in said.out.split("\n\n") if "NME" in block]
    assert all("failed: 411" in heading for heading in headings)


def test_a_missing_video_is_named_and_may_be_left_away(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(copied), "--category", "3", "--modes", "oracle", "--out", str(tmp_path / "out")]
    assert vw.main(words) == 2
    error = capsys.readouterr().err
    assert "517, 526" in error
    assert "410" not in error
    assert error.count("\n") == 1
    assert vw.main([*words, "--allow-missing"]) == 0
    headings = [block.split("\n")[0] for block in capsys.readouterr().out.split("\n\n") if "NME" in block]
    assert len(headings) > 3
    assert all("PARTIAL" in heading and "missing: 517, 526" in heading for heading in headings)


def test_pictures_in_place_of_a_video_are_matched_by_number(copied: Path, tmp_path: Path) -> None:
    """Lossless pictures give what the video gives; frames may be missing from both, and left-out ones are known."""
    figures = []
    for step in range(2):
        out = tmp_path / f"out{step}"
        assert vw.main(["--data", str(copied), "--videos", "410,411", "--modes", "oracle", "--out", str(out)]) == 0
        figures.append(report_of(out)["nme.inter_ocular"])
        for number, frame in LabelledVideo(copied / "410").frames():
            write(copied / "410" / "imgs" / f"{number:06d}.png", frame.image)
    assert figures[0] == figures[1]
    for kind in ("annot/000003.pts", "imgs/000003.png"):
        (copied / "410" / kind).rename(copied / "410" / kind.replace("003", "148"))  # the first frame left out
    out = tmp_path / "out"
    assert vw.main(["--data", str(copied), "--videos", "410", "--modes", "oracle", "--out", str(out)]) == 0
    rows = {row["left_out"]: row["frames"] for row in report_of(out)["rows"]}
    assert rows == {"not counted": 2, "counted": 3}
    (copied / "410" / "imgs" / "000001.png").unlink()
    assert vw.main(["--data", str(copied), "--videos", "410,411", "--modes", "oracle", "--out", str(out)]) == 1
    assert "000001 is only in annot" in report_of(out)["failed"]["410"]


def test_missed_faces_count_as_asked(copied: Path, tmp_path: Path) -> None:
    """The detector sees no face in a grey frame: an infinite error, none at all, or that of the points before."""
    for number, frame in LabelledVideo(copied / "410").frames():
        image = np.full_like(frame.image, 128) if number == 2 else frame.image
        write(copied / "410" / "imgs" / f"{number:06d}.png", image)
    found = {}
    for policy in ("infinite", "skip", "last"):
        out = tmp_path / policy
        words = ["--data", str(copied), "--videos", "410", "--modes", "detector", "--missing", policy]
        assert vw.main([*words, "--out", str(out)]) == 0
        found[policy] = report_of(out)
        assert found[policy]["coverage"] == pytest.approx(200 / 3)
    assert found["infinite"]["nme.inter_ocular"] is None, "infinite"
    assert found["skip"]["nme.inter_ocular"] == found["infinite"]["nme_found.inter_ocular"]
    assert found["infinite"]["auc_008"] == pytest.approx(found["skip"]["auc_008"] * 2 / 3)
    assert found["infinite"]["failure_010"] == pytest.approx(100 / 3)
    assert found["last"]["nme.inter_ocular"] > found["skip"]["nme.inter_ocular"]


def test_the_base_of_the_labels_is_stated_and_switchable(copied: Path, tmp_path: Path) -> None:
    """One pixel along both axes, of about thirty between the eyes."""
    values = []
    for extra, said in (([], "count from 1"), (["--zero-based"], "count from 0")):
        out = tmp_path / said
        words = ["--data", str(copied), "--videos", "410", "--modes", "oracle", "--out", str(out), *extra]
        assert vw.main(words) == 0
        report = report_of(out)
        assert any(said in note for note in report["measured"]["notes"])
        values.append(report["nme.inter_ocular"])
    assert values[1] > values[0] + 1.5


def test_two_reports_side_by_side(unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "report.json"
    shutil.copy(unbroken / "report.json", other)
    with (unbroken / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["oracle.nme"] = str(float(row["oracle.nme"]) + 0.5)
    with (tmp_path / "frames.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    assert vw.main(["--compare", str(unbroken / "report.json"), str(other)]) == 0
    lines = capsys.readouterr().out.split("\n")
    (line,) = (line for line in lines if line.startswith("oracle, NME"))
    assert line.split()[-4:] == ["+0.500", "+0.500", "to", "+0.500"]
    (line,) = (line for line in lines if line.startswith("tracker, NME"))
    assert line.split()[-4] == "+0.000"
    assert vw.main(["--compare", str(other), str(tmp_path / "nothing.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_interval_of_a_paired_difference() -> None:
    """Of 400 clips whose difference is 1 with a deviation of 2: 1 +- 1.96 * 2 / 20; drawn as clips, not as frames."""
    rng = np.random.default_rng(0)
    first = rng.normal(5, 3, 400)
    second = first + (lambda noise: 1 + 2 * (noise - noise.mean()) / noise.std())(rng.normal(size=400))
    low, high = paired_interval(first, second, np.arange(400), micro)
    assert (low, high) == pytest.approx((0.804, 1.196), abs=0.02)
    wide = paired_interval(np.repeat(first, 9), np.repeat(second, 9), np.repeat(np.arange(400), 9), micro)
    assert wide == pytest.approx((low, high), abs=0.02)


@pytest.fixture
def tests_of_300w(faces: Path, tmp_path: Path) -> Path:
    """A 300-W with one face in each test folder, and training faces that do not count."""
    for name in ("helen/testset/1_1", "lfpw/testset/image_0001", "ibug/image_003_1", "helen/trainset/2_1"):
        for suffix in (".png", ".pts"):
            path = tmp_path / "data" / "300w" / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(faces / f"astronaut{suffix}", path)
    return tmp_path / "data"


@pytest.mark.parametrize(("subset", "count", "total"), [("common", 2, 554), ("challenging", 1, 135), ("full", 3, 689)])
def test_300w(tests_of_300w: Path, tmp_path: Path, subset: str, count: int, total: int) -> None:
    out = tmp_path / "out"
    words = ["--data", str(tests_of_300w), "--subset", subset, "--out", str(out), "--save-points"]
    assert w300.main([*words, "--modes", "oracle"]) == 0
    report = report_of(out)
    assert f"PARTIAL ({count} of {total} faces)" in report["heading"]
    assert report["frames"] == count
    assert 0 < report["nme.inter_pupil"] < 4
    assert report["nme.inter_pupil"] > report["nme.inter_ocular"]
    with np.load(out / "points.npz") as file:
        assert len(file["names"]) == count
        assert all(name.rpartition("/")[0] in ("helen/testset", "lfpw/testset", "ibug") for name in file["names"])
    text = (out / "report.html").read_text()
    assert "TRNet-20 + ENME + RM" in text
    assert "ORFormer" in text


def test_a_damaged_picture_costs_its_own_face_only(
    tests_of_300w: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gone on with, it is tried again: in vain, then with the picture put right."""
    out, name = tmp_path / "out", "lfpw/testset/image_0001"
    picture = tests_of_300w / "300w" / f"{name}.png"
    whole = picture.read_bytes()
    picture.write_bytes(b"no picture")
    words = ["--data", str(tests_of_300w), "--modes", "oracle", "--out", str(out)]
    for more in ([], ["--resume", "--jobs", "2"]):
        assert w300.main([*words, *more]) == 1
        assert f"error: {picture}: missing or not a picture" in capsys.readouterr().err
        report = report_of(out)
        assert f"PARTIAL (2 of 689 faces; failed: {name})" in report["heading"]
        assert report["failed"].keys() == {name}
        assert report["frames"] == 2
        with (out / "frames.csv").open(newline="") as file:
            assert [row["clip"] for row in csv.DictReader(file)] == ["helen/testset/1_1", "ibug/image_003_1"]
    picture.write_bytes(whole)
    assert w300.main([*words, "--resume"]) == 0
    assert report_of(out)["failed"] == {}
    assert report_of(out)["frames"] == 3


def test_many_damaged_pictures_are_counted_in_the_heading(tests_of_300w: Path, tmp_path: Path) -> None:
    ibug = tests_of_300w / "300w" / "ibug"
    for number in range(100, 113):
        shutil.copy(ibug / "image_003_1.pts", ibug / f"image_{number}.pts")
        (ibug / f"image_{number}.png").write_bytes(b"no picture")
    words = ["--data", str(tests_of_300w), "--subset", "challenging", "--modes", "oracle", "--out"]
    assert w300.main([*words, str(tmp_path / "out")]) == 1
    report = report_of(tmp_path / "out")
    assert "ibug/image_109 and 3 more)" in report["heading"]
    assert len(report["failed"]) == 13
    (ibug / "image_003_1.png").write_bytes(b"no picture")
    assert w300.main([*words, str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none" / "report.json").exists(), "there is nothing to report"


def test_a_picture_painted_over_in_place_is_run_again(tests_of_300w: Path, tmp_path: Path) -> None:
    words = ["--data", str(tests_of_300w), "--subset", "common", "--modes", "oracle", "--out"]
    assert w300.main([*words, str(tmp_path / "out")]) == 0
    before = report_of(tmp_path / "out")
    picture = tests_of_300w / "300w" / "helen" / "testset" / "1_1.png"
    write(picture, np.zeros_like(cv2.imread(str(picture))))
    assert w300.main([*words, str(tmp_path / "out"), "--resume"]) == 0
    assert w300.main([*words, str(tmp_path / "anew")]) == 0
    assert (
        without_time(report_of(tmp_path / "out")) == without_time(report_of(tmp_path / "anew")) != without_time(before)
    )


def test_what_cannot_be_measured_is_one_line(
    tests_of_300w: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = ["--data", str(tests_of_300w)], ["--out", str(tmp_path / "out")]
    cases = [
        (w300, [*data, "--model", "nonsense"], "nonsense"),
        (w300, [*data, "--model", "dlib=nowhere.dat"], "dlib"),
        (w300, [*data, "--modes", "magic"], "magic"),
        (w300, ["--data", str(tmp_path / "empty")], "helen/testset"),
        (vw, ["--data", str(tmp_path / "empty")], "000001.pts"),
        (vw, ["--data", str(tmp_path / "empty"), "--videos", "every"], "000001.pts"),
    ]
    for name in ("aflw", "cofw", "celeba", "wflw"):
        module = importlib.import_module(f"evaluation.{name}")
        cases.append((module, ["--data", str(tmp_path / "empty")], "empty"))
    (tmp_path / "empty").mkdir()
    for module, words, said in cases:
        assert module.main([*words, *out]) == 2, words
        error = capsys.readouterr().err
        assert said in error, words
        assert error.count("\n") == 1, words
    assert not (tmp_path / "out").exists()


def constant_model(path: Path, markup: Markup, points: np.ndarray, context: float) -> Path:
    """A model that says ``points`` (P, 2), in shares of the crop, of every crop."""
    size = 64
    places = (points * size - 0.5).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "zeros"], ["none"]),
        helper.make_node("Add", ["none", "places"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["points"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("zeros", TensorProto.FLOAT, [3, places.size], np.zeros(3 * places.size)),
        helper.make_tensor("places", TensorProto.FLOAT, [places.size], places.ravel()),
        helper.make_tensor("shape", TensorProto.INT64, [3], [-1, markup.size, 2]),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])]
    outputs = [helper.make_tensor_value_info("points", TensorProto.FLOAT, ["n", markup.size, 2])]
    graph = helper.make_graph(nodes, "constant", inputs, outputs, constants)
    held = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    spec = Spec("constant", "none", markup.name, size, context)
    helper.set_model_props(held, {Spec.KEY: spec.to_json()})
    onnx.save(held, str(path))
    return path


def in_crop(points: np.ndarray, context: float) -> np.ndarray:
    """Points in shares of their oracle crop."""
    crop = Crop.around(points, context, 64)
    return (crop.to_input(points) + 0.5) / 64


def test_sets_of_other_points(tmp_path: Path) -> None:
    """A constant model is right on faces of one shape, so that a known shift of it must come out, by each set's own
    normaliser: the set's square of 80 pixels, the pupils, the eye corners."""
    data, context = tmp_path / "data", 1.25
    shift = np.array([0.03, 0.04])  # of the crop's side: 0.05 of it
    for name, markup in (("aflw", AFLW19), ("cofw", COFW29), ("celeba", CELEBA5), ("wflw", WFLW98)):
        points = points_of(markup, 3).astype(np.float64)
        image = photo(points[0])
        if name == "aflw":
            names = [f"0/{number}.jpg" for number in range(20_002)]  # the last two are for testing
            for number in (20_000, 20_001):
                write(data / name / "data" / "flickr" / names[number], image)
            flat = np.tile(points.T.ravel(), (len(names), 1))
            mask = np.ones((len(names), 19), np.uint8)
            write_aflw(data / name / "AFLWinfo_release.mat", names, flat, mask, list(range(len(names))))
        elif name == "cofw":
            labels = np.concatenate([points.T.ravel() + 1, np.zeros(29)])[None]
            write_cofw(data / name / "COFW_test_color.mat", "T", [image], labels, np.array([[81.0, 51, 80, 90]]))
        elif name == "celeba":
            write(data / name / "Img" / "img_celeba" / "000001.jpg", image)
            row = " ".join(f"{value:.3f}" for value in points.ravel())
            lists = {
                "Anno/list_landmarks_celeba.txt": f"1\nnames\n000001.jpg {row}\n",
                "Anno/list_bbox_celeba.txt": "1\nnames\n000001.jpg 80 40 70 90\n",
                "Eval/list_eval_partition.txt": "000001.jpg 2\n",
            }
            for path, text in lists.items():
                (data / name / path).parent.mkdir(parents=True, exist_ok=True)
                (data / name / path).write_text(text)
        else:
            write(data / name / "WFLW_images" / "a.jpg", image)
            row = " ".join(f"{value:.4f}" for value in points.ravel())
            (data / name / "list_98pt_rect_attr_test.txt").write_text(f"{row} 80 50 160 130 1 0 0 0 0 1 a.jpg\n")
        model = constant_model(tmp_path / f"{name}.onnx", markup, in_crop(points, context) + shift, context)
        module = importlib.import_module(f"evaluation.{name}")
        out = tmp_path / "out" / name
        assert module.main(["--data", str(data), "--model", str(model), "--modes", "oracle", "--out", str(out)]) == 0
        report = report_of(out)
        off = 0.05 * Crop.around(points, context, 64).side
        eyes = markup.eye_centres(points)
        corners = markup.corners or (0, 1)
        length = {
            "aflw": 80,
            "cofw": np.linalg.norm(eyes[0] - eyes[1]),
            "celeba": np.linalg.norm(eyes[0] - eyes[1]),
            "wflw": np.linalg.norm(points[corners[0]] - points[corners[1]]),
        }[name]
        key = f"nme.{report['headline']['normaliser']}"
        assert report[key] == pytest.approx(100 * off / length, rel=2e-3), name
        assert "PARTIAL" in report["heading"]
        if name == "wflw":
            assert {row["scope"] for row in report["rows"]} == {"all", "pose", "blur"}
        other = ["--data", str(data), "--model", "trnet-68", "--out", str(out)]
        assert module.main(other) == 2, "68 points cannot be measured against others"
