"""The heads of a finished network: confidence of each point and presence of a face, learnt from its own features.

The network is frozen, so that each crop passes it once and the heads are trained on what is kept of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from tracker.annotations import Flags
from tracker.backends import Outputs
from tracker.core import Array, Image
from tracker.markup import Markup
from tracker.metrics import oracle_crop
from tracker.networks import FaceDet, Network, build
from tracker.networks.heads import TOLERANCE, Heads, confidence
from tracker.training.augment import jittered, photographed, placed
from tracker.training.datasets import LabelledFace
from tracker.training.loop import (
    Run,
    TrainingError,
    normalised,
    open_run,
    require_faces,
    short_floats,
    write_checkpoint,
)
from tracker.training.negatives import KINDS, faceless, negative
from tracker.training.pictures import ignored, plot_calibration

HIDDEN = 64
"""Size of the heads' hidden layers."""

VIEWS = ("a face",) * 8 + ("no face",) * 4 + ("half a face",) * 2 + ("drifted",) * 2 + ("wrong scale",) * 2
"""The crops made of one training face; one in two looks as a worse camera would have it."""

TRUSTED = ("a face", "half a face")
"""The crops whose errors the confidence is learnt from; with the badly placed ones, where no point is right, it told
the points of a face less well apart."""

BINS, TRACKED = 10, 3
"""Points of the calibration curve, and crops of each validation face that are placed as a tracker places them."""

ENOUGH = 3000
"""Faces to learn from; of more, every second, every third ... is taken."""

View = tuple[Image, Array, Flags]
"""A crop, the points in it, and which of them are known."""

Predict = Callable[[npt.NDArray[np.uint8]], Outputs]
"""``Backend.run``: crops (N, S, S, 3) to outputs by name."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the frozen network makes of M crops: ``features`` (M, F); ``errors`` (M, P), the distances of its points in
    sides of the face; ``counted`` (M, P), where they mean something; ``face`` (M,), 1 for a well placed face."""

    features: Tensor
    errors: Tensor
    counted: Tensor
    face: Tensor


def train_heads(
    folder: Path,
    out: Path,
    faces: Sequence[LabelledFace],
    validation: Sequence[LabelledFace],
    rounds: int = 8,
) -> dict[str, Any]:
    """Train heads for the averaged network of the run in ``folder`` on ``faces``, write a checkpoint to ``out`` with
    ``final.json`` and ``calibration.png``, and give what ``judge`` finds on ``validation``.

    TrainingError when there is no run, or no face of its markup.
    """
    saved, run, markup, old = open_run(folder)
    require_faces(folder, markup, faces, validation)
    if isinstance(old, FaceDet):
        raise TrainingError(
            f"{folder}: holds a face detector, whose scores need no heads; give a landmark network's run"
        )
    run = replace(run, options={**run.options, "heads": HIDDEN})
    torch.manual_seed(run.seed)
    network = build(run.network, markup.size, run.options)
    assert not isinstance(network, FaceDet)
    points_only = {key: value for key, value in old.state_dict().items() if not key.startswith("heads.")}
    network.load_state_dict(points_only, strict=False)
    network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    assert network.heads is not None
    taken = faces[:: -(-len(faces) // ENOUGH)]
    fit(network.heads, seen(network, network.heads, taken, run, markup), rounds, run.seed)

    def predict(crops: npt.NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            found = network(planes(crops, run))
        return {name: value.numpy() for name, value in found.items()}

    figures = judge(predict, validation, run.context, network.input_size)
    ignored(out)
    state = {key: saved[key] for key in ("step", "offset", "markup", "sets", "kept_too", "pseudo") if key in saved}
    write_checkpoint(out, state | {"run": asdict(run), "average": network.state_dict()})
    (out / "final.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot_calibration(figures["calibration"], out / "calibration.png")
    return figures


@torch.no_grad()
def seen(network: Network, heads: Heads, faces: Sequence[LabelledFace], run: Run, markup: Markup) -> Seen:
    """Pass ``VIEWS`` of each face through the frozen network."""
    heads.train()
    pictures, size = faceless("training"), network.input_size
    features, errors, counted = [], [], []
    for index, face in enumerate(tqdm(faces, unit=" faces", desc="features")):
        rng = np.random.default_rng((run.seed, index))
        every = face.known_mask
        views: list[View] = []
        for number, kind in enumerate(VIEWS):
            if kind == "a face":
                crop, points, known = placed(face.image, face.unbiased, markup, run.context, size, rng, every)
            else:
                crop, points = negative(kind, face, run.context, size, rng, pictures)
                known = every
            views.append((photographed(crop, rng) if number % 2 else crop, points, every if known is None else known))
        crops, truth, masks = (np.stack(part) for part in zip(*views, strict=True))
        with torch.autocast("cpu", torch.bfloat16, enabled=short_floats("cpu")):
            found = network(planes(crops, run))
        sides = np.array([np.ptp(points[known], axis=0).max() for points, known in zip(truth, masks, strict=True)])
        apart = np.linalg.norm(found["points"].numpy() - truth, axis=-1) / sides[:, None]
        features.append(found["features"].float())
        errors.append(torch.from_numpy(apart).float())
        counted.append(torch.from_numpy(masks & np.isin(VIEWS, TRUSTED)[:, None]))
    face_or_not = torch.tensor([float(kind == "a face") for kind in VIEWS]).repeat(len(faces))
    return Seen(torch.cat(features), torch.cat(errors), torch.cat(counted), face_or_not)


def planes(crops: npt.NDArray[np.uint8], run: Run) -> Tensor:
    """Crops (N, S, S, 3) as the network reads them."""
    inputs = normalised(torch.from_numpy(crops).permute(0, 3, 1, 2), run)
    return inputs.contiguous(memory_format=torch.channels_last)


def fit(heads: Heads, data: Seen, rounds: int, seed: int, batch: int = 256, rate: float = 2e-3) -> None:
    """Train the heads by likelihood: the errors' under the distribution of ``networks.heads.confidence`` (which is
    largest where the expected error is the mean of the errors), and that of a face being there or not."""
    heads.mean.copy_(data.features.mean(0))
    heads.deviation.copy_((data.features.var(0) + 1e-5).sqrt())
    heads.eval().requires_grad_(True)
    with torch.no_grad():
        last = heads.error[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(data.errors[data.face > 0].mean(0).log())
    optimiser = torch.optim.AdamW(heads.parameters(), lr=rate, weight_decay=1e-2)
    order = torch.Generator().manual_seed(seed)
    steps = max(rounds * len(data.features) // batch, 1)
    for step in tqdm(range(steps), unit=" steps", desc="heads"):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        chosen = torch.randint(len(data.features), (batch,), generator=order)
        normal, counted = heads.normalise(data.features[chosen]), data.counted[chosen]
        log_error = heads.log_error(normal)
        misfit = torch.where(counted, log_error + data.errors[chosen] / log_error.exp(), 0).sum() / counted.sum()
        loss = misfit + functional.binary_cross_entropy_with_logits(heads.face(normal)[:, 0], data.face[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    heads.requires_grad_(False)


def judge(predict: Predict, faces: Sequence[LabelledFace], context: float, size: int) -> dict[str, Any]:
    """How far the outputs of a network with heads can be trusted, on ``faces`` and pictures it was not trained on.

    ``presence``: the area under the ROC curve of well placed crops (the oracle's, and three as a tracker's) against
    each kind of ``negatives``, and the shares on the right side of one half. ``confidence``: Spearman's rank
    correlation of expected and real errors over all points of the oracle's crops, and of the others; the mean
    confidence, and the share of points that are right. ``calibration``: the mean expected and the mean real error, in
    sides of the face, of points sorted by the former, in ``BINS`` equal parts.
    """
    pictures = faceless("validation")
    sight: list[tuple[Image, Array]] = []
    refused: dict[str, list[Image]] = {kind: [] for kind in KINDS}
    for index, face in enumerate(faces):
        rng = np.random.default_rng((0, index))
        crops = [jittered(face.known_points, context, size, rng) for _ in range(TRACKED)]
        for crop in (oracle_crop(face.known_points, context, size), *crops):
            sight.append((crop.cut(face.image), crop.to_input(face.unbiased)))
        for kind in KINDS:
            refused[kind] += [negative(kind, face, context, size, rng, pictures)[0] for _ in range(2)]
    found = predicted(predict, [crop for crop, _ in sight])
    truth = np.stack([points for _, points in sight])
    known = np.stack([face.known_mask for face in faces])
    known = np.repeat(known, 1 + TRACKED, axis=0)
    sides = np.array([np.ptp(points[mask], axis=0).max() for points, mask in zip(truth, known, strict=True)])
    errors = np.linalg.norm(found["points"] - truth, axis=-1) / sides[:, None]
    expected = expected_error(found["confidence"])
    oracle = np.arange(len(sight)) % (1 + TRACKED) == 0
    order = np.argsort(expected[known])
    bins = [np.array_split(values[known][order], BINS) for values in (expected, errors)]
    presence: dict[str, float] = {}
    for kind, crops_of_kind in refused.items():
        values = predicted(predict, crops_of_kind)["presence"]
        presence |= {f"auc, {kind}": auc(found["presence"], values), f"refused, {kind}": float((values < 0.5).mean())}
    figures: dict[str, Any] = {
        "presence": presence | {"kept, a face": float((found["presence"] >= 0.5).mean())},
        "confidence": {
            "rank correlation, oracle box": rank_correlation(*(v[oracle][known[oracle]] for v in (expected, errors))),
            "rank correlation, tracked": rank_correlation(*(v[~oracle][known[~oracle]] for v in (expected, errors))),
            "mean": float(found["confidence"][known].mean()),
            "right": float((errors[known] <= TOLERANCE).mean()),
        },
    }
    rounded = {part: {name: round(float(v), 4) for name, v in values.items()} for part, values in figures.items()}
    return rounded | {
        "calibration": [[round(float(part.mean()), 5) for part in pair] for pair in zip(*bins, strict=True)]
    }


def described(figures: dict[str, Any]) -> list[str]:
    """What ``judge`` found, a line for each part and one for the curve."""
    lines = [
        f"{part} " + "; ".join(f"{name} {value:.4f}" for name, value in figures[part].items())
        for part in ("presence", "confidence")
    ]
    curve = ", ".join(f"{100 * expected:.2f} -> {100 * real:.2f}" for expected, real in figures["calibration"])
    return [*lines, f"expected -> real error in % of the face: {curve}"]


def expected_error(confidence_of: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The expected errors in sides of the face that a ``confidence`` stands for, by bisection."""
    low, high = np.full(confidence_of.shape, -6.0), np.full(confidence_of.shape, 2.0)
    for _ in range(40):
        middle = (low + high) / 2
        sure = confidence(torch.from_numpy(middle).exp()).numpy() > confidence_of
        low, high = np.where(sure, middle, low), np.where(sure, high, middle)
    return np.exp((low + high) / 2)


def auc(positive: Array, negative: Array) -> float:
    """The area under the ROC curve: how often a value of ``positive`` is above one of ``negative``."""
    ranks = _ranks(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.mean() - (len(positive) + 1) / 2) / len(negative))


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's: the correlation of the ranks of two arrays (M,)."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Array) -> Array:
    """From 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def predicted(predict: Predict, crops: Sequence[Image]) -> Outputs:
    """What ``predict`` says of any number of crops, some at a time."""
    parts = [predict(np.stack(crops[start : start + 64])) for start in range(0, len(crops), 64)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
