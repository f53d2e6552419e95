"""Data sets in the layouts they are published in: which pictures and videos they hold, and what is labelled in them.

Nothing is decoded before it is asked for. DataError says what is missing and where to get it. The docstrings say
whether a layout was tried on the set's own files or is known from documentation only.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import TypeVar

from tracker.annotations import (
    Annotation,
    read_aflw_mat,
    read_celeba_list,
    read_celeba_parts,
    read_cofw_mat,
    read_cofw_picture,
    read_five_point_list,
    read_pts,
    read_wflw_list,
)
from tracker.core import Frame, Image, TrackerError
from tracker.sources import IMAGE_SUFFIXES, VideoFile, read_image

T = TypeVar("T")


class DataError(TrackerError):
    """A data set that is missing or incomplete."""


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """One labelled face of a picture: ``name`` unique in its set, ``label`` in pixels of the picture counted from 0,
    and ``load``, which reads the whole picture, (H, W, 3) uint8 RGB, from its ``file``, or raises a TrackerError."""

    name: str
    label: Annotation
    load: Callable[[], Image]
    file: Path


def read_picture(path: Path) -> Image:
    """The picture (H, W, 3) in RGB; DataError when it is missing or damaged."""
    image = read_image(path)
    if image is None:
        raise DataError(f"{path}: missing or not a picture; unpack the set again")
    image.flags.writeable = True  # it is nobody else's
    return image


# 300-W

PARTS_300W: Mapping[str, tuple[str, ...]] = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
"""The folders of each part of 300-W. Training faces may also lie straight in ``helen`` and ``lfpw``."""

HOW_300W = "request 300-W at https://ibug.doc.ic.ac.uk/resources/300-W/ and unpack it there"


def pictures_300w(root: Path, part: str = "train", one_based: bool = True) -> list[LabelledPicture]:
    """300-W: folders of .jpg or .png with .pts beside them; ``part`` is one of PARTS_300W, or ``validation`` for the
    project's own validation faces among the training faces.

    Names are their paths: ``afw/134212_1``. What lies in a folder testset is the benchmark's, and no part of the
    training faces. The training part was tried on the set's own files; the other folders are known from its
    documentation and from others' programs.
    """
    folders = _part_of({**PARTS_300W, "validation": PARTS_300W["train"]}, part)
    if part in ("train", "validation"):
        paths = [path for folder in ("afw", "helen", "lfpw") for path in sorted((root / folder).rglob("*.pts"))]
        paths = [path for path in paths if "testset" not in path.relative_to(root).parts]
        if not paths:
            raise DataError(f"{root}: no afw, helen or lfpw folder with .pts files; {HOW_300W}")
    else:
        found = {folder: sorted((root / folder).rglob("*.pts")) for folder in folders}
        if empty := [folder for folder, files in found.items() if not files]:
            raise DataError(f"{root}: no .pts files in {' and '.join(empty)}; {HOW_300W}")
        paths = [path for files in found.values() for path in files]
    pictures = [
        LabelledPicture(
            _name(path, root), Annotation(path.stem, read_pts(path, one_based)), partial(read_picture, file), file
        )
        for path, file in zip(paths, map(beside, paths), strict=True)
    ]
    if part == "validation":
        pictures = [picture for picture in pictures if in_validation(picture.name)]
        if not pictures:
            raise DataError(f"{root}: none of the faces of tracker/training/validation_300w.txt; {HOW_300W}")
    return pictures


KEPT_TOO = "the faces kept for validation, too"
"""What the ``Spec`` of a model that learnt from them has among its data: no figure on them is worth anything then."""


def validation_names() -> frozenset[str]:
    """Names of the 300-W faces that are never trained on (before a last run that says so)."""
    text = (resources.files("tracker") / "training" / "validation_300w.txt").read_text()
    return frozenset(line for line in text.split("\n") if line and not line.startswith("#"))


def in_validation(name: str) -> bool:
    """Whether the training face of 300-W of this name is one of ``validation_names``, wherever in ``helen`` or ``lfpw``
    it lies: ``helen/1`` is ``helen/trainset/1``, as no two training faces of a first folder have one file name."""
    return _outer_names(name) in _validation_faces()


@cache
def _validation_faces() -> frozenset[tuple[str, str]]:
    return frozenset(map(_outer_names, validation_names()))


def _outer_names(name: str) -> tuple[str, str]:
    """The first folder of a name, and its file name."""
    return name.partition("/")[0], name.rpartition("/")[2]


def group(name: str) -> str:
    """The person, photo or video that the name of a face tells: without its folder, its suffix and its last number."""
    return re.sub(r"(_\d+)?(\.\w+)?$", "", name.rpartition("/")[2])


def kept_apart(name: str) -> bool:
    """Whether the face of this name, in a set that has no list of its own, is for validation: about one ``group`` in
    ten. It depends on the name alone, so that a part of a set is divided as the whole is."""
    return zlib.crc32(group(name).encode()) % 10 == 9


# 300VW

HOW_300VW = "request 300VW at https://ibug.doc.ic.ac.uk/resources/300-VW/ and unpack it there"


@dataclass(frozen=True)
class Protocol300VW:
    """The protocol of 300VW: the ids of the training videos and of the test videos of each category, the frames that
    each test video has, and the numbers, from 1, of those that are left out as their annotation is broken."""

    train: tuple[str, ...]
    categories: Mapping[int, tuple[str, ...]]
    frames: Mapping[str, int]
    left_out: Mapping[str, frozenset[int]]

    def scored(self, ids: Sequence[str]) -> int:
        """How many frames of these test videos count."""
        return sum(self.frames[name] - len(self.left_out.get(name, ())) for name in ids)


@cache
def protocol_300vw() -> Protocol300VW:
    """The protocol that protocol_300vw.json holds."""
    held = json.loads((resources.files("tracker") / "protocol_300vw.json").read_text())
    categories = {number: tuple(held[f"category {number}"]) for number in (1, 2, 3)}
    left_out = {name: numbers(text) for name, text in held["left out"].items()}
    return Protocol300VW(tuple(held["train"]), categories, held["frames"], left_out)


def numbers(text: str) -> frozenset[int]:
    """The whole numbers of a list like ``3,7-9``; ValueError when it is none."""
    found: set[int] = set()
    for word in filter(None, text.split(",")):
        first, _, last = word.partition("-")
        if int(last or first) >= MOST_FRAMES:
            raise ValueError(f"{last or first}: no recording has so many frames")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


MOST_FRAMES = 10_000_000
"""Frames of a recording: four days of them."""


@dataclass(frozen=True)
class LabelledVideo:
    """A video in the layout of 300VW: ``annot/000001.pts ...`` with ``imgs/000001.jpg ...`` or ``vid.avi`` in
    ``folder``; of both, ``imgs`` is taken.

    Tried on four pictures of the set in its own layout; its videos are known from documentation only.
    """

    folder: Path

    def labels(self) -> dict[int, Path]:
        """The .pts files by frame number, in order; DataError when they are missing or badly named."""
        paths = sorted((self.folder / "annot").glob("*.pts"))
        if not paths:
            raise DataError(f"{self.folder / 'annot'}: no .pts files; {HOW_300VW}")
        if wrong := [path for path in paths if not path.stem.isdecimal()]:
            raise DataError(f"{wrong[0]}: not named by the number of its frame; unpack the set again")
        labels = dict(sorted((int(path.stem), path) for path in paths))
        if not self.pictures and list(labels) != list(range(1, len(paths) + 1)):
            raise DataError(f"{paths[0].parent}: not one .pts file for each frame from 000001.pts; unpack it again")
        return labels

    @property
    def pictures(self) -> bool:
        """Whether the frames are pictures in ``imgs``."""
        return (self.folder / "imgs").is_dir()

    def whole(self) -> bool:
        """Whether there are labels and something to decode."""
        return any((self.folder / "annot").glob("*.pts")) and (self.pictures or (self.folder / "vid.avi").is_file())

    def frames(self, every: int = 1) -> Iterator[tuple[int, Frame]]:
        """The first and every ``every``-th frame after it with its number, decoded once and in order.

        DataError, at the end where it can only be known then, when there is not one frame for each .pts file: a frame
        lost on the way would shift every label. Pictures have the time of their number at 30 a second.
        """
        labels = self.labels()
        if self.pictures:
            yield from self._from_pictures(labels, every)
            return
        path = self.folder / "vid.avi"
        if not path.is_file():
            raise DataError(f"{self.folder}: neither vid.avi nor a folder imgs; {HOW_300VW}")
        count = 0
        with VideoFile(path) as source:
            for frame in source:
                if count < len(labels) and count % every == 0:
                    yield count + 1, frame
                count += 1
        if count != len(labels):
            raise DataError(
                f"{path}: {count} frames can be decoded, and there are {len(labels)} .pts files, so that labels would "
                f"not lie on their pictures; extract it to {self.folder / 'imgs'} as 000001.png and so on"
            )

    def _from_pictures(self, labels: Mapping[int, Path], every: int) -> Iterator[tuple[int, Frame]]:
        files = [file for file in (self.folder / "imgs").iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        if wrong := [file for file in files if not file.stem.isdecimal()]:
            raise DataError(f"{wrong[0]}: not named by the number of its frame; rename it or take it away")
        pictures = {int(file.stem): file for file in files}
        if odd := sorted(set(pictures) ^ set(labels)):
            where = "imgs" if odd[0] in pictures else "annot"
            raise DataError(
                f"{self.folder}: {len(files)} pictures, {len(labels)} .pts files do not fit: {odd[0]:06d} is only in "
                f"{where}; extract the video again, one picture for each .pts file"
            )
        for number in list(labels)[::every]:
            yield number, Frame(read_picture(pictures[number]), number - 1, (number - 1) / 30, timed=False)


# Sets with lists


def pictures_wflw(root: Path, part: str = "train") -> list[LabelledPicture]:
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
    return _listed(read_wflw_list(table), _one_of([root / "WFLW_images"], how))


def pictures_aflw(root: Path, part: str = "train") -> list[LabelledPicture]:
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
    return _listed([face for face in faces if face.known is None or face.known.any()], images)


def pictures_cofw(root: Path, part: str = "train") -> list[LabelledPicture]:
    """COFW, 29 points: ``COFW_train_color.mat`` or ``COFW_test_color.mat``, which hold the pictures too.

    ``part`` is ``train`` (1,345 faces) or ``test`` (507). Known from others' programs only; the points were looked at
    in two pictures of the set.
    """
    how = "download COFW (color images) at https://data.caltech.edu/records/20099 and unpack it there"
    files = {name: root / f"COFW_{name}_color.mat" for name in ("train", "test")}
    path = _one_of([_part_of(files, part)], how)
    return [
        LabelledPicture(f"{part}/{face.picture}", face, partial(read_cofw_picture, path, number), path)
        for number, face in enumerate(read_cofw_mat(path), 1)
    ]


def pictures_celeba(root: Path, part: str = "train") -> list[LabelledPicture]:
    """CelebA, 5 points: the pictures in the wild (``img_celeba``, ``list_landmarks_celeba.txt``,
    ``list_bbox_celeba.txt``) where they are, else the aligned ones (``img_align_celeba``,
    ``list_landmarks_align_celeba.txt``, no boxes), and ``list_eval_partition.txt``; in ``root`` or in its folders
    ``Img``, ``Anno`` and ``Eval``.

    ``part`` is ``train``, ``validation`` or ``test``. Known from documentation and others' programs only.
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
    return _listed(_part_of(faces, part), images)


def pictures_lfw_net(root: Path) -> list[LabelledPicture]:
    """The LFW and net pictures with five points: ``trainImageList.txt`` beside ``lfw_5590`` and ``net_7876``.

    Tried on the set's own files."""
    how = "download it at http://mmlab.ie.cuhk.edu.hk/archive/CNN_FacePoint.htm and unpack it there"
    return _listed(read_five_point_list(_one_of([root / "trainImageList.txt"], how)), root)


def beside(path: Path) -> Path:
    """The picture beside a .pts file."""
    for suffix in (".jpg", ".png"):
        if (found := path.with_suffix(suffix)).exists():
            return found
    raise DataError(f"{path}: its picture (.jpg or .png) is missing; unpack the set again")


def _listed(faces: Sequence[Annotation], images: Path) -> list[LabelledPicture]:
    """The faces of a list, with pictures in the folder ``images``. A face is named after its picture, and by its place
    in the list where a picture has several."""
    found: dict[str, LabelledPicture] = {}
    for number, face in enumerate(faces):
        name = face.picture.rpartition(".")[0]
        name = f"{name}_{number}" if name in found else name
        found[name] = LabelledPicture(name, face, partial(read_picture, images / face.picture), images / face.picture)
    return list(found.values())


def _name(path: Path, root: Path) -> str:
    """The name of a file in a set: its path within ``root`` without its suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


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
