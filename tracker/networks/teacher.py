"""The teacher: a larger network that labels faces for the small ones, and never ships.

It starts from points that a dense mesh of the same face gives (``tracker.training.mesh``), and moves them by what it
sees about each: features read at the points themselves are far easier to learn from a few thousand faces than all
points at once from the whole crop, as the small networks have to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.networks.trnet import ResidualUnit, convolution

NINE = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1))
FIVE = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


class Correction(nn.Module):
    """One move of all points: for each a perceptron of its own over the features about it and what the whole face says,
    and a small one over all of them, through which neighbours hear of each other."""

    def __init__(self, points: int, channels: tuple[int, int, int], whole: int, size: int, hidden: int = 48) -> None:
        super().__init__()
        self.size = size
        self.near: Tensor
        self.far: Tensor
        self.register_buffer("near", torch.tensor(NINE).float() * 2.25)
        self.register_buffer("far", torch.tensor(FIVE).float() * 5.25)
        inputs = 9 * channels[0] + 5 * channels[1] + channels[2]
        self.seen = nn.Parameter(torch.randn(points, inputs, hidden) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(points, hidden))
        self.whole = nn.Linear(whole, points * hidden)
        self.move = nn.Parameter(torch.randn(points, hidden, 2) * 0.02)
        self.mixed = nn.Linear(points * hidden, 64)
        self.moves = nn.Linear(64, 2 * points)
        nn.init.normal_(self.moves.weight, std=0.01)
        nn.init.zeros_(self.moves.bias)
        self.dropout = nn.Dropout(0.25)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor], points: Tensor, face: Tensor) -> Tensor:
        places = (self.near, self.far, self.far[:1])
        read = [self._read(one, points, around) for one, around in zip(maps, places, strict=True)]
        features = self.dropout(torch.cat(read, -1))
        hidden = torch.einsum("npf,pfh->nph", features, self.seen) + self.bias
        hidden = functional.relu(hidden + self.whole(face).view_as(hidden))
        mixed = functional.relu(self.mixed(self.dropout(hidden.flatten(1))))
        moves = torch.einsum("nph,phd->npd", hidden, self.move) + self.moves(mixed).view_as(points)
        return points + self.size / 16 * moves

    def _read(self, values: Tensor, points: Tensor, around: Tensor) -> Tensor:
        """What a map (N, C, h, w) says at the places ``around`` (K, 2) each of the points (N, P, 2), all in input
        pixels: (N, P, C K)."""
        places = ((points[:, :, None] + around) + 0.5) / self.size * 2 - 1
        read = functional.grid_sample(values, places, padding_mode="border", align_corners=False)
        return read.permute(0, 2, 3, 1).flatten(2)


class Teacher(nn.Module):
    """Convolutions down to a sixteenth of the input and up again to a half, then two corrections of the points.

    Input: crops (N, 3, 96, 96), placed by the mesh; points (N, P, 2) to start from, in input pixels; codes (N, C) of
    the mesh's shape. Output: the points after each correction, in input pixels. 8 M parameters, most of them in the
    points' own perceptrons.
    """

    input_size = 96

    def __init__(self, points: int = 68, code: int = 64, channels: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        half, quarter, eighth = channels
        deep = 192
        self.stem = nn.ModuleList([convolution(3, half, 5, stride=2), convolution(half, half)])
        self.down = nn.ModuleList(
            [
                nn.Sequential(ResidualUnit(half, quarter), ResidualUnit(quarter, quarter)),
                ResidualUnit(quarter, eighth),
                ResidualUnit(eighth, deep),
            ]
        )
        ways = ((deep, eighth), (eighth, quarter), (quarter, half))
        self.across = nn.ModuleList(nn.Conv2d(inputs, outputs, 1) for inputs, outputs in ways)
        self.up = nn.ModuleList([convolution(eighth, eighth), convolution(quarter, quarter), convolution(half, half)])
        self.shape = nn.Linear(code, 64)
        self.corrections = nn.ModuleList(Correction(points, channels, 64 + deep, self.input_size) for _ in range(2))

    def forward(self, crops: Tensor, points: Tensor, codes: Tensor) -> list[Tensor]:
        x = crops
        for layer in self.stem:
            x = functional.relu(layer(x))
        maps = [x]
        for unit in self.down:
            maps.append(unit(functional.max_pool2d(maps[-1], 2)))
        x = deepest = maps.pop()
        finished: list[Tensor] = []
        for across, up in zip(self.across, self.up, strict=True):
            larger = functional.interpolate(across(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = functional.relu(up(maps.pop() + larger))
            finished.insert(0, x.float())
        half, quarter, eighth = finished
        face = torch.cat([deepest.float().mean((2, 3)), functional.relu(self.shape(codes.float()))], 1)
        found = []
        with torch.autocast(crops.device.type, enabled=False):
            for correction in self.corrections:
                points = correction((half, quarter, eighth), points.detach(), face.float())
                found.append(points)
        return found
