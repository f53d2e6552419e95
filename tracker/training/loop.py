"""The training loop, from top to bottom.

Everything random follows from the seed, the number of the step and that of the sample in its batch, so that a run that
was broken off and resumed ends where an unbroken one ends, and several processes draw what one would. The rate warms
up, stays, and falls in a straight line to zero over the last part of the run; in that part only the first data set is
used, so that a coarse one can serve before. AAN's own schedule is the other one.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from tracker.backends import Spec
from tracker.core import TrackerError
from tracker.datasets import KEPT_TOO
from tracker.markup import MARKUPS, Markup
from tracker.metrics import in_set_terms, inter_ocular, inter_pupil, nme, oracle_crop
from tracker.networks import Network, build
from tracker.training.augment import augmented
from tracker.training.datasets import LABEL_OFFSET, LabelledFace, label_offset
from tracker.training.losses import LOSSES, contrast
from tracker.training.pictures import ignored, plot_log, write_log, write_samples

log = logging.getLogger(__name__)

T = TypeVar("T")


class TrainingError(TrackerError):
    """A run that cannot start or go on."""


SCHEDULES = ("linear", "aan")
AAN_DROPS = (25_000, 40_000)
"""Steps after which AAN's rate is a tenth of what it was (Yue et al., section 4; its "epochs" read as iterations)."""


@dataclass(frozen=True)
class Run:
    """All that decides what a run ends with."""

    network: str = "trnet20"
    options: dict[str, Any] = field(default_factory=dict)
    loss: str = "enme"
    alpha: float = 2.0
    steps: int = 20000
    batch: int = 64
    rate: float = 2e-3
    warmup: float = 0.02
    decay: float = 0.35
    weight_decay: float = 1e-3
    average: float = 0.999
    coarse: float = 0.4
    context: float = 1.25
    schedule: str = "linear"
    contrast: float = 10.0
    calm: float = 0.5
    jitter: float = 0.5
    frozen: str = ""
    seed: int = 1

    mean = 127.5
    std = 64.0

    def rate_at(self, step: int) -> float:
        if self.schedule == "aan":
            return self.rate * 0.1 ** sum(step >= drop for drop in AAN_DROPS)
        done = step / self.steps
        return self.rate * min(1.0, done / max(self.warmup, 1e-9), (1 - done) / max(self.decay, 1e-9))


Batch = tuple[Tensor, Tensor, Tensor | None]


class Batches:
    """Batch number ``step``: crops (N, 3, S, S) uint8, points (N, P, 2) in crop pixels and which of them are known
    (N, P), or None where every set knows all; from the seed and step. Of ``processes`` processes the one of number
    ``process`` gets its share of the batch."""

    def __init__(
        self,
        sets: Sequence[Sequence[LabelledFace]],
        run: Run,
        size: int,
        markup: Markup,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.sets, self.run, self.size, self.markup = sets, run, size, markup
        self.share = range(process, run.batch, processes)
        self.points = [[face.unbiased for face in faces] for faces in sets]
        self.masked = any(face.known is not None for faces in sets for face in faces)

    def stream(self, first: int) -> Iterator[Batch]:
        """The batches from ``first`` to the last."""
        return made_ahead(self.__getitem__, first, self.run.steps)

    def __getitem__(self, step: int) -> Batch:
        run = self.run
        decaying = step >= run.steps * (1 - run.decay)
        crops, points, masks = [], [], []
        for sample in self.share:
            rng = np.random.default_rng((run.seed, step, sample))
            coarse = len(self.sets) > 1 and rng.random() < run.coarse
            which = int(rng.integers(1, len(self.sets))) if coarse else 0
            if decaying and self.sets[which][0].dataset != "pseudo":  # whose labels are in the terms of the fine set
                which = 0
            index = int(rng.integers(len(self.sets[which])))
            face, truth = self.sets[which][index], self.points[which][index]
            jitter, damage = (run.jitter, run.calm) if decaying else (1.0, 1.0)
            crop, moved, known = augmented(
                face.image, truth, self.markup, run.context, self.size, rng, face.known, jitter, damage
            )
            crops.append(crop)
            points.append(moved)
            if self.masked:
                masks.append(np.ones(self.markup.size, np.bool_) if known is None else known)
        images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return images, torch.from_numpy(np.stack(points)), torch.from_numpy(np.stack(masks)) if masks else None


def made_ahead(make: Callable[[int], T], first: int, last: int) -> Iterator[T]:
    """``make`` of every number from ``first`` to before ``last``, made ahead in one thread: numpy and OpenCV leave the
    interpreter's lock while they work, and a process of its own would need a copy of the pictures."""
    with ThreadPoolExecutor(1) as worker:
        ahead: deque[Future[T]] = deque()
        try:
            for step in range(first, last):
                ahead.append(worker.submit(make, step))
                if len(ahead) > 4:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def optimiser_of(network: nn.Module, run: Run) -> torch.optim.Optimizer:
    """AdamW, which lets biases and normalisations be."""
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": run.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=run.rate)


@dataclass
class Checkpoint:
    """A run under way, and its ``checkpoint.pt`` in ``folder``: all that it needs to go on, and to be exported."""

    folder: Path
    run: Run
    markup: Markup
    sets: Sequence[str]
    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    all_faces: bool = False
    pseudo: Sequence[str] = ()
    kept_too: bool = False

    def load(self, device: str) -> int:
        """Take up what was saved, if anything was; the step to go on with. TrainingError when it is another run's,
        or has more steps behind it than this one is to have."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return 0
        now = asdict(self.run) | {"markup": self.markup.name, "sets": list(self.sets), "all_faces": self.all_faces}
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
            stated = {key: saved[key] for key in ("markup", "sets", "all_faces") if key in saved}
            before = now | asdict(Run()) | saved["run"] | {"markup": "ibug68"} | stated  # older ones state less
        except Exception as error:  # torch raises many kinds
            raise TrainingError(f"{path}: cannot be read; take it away to begin anew") from error
        if changed := {key for key, value in now.items() if before[key] != value} - {"steps"}:
            raise TrainingError(
                f"{self.folder}: holds a run that differs in {', '.join(sorted(changed))}; give another --out or the "
                "same options"
            )
        try:
            step = int(saved["step"])
            if step > self.run.steps:
                raise TrainingError(f"{path}: has {step} steps behind it; give --steps {step} or more")
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.kept_too |= bool(saved.get("kept_too"))
            return step
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise TrainingError(f"{path}: is not the checkpoint of this run; take it away to begin anew") from error

    def learn(self, step: int, loss: Tensor) -> None:
        """One step down the gradient of ``loss``, at the rate of that step; the average follows."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.run.rate_at(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        _averaged(self.average, self.network, min(self.run.average, (1 + step) / (10 + step)))

    def save(self, step: int, offset: tuple[float, float]) -> None:
        state = {
            "offset": offset,
            "run": asdict(self.run),
            "markup": self.markup.name,
            "sets": list(self.sets),
            "all_faces": self.all_faces,
            "pseudo": list(self.pseudo),
            "kept_too": self.kept_too,
            "step": step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_checkpoint(self.folder, state)


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """``checkpoint.pt``, whole or not at all."""
    part = folder / "checkpoint.part"
    torch.save(state, part)
    os.replace(part, folder / "checkpoint.pt")


def train(
    run: Run,
    sets: Sequence[Sequence[LabelledFace]],
    validation: Sequence[LabelledFace],
    folder: Path,
    device: str = "cpu",
    validate_every: int = 1000,
    save_every: float = 180.0,
    process: int = 0,
    processes: int = 1,
    start: Path | None = None,
    all_faces: bool = False,
) -> Network:
    """Train ``run`` on ``sets`` (the first is the fine one), or resume it from ``folder``; the averaged network. A new
    run begins with those weights of ``start``, a run or a ``.safetensors`` file, that fit. ``all_faces`` notes that the
    validation faces are among those of ``sets``; that they were learnt from, here or before ``start``, is what the
    exported model says.

    Writes ``checkpoint.pt`` every ``save_every`` seconds; at every validation a line of ``log.jsonl``, its curves
    ``log.png`` and the faces of ``samples.jpg``; at the end ``final.json``. There, and in the last checkpoint, the
    offset of the labels is the one learnt on the training faces, where the set's labels have one. With several
    ``processes``, each trains on its share of every batch, and number 0 measures and writes. TrainingError when a set
    is empty, when the sets have several markups, when ``run.frozen`` names no part of the network or there is no
    ``start`` to take its weights from, and when ``folder`` holds another run, or one of more steps.
    """
    markup, dataset = _markup(sets), sets[0][0].dataset
    if "heads" in run.options:
        raise TrainingError("--options heads: they are trained afterwards; see python -m tracker.training heads --help")
    for name, least in (("batch", 1), ("steps", 1), ("seed", 0), ("context", 0.1)):
        if getattr(run, name) < least:
            raise TrainingError(f"--{name} {getattr(run, name)}: give a number from {least}")
    if run.batch % processes:
        raise TrainingError(f"--batch {run.batch}: cannot be shared by {processes} processes; give a multiple of them")
    if run.frozen and start is None:
        raise TrainingError(f"--frozen {run.frozen}: keeps weights as --start gives them; give it too")
    cv2.setNumThreads(1)
    torch.manual_seed(run.seed)
    try:
        network = build(run.network, markup.size, run.options).to(device)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"--options {run.options}: not of {run.network} ({error}); see networks/") from error
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = frozen(network, run.frozen)
    if process == 0:
        ignored(folder)
    kept_too = all_faces
    if start is not None and not (folder / "checkpoint.pt").exists():
        kept_too |= take_over(network, start)
    average = copy.deepcopy(network).eval()
    optimiser = optimiser_of(network, run)
    loss_of = LOSSES[run.loss]
    keywords = {"alpha": run.alpha} if run.loss in ("le", "enme") else {}

    names, pseudo = [faces[0].dataset for faces in sets], pseudo_folders(sets)
    state = Checkpoint(folder, run, markup, names, network, average, optimiser, all_faces, pseudo, kept_too)
    first = state.load(device)
    size = network.input_size
    stream = Batches(sets, run, size, markup, process, processes).stream(first)
    replica = network if processes == 1 else DistributedDataParallel(network)
    autocast = short_floats(device)
    saved_at, losses = time.monotonic(), []
    for step, (crops, truth, known) in enumerate(
        tqdm(
            stream,
            initial=first,
            total=run.steps,
            unit=" steps",
            desc=folder.name,
            mininterval=2,
            disable=process > 0,
        ),
        first,
    ):
        inputs = normalised(crops.to(device), run).to(memory_format=torch.channels_last)
        truth = truth.to(device)
        known = None if known is None else known.to(device)
        network.train()
        for part in kept:
            part.eval()
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            found = replica(inputs)
        predictions = [value for key, value in found.items() if key == "points" or key.startswith("early")]
        errors = (loss_of(p.float(), truth, known=known, **keywords) for p in predictions)
        loss = sum(errors, torch.zeros((), device=device))
        if maps := [value for key, value in found.items() if key.startswith("attention")]:
            loss = loss + run.contrast * contrast(maps, truth, size, known)
        state.learn(step, loss)
        losses.append(loss.detach())
        if (step + 1) % validate_every == 0 or step + 1 == run.steps:
            mean_loss, losses = torch.stack(losses).mean(), []
            if processes > 1:
                distributed.all_reduce(mean_loss)
            if process == 0:
                line = {
                    "step": step + 1,
                    "time": round(time.time()),
                    "rate": run.rate_at(step),
                    "loss": round(float(mean_loss) / processes, 4),
                    **measure(average, validation, run, device),
                }
                write_log(folder, line)
                plot_log(folder)
                if validation:
                    write_samples(folder / "samples.jpg", validation, predict(average, validation, run, device))
        if process == 0 and (time.monotonic() - saved_at > save_every or step + 1 == run.steps):
            state.save(step + 1, label_offset(dataset))
            saved_at = time.monotonic()
    if process > 0:
        return average
    figures = measure(average, sets[0], run, device)
    offset = (figures["offset_x"], figures["offset_y"]) if dataset in LABEL_OFFSET else (0.0, 0.0)
    final = {"training": figures, "validation": measure(average, validation, run, device, offset)}
    (folder / "final.json").write_text(json.dumps(final, indent=1) + "\n")
    state.save(run.steps, offset)
    return average


@contextmanager
def joined(device: str) -> Iterator[tuple[int, int]]:
    """The number of this process and how many there are; under ``torchrun`` they are joined for as long as it lasts."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield 0, 1
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield distributed.get_rank(), distributed.get_world_size()
    finally:
        distributed.destroy_process_group()


def open_run(folder: Path) -> tuple[dict[str, Any], Run, Markup, Network]:
    """The checkpoint in ``folder``, and what it holds: its run, its markup, and the averaged network, ready to
    predict. TrainingError when there is none."""
    try:
        saved = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
        run, markup = Run(**saved["run"]), MARKUPS[saved.get("markup", "ibug68")]  # older ones do not state it
        network = build(run.network, markup.size, run.options)
        network.load_state_dict(saved["average"])
    except Exception as error:  # torch raises many kinds
        raise TrainingError(f"{folder}: holds no run of tracker.training; give the folder of its --out") from error
    return saved, run, markup, network.eval()


def require_faces(folder: Path, markup: Markup, *groups: Sequence[LabelledFace]) -> None:
    """TrainingError unless there are faces in every one of ``groups``, all with the points of the run in ``folder``."""
    if not all(groups) or {face.markup.name for faces in groups for face in faces} != {markup.name}:
        kinds = " and validation" if len(groups) > 1 else ""
        raise TrainingError(f"{folder}: needs training{kinds} faces with the points of {markup.name}")


def short_floats(device: str) -> bool:
    """Whether bfloat16 is the faster way to train here: on a GPU, and on a processor with AMX, where AAN's step takes
    0.56 s. On an Intel Xeon with AVX-512 but no AMX it took 0.98 s and TRNet's 1.10, in fp32 0.88 and 0.75; on an AMD
    Zen 3 TRNet's took 15 s in place of 1.3 (medians of ten or so, one thread)."""
    return device != "cpu" or (torch.backends.mkldnn.is_available() and torch.cpu._is_amx_tile_supported())


def frozen(network: nn.Module, names: str) -> list[nn.Module]:
    """Those parts of ``network`` whose ``names`` stand there by comma, which learn no more and are spared the way
    back; their normalisation stays what it was. TrainingError for a name that is none."""
    parts = dict(network.named_modules())
    wanted = [name for name in names.split(",") if name]
    if unknown := sorted(set(wanted) - set(parts)):
        there = ", ".join(name for name, part in network.named_children() if list(part.parameters()))
        raise TrainingError(f"--frozen {','.join(unknown)}: no such part of the network; there are {there}")
    return [parts[name].requires_grad_(False) for name in wanted]


def take_over(network: nn.Module, start: Path) -> bool:
    """Give ``network`` those weights of ``start``, the folder of a run or a ``.safetensors`` file, that have its names
    and shapes; whether they have learnt from the faces kept for validation. TrainingError when it is another kind of
    network, or has other filters."""
    if start.suffix == ".safetensors":
        try:
            theirs = load_file(start)
            with safe_open(str(start), framework="pt") as file:
                spec = json.loads((file.metadata() or {}).get(Spec.KEY, "{}"))
            options, kept_too = spec.get("options", {}), KEPT_TOO in spec.get("data", ())
        except Exception as error:  # safetensors raises many kinds
            raise TrainingError(
                f"--start {start}: cannot be read; give a file of weights or the folder of a run"
            ) from error
    else:
        saved, run, _, before = open_run(start)
        theirs, options, kept_too = before.state_dict(), run.options, bool(saved.get("kept_too"))
    ours = network.state_dict()
    fitting = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    if len(set(theirs) & set(ours)) < len(ours) / 2:
        raise TrainingError(f"--start {start}: holds another kind of network; give one of the same --network")
    if any(value.ndim == 4 and name not in fitting for name, value in theirs.items() if name in ours):
        widths = f", as --options '{json.dumps({'widths': options['widths']})}'" if "widths" in options else ""
        raise TrainingError(f"--start {start}: its network has other filters; give the widths that it has{widths}")
    network.load_state_dict({**ours, **fitting})
    if new := sorted(set(ours) - set(fitting)):
        log.info("begins with the weights of %s; new are %s", start, ", ".join(new))
    return kept_too


def normalised(crops: Tensor, run: Run) -> Tensor:
    """uint8 crops as the network reads them."""
    return (crops.float() - run.mean) / run.std


def predict(network: Network, faces: Sequence[LabelledFace], run: Run, device: str) -> npt.NDArray[np.float64]:
    """Points (N, P, 2) in the pixels of each face's image, by the oracle box and one forward pass."""
    crops = [oracle_crop(face.known_points, run.context, network.input_size) for face in faces]
    found: list[npt.NDArray[np.float64]] = []
    network.eval()
    for start in range(0, len(faces), 64):
        part = slice(start, start + 64)
        cut = np.stack([crop.cut(face.image) for crop, face in zip(crops[part], faces[part], strict=True)])
        inputs = normalised(torch.from_numpy(cut).permute(0, 3, 1, 2).to(device), run)
        with torch.inference_mode():
            points = network(inputs.contiguous(memory_format=torch.channels_last))["points"].cpu().numpy()
        found += [crop.to_frame(p) for crop, p in zip(crops[part], points, strict=True)]
    return np.stack(found)


def measure(
    network: Network,
    faces: Sequence[LabelledFace],
    run: Run,
    device: str = "cpu",
    offset: tuple[float, float] | None = None,
) -> dict[str, float]:
    """Oracle-box NME in per cent on ``faces`` of one set: of the points as tracked, and in the set's own terms by
    ``offset`` (by default the one that training takes off); and the mean offset of the labels from the points, in
    eye-corner distances. Where the set has face boxes, also the NME over the box's size, the root of its area.

    Only known points count, and in what is divided by an eye distance only faces that have one.
    """
    if not faces:
        return {}
    markup = faces[0].markup
    truth = np.stack([face.points for face in faces]).astype(np.float64)
    points = predict(network, faces, run, device)
    own = in_set_terms(points, markup, offset or label_offset(faces[0].dataset))
    known = np.stack([face.known_mask for face in faces])
    figures: dict[str, Any] = {}
    boxes = [face.box for face in faces if face.box is not None]
    if len(boxes) == len(faces):
        sizes = np.sqrt([box.area for box in boxes])
        figures["nme_box"] = nme(own, truth, sizes, known).mean() * 100
    sized = np.array([face.has_eyes for face in faces])
    if sized.any():
        truth, points, own, known = truth[sized], points[sized], own[sized], known[sized]
        eyes, pupils = inter_ocular(truth, markup), inter_pupil(truth, markup)
        shifts = (truth - points).mean(1, where=known[..., None])
        dx, dy = (shifts / eyes[:, None]).mean(0)
        figures |= {
            "nme_pupil": nme(own, truth, pupils, known).mean() * 100,
            "nme_ocular": nme(own, truth, eyes, known).mean() * 100,
            "nme_pupil_tracked": nme(points, truth, pupils, known).mean() * 100,
            "offset_x": dx,
            "offset_y": dy,
        }
    return {key: round(float(value), 4) for key, value in figures.items()}


def pseudo_folders(sets: Sequence[Sequence[LabelledFace]]) -> list[str]:
    """The first folders of the faces with pseudo-labels, which tell what their pictures are from."""
    names = (face.name for faces in sets for face in faces if face.dataset == "pseudo")
    return sorted({name.partition("/")[0] for name in names if "/" in name})


def _markup(sets: Sequence[Sequence[LabelledFace]]) -> Markup:
    """The one markup of all faces."""
    if not sets or not all(sets):
        raise TrainingError("a set without training faces; leave it out of --sets, or check its folder")
    markups = {face.markup.name: face.markup for faces in sets for face in faces}
    if len(markups) > 1:
        raise TrainingError(f"sets of several markups ({', '.join(sorted(markups))}); a run trains one: part --sets")
    return next(iter(markups.values()))


@torch.no_grad()
def _averaged(average: nn.Module, network: nn.Module, keep: float) -> None:
    for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new.detach(), 1 - keep)
        else:
            old.copy_(new)
