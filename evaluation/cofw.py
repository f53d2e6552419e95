"""COFW: 507 test faces, 29 points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evaluation.command import Benchmark, data_folder, parser, picture_parts
from evaluation.command import main as run
from evaluation.figures import Measure
from evaluation.metrics import NORMALISERS
from tracker.datasets import pictures_cofw
from tracker.markup import COFW29

FACES = 507


def main(arguments: Sequence[str] | None = None) -> int:
    return run(parser("cofw", __doc__), arguments, benchmark)


def benchmark(given: argparse.Namespace) -> Benchmark:
    """The test faces; DataError when they are not there."""
    pictures = pictures_cofw(data_folder(given), "test")
    return Benchmark(
        name="COFW",
        key="cofw",
        part="full",
        measure=Measure(COFW29, "inter_pupil", NORMALISERS, given.missing),
        parts=picture_parts([(picture, ()) for picture in pictures]),
        total=FACES,
        notes=(
            "the box is the set's own",
            "hidden points are counted",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
