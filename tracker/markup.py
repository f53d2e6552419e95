"""What the points of a model mean: names, edges, parts, mirror map and eye corners of each markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tracker.core import Array


@dataclass(frozen=True, eq=False)
class Markup:
    """A set of landmarks.

    ``parts`` name ranges of points; ``edges`` are pairs joined by a line; ``mirror[i]`` is the point that point i
    becomes when the image is mirrored; ``eyes`` are the points whose mean is the centre of the eye on the image's
    left and right; ``nose_mouth`` the tip of the nose and the two corners of the mouth; ``corners`` the two outer eye
    corners. Left and right are always the image's.
    """

    name: str
    size: int
    parts: Mapping[str, tuple[int, ...]]
    edges: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    eyes: tuple[tuple[int, ...], tuple[int, ...]]
    nose_mouth: tuple[int, int, int]
    corners: tuple[int, int] | None = None
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def eye_centres(self, points: Array) -> Array:
        """Centres (..., 2, 2) of the eye on the image's left and of that on its right, of points (..., P, 2)."""
        return points[..., self._eyes, :].sum(-2) / len(self.eyes[0])  # a third of the time of its mean

    @cached_property
    def _eyes(self) -> npt.NDArray[np.intp]:
        """(2, E): ``eyes``, which have equally many points."""
        return np.array(self.eyes, np.intp)

    def five(self, points: Array) -> Array:
        """The five points (..., 5, 2) that a detector gives, of points (..., P, 2): eye centres, tip of the nose and
        corners of the mouth, in the order of ``CELEBA5``."""
        return np.concatenate([self.eye_centres(points), points[..., list(self.nose_mouth), :]], axis=-2)


def _run(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


def _chain(points: tuple[int, ...], closed: bool = False) -> tuple[tuple[int, int], ...]:
    ends = points[1:] + points[:1] if closed else points[1:]
    return tuple(zip(points, ends, strict=False))


def _mirror(size: int, pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    """The map that swaps the points of each pair and leaves the others."""
    mirror = list(range(size))
    for a, b in pairs:
        mirror[a], mirror[b] = b, a
    return tuple(mirror)


def _ibug68() -> Markup:
    pairs = [(i, 16 - i) for i in range(8)]
    pairs += [(17 + i, 26 - i) for i in range(5)]
    pairs += [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    mirror = _mirror(68, pairs)
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
    return Markup(
        "ibug68", 68, parts, edges, mirror, (parts["left eye"], parts["right eye"]), (30, 48, 54), (36, 45), subsets
    )


IBUG68 = _ibug68()
"""The 68 points of 300-W and 300VW: contour, brows, nose, eyes, mouth."""

CELEBA5 = Markup(
    "celeba5",
    5,
    {"left eye": (0,), "right eye": (1,), "nose": (2,), "mouth": (3, 4)},
    ((0, 2), (1, 2), (2, 3), (2, 4), (3, 4)),
    (1, 0, 2, 4, 3),
    ((0,), (1,)),
    (2, 3, 4),
)
"""Eye centres, nose tip and mouth corners of CelebA and of the LFW/net lists."""


def _aflw19() -> Markup:
    parts = {
        "left brow": _run(0, 2),
        "right brow": _run(3, 5),
        "left eye": _run(6, 8),
        "right eye": _run(9, 11),
        "nose": _run(12, 14),
        "mouth": _run(15, 17),
        "chin": (18,),
    }
    edges = tuple(edge for name, part in parts.items() if name != "chin" for edge in _chain(part))
    pairs = [(i, 5 - i) for i in range(3)] + [(6 + i, 11 - i) for i in range(3)] + [(12, 14), (15, 17)]
    return Markup("aflw19", 19, parts, edges, _mirror(19, pairs), ((7,), (10,)), (13, 15, 17), (6, 11))


AFLW19 = _aflw19()
"""The 21 points of AFLW without the ears, from the image's left to its right: three of each brow, corner, centre and
corner of each eye, the nose's wings about its tip, the mouth's corners about its centre, the chin."""


def _cofw29() -> Markup:
    parts = {
        "left brow": (0, 4, 2, 5),
        "right brow": (1, 6, 3, 7),
        "left eye": (8, 12, 10, 13),
        "right eye": (9, 14, 11, 15),
        "pupils": (16, 17),
        "nose": (18, 20, 21, 19),
        "outer mouth": (22, 24, 23, 27),
        "inner mouth": (25, 26),
        "chin": (28,),
    }
    edges = (
        _chain(parts["left brow"], closed=True)
        + _chain(parts["right brow"], closed=True)
        + _chain(parts["left eye"], closed=True)
        + _chain(parts["right eye"], closed=True)
        + ((20, 21), (18, 21), (19, 21))
        + _chain(parts["outer mouth"], closed=True)
        + _chain((22, 25, 23, 26), closed=True)
    )
    pairs = [(0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)]
    return Markup("cofw29", 29, parts, edges, _mirror(29, pairs), ((16,), (17,)), (20, 22, 23), (8, 9))


COFW29 = _cofw29()
"""The 29 points of COFW (those of LFPW): outer end, top, inner end and bottom of each brow and eye, the pupils, the
nose's tip, base and wings, the lips, the chin. The eye centres are the pupils, as the set's own error takes them."""


def _wflw98() -> Markup:
    parts = {
        "contour": _run(0, 32),
        "left brow": _run(33, 41),
        "right brow": _run(42, 50),
        "nose": _run(51, 59),
        "left eye": _run(60, 67),
        "right eye": _run(68, 75),
        "outer mouth": _run(76, 87),
        "inner mouth": _run(88, 95),
        "pupils": (96, 97),
    }
    edges = (
        _chain(parts["contour"])
        + _chain(parts["left brow"], closed=True)
        + _chain(parts["right brow"], closed=True)
        + _chain(_run(51, 54))
        + _chain(_run(55, 59))
        + _chain(parts["left eye"], closed=True)
        + _chain(parts["right eye"], closed=True)
        + _chain(parts["outer mouth"], closed=True)
        + _chain(parts["inner mouth"], closed=True)
    )
    pairs = [(i, 32 - i) for i in range(16)]
    pairs += [(33 + i, 46 - i) for i in range(5)] + [(38 + i, 50 - i) for i in range(4)]
    pairs += [(55, 59), (56, 58)]
    pairs += [(60 + i, 72 - i) for i in range(5)] + [(65 + i, 75 - i) for i in range(3)]
    pairs += [(76, 82), (77, 81), (78, 80), (83, 87), (84, 86), (88, 92), (89, 91), (93, 95), (96, 97)]
    return Markup(
        "wflw98", 98, parts, edges, _mirror(98, pairs), (parts["left eye"], parts["right eye"]), (54, 76, 82), (60, 72)
    )


WFLW98 = _wflw98()
"""The 98 points of WFLW: contour, brows as outlines, nose, eyes, mouth, pupils. The eye centres are the means of the
eyes' outlines, as in the 68 points."""

MARKUPS: Mapping[str, Markup] = {markup.name: markup for markup in (IBUG68, CELEBA5, AFLW19, COFW29, WFLW98)}
"""Every markup by the name that stands in a model's Spec."""
