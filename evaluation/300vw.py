"""300VW: the full protocol, frame by frame, by category. Videos as vid.avi or as numbered pictures in imgs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import Benchmark, data_folder, parser
from evaluation.command import main as run
from evaluation.figures import Measure
from evaluation.metrics import NORMALISERS
from evaluation.protocol import Part, VideoClip
from evaluation.subject import MODES, EvaluationError
from tracker.datasets import HOW_300VW, LabelledVideo, numbers, protocol_300vw
from tracker.files import read_json
from tracker.markup import IBUG68

MADE = "clip.json"
"""What evaluation.motion writes of a clip."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("300vw", __doc__)
    options.add_argument("--category", choices=("1", "2", "3", "all"), default="all", help="which test videos (all)")
    options.add_argument(
        "--videos", metavar="ID,ID", help="only these, of any kind; 'every' for all that lie in the folder"
    )
    options.add_argument("--allow-missing", action="store_true", help="score what is there, and say so everywhere")
    return run(options, arguments, benchmark, tuple(MODES))


def benchmark(given: argparse.Namespace) -> Benchmark:
    """The videos asked for. EvaluationError when there is none, or one is missing and may not be."""
    protocol, root = protocol_300vw(), data_folder(given)
    tests = [name for ids in protocol.categories.values() for name in ids]
    asked = tests if given.category == "all" else list(protocol.categories[int(given.category)])
    part = "all categories" if given.category == "all" else f"category {given.category}"
    ids = asked
    if given.videos == "every":
        ids = sorted(path.parent.name for path in root.glob("*/annot") if path.parent.suffix != ".part")
    elif given.videos:
        ids = list(dict.fromkeys(given.videos.split(",")))
    missing = [name for name in ids if not LabelledVideo(root / name).whole()]
    if len(missing) == len(ids):
        raise EvaluationError(
            f"no 300VW in {root}: looked there for {', '.join((ids or tests)[:3])} ..., each with annot/000001.pts ... "
            f"and vid.avi or imgs/000001.jpg ...; {HOW_300VW}, or give its folder as --data"
        )
    if missing and not given.allow_missing:
        raise EvaluationError(
            f"{root}: {', '.join(missing)} of {len(ids)} videos missing or without labels; {HOW_300VW}, or score the "
            "rest with --allow-missing"
        )
    made = all((root / name / MADE).exists() for name in ids if name not in missing)
    reasons = {
        f"missing: {', '.join(missing)}": missing,
        "videos chosen by hand": given.videos,
        "clips made from photos": made,
    }
    only_made = bool(given.videos) and made
    there = [_clip(root / name, not given.zero_based) for name in ids if name not in missing]
    return Benchmark(
        name="made clips" if only_made else f"300VW {part}",
        key="300vw",
        part=part,
        measure=Measure(IBUG68, "inter_ocular", NORMALISERS, given.missing),
        parts=[Part(clip.name, (clip,), len(list((clip.video.folder / "annot").glob("*.pts")))) for clip in there],
        total=0 if only_made else protocol.scored(asked),
        unit="frames",
        known=protocol.frames,
        notes=("the box is the tight rectangle of the truth's 68 points, for fewer points too",),
        partial=tuple(reason for reason, holds in reasons.items() if holds),
    )


def _clip(folder: Path, one_based: bool) -> VideoClip:
    """A video; MADE says of a clip made from a photo what kind it is and where its face is away."""
    protocol, name = protocol_300vw(), folder.name
    kinds = [f"category {number}" for number, ids in protocol.categories.items() if name in ids]
    kinds += ["training"] if name in protocol.train else []
    absent: frozenset[int] = frozenset()
    made = folder / MADE
    if made.exists():
        try:
            held = read_json(made)
            kinds, absent = [*kinds, str(held["kind"])], numbers(str(held["absent"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{made}: not as evaluation.motion writes it; make the clip again") from error
    left_out = protocol.left_out.get(name, frozenset())
    return VideoClip(name, LabelledVideo(folder), tuple(kinds), left_out, absent, one_based)


if __name__ == "__main__":
    sys.exit(main())
