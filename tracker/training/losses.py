"""The losses of TRNet's paper (Lai et al., section 2), as functions of two arrays of points.

``predicted`` and ``truth`` are (N, P, 2) in pixels of the network's input; the result is the mean over faces.
``distance`` is that of a point to its truth, ``|delta|`` that of one coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def log_cosh(x: Tensor) -> Tensor:
    """ln((e^x + e^-x) / 2) without overflow: |x| + ln(1 + e^(-2|x|)) - ln 2."""
    size = x.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


def distances(predicted: Tensor, truth: Tensor) -> Tensor:
    """Distance (N, P) of every point; its gradient is zero, and finite, where a point is exact."""
    squared = (predicted - truth).square().sum(-1)
    return (squared + 1e-12).sqrt() - 1e-6


def l2(predicted: Tensor, truth: Tensor) -> Tensor:
    """Equation 1: sqrt(sum of squared distances) / P for a face."""
    squared = (predicted - truth).square().sum((-1, -2))
    return ((squared + 1e-12).sqrt() / predicted.shape[-2]).mean()


def l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean |delta|."""
    return (predicted - truth).abs().mean()


def smooth_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean of delta^2 / 2 below one pixel and |delta| - 1/2 above."""
    return functional.smooth_l1_loss(predicted, truth)


def nme(predicted: Tensor, truth: Tensor) -> Tensor:
    """Equation 5: the mean distance, without a normaliser."""
    return distances(predicted, truth).mean()


def wing(predicted: Tensor, truth: Tensor, omega: float = 10.0, epsilon: float = 2.0) -> Tensor:
    """Equation 8: omega ln(1 + |delta| / epsilon) below omega, |delta| - C above."""
    size = (predicted - truth).abs()
    constant = omega - omega * math.log(1 + omega / epsilon)
    return torch.where(size < omega, omega * torch.log1p(size / epsilon), size - constant).mean()


def enhance(error: Tensor, alpha: float) -> Tensor:
    """Equation 9: (alpha + 1) |e| - alpha ln cosh e. Its slope falls from alpha + 1 at zero to 1 far away."""
    return (alpha + 1) * error.abs() - alpha * log_cosh(error)


def le(predicted: Tensor, truth: Tensor, alpha: float = 2.0) -> Tensor:
    """Equation 9 on every coordinate's delta."""
    return enhance(predicted - truth, alpha).mean()


def enme(predicted: Tensor, truth: Tensor, alpha: float = 2.0) -> Tensor:
    """Equation 10: a face's mean distance goes through equation 9, then the mean over faces."""
    return enhance(distances(predicted, truth).mean(-1), alpha).mean()


LOSSES: dict[str, Loss] = {
    "l2": l2,
    "l1": l1,
    "smooth-l1": smooth_l1,
    "nme": nme,
    "wing": wing,
    "le": le,
    "enme": enme,
}
