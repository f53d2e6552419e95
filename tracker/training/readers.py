"""Data sets in the layouts they are published in.

Each reader takes the set's folder and gives its training faces; DataError says what is missing and where to get it.
The docstrings say whether a layout was tried on the set's own files or is known from documentation only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from tracker.annotations import (
    Annotation,
    read_aflw_mat,
    read_celeba_list,
    read_celeba_parts,
    read_cofw_mat,
    read_five_point_list,
    read_keypoints_csv,
    read_pts,
    read_wflw_list,
)
from tracker.core import Image
from tracker.markup import AFLW19, CELEBA5, COFW29, MARKUPS, WFLW98, Markup
from tracker.sources import VideoFile
from tracker.training.datasets import DataError, LabelledFace, kept, read_picture

T = TypeVar("T")


def read_300w(root: Path) -> list[LabelledFace]:
    """300-W: folders afw, helen and lfpw (with or without a folder trainset inside) of .jpg or .png with .pts.

    Names are as in validation_300w.txt: ``afw/134212_1``. What lies in a folder testset is the benchmark's, and is left
    out. Tried on the set's own files."""
    paths = [path for part in ("afw", "helen", "lfpw") for path in sorted((root / part).rglob("*.pts"))]
    paths = [path for path in paths if "testset" not in path.relative_to(root).parts]
    if not paths:
        raise DataError(
            f"{root}: no afw, helen or lfpw folder with .pts files; request 300-W at "
            "https://ibug.doc.ic.ac.uk/resources/300-W/ and unpack it there"
        )
    faces = []
    for path in tqdm(paths, desc="reading 300-W", unit=" faces", leave=False):
        name = str(path.relative_to(root).with_suffix("")).replace("\\", "/")
        faces.append(kept(name, read_picture(_beside(path)), read_pts(path), "300w"))
    return faces


def read_ytf(root: Path) -> list[LabelledFace]:
    """The YouTube Faces keypoint lists: ``training_frames_keypoints.csv`` and ``test_...`` beside the folders
    ``training`` and ``test``. The points come from a network and are in whole pixels: for pre-training.

    Tried on the set's own files."""
    faces = []
    for part in ("training", "test"):
        table = root / f"{part}_frames_keypoints.csv"
        if not table.exists():
            raise DataError(f"{table}: missing; the YouTube Faces keypoint set holds it beside its folder {part}")
        for name, points in tqdm(read_keypoints_csv(table).items(), desc="reading ytf", unit=" faces", leave=False):
            faces.append(kept(f"{part}/{name}", read_picture(root / part / name), points, "ytf68"))
    return faces


def training_300vw() -> list[str]:
    """The 50 videos of 300VW that its protocol leaves for training."""
    text = (resources.files("tracker.training") / "training_300vw.txt").read_text()
    return [word for line in text.split("\n") if not line.startswith("#") for word in line.split()]


def read_300vw(root: Path, every: int = 10, videos: Sequence[str] | None = None) -> list[LabelledFace]:
    """300VW: ``ID/annot/000001.pts ...`` with ``ID/imgs/000001.jpg ...`` or ``ID/vid.avi`` for each of ``videos``, by
    default the 50 for training.

    Of each video the first and every ``every``-th frame after it. Frames of a video are decoded in order and must be
    as many as the labels. Names are ``ID_000001``, so that validation takes whole videos. Tried on two pictures of the
    set in its own layout; the videos are known from its documentation only.
    """
    videos = training_300vw() if videos is None else videos
    if lacking := [video for video in videos if not (root / video / "annot").is_dir()]:
        raise DataError(
            f"{root}: {len(lacking)} of {len(videos)} videos are missing or without a folder annot "
            f"({', '.join(lacking[:3])}{' ...' * (len(lacking) > 3)}); request 300VW at "
            "https://ibug.doc.ic.ac.uk/resources/300-VW/ and unpack it there"
        )
    return [face for video in tqdm(videos, desc="reading 300VW", leave=False) for face in _video(root / video, every)]


def _video(folder: Path, every: int) -> list[LabelledFace]:
    labels = sorted((folder / "annot").glob("*.pts"))
    if not labels:
        raise DataError(f"{folder / 'annot'}: no .pts files; unpack the set again")
    if (folder / "imgs").is_dir():
        pictures = [(path, folder / "imgs" / path.name) for path in labels[::every]]
        return [_video_face(folder, path, read_picture(_beside(image))) for path, image in pictures]
    if not (video := folder / "vid.avi").exists():
        raise DataError(f"{folder}: neither vid.avi nor a folder imgs; unpack the set again")
    if [path.stem for path in labels] != [f"{number:06d}" for number in range(1, len(labels) + 1)]:
        raise DataError(f"{folder / 'annot'}: not one .pts file for each frame from 000001.pts; unpack the set again")
    faces, count = [], 0
    with VideoFile(video) as source:
        for frame in source:
            if count < len(labels) and count % every == 0:
                faces.append(_video_face(folder, labels[count], frame.image))
            count += 1
    if count != len(labels):
        raise DataError(
            f"{video}: {count} frames can be decoded, and there are {len(labels)} .pts files, so that the labels would "
            "not lie on their pictures; unpack it again, or put its frames into a folder imgs"
        )
    return faces


def _video_face(folder: Path, label: Path, image: Image) -> LabelledFace:
    return kept(f"{folder.name}_{label.stem}", image, read_pts(label), "300vw")


def read_wflw(root: Path, part: str = "train") -> list[LabelledFace]:
    """WFLW: ``WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt`` (or ``..._test.txt``)
    with the folder ``WFLW_images``; the lists may also lie in ``root`` or in the folder of their name.

    ``part`` is ``train`` (7,500 faces) or ``test`` (2,500). The layout is known from documentation and from others'
    programs; the points were looked at in two pictures of the set.
    """
    _part_of({"train": 0, "test": 0}, part)
    how = "download WFLW's images and annotations at https://wywu.github.io/projects/LAB/WFLW.html and unpack them"
    folder = Path("list_98pt_rect_attr_train_test")
    places = (Path("WFLW_annotations") / folder, folder, Path())
    table = _one_of([root / place / f"list_98pt_rect_attr_{part}.txt" for place in places], how)
    images = _one_of([root / "WFLW_images"], how)
    return _listed(read_wflw_list(table), images, "wflw", WFLW98)


def read_aflw(root: Path, part: str = "train") -> list[LabelledFace]:
    """AFLW-Full, 19 points: ``AFLWinfo_release.mat`` of Zhu et al. (2016) beside AFLW's pictures, which lie in
    ``data/flickr``, ``flickr`` or ``images`` in folders 0, 2 and 3.

    ``part`` is ``train`` (the first 20,000 of the set's order) or ``test`` (the last 4,386). The box is the set's
    square, whose width is its normaliser. Known from others' programs only; the points were looked at in two pictures
    of the set. Whether it counts from 0 or from 1 is nowhere said; 0 is taken, as all programs do.
    """
    how = "get the labels at http://mmlab.ie.cuhk.edu.hk/projects/compositional.html"
    table = _one_of([root / "AFLWinfo_release.mat"], how)
    how = "request AFLW at https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw and unpack it"
    images = _one_of([root / "data" / "flickr", root / "flickr", root / "images"], how)
    training, test = read_aflw_mat(table)
    faces = _part_of({"train": training, "test": test}, part)
    return _listed([face for face in faces if face.known is None or face.known.any()], images, "aflw", AFLW19)


def read_cofw(root: Path, part: str = "train") -> list[LabelledFace]:
    """COFW, 29 points: ``COFW_train_color.mat`` or ``COFW_test_color.mat``, which hold the pictures too.

    ``part`` is ``train`` (1,345 faces) or ``test`` (507). Known from others' programs only; the points were looked at
    in two pictures of the set.
    """
    how = "download COFW (color images) at https://data.caltech.edu/records/20099 and unpack it there"
    files = {name: root / f"COFW_{name}_color.mat" for name in ("train", "test")}
    path = _one_of([_part_of(files, part)], how)
    return [
        kept(f"{part}/{face.picture}", image, face.points, "cofw", COFW29, face.known, face.occluded, face.box)
        for image, face in tqdm(read_cofw_mat(path), desc="reading cofw", unit=" faces", leave=False)
    ]


def read_celeba(root: Path, part: str = "train", every: int = 10) -> list[LabelledFace]:
    """CelebA, 5 points: the pictures in the wild (``img_celeba``, ``list_landmarks_celeba.txt``,
    ``list_bbox_celeba.txt``) where they are, else the aligned ones (``img_align_celeba``,
    ``list_landmarks_align_celeba.txt``, no boxes), and ``list_eval_partition.txt``; in ``root`` or in its folders
    ``Img``, ``Anno`` and ``Eval``.

    ``part`` is ``train``, ``validation`` or ``test``; of it the first face and every ``every``-th after it, as all
    202,599 would not fit into memory. Known from documentation and others' programs only.
    """
    how = "download CelebA at http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack it there"
    folders = [root / "Img" / "img_celeba", root / "img_celeba"]
    aligned = [root / "Img" / "img_align_celeba", root / "img_align_celeba"]
    images = _one_of([*folders, *aligned], how)
    wild = images in folders
    table = f"list_landmarks_{'' if wild else 'align_'}celeba.txt"
    lists = [_one_of([root / "Anno" / name, root / name], how) for name in (table, *["list_bbox_celeba.txt"] * wild)]
    parts = read_celeba_parts(_one_of([root / name / "list_eval_partition.txt" for name in ("Eval", "Anno", "")], how))
    faces: dict[str, list[Annotation]] = {"train": [], "validation": [], "test": []}
    for face in read_celeba_list(*lists):
        if face.picture not in parts:
            raise DataError(
                f"{root}: {face.picture} is in no part of list_eval_partition.txt; download the lists again"
            )
        faces[parts[face.picture]].append(face)
    return _listed(_part_of(faces, part)[::every], images, "celeba", CELEBA5)


def read_lfw_net(root: Path) -> list[LabelledFace]:
    """The LFW and net pictures with five points: ``trainImageList.txt`` beside ``lfw_5590`` and ``net_7876``.

    Tried on the set's own files."""
    how = "download it at http://mmlab.ie.cuhk.edu.hk/archive/CNN_FacePoint.htm and unpack it there"
    faces = read_five_point_list(_one_of([root / "trainImageList.txt"], how))
    return _listed(faces, root, "lfw_net_5pt", CELEBA5)


def read_pseudo(root: Path) -> list[LabelledFace]:
    """Faces that a model labelled: pictures (.jpg or .png) with ``.pts`` files beside them, in any depth.

    The files count from 1, as all .pts files do, and every point is known. ``markup.txt`` in ``root`` holds the name of
    the markup as its only word; without that file it is ibug68. Frames of one video, and faces of one photo, are kept
    together in validation when they are named ``NAME_1``, ``NAME_2`` and so on. This layout is the project's own.
    """
    markup, named = MARKUPS["ibug68"], root / "markup.txt"
    if named.exists():
        word = named.read_text(encoding="utf-8", errors="replace").strip()
        if word not in MARKUPS:
            raise DataError(f"{named}: {word[:40]!r} is no markup; write one of {', '.join(MARKUPS)}")
        markup = MARKUPS[word]
    paths = sorted(root.rglob("*.pts"))
    if not paths:
        raise DataError(f"{root}: no .pts files; put pictures there, with a .pts file beside each")
    faces = []
    for path in tqdm(paths, desc="reading pseudo", unit=" faces", leave=False):
        name = str(path.relative_to(root).with_suffix("")).replace("\\", "/")
        faces.append(kept(name, read_picture(_beside(path)), read_pts(path), "pseudo", markup))
    return faces


READERS: dict[str, Callable[..., list[LabelledFace]]] = {
    "300w": read_300w,
    "ytf68": read_ytf,
    "300vw": read_300vw,
    "aflw": read_aflw,
    "cofw": read_cofw,
    "celeba": read_celeba,
    "wflw": read_wflw,
    "lfw_net_5pt": read_lfw_net,
    "pseudo": read_pseudo,
}
"""The readers by the name of the set, which is that of its folder too."""

THINNED = frozenset({"300vw", "celeba"})
"""Sets that are too many pictures to keep: their readers take ``every``."""

VALIDATION = {"aflw": "test", "cofw": "test", "celeba": "validation", "wflw": "test"}
"""The part of a set that is validated on, where the set has a list of its own: its readers take ``part``."""

TERMS = {
    "300w": "300-W training faces (afw, helen, lfpw): research use only",
    "ytf68": "YouTube Faces keypoints: research use only",
    "300vw": "300VW training videos: research use only",
    "aflw": "AFLW training faces: research use only, non-commercial",
    "cofw": "COFW training faces: see the terms at data.caltech.edu",
    "celeba": "CelebA training faces: research use only, non-commercial",
    "wflw": "WFLW training faces: research use only",
    "lfw_net_5pt": "LFW and net faces with five points: research use only",
    "pseudo": "pseudo-labels on pictures of the user's own",
}
"""What a model says of the sets it was trained on."""


def _listed(faces: Sequence[Annotation], images: Path, dataset: str, markup: Markup) -> list[LabelledFace]:
    """The faces of a list, with pictures in the folder ``images``. A face is named after its picture, and by its place
    in the list where a picture has several."""
    found: list[LabelledFace] = []
    names: set[str] = set()
    for number, face in enumerate(tqdm(faces, desc=f"reading {dataset}", unit=" faces", leave=False)):
        name = face.picture.rpartition(".")[0]
        name = f"{name}_{number}" if name in names else name
        names.add(name)
        image = read_picture(images / face.picture)
        found.append(kept(name, image, face.points, dataset, markup, face.known, face.occluded, face.box))
    return found


def _part_of(parts: Mapping[str, T], part: str) -> T:
    if part not in parts:
        raise DataError(f"{part!r} is no part of this set; there are {', '.join(parts)}")
    return parts[part]


def _one_of(paths: Sequence[Path], how: str) -> Path:
    """The first of ``paths`` that exists."""
    for path in paths:
        if path.exists():
            return path
    raise DataError(f"{paths[0]}: missing; {how}")


def _beside(path: Path) -> Path:
    """The picture beside a .pts file."""
    for suffix in (".jpg", ".png"):
        if (found := path.with_suffix(suffix)).exists():
            return found
    raise DataError(f"{path}: its picture (.jpg or .png) is missing; unpack the set again")
