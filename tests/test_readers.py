"""Every data set in its own layout, written here: faces, points and boxes lie where the set says."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker.annotations import AnnotationError, read_five_point_list, read_wflw_list
from tracker.core import Image
from tracker.markup import CELEBA5, COFW29, IBUG68, MARKUPS, WFLW98, Markup
from tracker.training.__main__ import main
from tracker.training.datasets import DataError, LabelledFace, group, held_out
from tracker.training.readers import (
    READERS,
    TERMS,
    THINNED,
    VALIDATION,
    read_300vw,
    read_lfw_net,
    read_pseudo,
    read_wflw,
    training_300vw,
)

WIDTH, HEIGHT = 240, 180


def points_of(markup: Markup, seed: int, centre: tuple[float, float] = (120, 90)) -> np.ndarray:
    """Points (P, 2) around ``centre`` in pixels counted from 0, none of them near the first."""
    points = np.random.default_rng(seed).uniform(-30, 30, (markup.size, 2)).round(2) + centre
    points[0] = np.array(centre) - [30, 30]
    return points


def photo(*firsts: np.ndarray, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image:
    """A grey picture (H, W, 3) with a red spot on each of ``firsts``."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for x, y in firsts:
        cv2.circle(image, (round(x), round(y)), 4, (255, 30, 30), -1)
    return image


def write(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[:, :, ::-1])[1].tobytes())


def write_pts(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points + 1)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


def assert_on_its_picture(face: LabelledFace, points: np.ndarray) -> None:
    """The first point lies on the red spot, and the others where they lay around it."""
    x, y = (round(float(value)) for value in face.points[0])
    red, green, blue = (int(value) for value in face.image[y, x])
    assert red > 180 > 100 > max(green, blue)
    scale = np.ptp(face.points, axis=0) / np.ptp(points, axis=0)
    np.testing.assert_allclose(face.points - face.points[0], (points - points[0]) * scale, atol=0.01)
    np.testing.assert_allclose(scale, 1, atol=0.01)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_set_says_in_one_line_what_is_missing_and_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        READERS[name](tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
    assert TERMS[name]


def test_the_five_point_lists(tmp_path: Path) -> None:
    first, second = points_of(CELEBA5, 1), points_of(CELEBA5, 2)
    lines = []
    for name, points in (("lfw_5590/Ada_Lovelace_0001.jpg", first), ("net_7876\\0_1_0.jpg", second)):
        write(tmp_path / name.replace("\\", "/"), photo(points[0]))
        lines.append(f"{name} 85 155 50 125 {' '.join(f'{value:.2f}' for value in points.ravel())}")
    (tmp_path / "trainImageList.txt").write_text("\r\n".join(lines) + "\r\n")
    faces = read_lfw_net(tmp_path)
    assert [face.name for face in faces] == ["lfw_5590/Ada_Lovelace_0001", "net_7876/0_1_0"]
    for face, points in zip(faces, (first, second), strict=True):
        assert_on_its_picture(face, points)
        assert face.markup is CELEBA5
        shift = face.points[0] - points[0]
        corners = [face.box.x0, face.box.x1] - shift[0], [face.box.y0, face.box.y1] - shift[1]
        np.testing.assert_allclose(corners, [[85, 155], [50, 125]], atol=1e-3)
        assert face.image.shape == (HEIGHT, WIDTH, 3), "five points fill less of a face, and more around them is kept"
    np.testing.assert_allclose(faces[0].unbiased, faces[0].points)


@pytest.mark.parametrize("text", ["", "a.jpg 1 2 3 4 5", "a.jpg " + "x " * 14, "a.jpg " + "nan " * 14, "\xff\xfe"])
def test_a_damaged_list_gives_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="latin-1")
    for read in (read_five_point_list, read_wflw_list):
        with pytest.raises(AnnotationError, match=r"list\.txt") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.fixture
def wflw(tmp_path: Path) -> Path:
    """A WFLW with two training faces in one photo and one test face, in the layout of its archives."""
    root = tmp_path / "data" / "wflw"
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    one, other = points_of(WFLW98, 1, (60, 90)), points_of(WFLW98, 2, (180, 90))
    for part, name, faces in (("train", "0--Parade/a_1.jpg", [one, other]), ("test", "1--Game/b.jpg", [one])):
        write(root / "WFLW_images" / name, photo(*(points[0] for points in faces)))
        rows = [
            f"{' '.join(f'{value:.6f}' for value in points.ravel())} {points.min(0)[0]:.0f} 50 {150 + number} 130 "
            f"1 0 0 0 1 0 {name}"
            for number, points in enumerate(faces)
        ]
        (lists / f"list_98pt_rect_attr_{part}.txt").write_text("\n".join(rows) + "\n")
    return root


def test_wflw(wflw: Path) -> None:
    faces = read_wflw(wflw)
    for face, centre, seed in zip(faces, ((60, 90), (180, 90)), (1, 2), strict=True):
        assert_on_its_picture(face, points_of(WFLW98, seed, centre))
    assert [face.name for face in faces] == ["0--Parade/a_1", "0--Parade/a_1_1"], "faces of one photo differ in name"
    assert faces[0].box.height == pytest.approx(80)
    assert [face.name for face in read_wflw(wflw, "test")] == ["1--Game/b"]
    (row, _) = read_wflw_list(next(wflw.rglob("*_train.txt")))
    assert row.attributes == (True, False, False, False, True, False)
    (wflw / "WFLW_images" / "0--Parade" / "a_1.jpg").unlink()
    with pytest.raises(DataError, match=r"a_1\.jpg: missing"):
        read_wflw(wflw)


def test_a_set_with_a_list_of_its_own_is_validated_on_it(wflw: Path, tmp_path: Path) -> None:
    command = ["train", "--data", str(wflw.parent), "--sets", "wflw", "--steps", "1", "--batch", "2"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert "nme_ocular" in final["validation"], "two faces are too few to hold one of them out"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A 300VW video of seven frames in which the face moves three pixels a frame, in both layouts: 007 and 009."""
    root = tmp_path / "300vw"
    for name in ("007", "009"):
        for number in range(7):
            points = points_of(IBUG68, 5, (100 + 3 * number, 90))
            write_pts(root / name / "annot" / f"{number + 1:06d}.pts", points)
            if name == "009":
                write(root / name / "imgs" / f"{number + 1:06d}.png", photo(points[0]))
    writer = cv2.VideoWriter(str(root / "007" / "vid.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for number in range(7):
        writer.write(np.ascontiguousarray(photo(points_of(IBUG68, 5, (100 + 3 * number, 90))[0])[:, :, ::-1]))
    writer.release()
    return root


def test_300vw_from_pictures_and_from_the_video(video: Path) -> None:
    faces = read_300vw(video, every=3, videos=["007", "009"])
    assert [face.name for face in faces] == [f"{name}_{n:06d}" for name in ("007", "009") for n in (1, 4, 7)]
    for face, number in zip(faces, (0, 3, 6) * 2, strict=True):
        assert_on_its_picture(face, points_of(IBUG68, 5, (100 + 3 * number, 90)))
    assert {group(face.name) for face in faces} == {"007", "009"}


def test_a_video_that_does_not_fit_its_labels_is_refused(video: Path) -> None:
    labels = video / "007" / "annot"
    (labels / "000007.pts").unlink()
    with pytest.raises(DataError, match="7 frames can be decoded, and there are 6"):
        read_300vw(video, videos=["007"])
    (labels / "000003.pts").unlink()
    with pytest.raises(DataError, match="for each frame"):
        read_300vw(video, videos=["007"])
    (video / "009" / "imgs" / "000001.png").unlink()
    with pytest.raises(DataError, match="000001"):
        read_300vw(video, videos=["009"])
    with pytest.raises(DataError, match=r"48 of 50 videos .*001, 002, 003 \.\.\."):
        read_300vw(video)


def test_the_training_videos_are_those_of_the_protocol() -> None:
    ids = training_300vw()
    assert len(ids) == len(set(ids)) == 50
    assert not {"114", "203", "410"} & set(ids), "these are of the test categories"


def test_a_folder_of_pseudo_labels(tmp_path: Path) -> None:
    points = points_of(COFW29, 3)
    write(tmp_path / "clips" / "talk_12.png", photo(points[0]))
    write_pts(tmp_path / "clips" / "talk_12.pts", points)
    with pytest.raises(DataError, match="29 points, where ibug68 has 68"):
        read_pseudo(tmp_path)
    (tmp_path / "markup.txt").write_text("cofw29\n")
    (face,) = read_pseudo(tmp_path)
    assert face.name == "clips/talk_12"
    assert face.markup is COFW29
    assert_on_its_picture(face, points)
    (tmp_path / "markup.txt").write_text("300w")
    with pytest.raises(DataError, match="no markup; write one of ibug68"):
        read_pseudo(tmp_path)


def test_validation_never_parts_a_person_a_photo_or_a_video() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    names = [f"lfw_5590/Person_{letter}_{n:04d}" for letter in "ABCDEFGHIJKLMNOPQRSTUVW" for n in (1, 2, 3)]
    faces = [LabelledFace(name, image, np.zeros((5, 2), np.float32), "lfw_net_5pt", CELEBA5) for name in names]
    unseen = held_out(faces)
    assert {group(name) for name in unseen} == {"Person_J", "Person_T"}
    assert len(unseen) == 6
    assert held_out(faces[:15]) == frozenset(), "of fewer than ten none is held out"
    assert group("training/Abdel_Aziz_Al-Hakim_00.jpg") == group("test/Abdel_Aziz_Al-Hakim_01.jpg")


def test_what_the_command_line_says_of_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*command, "--sets", "300vw", "--every", "0"]) == 2
    assert "--every 0" in capsys.readouterr().err
    assert main([*command, "--sets", "300w,cat"]) == 2
    assert "cat: unknown; the sets are 300w" in capsys.readouterr().err
    assert set(VALIDATION) | THINNED <= set(READERS)
    assert set(MARKUPS) >= {"aflw19", "cofw29", "wflw98"}
