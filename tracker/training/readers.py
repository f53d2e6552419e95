"""The training faces of each data set: its pictures (``tracker.datasets``), cut to what a network needs.

Each reader takes the set's folder; DataError says what is missing and where to get it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from tracker.annotations import read_keypoints_csv, read_pts
from tracker.datasets import (
    HOW_300VW,
    DataError,
    LabelledPicture,
    LabelledVideo,
    beside,
    pictures_300w,
    pictures_aflw,
    pictures_celeba,
    pictures_cofw,
    pictures_lfw_net,
    pictures_wflw,
    protocol_300vw,
    read_picture,
)
from tracker.markup import AFLW19, CELEBA5, COFW29, IBUG68, MARKUPS, WFLW98, Markup
from tracker.training.datasets import LabelledFace, kept


def read_300w(root: Path) -> list[LabelledFace]:
    """300-W: the folders afw, helen and lfpw without their testset; see ``pictures_300w``."""
    return _faces(pictures_300w(root), "300w", IBUG68)


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


def read_300vw(root: Path, every: int = 10, videos: Sequence[str] | None = None) -> list[LabelledFace]:
    """300VW: ``ID/annot/000001.pts ...`` with ``ID/imgs/000001.jpg ...`` or ``ID/vid.avi`` for each of ``videos``, by
    default the 50 for training; of each the first and every ``every``-th frame after it.

    Names are ``ID_000001``, so that validation takes whole videos. See ``LabelledVideo``.
    """
    videos = protocol_300vw().train if videos is None else videos
    if lacking := [video for video in videos if not (root / video / "annot").is_dir()]:
        raise DataError(
            f"{root}: {len(lacking)} of {len(videos)} videos are missing or without a folder annot "
            f"({', '.join(lacking[:3])}{' ...' * (len(lacking) > 3)}); {HOW_300VW}"
        )
    faces = []
    for video in tqdm(videos, desc="reading 300VW", leave=False):
        source = LabelledVideo(root / video)
        labels = source.labels()
        for number, frame in source.frames(every):
            faces.append(kept(f"{video}_{number:06d}", frame.image, read_pts(labels[number]), "300vw"))
    return faces


def read_wflw(root: Path, part: str = "train") -> list[LabelledFace]:
    """WFLW; see ``pictures_wflw``."""
    return _faces(pictures_wflw(root, part), "wflw", WFLW98)


def read_aflw(root: Path, part: str = "train") -> list[LabelledFace]:
    """AFLW-Full, 19 points; see ``pictures_aflw``."""
    return _faces(pictures_aflw(root, part), "aflw", AFLW19)


def read_cofw(root: Path, part: str = "train") -> list[LabelledFace]:
    """COFW, 29 points; see ``pictures_cofw``."""
    return _faces(pictures_cofw(root, part), "cofw", COFW29)


def read_celeba(root: Path, part: str = "train", every: int = 10) -> list[LabelledFace]:
    """CelebA, 5 points; see ``pictures_celeba``. Of the part the first face and every ``every``-th after it, as all
    202,599 would not fit into memory."""
    return _faces(pictures_celeba(root, part)[::every], "celeba", CELEBA5)


def read_lfw_net(root: Path) -> list[LabelledFace]:
    """The LFW and net pictures with five points; see ``pictures_lfw_net``."""
    return _faces(pictures_lfw_net(root), "lfw_net_5pt", CELEBA5)


def read_pseudo(root: Path) -> list[LabelledFace]:
    """Faces that a model labelled: pictures (.jpg or .png) with ``.pts`` files beside them, in any depth.

    The files count from 1, as all .pts files do, and every point is known. ``markup.txt`` holds the name of the markup
    as its only word; the nearest one counts, in the folder of the file or above it up to ``root``; without any it is
    ibug68. Frames of one video, and faces of one photo, are kept together in validation when they are named ``NAME_1``,
    ``NAME_2`` and so on. This layout is the project's own.
    """
    paths = sorted(root.rglob("*.pts"))
    if not paths:
        raise DataError(f"{root}: no .pts files; put pictures there, with a .pts file beside each")
    markups = {folder: _markup_in(folder, root) for folder in {path.parent for path in paths}}
    faces = []
    for path in tqdm(paths, desc="reading pseudo", unit=" faces", leave=False):
        name = str(path.relative_to(root).with_suffix("")).replace("\\", "/")
        faces.append(kept(name, read_picture(beside(path)), read_pts(path), "pseudo", markups[path.parent]))
    return faces


def _markup_in(folder: Path, root: Path) -> Markup:
    """What the nearest ``markup.txt`` says, in ``folder`` or above it up to ``root``."""
    named = folder / "markup.txt"
    if not named.exists():
        return IBUG68 if folder == root else _markup_in(folder.parent, root)
    word = named.read_text(encoding="utf-8", errors="replace").strip()
    if word not in MARKUPS:
        raise DataError(f"{named}: {word[:40]!r} is no markup; write one of {', '.join(MARKUPS)}")
    return MARKUPS[word]


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
    "aflw_unlabelled": "AFLW pictures with the landmarks of a model: research use only, non-commercial",
    "pseudo": "pseudo-labels on other pictures",
}
"""What a model says of the sets it was trained on."""


def terms(name: str, pseudo: Sequence[str] = ()) -> str:
    """What a model says of the set ``name``; of pseudo-labels the folders they were in, which are named after sets."""
    if name == "pseudo" and pseudo:
        return f"pseudo-labels ({', '.join(pseudo[:8])}{', ...' * (len(pseudo) > 8)})"
    return TERMS.get(name, name)


def _faces(pictures: Sequence[LabelledPicture], dataset: str, markup: Markup) -> list[LabelledFace]:
    """What is kept of the pictures of a set."""
    faces = []
    for picture in tqdm(pictures, desc=f"reading {dataset}", unit=" faces", leave=False):
        label = picture.label
        image = picture.load()
        known, occluded = label.known, label.occluded
        faces.append(kept(picture.name, image, label.points, dataset, markup, known, occluded, label.box))
    return faces
