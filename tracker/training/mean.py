"""The mean of the weights of two networks, one of which began with those of the other: nearer than either on faces that
neither has learnt from (Wortsman et al., "Model soups", ICML 2022)."""

from __future__ import annotations

from pathlib import Path

import torch

from tracker.networks import Network
from tracker.training.loop import TrainingError, open_run, write_checkpoint
from tracker.training.pictures import ignored
from tracker.training.revive import parts, writers


def mean(first: Path, second: Path, out: Path) -> None:
    """Write to ``out`` a run with the mean of the averaged networks of the runs in ``first`` and ``second``, which
    ``heads`` and ``export`` take; all else is the second's. TrainingError when one is no run, or they are runs of
    different networks."""
    before, run, markup, network = open_run(first)
    saved, other_run, other_markup, other = open_run(second)
    if (run.network, run.options, markup) != (other_run.network, other_run.options, other_markup):
        raise TrainingError(f"{second}: its network is another than that of {first}; a mean is of two of one kind")
    _sized(network, other)
    theirs = network.state_dict()
    weights = {
        name: (values + theirs[name]) / 2 if values.is_floating_point() else values
        for name, values in other.state_dict().items()
    }
    offset = tuple((one + another) / 2 for one, another in zip(before["offset"], saved["offset"], strict=True))
    ignored(out)
    write_checkpoint(out, saved | {"network": weights, "average": weights, "offset": offset, "step": 0})


@torch.no_grad()
def _sized(network: Network, like: Network) -> None:
    """Make the filters of ``network`` as large as those of ``like``, with what their normalisation keeps, so that both
    count alike: under batch normalisation their size means nothing."""
    for one, other in zip(writers(network), writers(like), strict=True):
        (convolution, normalisation), (target, _) = parts(one), parts(other)
        scale = target.weight.norm() / convolution.weight.norm().clamp(min=1e-12)
        assert normalisation.running_mean is not None
        assert normalisation.running_var is not None
        convolution.weight *= scale
        normalisation.running_mean *= scale
        normalisation.running_var *= scale.square()
