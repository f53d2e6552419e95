"""FaceDet, the face detector: fully convolutional, without anchors, for inputs whose sides are multiples of 32.

Every cell of three levels says whether a face is about it and, if so, where its box and its five points are. It is
after FCOS (Tian et al., 2019) in having no anchors, and after BlazeFace (Bazarevsky et al., 2019) in its size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.networks.trnet import convolution


class Narrow(nn.Module):
    """Two 3x3 convolutions beside an identity, the inner width half of the outer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width // 2)
        self.second = convolution(width // 2, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(functional.relu(self.first(x)))
        return functional.relu(x + y)


def halved(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution of stride 2."""
    return nn.Sequential(convolution(inputs, outputs, stride=2), nn.ReLU())


class FaceDet(nn.Module):
    """Input (N, 3, H, W); output, for C cells (those of stride 8 row by row, then of 16, then of 32):

    ``scores`` (N, C), 0 to 1; ``faces`` (N, C, 3 + 2 P): of a cell at column c and row r of stride s, the centre's
    distance (x / s - c, y / s - r), the logarithm of the square's side over 4 s, and each point's distance from the
    centre in sides (x, y). ``tracker.detector.decode`` turns them into pixels.
    """

    input_size = 256  # of the pictures it is trained on; any other will do

    def __init__(self, points: int = 5, width: int = 64, units: tuple[int, ...] = (1, 2, 1)) -> None:
        super().__init__()
        self.stem = nn.Sequential(halved(3, 16), halved(16, 32))
        self.stages = nn.ModuleList(
            nn.Sequential(halved(inputs, width), *(Narrow(width) for _ in range(count)))
            for inputs, count in zip((32, width, width), units, strict=True)
        )
        self.across = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in units[1:])
        # The levels share these convolutions, but not the normalisation: their statistics differ.
        self.hidden = nn.Conv2d(width, 32, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in units)
        self.answers = nn.Conv2d(32, 4 + 2 * points, 1)
        nn.init.constant_(self.answers.bias[:1], -4.0)  # type: ignore[index]  # at first nothing is a face

    def cells(self, x: Tensor) -> Tensor:
        """(N, C, 4 + 2 P): the logit of the score, then ``faces``."""
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        for index in (1, 0):  # what the coarser level knows of the surroundings
            wide = functional.interpolate(self.across[index](levels[index + 1]), scale_factor=2.0, mode="nearest")
            levels[index] = levels[index] + wide
        hidden = [functional.relu(norm(self.hidden(level))) for norm, level in zip(self.norms, levels, strict=True)]
        return torch.cat([self.answers(level).flatten(2) for level in hidden], 2).transpose(1, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        cells = self.cells(x)
        return {"scores": cells[..., 0].sigmoid(), "faces": cells[..., 1:]}
