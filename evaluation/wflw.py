"""WFLW: 2,500 test faces, 98 points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evaluation.command import Benchmark, data_folder, parser, picture_parts
from evaluation.command import main as run
from evaluation.figures import Measure
from evaluation.metrics import NORMALISERS
from tracker.datasets import LabelledPicture, pictures_wflw
from tracker.markup import WFLW98

FACES = 2500
ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
"""In the order of the set's lists; the subsets that papers name are the faces that have one."""


def main(arguments: Sequence[str] | None = None) -> int:
    return run(parser("wflw", __doc__), arguments, benchmark)


def benchmark(given: argparse.Namespace) -> Benchmark:
    """The test faces; DataError when they are not there."""
    pictures = pictures_wflw(data_folder(given), "test")
    return Benchmark(
        name="WFLW",
        key="wflw",
        part="full",
        measure=Measure(WFLW98, "inter_ocular", NORMALISERS, given.missing),
        parts=picture_parts([(picture, _attributes(picture)) for picture in pictures]),
        total=FACES,
        notes=("the box is the set's own",),
    )


def _attributes(picture: LabelledPicture) -> tuple[str, ...]:
    return tuple(name for name, has in zip(ATTRIBUTES, picture.label.attributes, strict=True) if has)


if __name__ == "__main__":
    sys.exit(main())
