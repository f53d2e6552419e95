"""What the points of a model mean: names, edges, parts, mirror map and eye corners of each markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tracker.core import Array


@dataclass(frozen=True, eq=False)
class Markup:
    """A set of landmarks.

    ``parts`` name ranges of points; ``edges`` are pairs joined by a line; ``mirror[i]`` is the point that point i
    becomes when the image is mirrored; ``eyes`` are the points whose mean is the centre of the eye on the image's
    left and right; ``corners`` the two outer eye corners. Left and right are always the image's.
    """

    name: str
    size: int
    parts: Mapping[str, tuple[int, ...]]
    edges: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    eyes: tuple[tuple[int, ...], tuple[int, ...]]
    corners: tuple[int, int] | None = None
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def eye_centres(self, points: Array) -> Array:
        """Centres (..., 2, 2) of the eye on the image's left and of that on its right, of points (..., P, 2)."""
        left, right = self.eyes
        return np.stack([points[..., list(left), :].mean(-2), points[..., list(right), :].mean(-2)], axis=-2)


def _run(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


def _chain(points: tuple[int, ...], closed: bool = False) -> tuple[tuple[int, int], ...]:
    ends = points[1:] + points[:1] if closed else points[1:]
    return tuple(zip(points, ends, strict=False))


def _ibug68() -> Markup:
    mirror = list(range(68))
    pairs = [(i, 16 - i) for i in range(8)]
    pairs += [(17 + i, 26 - i) for i in range(5)]
    pairs += [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    for a, b in pairs:
        mirror[a], mirror[b] = b, a
    parts = {
        "contour": _run(0, 16),
        "left brow": _run(17, 21),
        "right brow": _run(22, 26),
        "nose": _run(27, 35),
        "left eye": _run(36, 41),
        "right eye": _run(42, 47),
        "outer mouth": _run(48, 59),
        "inner mouth": _run(60, 67),
    }
    edges = (
        _chain(parts["contour"])
        + _chain(parts["left brow"])
        + _chain(parts["right brow"])
        + _chain(_run(27, 30))
        + _chain(_run(31, 35))
        + _chain(parts["left eye"], closed=True)
        + _chain(parts["right eye"], closed=True)
        + _chain(parts["outer mouth"], closed=True)
        + _chain(parts["inner mouth"], closed=True)
    )
    subsets = {
        "66": tuple(i for i in range(68) if i not in (60, 64)),
        "51": _run(17, 67),
        "49": tuple(i for i in range(17, 68) if i not in (60, 64)),
    }
    return Markup("ibug68", 68, parts, edges, tuple(mirror), (parts["left eye"], parts["right eye"]), (36, 45), subsets)


IBUG68 = _ibug68()
"""The 68 points of 300-W and 300VW: contour, brows, nose, eyes, mouth."""

CELEBA5 = Markup(
    "celeba5",
    5,
    {"left eye": (0,), "right eye": (1,), "nose": (2,), "mouth": (3, 4)},
    ((0, 2), (1, 2), (2, 3), (2, 4), (3, 4)),
    (1, 0, 2, 4, 3),
    ((0,), (1,)),
)
"""Eye centres, nose tip and mouth corners of CelebA and of the LFW/net lists."""

MARKUPS: Mapping[str, Markup] = {markup.name: markup for markup in (IBUG68, CELEBA5)}
"""Every markup by the name that stands in a model's Spec."""
