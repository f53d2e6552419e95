"""A network that has learnt for long, made able to learn on: its filters are small again, those channels of a TRNet-20
that no face switches on any more get new weights, and an AAN may get more filters than it had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tracker.networks.aan import AAN, Attention, Bottleneck, Wide
from tracker.networks.trnet import ResidualUnit, TRNet20
from tracker.training.augment import augmented
from tracker.training.datasets import LabelledFace
from tracker.training.heads import planes
from tracker.training.loop import TrainingError, open_run, require_faces, write_checkpoint
from tracker.training.pictures import ignored

FACES = 400
"""Faces to look at; of more, every second, every third ... is taken."""

SELDOM = 0.005
"""A channel is dead if in nine crops of ten it is above zero at no larger part of the places of its map."""

LOUD = 5.0
"""How strong a new channel is beside others. What reads it begins with weights of zero, which Adam moves no faster than
any other weight: read so, they gain by as much more."""

SMALL = 0.12
"""The root mean square of a convolution's filters. Under batch normalisation they grow as they learn, and the larger
they are, the less of them does a step of Adam change; their size itself means nothing."""


def revive(folder: Path, out: Path, faces: Sequence[LabelledFace], widths: Sequence[int] = ()) -> int:
    """Scale filters of the averaged network of the run in ``folder`` that have grown back to ``SMALL``, give the dead
    channels of a TRNet-20 new random weights, for each input of the size of their neighbours', and write it to ``out``
    as a run for ``train --start``; how many dead channels there were. What comes after a new channel does not read it
    yet, so that the points stay nearly what they were. AAN has no dead channels, but may become one of larger
    ``widths``: its new filters are random, and what it had does not read them yet. TrainingError when there is no run
    of such a network, no face, or when these are not four widths of an AAN, none smaller than before."""
    saved, run, markup, network = open_run(folder)
    if not isinstance(network, TRNet20 | AAN):
        raise TrainingError(f"{folder}: holds neither a TRNet-20 nor an AAN, the networks to revive")
    if widths:
        had = network.widths if isinstance(network, AAN) else ()
        if len(widths) != len(had) or any(new < old for new, old in zip(widths, had, strict=True)):
            there = f"is an AAN of {','.join(map(str, had))}" if had else "is no AAN"
            raise TrainingError(
                f"--widths {','.join(map(str, widths))}: give four, none smaller than before; {folder} {there}"
            )
    require_faces(folder, markup, faces)
    crops, size = [], network.input_size
    for index, face in enumerate(tqdm(faces[:: -(-len(faces) // FACES)], unit=" faces", desc="revive")):
        rng = np.random.default_rng((run.seed, index))
        points, known = face.unbiased, face.known
        crops.append(augmented(face.image, points, markup, run.context, size, rng, known, run.jitter, run.calm)[0])
    inputs = planes(np.stack(crops), run)
    torch.manual_seed(run.seed)
    renewed = _renewed(network, _dead(network, inputs)) if isinstance(network, TRNet20) else {}
    _settle(renewed, network, inputs)
    _shrink(network)
    if widths:
        assert isinstance(network, AAN)
        saved["run"]["options"] = {**run.options, "widths": list(widths)}
        network = _widened(network, AAN(markup.size, **saved["run"]["options"]).eval(), inputs)
    ignored(out)
    write_checkpoint(out, saved | {"network": network.state_dict(), "average": network.state_dict(), "step": 0})
    return sum(int(new.sum()) for new in renewed.values())


def _dead(network: TRNet20, inputs: Tensor) -> dict[nn.Module, Tensor]:
    """For the rectifiers of ``_within``, which of their channels (C,) are hardly ever above zero."""
    seldom: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        seldom[module] = (output > 0).float().mean((2, 3)).quantile(0.9, 0) < SELDOM

    hooks = [rectifier.register_forward_hook(note) for _, rectifier, _ in _within(network)]
    with torch.inference_mode():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return seldom


def _within(network: TRNet20) -> list[tuple[nn.Module, nn.Module, nn.Module]]:
    """The channels that one convolution writes and one reads: writer, rectifier, reader. Those of the residual stream
    are read by all that follows, so that a new one could not begin unread."""
    stem = [(network.stem[place], network.rectifiers[place], network.stem[place + 1]) for place in range(2)]
    units = (module for module in network.modules() if isinstance(module, ResidualUnit))
    return [*stem, *((unit.first, unit.between, unit.second) for unit in units)]


@torch.no_grad()
def _renewed(network: TRNet20, dead: dict[nn.Module, Tensor]) -> dict[nn.Module, Tensor]:
    """Renew what is dead; for each writer, which of its channels are new."""
    renewed = {}
    for writer, rectifier, reader in _within(network):
        (convolution, normalisation), new = parts(writer), dead[rectifier]
        sizes = convolution.weight.square().mean((2, 3), keepdim=True).median(0).values.sqrt()
        convolution.weight[new] = (torch.randn_like(convolution.weight) * sizes)[new]
        normalisation.weight[new] = LOUD * normalisation.weight.abs().median()
        normalisation.bias[new] = 0
        parts(reader)[0].weight[:, new] = 0
        renewed[writer] = new
    return renewed


@torch.no_grad()
def _settle(renewed: dict[nn.Module, Tensor], network: nn.Module, inputs: Tensor) -> None:
    """Make the mean and variance that every normalisation keeps what they are on ``inputs``. Those of new channels were
    unknown; the scale and shift of the others change with them, so that the maps stay. A channel that was fed by dead
    ones has kept their variance: a batch's own, now next to nothing, would blow up what is left of it."""
    hooks = []
    for writer in writers(network):
        convolution, normalisation = parts(writer)
        kept = ~renewed.get(writer, torch.zeros_like(normalisation.bias, dtype=torch.bool))

        def settle(
            _: nn.Module,
            __: tuple[Tensor, ...],
            output: Tensor,
            normalisation: nn.BatchNorm2d = normalisation,
            kept: Tensor = kept,
        ) -> None:
            mean, variance = normalisation.running_mean, normalisation.running_var
            assert mean is not None
            assert variance is not None
            own_mean, own_variance = output.mean((0, 2, 3)), output.var((0, 2, 3))
            slope = normalisation.weight / (variance + normalisation.eps).sqrt()
            shift = normalisation.bias + slope * (own_mean - mean)
            normalisation.bias[kept] = shift[kept]
            normalisation.weight[kept] = (slope * (own_variance + normalisation.eps).sqrt())[kept]
            mean.copy_(own_mean)
            variance.copy_(own_variance)

        hooks.append(convolution.register_forward_hook(settle))
    network(inputs)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def _shrink(network: nn.Module) -> None:
    """Filters no larger than ``SMALL``, with what their normalisation keeps: the maps stay."""
    for writer in writers(network):
        scale_filters(writer, (SMALL / parts(writer)[0].weight.square().mean().sqrt()).clamp(max=1.0))


@torch.no_grad()
def _widened(network: AAN, wider: AAN, inputs: Tensor) -> AAN:
    """``wider`` with the weights of ``network`` for its first filters, which do not read the others; those are random,
    as large as these are, and read everything."""
    renewed: dict[nn.Module, Tensor] = {}
    _copied(wider.stem, network.stem, renewed)
    for level, (block, old) in enumerate(zip(wider.blocks, network.blocks, strict=True)):
        assert isinstance(block, Bottleneck)
        assert isinstance(old, Bottleneck)
        width, inside = parts(block.spatial)[0].in_channels, torch.arange(parts(old.spatial)[0].in_channels)
        came = torch.arange(parts(old.reduce)[0].in_channels)
        _copied(block.reduce, old.reduce, renewed)
        _copied(block.spatial, old.spatial, renewed)
        _copied(block.expand, old.expand, renewed, torch.cat([inside, width + came]))
        if network.attention:
            ours, theirs = wider.attention[level], network.attention[level]
            assert isinstance(ours, Attention)
            assert isinstance(theirs, Attention)
            _copied(ours.score, theirs.score, renewed)
        if network.branches:
            _read_first(wider.branches[level], network.branches[level])
    for ours, theirs in zip(wider.embedding.children(), network.embedding.children(), strict=True):
        if isinstance(ours, nn.BatchNorm1d):
            _keep_first(ours, theirs)
        elif isinstance(ours, Wide):
            _read_first(ours, theirs)
    wider.linear.load_state_dict(network.linear.state_dict())
    _settle(renewed, wider, inputs)
    return wider


def _copied(writer: nn.Module, old: nn.Module, renewed: dict[nn.Module, Tensor], reads: Tensor | None = None) -> None:
    """Give ``writer``, a convolution with its normalisation, the filters of ``old`` as its first ones, which read the
    inputs ``reads`` only, by default the first; the others get random ones of their size, and ``renewed`` says which
    these are."""
    (convolution, normalisation), (before, before_normalisation) = parts(writer), parts(old)
    count = before.out_channels
    convolution.weight.normal_(std=float(before.weight.square().mean().sqrt()))
    convolution.weight[:count] = 0
    places = torch.arange(before.in_channels) if reads is None else reads
    convolution.weight[:count, places] = before.weight
    _keep_first(normalisation, before_normalisation)
    renewed[writer] = torch.arange(convolution.out_channels) >= count


def _keep_first(normalisation: nn.Module, old: nn.Module) -> None:
    """Normalise the first channels as ``old`` does."""
    for value, before in zip(normalisation.state_dict().values(), old.state_dict().values(), strict=True):
        value[: len(before)].copy_(before) if before.ndim else value.copy_(before)


def _read_first(layer: nn.Module, old: nn.Module) -> None:
    """Let ``layer`` read the first of its inputs as ``old`` does, and the others not at all."""
    assert isinstance(layer, Wide)
    assert isinstance(old, Wide)
    layer.weight.zero_()
    layer.weight[:, : old.in_features] = old.weight * (old.scale / layer.scale)
    layer.bias.copy_(old.bias)


@torch.no_grad()
def scale_filters(writer: nn.Module, scale: Tensor) -> None:
    """Make the filters of a convolution so many times as large, with what its normalisation keeps: the maps stay."""
    convolution, normalisation = parts(writer)
    assert normalisation.running_mean is not None
    assert normalisation.running_var is not None
    convolution.weight *= scale
    normalisation.running_mean *= scale
    normalisation.running_var *= scale.square()


def writers(network: nn.Module) -> list[nn.Module]:
    """All convolutions with their normalisation."""
    pairs = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    return [pair for pair in pairs if [type(part) for part in pair] == [nn.Conv2d, nn.BatchNorm2d]]


def parts(writer: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, normalisation = writer.children()
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(normalisation, nn.BatchNorm2d)
    return convolution, normalisation
