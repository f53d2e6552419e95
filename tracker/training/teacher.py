"""How the teacher is trained, and how it labels (``networks.teacher`` is the network, ``mesh`` where it starts).

It sees faces at their own mesh, so that it has little to learn but how our labels differ from the mesh; what it knows
of faces beyond the few thousand of 300-W is the mesh's. One that follows another may also see faces that were labelled
with the help of the first.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tracker.core import Crop, Image, Points
from tracker.markup import MARKUPS, Markup
from tracker.metrics import inter_pupil, nme
from tracker.networks.teacher import Teacher
from tracker.training.augment import photographed
from tracker.training.datasets import LabelledFace
from tracker.training.loop import Checkpoint, Run, TrainingError, made_ahead, normalised, optimiser_of, short_floats
from tracker.training.losses import distances
from tracker.training.mesh import LOOKS, VERTICES, FaceMesh, Floats, Form, Placed, upright
from tracker.training.pictures import ignored, write_log

WHOLE = 3
"""How many times as often a training crop lies by the mean of all looks' meshes as by that of one of them, whose error
is a natural jitter."""


MESH = np.dtype([("picture", "S32"), ("mesh", np.float32, (2 * len(LOOKS), VERTICES, 3))])
"""A row of a file of meshes: a mesh, and the MD5 of the picture it was found in."""


def teaching_run(steps: int, seed: int) -> Run:
    """What decides how a teacher ends; ``coarse`` is the share of labelled faces that are not 300-W's, if there are."""
    return Run("teacher", steps=steps, batch=32, decay=0.5, weight_decay=0.05, average=0.998, coarse=0.5, seed=seed)


class Seen:
    """Faces as the teacher learns from them: pictures (N, 256, 256, 3), points (N, P, 2) in their pixels, and the
    meshes (N, 2 ``LOOKS``, 478, 3) that MediaPipe finds; of the faces on which it finds one in every look. Meshes are
    written to ``kept``, a file, as they are found, and taken from there if they were found before."""

    def __init__(self, faces: Sequence[LabelledFace], mesh: FaceMesh, purpose: str, kept: Path) -> None:
        pictures, points, meshes = [], [], []
        store = _store(kept, len(faces))
        digests, found = store["picture"], store["mesh"]
        for row, face in enumerate(tqdm(faces, desc=f"meshes of {purpose} faces", unit=" faces")):
            crop = upright(face.points, face.markup)
            picture = crop.cut(face.image)
            digest = hashlib.md5(picture.tobytes(), usedforsecurity=False).hexdigest().encode()
            if digests[row] != digest:
                found[row] = mesh(picture)
                digests[row] = digest
            if np.isfinite(found[row]).all():
                pictures.append(picture)
                points.append(crop.to_input(face.unbiased))
                meshes.append(found[row])
        if not pictures:
            raise TrainingError(f"MediaPipe finds no mesh on any of {len(faces)} {purpose} faces; check --data")
        self.pictures, self.points, self.meshes = np.stack(pictures), np.stack(points), np.stack(meshes)

    def placed(self, form: Form, size: int) -> list[Placed]:
        """Where the meshes of each look, and often their mean, put the faces."""
        looks = self.meshes
        each = [form.placed(looks[:, look], size) for look in range(looks.shape[1])]
        return each + [form.placed(looks.mean(1), size)] * WHOLE


def _store(path: Path, rows: int) -> Any:
    """The file of meshes as an array, on disk; a new one where there is none of that size."""
    try:
        store = np.lib.format.open_memmap(path, "r+")
        if store.dtype == MESH and store.shape == (rows,):
            return store
    except (OSError, ValueError):
        pass
    return np.lib.format.open_memmap(path, "w+", MESH, (rows,))


def train_teacher(
    run: Run,
    faces: Sequence[LabelledFace],
    validation: Sequence[LabelledFace],
    folder: Path,
    mesh: FaceMesh,
    validate_every: int = 250,
    save_every: float = 180.0,
    labelled: Sequence[LabelledFace] = (),
) -> nn.Module:
    """Train the teacher on ``faces``, or resume it from ``folder``; the averaged network. Of the samples the share
    ``run.coarse`` is of faces that others have ``labelled``, if there are any.

    Writes ``form.npz``, ``checkpoint.pt``, the meshes and ``log.jsonl``, in which ``nme_start`` is the error of the
    points that follow from the mesh alone, ``nme`` the teacher's (inter-pupil, in per cent, against the unbiased
    labels; mean of the face and its mirror image). TrainingError for no faces, or another run's folder."""
    if not faces or not validation:
        raise TrainingError("no faces to train or to validate the teacher on; is 300-W whole?")
    markup = faces[0].markup
    if wrong := next((face for face in labelled if face.markup != markup), None):
        raise TrainingError(f"{wrong.name}: labelled with {wrong.markup.name}; the teacher learns {markup.name}")
    ignored(folder)
    cv2.setNumThreads(1)
    torch.manual_seed(run.seed)
    network = Teacher(markup.size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    optimiser = optimiser_of(network, run)
    names = [faces[0].dataset, *sorted({face.dataset for face in labelled})]
    state = Checkpoint(folder, run, markup, names, network, average, optimiser)
    first = state.load("cpu")
    sets = [
        Seen(some, mesh, purpose, folder / f"meshes-{purpose}.npy")
        for purpose, some in (("training", faces), ("labelled", labelled))
        if some
    ]
    unseen = Seen(validation, mesh, "validation", folder / "meshes-validation.npy")
    seen = sets[0]
    form = Form.load(folder / "form.npz") if first else Form.learnt(seen.meshes.mean(1), seen.points, markup)
    form.save(folder / "form.npz")
    size = network.input_size
    sources = [(some, some.placed(form, size)) for some in sets]
    start = form.placed(unseen.meshes.mean(1), size)

    def batch(step: int) -> tuple[Tensor, ...]:
        numbers = (np.random.default_rng((run.seed, step, sample)) for sample in range(run.batch))
        samples = [_sample(sources, run.coarse, markup, size, rng) for rng in numbers]
        crops, *others = (torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True))
        return (crops.permute(0, 3, 1, 2), *(part.float() for part in others))

    losses: list[Tensor] = []
    saved_at = time.monotonic()
    batches = tqdm(made_ahead(batch, first, run.steps), initial=first, total=run.steps, unit=" steps", desc=folder.name)
    for step, (crops, points, truth, codes) in enumerate(batches, first):
        network.train()
        torch.manual_seed(1_000_003 * run.seed + step)  # what is dropped follows from the step, as all else does
        with torch.autocast("cpu", torch.bfloat16, enabled=short_floats("cpu")):
            found = network(normalised(crops, run).to(memory_format=torch.channels_last), points, codes)
        loss = torch.stack([distances(one, truth).mean() for one in found]).sum()
        state.learn(step, loss)
        losses.append(loss.detach())
        if (step + 1) % validate_every == 0 or step + 1 == run.steps:
            normaliser = inter_pupil(unseen.points, markup)
            after = located(average, unseen.pictures, start, markup, run)
            line: dict[str, Any] = {"step": step + 1, "time": round(time.time()), "rate": run.rate_at(step)}
            line["loss"], losses = round(float(torch.stack(losses).mean()), 4), []
            for name, values in (("nme_start", start.points), ("nme", after)):
                line[name] = round(100 * float(nme(values, unseen.points, normaliser).mean()), 4)
            write_log(folder, line)
        if time.monotonic() - saved_at > save_every or step + 1 == run.steps:
            state.save(step + 1, (0.0, 0.0))
            saved_at = time.monotonic()
    return average


def _sample(
    sources: Sequence[tuple[Seen, Sequence[Placed]]],
    share: float,
    markup: Markup,
    size: int,
    rng: np.random.Generator,
) -> tuple[Image, Floats, Floats, npt.NDArray[np.float32]]:
    """A crop, the points to start from and the true ones in its pixels, and the code of the mesh's shape; of the second
    source, if there is one, for ``share`` of them."""
    seen, placed = sources[-1] if len(sources) > 1 and rng.random() < share else sources[0]
    index = int(rng.integers(len(seen.pictures)))
    points, matrix, code, mirrored_code = placed[int(rng.integers(len(placed)))][index]
    mirrored = rng.random() < 0.5
    matrix = _jittered(matrix, size, rng)
    crop: Any = cv2.warpAffine(seen.pictures[index], matrix, (size, size))
    start, truth = (_moved(matrix, one) for one in (points, seen.points[index]))
    if mirrored:
        crop = np.ascontiguousarray(crop[:, ::-1])
        start, truth, code = _turned(start, markup, size), _turned(truth, markup, size), mirrored_code
    return photographed(crop, rng, 0.6), start, truth, code


def _jittered(matrix: Floats, size: int, rng: np.random.Generator) -> Floats:
    """A placement turned, scaled and shifted a little about the middle of the crop."""
    angle, scale = rng.normal(0, 0.1), math.exp(rng.normal(0, 0.07))
    shift, middle = rng.normal(0, 0.03, 2) * size, (size - 1) / 2
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn @ matrix[:, :2], turn @ (matrix[:, 2] - middle) + middle + shift])


def _moved(matrix: Floats, points: Floats) -> Floats:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _turned(points: Floats, markup: Markup, size: int) -> Floats:
    """The points (..., P, 2) of the mirror image of a crop."""
    turned = points[..., list(markup.mirror), :]
    turned[..., 0] = size - 1 - turned[..., 0]
    return turned


@torch.inference_mode()
def located(
    network: nn.Module, pictures: npt.NDArray[np.uint8], placed: Placed, markup: Markup, run: Run, batch: int = 64
) -> Floats:
    """Points (N, P, 2) in pixels of ``pictures``: the mean of what the teacher finds in the crop and in its mirror
    image."""
    network.eval()
    size, found = Teacher.input_size, []
    for first in range(0, len(pictures), batch):
        part = range(first, min(first + batch, len(pictures)))
        crops = np.stack([cv2.warpAffine(pictures[n], placed.matrices[n], (size, size)) for n in part])
        starts = np.stack([_moved(placed.matrices[n], placed.points[n]) for n in part])
        ways = (
            (crops, starts, placed.codes),
            (crops[:, :, ::-1], _turned(starts, markup, size), placed.mirrored_codes),
        )
        both = []
        for views, points, codes in ways:
            inputs = normalised(torch.from_numpy(np.ascontiguousarray(views)).permute(0, 3, 1, 2), run)
            start = torch.from_numpy(points).float()
            code = torch.from_numpy(codes[part.start : part.stop])
            both.append(network(inputs.contiguous(memory_format=torch.channels_last), start, code)[-1].double().numpy())
        mean = (both[0] + _turned(both[1], markup, size)) / 2
        back = (cv2.invertAffineTransform(placed.matrices[n]) for n in part)
        found.append(np.stack([_moved(matrix, points) for matrix, points in zip(back, mean, strict=True)]))
    return np.concatenate(found)


class Labeller:
    """The finished teachers of the runs in ``folders``: called with an image and about where the points of a face are,
    they give the points (P, 2) in frame pixels, the mean of what each finds; None where MediaPipe finds no mesh in one
    of its looks. TrainingError when one of them is no such run."""

    def __init__(self, folders: Sequence[Path], mesh: FaceMesh) -> None:
        self.mesh, self.teachers = mesh, [_finished(folder) for folder in folders]
        self.markup: Markup = self.teachers[0][1]

    def __call__(self, image: Image, points: Points) -> Points | None:
        crop: Crop = upright(points, self.markup)
        picture = crop.cut(image)
        looks = self.mesh(picture)
        if not np.isfinite(looks).all():
            return None
        found = []
        for run, markup, network, form in self.teachers:
            placed = form.placed(looks.mean(0)[None], Teacher.input_size)
            found.append(located(network, picture[None], placed, markup, run)[0])
        return crop.to_frame(np.mean(found, 0)).astype(np.float32)


def _finished(folder: Path) -> tuple[Run, Markup, nn.Module, Form]:
    try:
        saved = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
        run, markup = Run(**saved["run"]), MARKUPS[saved["markup"]]
        network = Teacher(markup.size).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.load_state_dict(saved["average"])
    except Exception as error:  # torch raises many kinds
        raise TrainingError(f"{folder}: holds no teacher; give the folder of 'teacher' --out") from error
    return run, markup, network, Form.load(folder / "form.npz")
