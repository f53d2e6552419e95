"""The losses of TRNet's paper (Lai et al., section 2), as functions of two arrays of points.

``predicted`` and ``truth`` are (N, P, 2) in pixels of the network's input; the result is the mean over faces.
``distance`` is that of a point to its truth, ``|delta|`` that of one coordinate.

``known`` (N, P) bool is False where a point has no truth; what ``truth`` holds there must be finite and counts nothing.
The mean of a face is then over its known points, and a face without any is left out of the mean over faces. None is
for sets in which every point is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[..., Tensor]
"""``loss(predicted, truth, known=None)``; see the module."""


def log_cosh(x: Tensor) -> Tensor:
    """ln((e^x + e^-x) / 2) without overflow: |x| + ln(1 + e^(-2|x|)) - ln 2."""
    size = x.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


def distances(predicted: Tensor, truth: Tensor) -> Tensor:
    """Distance (N, P) of every point; its gradient is zero, and finite, where a point is exact."""
    squared = (predicted - truth).square().sum(-1)
    return (squared + 1e-12).sqrt() - 1e-6


def mean_of_points(values: Tensor, known: Tensor | None) -> Tensor:
    """(N,): the mean of each face's ``values`` (N, P) over its known points, 0 for a face without any."""
    if known is None:
        return values.mean(-1)
    return torch.where(known, values, 0).sum(-1) / known.sum(-1).clamp(min=1)


def mean_of_faces(values: Tensor, known: Tensor | None) -> Tensor:
    """The mean of ``values`` (N,) over the faces that have a known point, 0 if none has."""
    if known is None:
        return values.mean()
    counted = known.any(-1)
    return torch.where(counted, values, 0).sum() / counted.sum().clamp(min=1)


def mean(values: Tensor, known: Tensor | None) -> Tensor:
    """The mean over faces of the mean over each face's points of ``values`` (N, P, 2), one for each coordinate, or
    (N, P)."""
    if known is None:
        return values.mean()
    return mean_of_faces(mean_of_points(values.mean(-1) if values.ndim == 3 else values, known), known)


def l2(predicted: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """Equation 1: sqrt(sum of squared distances) / P for a face."""
    squared = (predicted - truth).square()
    if known is None:
        return ((squared.sum((-1, -2)) + 1e-12).sqrt() / predicted.shape[-2]).mean()
    summed = torch.where(known, squared.sum(-1), 0).sum(-1)
    return mean_of_faces((summed + 1e-12).sqrt() / known.sum(-1).clamp(min=1), known)


def l1(predicted: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean |delta|."""
    return mean((predicted - truth).abs(), known)


def smooth_l1(predicted: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of delta^2 / 2 below one pixel and |delta| - 1/2 above."""
    return mean(functional.smooth_l1_loss(predicted, truth, reduction="none"), known)


def nme(predicted: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """Equation 5: the mean distance, without a normaliser."""
    return mean(distances(predicted, truth), known)


def wing(
    predicted: Tensor, truth: Tensor, omega: float = 10.0, epsilon: float = 2.0, known: Tensor | None = None
) -> Tensor:
    """Equation 8: omega ln(1 + |delta| / epsilon) below omega, |delta| - C above."""
    size = (predicted - truth).abs()
    constant = omega - omega * math.log(1 + omega / epsilon)
    return mean(torch.where(size < omega, omega * torch.log1p(size / epsilon), size - constant), known)


def enhance(error: Tensor, alpha: float) -> Tensor:
    """Equation 9: (alpha + 1) |e| - alpha ln cosh e. Its slope falls from alpha + 1 at zero to 1 far away."""
    return (alpha + 1) * error.abs() - alpha * log_cosh(error)


def le(predicted: Tensor, truth: Tensor, alpha: float = 2.0, known: Tensor | None = None) -> Tensor:
    """Equation 9 on every coordinate's delta."""
    return mean(enhance(predicted - truth, alpha), known)


def enme(predicted: Tensor, truth: Tensor, alpha: float = 2.0, known: Tensor | None = None) -> Tensor:
    """Equation 10: a face's mean distance goes through equation 9, then the mean over faces."""
    return mean_of_faces(enhance(mean_of_points(distances(predicted, truth), known), alpha), known)


def contrast(maps: Sequence[Tensor], truth: Tensor, size: int, known: Tensor | None = None) -> Tensor:
    """How much more attention maps (N, h, w) from 0 to 1 say away from landmarks than near them, summed over maps: the
    mean elsewhere less the mean near a point of ``truth`` (N, P, 2), that is in its cell of ``CELLS`` x ``CELLS`` or
    one beside it.

    A network can use a map as well as its inverse, and without this many a map comes out dark on the landmarks.
    """
    with torch.no_grad():
        cells = ((truth.float() + 0.5) * (CELLS / size)).floor().long()
        there = ((cells >= 0) & (cells < CELLS)).all(-1)
        there = there if known is None else there & known
        places = (cells[..., 1] * CELLS + cells[..., 0]).where(there, CELLS * CELLS)
        near = torch.zeros(len(truth), CELLS * CELLS + 1, device=truth.device).scatter_(1, places, 1.0)[:, :-1]
        near = functional.max_pool2d(near.view(-1, 1, CELLS, CELLS), 3, stride=1, padding=1)
    total = torch.zeros((), device=truth.device)
    for one in maps:
        values = one.float()
        inside = functional.interpolate(near, size=values.shape[1:], mode="area")[:, 0]
        total = total + _share(values, 1 - inside) - _share(values, inside)
    return total


def _share(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)


CELLS = 32
"""So many to a side of the input: one is a fourteenth of the distance of the eyes of a face that fills it."""

LOSSES: dict[str, Loss] = {
    "l2": l2,
    "l1": l1,
    "smooth-l1": smooth_l1,
    "nme": nme,
    "wing": wing,
    "le": le,
    "enme": enme,
}
