"""Every data set in its own layout, written here: faces, points and boxes lie where the set says."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker import load_model
from tracker.annotations import (
    AFLW_TRAINING,
    AnnotationError,
    read_aflw_mat,
    read_celeba_list,
    read_celeba_parts,
    read_cofw_mat,
    read_five_point_list,
    read_wflw_list,
)
from tracker.core import Image
from tracker.datasets import DataError, LabelledVideo, group, protocol_300vw
from tracker.markup import AFLW19, CELEBA5, COFW29, IBUG68, MARKUPS, WFLW98, Markup
from tracker.training.__main__ import main
from tracker.training.datasets import LabelledFace, held_out
from tracker.training.readers import (
    READERS,
    TERMS,
    THINNED,
    VALIDATION,
    read_300vw,
    read_aflw,
    read_celeba,
    read_cofw,
    read_lfw_net,
    read_pseudo,
    read_wflw,
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
    for read in (read_five_point_list, read_wflw_list, read_celeba_parts):
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


def write_aflw(path: Path, names: list[str], data: np.ndarray, mask: np.ndarray, order: list[int]) -> None:
    """AFLWinfo_release.mat: N names in cells, N x 38, N x 19, N boxes (left, right, top, bottom), and 1 x N from 1."""
    from scipy.io import savemat

    cells = np.array([[np.array([name])] for name in names], object)
    cells = cells.reshape(len(names), 1)
    boxes = np.tile([80.0, 160.0, 50.0, 130.0], (len(names), 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"nameList": cells, "data": data, "mask_new": mask, "bbox": boxes, "ra": np.array([order]) + 1}
    savemat(path, held)


def test_aflw(tmp_path: Path) -> None:
    """Three faces in two photos; the second lacks a point, the third hides two."""
    faces = [points_of(AFLW19, seed) for seed in range(3)]
    names = ["0/image00002.jpg", "2/image00013.jpg", "2/image00013.jpg"]
    for name, points in zip(names, faces, strict=True):
        write(tmp_path / "data" / "flickr" / name, photo(points[0]))
    faces[1][18] = 0
    mask = np.ones((3, 19), np.uint8)
    mask[2, [3, 4]] = 0
    data = np.stack([points.T.ravel() for points in faces])
    write_aflw(tmp_path / "AFLWinfo_release.mat", names, data, mask, [2, 0, 1])
    third, first, second = read_aflw(tmp_path)
    assert [face.name for face in (third, first, second)] == ["2/image00013", "0/image00002", "2/image00013_2"]
    assert_on_its_picture(first, faces[0])
    assert first.known is None
    assert list(np.flatnonzero(~second.known)) == [18]
    assert second.known_points.shape == (18, 2)
    assert np.ptp(second.points, axis=0).max() < 70, "the missing point does not stand at (0, 0)"
    assert list(np.flatnonzero(third.occluded)) == [3, 4]
    assert third.known is None, "hidden points are labelled"
    assert third.box.width == third.box.height == pytest.approx(80), "the normaliser"
    assert read_aflw(tmp_path, "test") == []
    with pytest.raises(DataError, match="'valid' is no part of this set; there are train, test"):
        read_aflw(tmp_path, "valid")


def test_aflw_is_parted_by_its_own_order(tmp_path: Path) -> None:
    number = AFLW_TRAINING + 2
    order = list(np.random.default_rng(0).permutation(number))
    names = [f"0/{i}.jpg" for i in range(number)]
    write_aflw(tmp_path / "a.mat", names, np.ones((number, 38)), np.ones((number, 19), np.uint8), order)
    training, test = read_aflw_mat(tmp_path / "a.mat")
    assert [face.picture for face in test] == [f"0/{i}.jpg" for i in order[-2:]]
    assert [face.picture for face in training[:3]] == [f"0/{i}.jpg" for i in order[:3]]
    write_aflw(tmp_path / "a.mat", names[:3], np.ones((3, 38)), np.ones((3, 19)), [0, 0, 1])
    with pytest.raises(AnnotationError, match="each face once"):
        read_aflw_mat(tmp_path / "a.mat")


def write_cofw(path: Path, end: str, images: list[np.ndarray], labels: np.ndarray, boxes: np.ndarray) -> None:
    """A file as MATLAB 7.3 writes it: every array transposed, and the pictures behind references."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        references = np.empty((1, len(images)), h5py.ref_dtype)
        for number, image in enumerate(images):
            references[0, number] = file.create_dataset(f"#refs#/{number}", data=image.T).ref
        file.create_dataset(f"Is{end}", data=references, dtype=h5py.ref_dtype)
        file.create_dataset(f"phis{end}", data=labels.T)
        file.create_dataset(f"bboxes{end}", data=boxes.T)


def test_cofw(tmp_path: Path) -> None:
    """One picture in colour and a grey one; the files count from 1."""
    one, other = points_of(COFW29, 1), points_of(COFW29, 2)
    hidden = np.zeros((2, 29))
    hidden[0, [4, 16]] = 1
    labels = np.concatenate([np.stack([one, other]).transpose(0, 2, 1).reshape(2, 58) + 1, hidden], 1)
    boxes = np.array([[81.0, 51, 80, 90], [81, 51, 80, 90]])
    images = [photo(one[0]), photo(other[0])[:, :, 0]]
    write_cofw(tmp_path / "COFW_train_color.mat", "Tr", images, labels, boxes)
    write_cofw(tmp_path / "COFW_test_color.mat", "T", images[:1], labels[:1], boxes[:1])
    colour, grey = read_cofw(tmp_path)
    assert_on_its_picture(colour, one)
    assert list(np.flatnonzero(colour.occluded)) == [4, 16]
    assert colour.known is None
    shift = colour.points[0] - one[0]
    assert (colour.box.x0, colour.box.y0) == pytest.approx((80 + shift[0], 50 + shift[1]), abs=1e-3)
    assert (colour.box.width, colour.box.height) == pytest.approx((80, 90), abs=1e-3)
    x, y = (round(float(value)) for value in grey.points[0])
    assert list(grey.image[y, x]) == [255, 255, 255]
    assert [face.name for face in read_cofw(tmp_path, "test")] == ["test/000001"]


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_a_damaged_mat_file_gives_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.mat"
    path.write_bytes(content)
    for read in (read_aflw_mat, lambda path: list(read_cofw_mat(path))):
        with pytest.raises(AnnotationError, match=r"damaged\.mat") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """Six pictures in the wild: four for training, one each for validation and test; the fourth has an empty box."""
    root = tmp_path / "data" / "celeba"
    rows, boxes, parts = [], [], []
    for number in range(1, 7):
        points = points_of(CELEBA5, number)
        write(root / "Img" / "img_celeba" / f"{number:06d}.jpg", photo(points[0]))
        rows.append(f"{number:06d}.jpg {' '.join(f'{value:.2f}' for value in points.ravel())}")
        boxes.append(f"{number:06d}.jpg    80  40 {0 if number == 4 else 70} 90")
        parts.append(f"{number:06d}.jpg {max(number - 4, 0)}")
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    for name, lines in (
        ("Anno/list_landmarks_celeba.txt", ["6", header, *rows]),
        ("Anno/list_bbox_celeba.txt", ["6", "image_id x_1 y_1 width height", *boxes]),
        ("Eval/list_eval_partition.txt", parts),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def test_celeba(celeba: Path) -> None:
    faces = read_celeba(celeba, every=1)
    assert [face.name for face in faces] == ["000001", "000002", "000003", "000004"]
    for number, face in enumerate(faces, 1):
        assert_on_its_picture(face, points_of(CELEBA5, number))
    assert (faces[0].box.width, faces[0].box.height) == pytest.approx((70, 90), abs=1e-3)
    assert faces[3].box is None
    assert [face.name for face in read_celeba(celeba, every=3)] == ["000001", "000004"]
    assert [read_celeba(celeba, part)[0].name for part in ("validation", "test")] == ["000005", "000006"]
    parts = celeba / "Eval" / "list_eval_partition.txt"
    parts.write_text("000001.jpg 0\n")
    with pytest.raises(DataError, match=r"000002\.jpg is in no part"):
        read_celeba(celeba)
    parts.write_text("000001.jpg 3\n")
    with pytest.raises(AnnotationError, match="other parts"):
        read_celeba(celeba)


def test_the_aligned_pictures_of_celeba_have_no_boxes(celeba: Path) -> None:
    (celeba / "Img" / "img_celeba").rename(celeba / "Img" / "img_align_celeba")
    with pytest.raises(DataError, match=r"list_landmarks_align_celeba\.txt: missing"):
        read_celeba(celeba)
    (celeba / "Anno" / "list_landmarks_celeba.txt").rename(celeba / "Anno" / "list_landmarks_align_celeba.txt")
    assert [face.box for face in read_celeba(celeba, every=1)] == [None] * 4
    broken = celeba / "Anno" / "list_landmarks_align_celeba.txt"
    broken.write_text(broken.read_text().replace(" ", " x ", 20))
    with pytest.raises(AnnotationError, match=r"celeba\.txt, line \d+: not a name and 10 numbers"):
        read_celeba_list(broken)


def test_five_points_are_trained_on_celeba_after_the_lists(celeba: Path, tmp_path: Path) -> None:
    """Two sets of one markup, one of them thinned and with a list for validation."""
    points = points_of(CELEBA5, 1)
    write(celeba.parent / "lfw_net_5pt" / "lfw_5590" / "Ada_0001.jpg", photo(points[0]))
    row = " ".join(f"{value:.2f}" for value in points.ravel())
    (celeba.parent / "lfw_net_5pt" / "trainImageList.txt").write_text(f"lfw_5590/Ada_0001.jpg 85 155 50 125 {row}\n")
    command = ["train", "--data", str(celeba.parent), "--sets", "celeba,lfw_net_5pt", "--steps", "2", "--batch", "2"]
    assert main([*command, "--every", "2", "--context", "2.8", "--out", str(tmp_path / "run")]) == 0
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert final["validation"]["nme_box"] > 0
    assert main(["export", str(tmp_path / "run"), "--name", "five", "--out", str(tmp_path)]) == 0
    spec = load_model(tmp_path / "five.onnx").spec
    assert (spec.markup, spec.offset) == ("celeba5", (0.0, 0.0))
    assert [line.split()[0] for line in spec.data] == ["CelebA", "LFW"]


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
    ids = protocol_300vw().train
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


def test_the_markup_of_pseudo_labels_is_the_nearest(tmp_path: Path) -> None:
    """As 'label' leaves it in the folder of each set; above them another, which counts where there is none."""
    for name, markup in (("films/a/1", COFW29), ("lfw/2", CELEBA5), ("own/3", COFW29)):
        write(tmp_path / "pseudo" / f"{name}.png", photo())
        write_pts(tmp_path / "pseudo" / f"{name}.pts", points_of(markup, 3))
    for folder, markup in (("pseudo/films/a", COFW29), ("pseudo/lfw", CELEBA5), ("pseudo", COFW29), ("", WFLW98)):
        (tmp_path / folder / "markup.txt").write_text(f"{markup.name}\n")
    faces = read_pseudo(tmp_path / "pseudo")
    assert {face.name: face.markup for face in faces} == {"films/a/1": COFW29, "lfw/2": CELEBA5, "own/3": COFW29}
    (tmp_path / "pseudo" / "markup.txt").unlink()
    with pytest.raises(DataError, match="own/3: 29 points, where ibug68 has 68"):
        read_pseudo(tmp_path / "pseudo")


def test_validation_never_parts_a_person_a_photo_or_a_video() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    names = [f"lfw_5590/Person_{person}_{n:04d}" for person in range(300) for n in (1, 2, 3)]
    faces = [LabelledFace(name, image, np.zeros((5, 2), np.float32), "lfw_net_5pt", CELEBA5) for name in names]
    unseen = held_out(faces)
    people = {group(name) for name in unseen}
    assert 15 < len(people) < 45, "about one in ten"
    assert len(unseen) == 3 * len(people), "all pictures of a person"
    assert held_out(faces[::2]) == {face.name for face in faces[::2]} & unseen, "whichever others are there"
    assert group("training/Abdel_Aziz_Al-Hakim_00.jpg") == group("test/Abdel_Aziz_Al-Hakim_01.jpg")


def test_what_the_command_line_says_of_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*command, "--sets", "300vw", "--every", "0"]) == 2
    assert "--every 0" in capsys.readouterr().err
    assert main([*command, "--sets", "300w,cat"]) == 2
    assert "cat: unknown; the sets are 300w" in capsys.readouterr().err
    assert set(VALIDATION) | THINNED <= set(READERS)
    assert set(MARKUPS) >= {"aflw19", "cofw29", "wflw98"}


def test_frames_without_leading_zeros_come_in_order(tmp_path: Path) -> None:
    for number in range(1, 13):
        write(tmp_path / "imgs" / f"{number}.jpg", photo())
        write_pts(tmp_path / "annot" / f"{number}.pts", points_of(IBUG68, number))
    assert [number for number, _ in LabelledVideo(tmp_path).frames()] == list(range(1, 13))
