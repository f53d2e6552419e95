"""Clips with known motion: the truth lies on the face in every frame, and the same seed gives the same clip."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_readers import write, write_pts

from evaluation.motion import KINDS, frames, main, motion_of, photos, surrounded
from tracker.annotations import read_pts
from tracker.datasets import LabelledVideo, numbers, validation_names
from tracker.markup import IBUG68

DOTS = (0, 16, 8, 27)
"""Points that are painted onto the photo: the ends of the contour, the chin, the bridge of the nose."""


def spotted() -> tuple[np.ndarray, np.ndarray]:
    """A grey photo (200, 200, 3) with a white spot on each of DOTS, and its points (68, 2)."""
    points = np.random.default_rng(0).uniform(70, 130, (IBUG68.size, 2))
    points[list(DOTS)] = [[60, 80], [140, 80], [100, 140], [100, 60]]
    image = np.full((200, 200, 3), 60, np.uint8)
    for index in DOTS:
        x, y = points[index].astype(int)
        cv2.circle(image, (x, y), 3, (255, 255, 255), -1)
    return image, points.astype(np.float32)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "occluded"])
def test_the_truth_is_where_the_photo_went(kind: str) -> None:
    """Bright spots in what the camera sees lie where the truth says, to half a pixel."""
    image, points = spotted()
    rng = np.random.default_rng(5)
    motion = motion_of(points, kind, (320, 240), 2.0, rng)
    seen = 0
    for number, frame in enumerate(frames(image, motion, 60, rng)):
        if number % 6:
            continue
        for x, y in motion.truth(number / 30)[list(DOTS)]:
            if 12 < x < 308 and 12 < y < 228:
                x0, y0 = round(x) - 9, round(y) - 9
                part = frame[y0 : y0 + 19, x0 : x0 + 19].mean(-1)
                bright = np.maximum(part - (part.min() + part.max()) / 2, 0)
                rows, columns = np.mgrid[:19, :19]
                place = np.array([(bright * columns).sum(), (bright * rows).sum()]) / bright.sum()
                assert np.linalg.norm(place + np.array([x0 - x, y0 - y])) < 0.7, (number, x, y)
                seen += 1
    assert seen > 15


def test_a_face_that_leaves_is_absent_and_comes_back() -> None:
    _, points = spotted()
    motion = motion_of(points, "leaves", (320, 240), 5.0, np.random.default_rng(0))
    absent = [motion.absent(number / 30) for number in range(150)]
    assert not absent[0]
    assert not absent[-1]
    assert 20 < sum(absent) < 100
    assert np.abs(np.diff(np.array(absent, int))).sum() == 2, "it leaves once"
    steady = motion_of(points, "steady", (320, 240), 5.0, np.random.default_rng(0))
    assert not any(steady.absent(number / 30) for number in range(150))


def test_something_slides_over_the_face() -> None:
    image, points = spotted()
    views = {}
    for kind in ("steady", "occluded"):
        rng = np.random.default_rng(1)
        motion = motion_of(points, kind, (320, 240), 2.0, rng)
        views[kind] = list(frames(image, motion, 60, rng))
    changed = [np.abs(a.astype(int) - b)[60:180, 100:220].mean() for a, b in zip(*views.values(), strict=True)]
    assert changed[15] > 3 * changed[0] + 1, "over the face in the first quarter, beside it at the start"


def test_around_the_photo_there_is_no_second_one(portrait: np.ndarray) -> None:
    """Reflected, it would show the face again; its detail is gone instead."""
    canvas, (x, y) = surrounded(np.ascontiguousarray(portrait[:256, 100:356]))
    np.testing.assert_array_equal(canvas[y + 60 : y + 200, x + 60 : x + 200], portrait[60:200, 160:300])
    outside = cv2.Laplacian(canvas[:y, x : 2 * x], cv2.CV_64F).std()
    assert outside < 0.1 * cv2.Laplacian(portrait[:256, 100:356], cv2.CV_64F).std()


def test_the_clips_are_in_the_layout_of_300vw_and_seeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, points = spotted()
    write(tmp_path / "photos" / "one.png", image)
    write_pts(tmp_path / "photos" / "one.pts", points)
    words = ["--data", str(tmp_path / "photos"), "--frames", "8", "--size", "160x120"]
    for out in ("a", "b"):
        assert main([*words, "--out", str(tmp_path / out), "--clips", "8"]) == 0
    assert main([*words, "--out", str(tmp_path / "c"), "--clips", "1", "--seed", "1"]) == 0
    for name in (f"m{number:03d}" for number in range(1, 9)):
        one, other = tmp_path / "a" / name, tmp_path / "b" / name
        video = LabelledVideo(one)
        assert [number for number, _ in video.frames()] == list(range(1, 9)), "as many frames as labels"
        for number in range(1, 9):
            label = f"annot/{number:06d}.pts"
            assert (one / label).read_bytes() == (other / label).read_bytes()
        for (_, first), (_, second) in zip(video.frames(), LabelledVideo(other).frames(), strict=True):
            np.testing.assert_array_equal(first.image, second.image)
        about = json.loads((one / "clip.json").read_text())
        numbers(about["absent"])
    assert {json.loads(path.read_text())["codec"] for path in tmp_path.glob("a/*/clip.json")} == {"libx264", "mjpeg"}
    first = [read_pts(tmp_path / out / "m001" / "annot" / "000001.pts") for out in ("a", "c")]
    assert np.abs(first[0] - first[1]).max() > 1, "another seed, another camera"
    stamp = (tmp_path / "a" / "m001" / "vid.avi").stat().st_mtime_ns
    assert main([*words, "--out", str(tmp_path / "a"), "--clips", "8"]) == 0
    assert (tmp_path / "a" / "m001" / "vid.avi").stat().st_mtime_ns == stamp, "what is there is kept"
    assert main(["--data", str(tmp_path / "nothing"), "--out", str(tmp_path / "d")]) == 2
    others = tmp_path / "others" / "talk" / "precious.png"
    write(others, image)
    for ids in ("a,", "..", "a/b", "a,a", "talk", "-1"):
        assert main([*words, "--out", str(others.parents[1]), f"--ids={ids}"]) == 2, ids
    assert main([*words, "--out", str(tmp_path / "d"), "--seed", "-1"]) == 2
    assert [path for path in others.parents[1].rglob("*") if path.is_file()] == [others], "nothing else is touched"
    assert capsys.readouterr().err.strip().split("\n")[-1].startswith("error: ")


@pytest.mark.parametrize(("given", "kept"), [("", "afw/"), ("300w", "afw/"), ("300w/afw", "afw/"), ("300w", "helen/")])
def test_photos_that_models_learnt_from_are_left_out(given: str, kept: str, tmp_path: Path) -> None:
    image, points = spotted()
    unseen = sorted(name for name in validation_names() if name.startswith(kept))[0].replace("trainset/", "")
    for name in (unseen, f"{kept}another"):
        write(tmp_path / "300w" / f"{name}.png", image)
        write_pts(tmp_path / "300w" / f"{name}.pts", points)
    assert [Path(picture.name).name for picture in photos(tmp_path / given, False)] == [Path(unseen).name]
    assert len(photos(tmp_path / given, True)) == 2
