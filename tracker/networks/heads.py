"""Small heads on a finished network, which is not changed by them: how far off each point may be, and whether the crop
shows a well placed face. ``python -m tracker.training heads`` trains them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TOLERANCE = 0.05
"""A point is right within this many sides of the face, that is of the tight square about all its points."""


class Heads(nn.Module):
    """Two perceptrons with one hidden layer, over the mean of every feature map of the network.

    Gives ``confidence`` (N, P), the probability that a point is right (``TOLERANCE``), and ``presence`` (N,), that the
    crop shows one whole face in its place; the confidence of what is no face means nothing. The shallow maps tell
    faces from half faces better than what the linear layer reads. While training, ``features`` (N, sum of ``widths``)
    instead, as the network is frozen and each crop needs to pass it only once.
    """

    def __init__(self, widths: Sequence[int], points: int, hidden: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("deviation", torch.ones(sum(widths)))
        self.error = nn.Sequential(nn.Linear(sum(widths), hidden), nn.ReLU(), nn.Linear(hidden, points))
        self.face = nn.Sequential(nn.Linear(sum(widths), hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        features = torch.cat([one.mean((2, 3)) for one in maps], 1).float()
        if self.training:
            return {"features": features}
        normal = self.normalise(features)
        return {"confidence": confidence(self.log_error(normal).exp()), "presence": self.face(normal).sigmoid()[:, 0]}

    def normalise(self, features: Tensor) -> Tensor:
        """Features (N, F) less their mean on the training crops, over their deviation."""
        return (features - self.mean) / self.deviation

    def log_error(self, normal: Tensor) -> Tensor:
        """(N, P): logarithm of the expected error in sides of the face, from normalised features."""
        return self.error(normal).clamp(-6, 2)


def confidence(expected: Tensor) -> Tensor:
    """The probability that a point is right, from its expected error in sides of the face.

    The displacement of a point follows a Laplace distribution of two dimensions: its density falls as exp(-d / b) with
    the distance d, whose mean is 2 b, and d is below t with probability 1 - (1 + t / b) exp(-t / b).
    """
    ratio = 2 * TOLERANCE / expected
    return 1 - (1 + ratio) * (-ratio).exp()
