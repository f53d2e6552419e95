"""TRNet-20, the Thin Residual Network, and CNN-6, the plain network it is compared with.

Source: Lai et al., "Enhanced Normalized Mean Error loss for Robust Facial Landmark detection", section 3,
tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from tracker.networks.heads import Heads


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Rectifier(nn.Module):
    """ReLU, with a ``cap`` above 0 cut off there: no crop, however damaged, can then drive the maps to where they never
    were in training, and points far out of the crop."""

    def __init__(self, cap: int = 0) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.cap) if self.cap else functional.relu(x, inplace=True)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions beside an identity. Where the width grows, the identity is padded with zeros (option A of
    He et al.), so that it adds no weighted layer to the twenty of table 1."""

    def __init__(self, inputs: int, outputs: int, cap: int = 0) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs)
        self.between = Rectifier(cap)
        self.second = convolution(outputs, outputs)
        self.widening = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.between(self.first(x)))
        if self.widening:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.widening))
        return functional.relu(x + y, inplace=True)


class TRNet20(nn.Module):
    """Table 1: three 3x3 convolutions of 32 filters; four stages, each a max pooling and two residual units of
    48 / 64 / 80 / 96 filters; global average pooling; one linear layer.

    Input (N, 3, 64, 64), output ``{"points": (N, P, 2)}`` in input pixels, and those of ``Heads`` where ``heads``, the
    size of their hidden layers, is not 0. The paper does not speak of
    normalisation: batch normalisation follows every convolution, because without it twenty layers do not train
    from random weights, and it costs nothing once folded into the convolutions at export. ``caps`` are those of the
    rectifiers after the first three convolutions and within the eight units (``training.caps``), or none.
    """

    input_size = 64

    def __init__(
        self,
        points: int,
        widths: Sequence[int] = (48, 64, 80, 96),
        heads: int = 0,
        caps: Sequence[int] = (0,) * 11,
    ) -> None:
        super().__init__()
        self.stem = nn.ModuleList([convolution(3, 32), convolution(32, 32), convolution(32, 32)])
        self.rectifiers = nn.ModuleList(Rectifier(cap) for cap in caps[:3])
        inputs = (32, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), ResidualUnit(before, width, first), ResidualUnit(width, width, second))
            for before, width, first, second in zip(inputs, widths, caps[3::2], caps[4::2], strict=True)
        )
        self.linear = nn.Linear(widths[-1], 2 * points)
        self.heads = Heads(widths, points, heads) if heads else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer, rectifier in zip(self.stem, self.rectifiers, strict=True):
            x = rectifier(layer(x))
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        found = {"points": to_pixels(self.linear(x.mean((2, 3))), self.input_size)}
        return found if self.heads is None else found | self.heads(maps)


class CNN6(nn.Module):
    """The plain network of table 2 (from Feng et al., "Wing loss"): five 3x3 convolutions of 32 / 64 / 128 / 256 /
    512 filters, each with ReLU and a max pooling; a linear layer of 1024; a linear layer. Input and output as
    TRNet20's."""

    input_size = 64

    def __init__(self, points: int, heads: int = 0) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256, 512)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, width, 3, padding=1) for before, width in pairwise(widths))
        self.hidden = nn.Linear(512 * 2 * 2, 1024)
        self.linear = nn.Linear(1024, 2 * points)
        self.heads = Heads(widths[1:], points, heads) if heads else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: list[Tensor] = []
        for layer in self.convolutions:
            maps.append(functional.relu(layer(x)))
            x = functional.max_pool2d(maps[-1], 2)
        x = functional.relu(self.hidden(x.flatten(1)))
        found = {"points": to_pixels(self.linear(x), self.input_size)}
        return found if self.heads is None else found | self.heads(maps)


def to_pixels(flat: Tensor, size: int) -> Tensor:
    """A linear layer's (N, 2 P) outputs, in sides of the input from its middle, as (N, P, 2) input pixels.

    In this unit outputs are of order one, which suits the usual initial weights and rates."""
    middle = size / 2 - 0.5
    return middle + size * flat.float().unflatten(1, (-1, 2))


def weighted_layers(network: nn.Module) -> int:
    """How many convolutions and linear layers carry weights: the number papers name networks by."""
    return sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in network.modules())
