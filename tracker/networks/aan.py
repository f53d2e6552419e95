"""AAN, the Attentional Alignment Network.

Source: Yue et al., "Attentional Alignment Network", BMVC 2018: section 3.1 (building blocks, equations 1 and 2),
3.2 (attention and intermediate supervision), 3.3 (nonlinear embedding, equations 3 and 4).

The paper gives no widths, no input size and no form of the intermediate branches. Chosen here:

* Input 128x128, brought to 64x64 by one 5x5 convolution of stride 2. A bottleneck block holds one 3x3 convolution
  only, so without it the first block would look at raw colours, and at 128x128 it would cost four times as much.
* Bottlenecks of 16 / 32 / 64 / 128 filters that widen fourfold to 64 / 128 / 256 / 512, the proportions of He et al.:
  every block then costs the same, about 24 M multiply-adds, and all of it 110 M. Twice the width at the first block
  was half as fast to train, for want of memory bandwidth. ``aan-68`` has 16 / 48 / 96 / 192, 193 M: at
  110 M it learnt no more.
* An intermediate branch averages M(x) * H(x), what section 3.2 calls the features weighted by attention maps, to 4x4
  and has one linear layer. Of F(x), which has H(x) too, it could read as well where M is 0, and M came out low on the
  face and high around it.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.networks.heads import Heads
from tracker.networks.trnet import convolution, to_pixels


class Bottleneck(nn.Module):
    """He et al.'s bottleneck: 1x1, 3x3 and 1x1 convolutions beside a projection. The last convolution and the
    projection are added, so they are one convolution over the inputs of both, with one normalisation."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.reduce = convolution(inputs, width, 1)
        self.spatial = convolution(width, width, 3)
        self.expand = convolution(width + inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.reduce(x))
        y = functional.relu(self.spatial(y))
        return functional.relu(self.expand(torch.cat((y, x), 1)))


class Attention(nn.Module):
    """A 1x1 convolution, batch normalisation, ReLU and sigmoid: features (N, C, h, w) to a map M (N, 1, h, w).

    Read literally, the ReLU keeps M at 0.5 or more, so that a map can hardly say "not here"; ``relu=False`` leaves
    it out and lets M use the whole of [0, 1], as the text under equation 1 has it.
    """

    def __init__(self, inputs: int, relu: bool) -> None:
        super().__init__()
        self.score = convolution(inputs, 1, 1)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.score(x)
        return torch.sigmoid(functional.relu(y) if self.relu else y)


class Wide(nn.Linear):
    """W x / sqrt(n) + b for x of many (n) values and W of order ``spread``. Adam moves every weight by about the rate,
    so that without the root an output that sums 8,000 of them is thrown about by each step: a phase of the embedding
    by several turns. With it the network learns in 400 steps what took it 2,000. In the last layer, too: at the
    convolutions' rate its weights, small once trained, moved by a tenth of themselves at a step, and the loss of the
    points stood a sixth higher for it."""

    def __init__(self, inputs: int, outputs: int, spread: float) -> None:
        super().__init__(inputs, outputs)
        self.scale = 1 / math.sqrt(inputs)
        nn.init.normal_(self.weight, std=spread)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias)


class Embedding(nn.Module):
    """cos(W x + b), equation 4. The input is normalised, W is drawn so that W x is of order one and b uniform over
    a turn, as for random Fourier features (equation 3); without both the layer starts as noise and diverges."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(inputs)
        self.linear = Wide(inputs, outputs, 1.0)
        nn.init.uniform_(self.linear.bias, 0, 2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # a phase needs more than the 8 bits of bfloat16
            return torch.cos(self.linear(self.normalise(x.float())))


def attended_means(features: Tensor, attended: Tensor, cells: int = 4) -> Tensor:
    """The means of M * H, (N, C, cells * cells), over ``cells`` x ``cells`` parts of the maps, of H (N, C, h, w) and M
    (N, 1, h, w); as products of matrices, without a map of the size of M * H."""
    count, channels, height, width = features.shape
    shape = (count, cells, height // cells, cells, width // cells)
    parts = features.permute(0, 2, 3, 1).reshape(*shape, channels).transpose(2, 3).flatten(3, 4).flatten(0, 2)
    weights = attended.reshape(shape).transpose(2, 3).flatten(3, 4).flatten(0, 2)
    sums = weights.unsqueeze(1) @ parts
    return (sums / weights.shape[-1]).view(count, cells * cells, channels).transpose(1, 2)


class AAN(nn.Module):
    """Four building blocks F(x) = (1 + M(x)) * H(x), each followed by a max pooling; the nonlinear embedding; a
    linear layer.

    Input (N, 3, 128, 128). Output ``points`` (N, P, 2) in input pixels and ``attention_0`` .. ``attention_3``
    (N, h, w) in [0, 1], h = w = 64, 32, 16, 8; while training also ``early_0`` .. ``early_3``, the predictions of
    the intermediate branches, which get the same truth and are dropped at test. ``heads``, the size of their hidden
    layers, adds the outputs of ``Heads``.

    Switches for the paper's ablations: ``attention=False`` and ``embedding=False`` (table 5), ``residual=False``
    for F = M * H (equation 2), ``attention_relu`` for the literal reading of the attention block.
    """

    input_size = 128
    training_only = ("branches",)
    """Options, and the modules of the same names, that a finished network does without."""

    def __init__(
        self,
        points: int,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        attention: bool = True,
        attention_relu: bool = False,
        residual: bool = True,
        embedding: bool = True,
        dimension: int = 256,
        heads: int = 0,
        branches: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"four blocks have four widths, not {len(widths)}")
        self.widths, self.residual = tuple(widths), residual
        self.stem = convolution(3, 32, 5, stride=2)
        outputs = [4 * width for width in widths]
        inputs = [32, *outputs[:-1]]
        self.blocks = nn.ModuleList(Bottleneck(*sizes) for sizes in zip(inputs, widths, outputs, strict=True))
        self.attention = nn.ModuleList(Attention(width, attention_relu) for width in outputs if attention)
        self.branches = nn.ModuleList(Wide(width * 16, 2 * points, 0.3) for width in outputs if attention and branches)
        flat = outputs[-1] * 4 * 4
        self.embedding: nn.Module
        if embedding:
            self.embedding = Embedding(flat, dimension)
        else:
            self.embedding = nn.Sequential(nn.BatchNorm1d(flat), Wide(flat, dimension, 1.0), nn.ReLU())
        self.linear = Wide(dimension, 2 * points, 0.3)
        self.heads = Heads(outputs, points, heads) if heads else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        maps: list[Tensor] = []
        x = functional.relu(self.stem(x))
        for level, block in enumerate(self.blocks):
            x = block(x)
            if self.attention:
                attended = self.attention[level](x)
                found[f"attention_{level}"] = attended.squeeze(1)
                if self.training and self.branches:
                    pooled = attended_means(x, attended).flatten(1)
                    found[f"early_{level}"] = to_pixels(self.branches[level](pooled), self.input_size)
                x = x * (1 + attended) if self.residual else x * attended
            maps.append(x)
            x = functional.max_pool2d(x, 2)
        if self.heads is not None:
            found |= self.heads(maps)
        points = to_pixels(self.linear(self.embedding(x.flatten(1))), self.input_size)
        return {"points": points, **found}

    @torch.no_grad()
    def equalise(self) -> None:
        """Give the channels of the last map one size, and those who read them weights to match: the same function, but
        in 8 bits, with one scale for all, no channel is too small to be told from 0. For a finished network."""
        if not isinstance(self.embedding, Embedding):
            return
        norm, channels = self.embedding.normalise, 4 * self.widths[-1]
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        size = (variance + norm.eps).sqrt()
        factors = 1 / size.view(channels, -1).amax(1)
        spread = factors.repeat_interleave(len(size) // channels)
        block = cast(Bottleneck, self.blocks[-1]).expand[1]
        cast(Tensor, block.weight).mul_(factors)
        cast(Tensor, block.bias).mul_(factors)
        for attention in self.attention[-1:]:
            cast(Tensor, cast(Attention, attention).score[0].weight).div_(factors.view(1, -1, 1, 1))
        mean.mul_(spread)
        variance.mul_(spread**2)
        norm.weight.mul_((variance + norm.eps).sqrt() / (size * spread))
        if self.heads is not None:
            self.heads.mean[-channels:].mul_(factors)
            self.heads.deviation[-channels:].mul_(factors)
