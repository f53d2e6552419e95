"""Caps for the maps of a trained TRNet-20: how large they get on training faces, and no larger on any crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tracker.networks.trnet import Rectifier, TRNet20
from tracker.training.augment import placed
from tracker.training.datasets import LabelledFace
from tracker.training.heads import planes
from tracker.training.loop import TrainingError, open_run, require_faces, write_checkpoint
from tracker.training.pictures import ignored

FACES = 600
"""Faces to look at; of more, every second, every third ... is taken."""

VIEWS = 4
"""Crops of each, placed as a tracker may place them."""

PART = 0.99
"""Of all crops, the part whose largest value is within the cap. One face in a hundred is left out because a network may
run away on a face that it has learnt from."""


def cap(folder: Path, out: Path, faces: Sequence[LabelledFace]) -> list[int]:
    """Give the averaged network of the run in ``folder`` caps, in whole numbers, and write it to ``out`` as a run that
    ``heads`` and ``export`` take; the caps, in the order of TRNet20's. TrainingError when there is no such run, or no
    face."""
    saved, run, markup, network = open_run(folder)
    if not isinstance(network, TRNet20):
        raise TrainingError(f"{folder}: holds no TRNet-20, the only network with caps")
    require_faces(folder, markup, faces)
    rectifiers = [module for module in network.modules() if isinstance(module, Rectifier)]
    largest: dict[nn.Module, list[Tensor]] = {module: [] for module in rectifiers}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        largest[module].append(output.amax((1, 2, 3)))

    hooks = [module.register_forward_hook(note) for module in rectifiers]
    for index, face in enumerate(tqdm(faces[:: -(-len(faces) // FACES)], unit=" faces", desc="caps")):
        rng = np.random.default_rng((run.seed, index))
        views = [
            placed(face.image, face.unbiased, markup, run.context, network.input_size, rng, face.known)[0]
            for _ in range(VIEWS)
        ]
        with torch.inference_mode():
            network(planes(np.stack(views), run))
    for hook in hooks:
        hook.remove()
    caps = [max(math.ceil(float(torch.cat(largest[module]).quantile(PART))), 1) for module in rectifiers]
    ignored(out)
    write_checkpoint(out, saved | {"run": asdict(replace(run, options={**run.options, "caps": caps}))})
    return caps
