"""CelebA: 19,962 test faces, five points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evaluation.command import Benchmark, data_folder, parser, picture_parts
from evaluation.command import main as run
from evaluation.figures import Measure
from evaluation.metrics import NORMALISERS
from tracker.datasets import pictures_celeba
from tracker.markup import CELEBA5

FACES = 19962


def main(arguments: Sequence[str] | None = None) -> int:
    return run(parser("celeba", __doc__), arguments, benchmark)


def benchmark(given: argparse.Namespace) -> Benchmark:
    """The test faces; DataError when they are not there."""
    pictures = pictures_celeba(data_folder(given), "test")
    return Benchmark(
        name="CelebA",
        key="celeba",
        part="full",
        measure=Measure(CELEBA5, "inter_pupil", NORMALISERS, given.missing),
        parts=picture_parts([(picture, ()) for picture in pictures]),
        total=FACES,
        notes=("the box is the set's own where it has one, else the tight rectangle of the five points",),
    )


if __name__ == "__main__":
    sys.exit(main())
