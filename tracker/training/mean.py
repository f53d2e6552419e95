"""The mean of the weights of two networks, one of which began with those of the other: nearer than either on faces that
neither has learnt from (Wortsman et al., "Model soups", ICML 2022)."""

from __future__ import annotations

from pathlib import Path

from tracker.training.loop import TrainingError, open_run, write_checkpoint
from tracker.training.pictures import ignored
from tracker.training.revive import parts, scale_filters, writers


def mean(first: Path, second: Path, out: Path) -> None:
    """Write to ``out`` a run with the mean of the averaged networks of the runs in ``first`` and ``second``, which
    ``heads`` and ``export`` take; it has seen what either has. Filters are brought to one size before, as under batch
    normalisation their size means nothing. TrainingError when one is no run, or they are runs of different networks or
    on crops of different contexts."""
    before, run, markup, network = open_run(first)
    saved, other_run, other_markup, other = open_run(second)
    if (run.network, run.options, run.context, markup) != (
        other_run.network,
        other_run.options,
        other_run.context,
        other_markup,
    ):
        raise TrainingError(f"{second}: its network or context is another than that of {first}; give two of one kind")
    for one, target in zip(writers(network), writers(other), strict=True):
        scale_filters(one, parts(target)[0].weight.norm() / parts(one)[0].weight.norm().clamp(min=1e-12))
    theirs = network.state_dict()
    weights = {
        name: (values + theirs[name]) / 2 if values.is_floating_point() else values
        for name, values in other.state_dict().items()
    }
    seen = {key: tuple(dict.fromkeys((*saved.get(key, ()), *before.get(key, ())))) for key in ("sets", "pseudo")}
    ignored(out)
    write_checkpoint(
        out,
        saved
        | {key: values for key, values in seen.items() if values}
        | {
            "network": weights,
            "average": weights,
            "offset": tuple(
                (one + another) / 2 for one, another in zip(before["offset"], saved["offset"], strict=True)
            ),
            "kept_too": bool(before.get("kept_too") or saved.get("kept_too")),
            "step": 0,
        },
    )
