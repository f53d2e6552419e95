"""AFLW-Full: 4,386 test faces, 19 points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evaluation.command import Benchmark, data_folder, parser, picture_parts
from evaluation.command import main as run
from evaluation.figures import Measure
from tracker.datasets import pictures_aflw
from tracker.markup import AFLW19

FACES = 4386


def main(arguments: Sequence[str] | None = None) -> int:
    return run(parser("aflw", __doc__), arguments, benchmark)


def benchmark(given: argparse.Namespace) -> Benchmark:
    """The test faces; DataError when they are not there."""
    pictures = pictures_aflw(data_folder(given), "test")
    return Benchmark(
        name="AFLW-Full",
        key="aflw",
        part="full",
        measure=Measure(AFLW19, "box_width", ("box_width", "box_diagonal", "box_size"), given.missing),
        parts=picture_parts([(picture, ()) for picture in pictures]),
        total=FACES,
        notes=(
            "the box is the set's own square",
            "points that the set does not know are not counted, hidden ones are",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
