"""TRNet's refined module (Lai et al., section 3): the network stays as it is, and its last linear layer is trained
again, part by part.

A part's rows of the layer share no weight with another's, so that one pass with the sum of the parts' losses trains
each as if alone; the result is again one layer, and costs nothing more at inference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tracker.markup import Markup
from tracker.metrics import inter_pupil
from tracker.networks import FaceDet, Network
from tracker.training.datasets import LABEL_OFFSET, LabelledFace
from tracker.training.loop import (
    Batches,
    Run,
    TrainingError,
    measure,
    normalised,
    open_run,
    predict,
    require_faces,
    write_checkpoint,
)
from tracker.training.losses import enme
from tracker.training.pictures import ignored


def parts_of(markup: Markup) -> dict[str, list[int]]:
    """The points that are trained together: both brows, both eyes, both lips are one part each."""
    parts: dict[str, list[int]] = {}
    for name, points in markup.parts.items():
        parts.setdefault(name.split()[-1], []).extend(points)
    return parts


def refine(
    folder: Path,
    out: Path,
    faces: Sequence[LabelledFace],
    validation: Sequence[LabelledFace],
    steps: int = 2000,
    rate: float = 3e-4,
) -> dict[str, dict[str, float]]:
    """Retrain the linear layer of the averaged network in ``folder`` on ``faces``, write a checkpoint to ``out``, and
    give the NME in per cent (oracle box, inter-pupil) of each part, before and after, on ``validation``.

    TrainingError when ``folder`` holds no finished run, or there is no face of its markup.
    """
    saved, run, markup, network = open_run(folder)
    if "heads" in run.options:
        raise TrainingError(f"{folder}: has heads, which describe the layer as it is; refine first, then train heads")
    if isinstance(network, FaceDet):
        raise TrainingError(f"{folder}: holds a face detector; only a landmark network has parts to refine")
    require_faces(folder, markup, faces, [face for face in validation if face.has_eyes])
    network.requires_grad_(False)
    before = part_errors(network, validation, run)

    linear = network.linear.requires_grad_(True)
    optimiser = torch.optim.AdamW(linear.parameters(), lr=rate, weight_decay=run.weight_decay)
    average = [parameter.detach().clone() for parameter in linear.parameters()]
    schedule = replace(run, steps=steps, rate=rate, warmup=0.05, decay=0.5, seed=run.seed + 1)
    batches = Batches([faces], schedule, network.input_size, markup)
    for step, (crops, truth, known) in enumerate(tqdm(batches.stream(0), total=steps, unit=" steps", desc=out.name)):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        points: Tensor = network(normalised(crops, run))["points"]
        losses = [
            enme(points[:, part], truth[:, part], run.alpha, None if known is None else known[:, part])
            for part in parts_of(markup).values()
        ]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        for old, new in zip(average, linear.parameters(), strict=True):
            old.lerp_(new.detach(), 1 - min(run.average, (1 + step) / (10 + step)))
    _take(linear, average)

    figures = measure(network, faces, run)
    offset = (figures["offset_x"], figures["offset_y"]) if faces[0].dataset in LABEL_OFFSET else (0.0, 0.0)
    report = {"before": before, "after": part_errors(network, validation, run)}
    final = {"parts": report, "validation": measure(network, validation, run, offset=offset)}
    ignored(out)
    state = {"run": asdict(run), "step": saved["step"], "average": network.state_dict(), "offset": offset}
    state |= {key: saved[key] for key in ("markup", "sets", "kept_too", "pseudo") if key in saved}
    write_checkpoint(out, state)
    (out / "final.json").write_text(json.dumps(final, indent=1) + "\n")
    return report


def part_errors(network: Network, faces: Sequence[LabelledFace], run: Run) -> dict[str, float]:
    """NME in per cent of each part's known points against the unbiased truth, by the oracle box, inter-pupil, on the
    faces whose eyes are known."""
    markup = faces[0].markup
    faces = [face for face in faces if face.has_eyes]
    truth, known = np.stack([face.unbiased for face in faces]), np.stack([face.known_mask for face in faces])
    distances = np.linalg.norm(predict(network, faces, run, "cpu") - truth, axis=-1)
    share = 100 * distances / inter_pupil(truth, markup)[:, None]
    parts = parts_of(markup) | {"all": list(range(markup.size))}
    return {name: round(float(share[:, part].mean(where=known[:, part])), 4) for name, part in parts.items()}


@torch.no_grad()
def _take(linear: nn.Module, values: list[Tensor]) -> None:
    for parameter, value in zip(linear.parameters(), values, strict=True):
        parameter.copy_(value)
