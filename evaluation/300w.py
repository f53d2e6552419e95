"""300-W: the common and the challenging test faces, or the project's own validation faces."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evaluation.command import Benchmark, data_folder, parser, picture_parts
from evaluation.command import main as run
from evaluation.figures import Measure
from evaluation.metrics import NORMALISERS
from tracker.datasets import pictures_300w, validation_names
from tracker.markup import IBUG68

FACES = {"common": 554, "challenging": 135, "full": 689}
"""Test faces of each subset: 330 of HELEN and 224 of LFPW, 135 of IBUG, both."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("300w", __doc__)
    options.add_argument("--subset", choices=(*FACES, "validation"), default="full", help="which faces (full)")
    return run(options, arguments, benchmark)


def benchmark(given: argparse.Namespace) -> Benchmark:
    """The faces of the subset; DataError when there are none."""
    pictures = pictures_300w(data_folder(given), given.subset, not given.zero_based)
    several = given.subset in ("full", "validation")
    return Benchmark(
        name=f"300-W {given.subset}",
        key="300w",
        part=given.subset,
        measure=Measure(IBUG68, "inter_ocular", NORMALISERS, given.missing),
        parts=picture_parts([(picture, (_subset(picture.name),) * several) for picture in pictures]),
        total=FACES.get(given.subset) or len(validation_names()),
        notes=("the box is the tight rectangle of the truth's 68 points",),
    )


def _subset(name: str) -> str:
    """Which part of 300-W a face is of, by its folder."""
    if name.startswith("ibug/"):
        return "challenging"
    return "common" if "/testset/" in name else name.partition("/")[0]


if __name__ == "__main__":
    sys.exit(main())
