"""How the face detector is trained: its loss, its measure and its loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from tracker.core import Image
from tracker.detector import STRIDES, decode, suppress
from tracker.markup import CELEBA5
from tracker.networks.facedet import FaceDet
from tracker.training.loop import Checkpoint, Run, TrainingError, made_ahead, normalised, optimiser_of, short_floats
from tracker.training.pictures import ignored, write_log
from tracker.training.scenes import Photo, Scene, Scenes


def detection_loss(cells: Tensor, targets: Tensor, states: Tensor, levels: Sequence[int]) -> dict[str, Tensor]:
    """The parts of the loss. ``cells`` (N, C, 14) from ``FaceDet.cells``; ``targets`` (N, C, 13) and ``states`` (N, C)
    from ``scenes.asked``; ``levels`` how many of the C cells are on each level.

    On each level a part is divided by the number of cells that should see a face, so that the few cells that see large
    faces weigh as much as the many that see small ones; then it is the mean of the levels. ``score`` is the focal loss
    (Lin et al., 2017, equation 5, gamma 2, without alpha) over the cells that are asked; ``box`` and ``points`` are
    mean distances, in sides of the face, over those that see one.
    """
    parts: dict[str, Tensor] = {}
    for level, wanted, state in zip(*(x.split(list(levels), 1) for x in (cells, targets, states)), strict=True):
        for name, value in _level_loss(level[..., 0].float(), level[..., 1:].float(), wanted, state).items():
            parts[name] = parts.get(name, torch.zeros((), device=cells.device)) + value / len(levels)
    return parts


def _level_loss(logits: Tensor, faces: Tensor, targets: Tensor, states: Tensor) -> dict[str, Tensor]:
    seen, asked = states == 1, states >= 0
    count = seen.sum().clamp(min=8)
    entropy = functional.binary_cross_entropy_with_logits(logits, seen.float(), reduction="none")
    wrong = torch.where(seen, 1 - logits.sigmoid(), logits.sigmoid())
    found, wanted = faces[seen], targets[seen]
    strides = 1 / (4 * wanted[:, 2:3].exp())  # one stride in sides of the face
    box = ((found[:, :2] - wanted[:, :2]) * strides).abs().sum() + (found[:, 2] - wanted[:, 2]).abs().sum()
    points = (found[:, 3:] - wanted[:, 3:]).abs().sum() / 5
    score = (entropy * wrong.square() * asked).sum()
    return {"score": score / count, "box": box / count, "points": points / count}


def measure(network: FaceDet, scenes: Sequence[Scene], run: Run, device: str = "cpu") -> dict[str, float]:
    """Recall and false positives a picture, both in per cent, at scores of 0.5 and 0.3, and the mean distance of the
    points of found faces in per cent of the side. A hit: the five points are on average within 0.15 sides of the
    truth's (about 0.3 eye distances)."""
    hits, wrong = {0.3: 0, 0.5: 0}, {0.3: 0, 0.5: 0}
    total, errors = 0, []
    network.eval()
    for scene in scenes:
        image, faces = scene.image, scene.faces
        planes = normalised(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None], run)
        with torch.inference_mode():
            found = {name: value.cpu() for name, value in network(planes.to(device)).items()}
        size = (image.shape[0], image.shape[1])
        candidates = suppress(decode(found["scores"][0].numpy(), found["faces"][0].numpy(), size, 0.3))
        total += len(faces)
        used = np.zeros(len(candidates), np.bool_)
        for face in faces:
            if not len(candidates):
                continue
            apart = np.linalg.norm((candidates[:, 4:] - face[3:]).reshape(-1, 5, 2), axis=-1).mean(1) / face[2]
            apart[used] = np.inf
            best = int(apart.argmin())
            if apart[best] < 0.15:
                used[best] = True
                errors.append(apart[best])
                for threshold in hits:
                    hits[threshold] += int(candidates[best, 0] >= threshold)
        for threshold in wrong:
            wrong[threshold] += int((candidates[~used, 0] >= threshold).sum())
    figures = {f"recall_{threshold}": 100 * hits[threshold] / max(total, 1) for threshold in hits}
    figures |= {f"wrong_{threshold}": 100 * wrong[threshold] / max(len(scenes), 1) for threshold in wrong}
    return {
        key: round(float(value), 3) for key, value in (figures | {"error": 100 * float(np.mean(errors or [0]))}).items()
    }


def train_detector(
    run: Run,
    photos: Sequence[Photo],
    textures: Sequence[Image],
    validation: Sequence[Photo],
    folder: Path,
    sets: Sequence[str],
    device: str = "cpu",
    validate_every: int = 1000,
    save_every: float = 180.0,
    scenes: int = 400,
) -> FaceDet:
    """Train the detector of ``run`` on scenes of ``photos``, or resume it from ``folder``; the averaged network, which
    is measured on so many ``scenes`` of the ``validation`` photos. ``sets`` are the names of what the photos are from.

    Files as ``loop.train`` writes them. TrainingError when there are no photos, and when ``folder`` holds another run.
    """
    if not photos:
        raise TrainingError("no photos of faces to train the detector on; check --data")
    ignored(folder)
    cv2.setNumThreads(1)
    torch.manual_seed(run.seed)
    network = FaceDet(CELEBA5.size, **run.options).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    optimiser = optimiser_of(network, run)
    state = Checkpoint(folder, run, CELEBA5, sets, network, average, optimiser)
    first = state.load(device)
    unseen = Scenes(validation, textures, 1, run.seed + 1)
    pictures = [unseen.scene(256, np.random.default_rng((run.seed + 1, index))) for index in range(scenes)]
    batches = Scenes(photos, textures, run.batch, run.seed)
    sums: dict[str, Tensor] = {}
    autocast = short_floats(device)
    saved_at, since = time.monotonic(), 0
    for step, (images, targets, states) in enumerate(
        tqdm(
            made_ahead(partial(_batch, batches), first, run.steps),
            initial=first,
            total=run.steps,
            unit=" steps",
            desc=folder.name,
            mininterval=2,
        ),
        first,
    ):
        inputs = normalised(images.to(device), run).to(memory_format=torch.channels_last)
        network.train()
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            cells = network.cells(inputs)
        levels = [(inputs.shape[-1] // stride) ** 2 for stride in STRIDES]
        parts = detection_loss(cells, targets.to(device), states.to(device), levels)
        loss = parts["score"] + 2 * parts["box"] + 5 * parts["points"]
        state.learn(step, loss)
        for key, value in parts.items():
            sums[key] = sums.get(key, torch.zeros((), device=device)) + value.detach()
        since += 1
        if (step + 1) % validate_every == 0 or step + 1 == run.steps:
            means = {key: round(float(value) / since, 4) for key, value in sums.items()}
            sums, since = {}, 0
            line = {"step": step + 1, "time": round(time.time()), "rate": run.rate_at(step), **means}
            line |= measure(average, pictures, run, device)
            write_log(folder, line)
        if time.monotonic() - saved_at > save_every or step + 1 == run.steps:
            state.save(step + 1, (0.0, 0.0))
            saved_at = time.monotonic()
    return average


def _batch(scenes: Scenes, step: int) -> tuple[Tensor, Tensor, Tensor]:
    images, targets, states = scenes[step]
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets), torch.from_numpy(states)
