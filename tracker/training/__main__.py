"""``python -m tracker.training``: train, revive, mean, refine, caps, heads, export, quantise, compare, attention,
ablations; teacher and label for faces without labels; others and detector for the face detector."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from tracker.backends import weights_folder
from tracker.core import TrackerError
from tracker.detector import load_detector
from tracker.model import load_model
from tracker.networks import NETWORKS
from tracker.training.ablations import ablate
from tracker.training.attention import attention
from tracker.training.caps import cap
from tracker.training.compare import compare
from tracker.training.datasets import LabelledFace, held_out
from tracker.training.detect import train_detector
from tracker.training.export import export
from tracker.training.heads import described, train_heads
from tracker.training.label import label, other_faces, read_others
from tracker.training.loop import SCHEDULES, Run, joined, open_run, train
from tracker.training.losses import LOSSES
from tracker.training.mean import mean
from tracker.training.mesh import FaceMesh
from tracker.training.quantise import quantise
from tracker.training.readers import READERS, THINNED, VALIDATION
from tracker.training.refine import refine
from tracker.training.revive import revive
from tracker.training.scenes import photos, textures
from tracker.training.teacher import Labeller, teaching_run, train_teacher

SETS = f"sets by comma, of one markup and the fine one first (300w,ytf68); there are {', '.join(READERS)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tracker.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the sets (default: data)")
    data.add_argument("--every", type=int, default=10, help=f"of {', '.join(sorted(THINNED))} take every n-th (10)")
    training = commands.add_parser("train", parents=[data], help="train a network, or resume it where it stopped")
    training.add_argument("--sets", default="300w,ytf68", help=SETS)
    training.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the log")
    training.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    training.add_argument(
        "--start", type=Path, metavar="RUN", help="folder of a run, or .safetensors file, whose weights it begins with"
    )
    training.add_argument("--all-faces", action="store_true", help="the last run: train on the validation faces too")
    default = Run()
    networks = sorted(set(NETWORKS) - {"facedet"})
    choices = {"network": networks, "loss": sorted(LOSSES), "schedule": SCHEDULES}
    for option in fields(Run):
        value = getattr(default, option.name)
        kind = json.loads if option.name == "options" else type(value)
        name = "--" + option.name.replace("_", "-")
        training.add_argument(name, type=kind, default=value, choices=choices.get(option.name), help=f"({value})")
    reviving = commands.add_parser(
        "revive", parents=[data], help="make a TRNet or AAN that has learnt for long able to learn on"
    )
    reviving.add_argument("run", type=Path, help="the folder given to train --out")
    reviving.add_argument("--out", type=Path, required=True, help="folder for what another run may --start with")
    reviving.add_argument(
        "--widths",
        type=_widths,
        default=(),
        metavar="A,B,C,D",
        help="an AAN: filters of its four blocks from now on, no fewer than it has",
    )
    averaging = commands.add_parser("mean", help="the mean of two runs, one of which began with the other's weights")
    averaging.add_argument("first", type=Path, help="the folder of a run")
    averaging.add_argument("second", type=Path, help="that of another run of the same network")
    averaging.add_argument("--out", type=Path, required=True, help="folder for the network")
    refining = commands.add_parser("refine", parents=[data], help="retrain a run's last layer part by part")
    refining.add_argument("run", type=Path, help="the folder given to train --out")
    refining.add_argument("--out", type=Path, required=True, help="folder for the refined network")
    refining.add_argument("--steps", type=int, default=2000, help="(2000)")
    capping = commands.add_parser(
        "caps", parents=[data], help="bound a TRNet's maps by what they are on training faces"
    )
    capping.add_argument("run", type=Path, help="the folder given to train --out or refine --out")
    capping.add_argument("--out", type=Path, required=True, help="folder for the network with caps")
    heading = commands.add_parser(
        "heads", parents=[data], help="train a run's confidence and presence; its points stay"
    )
    heading.add_argument("run", type=Path, help="the folder given to --out of train, refine or caps")
    heading.add_argument("--out", type=Path, required=True, help="folder for the network with heads")
    ablating = commands.add_parser("ablations", parents=[data], help="both papers' tables, by short runs on 300-W")
    ablating.add_argument("--out", type=Path, required=True, help="folder for the runs and their tables.md")
    ablating.add_argument("--steps", type=int, default=2000, help="steps of each run, AAN's have half (2000)")
    ablating.add_argument("--seed", type=int, default=1, help="(1)")
    comparing = commands.add_parser("compare", parents=[data], help="measure models on the validation faces of a set")
    comparing.add_argument("--set", default="300w", help="the set (300w)")
    comparing.add_argument("models", nargs="+", metavar="MODEL", help="name of a model, or path to a file")
    attending = commands.add_parser(
        "attention", parents=[data], help="measure AAN's maps on the validation faces of 300-W"
    )
    attending.add_argument("model", help="name of a model, or path to a file")
    detecting = commands.add_parser("detector", parents=[data], help="train the face detector, or resume it")
    detecting.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the log")
    detecting.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    detecting.add_argument("--labelled", type=Path, nargs="*", default=[], help="folders that 'label' wrote")
    detecting.add_argument("--others", type=Path, help="file that 'others' wrote: faces without a label, not asked for")
    detecting.add_argument("--steps", type=int, default=30000, help="(30000)")
    detecting.add_argument("--batch", type=int, default=24, help="scenes of 256 pixels a step (24)")
    detecting.add_argument("--seed", type=int, default=1, help="(1)")
    labelling = commands.add_parser("label", help="give the faces of a folder of pictures the landmarks a model finds")
    labelling.add_argument("folder", type=Path, help="pictures, with or without a trainImageList.txt of five points")
    labelling.add_argument("--out", type=Path, required=True, help="folder for pictures and .pts files")
    labelling.add_argument("--model", default="trnet-68", help="name of a model, or path to a file (trnet-68)")
    labelling.add_argument(
        "--teacher", type=Path, nargs="+", metavar="RUN", help="folders of 'teacher', the mean of whose points is taken"
    )
    labelling.add_argument("--beside", help="beside a teacher: a second model, whose errors are others")
    teaching = commands.add_parser(
        "teacher", parents=[data], help="train the network that labels faces, or resume it (needs MediaPipe)"
    )
    teaching.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the log")
    teaching.add_argument(
        "--labelled",
        type=Path,
        nargs="*",
        default=[],
        help="folders that 'label' wrote: every second sample is of them",
    )
    teaching.add_argument("--steps", type=int, default=1800, help="(1800)")
    teaching.add_argument("--seed", type=int, default=1, help="(1)")
    seeking = commands.add_parser("others", parents=[data], help="find the faces without a label in labelled pictures")
    seeking.add_argument("--labelled", type=Path, nargs="*", default=[], help="folders that 'label' wrote")
    seeking.add_argument("--out", type=Path, required=True, help="file to write (.json)")
    for parser_ in (labelling, seeking):
        parser_.add_argument("--detector", default="far", help="see python -m tracker track --help (far)")
    quantising = commands.add_parser("quantise", parents=[data], help="write a model's NAME-int8.onnx")
    quantising.add_argument("model", help="name of a model, or path to a .onnx file")
    quantising.add_argument("--set", default="300w", help="set whose training faces it is calibrated on (300w)")
    quantising.add_argument(
        "--out", type=Path, default=weights_folder(), help="folder to write to (default: the program's own weights)"
    )
    quantising.add_argument(
        "--full-range", action="store_true", help="weights of 8 bits, for processors with VNNI only"
    )
    exporting = commands.add_parser("export", help="write a run's network as NAME.onnx and NAME.safetensors")
    exporting.add_argument("run", type=Path, help="the folder given to train --out")
    exporting.add_argument("--name", required=True, help="name of the model, for example trnet-68")
    exporting.add_argument(
        "--out", type=Path, default=weights_folder(), help="folder to write to (default: the program's own weights)"
    )
    exporting.add_argument("--version", default="1", help="version written into the Spec (1)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if given.command == "export":
            export(given.run, given.out, given.name, given.version)
        elif given.command == "compare":
            print("\n".join(compare(given.models, _parted(given.set, given)[1])))
        elif given.command == "attention":
            print("\n".join(attention(load_model(given.model), _parted("300w", given)[1])))
        elif given.command == "detector":
            _detector(given)
        elif given.command == "label":
            teacher = Labeller(given.teacher, FaceMesh()) if given.teacher else None
            beside = load_model(given.beside) if given.beside else None
            model, detector = load_model(given.model), load_detector(given.detector)
            kept, seen = label(given.folder, given.out, model, detector, teacher, beside)
            print(f"{kept} of {seen} faces labelled")
        elif given.command == "teacher":
            labelled = [face for folder in given.labelled for face in READERS["pseudo"](folder)]
            run = teaching_run(given.steps, given.seed)
            train_teacher(run, *_parted("300w", given), given.out, FaceMesh(), labelled=labelled)
        elif given.command == "others":
            faces = [face for faces in _photographed(given) for face in faces]
            print(f"{other_faces(faces, load_detector(given.detector), given.out)} faces of others")
        elif given.command == "refine":
            _refine(given)
        elif given.command == "revive":
            faces, _ = _parted(_fine_set(given.run), given)
            print(revive(given.run, given.out, faces, given.widths), "channels renewed")
        elif given.command == "mean":
            mean(given.first, given.second, given.out)
        elif given.command == "ablations":
            print("\n".join(ablate(*_parted("300w", given), given.out, given.steps, given.seed)))
        elif given.command == "caps":
            print("caps", *cap(given.run, given.out, _parted(_fine_set(given.run), given)[0]))
        elif given.command == "heads":
            report = train_heads(given.run, given.out, *_parted(_fine_set(given.run), given))
            print("\n".join(described(report)))
        elif given.command == "quantise":
            faces, _ = _parted(given.set, given)
            print(quantise(load_model(given.model).backend.path, faces, given.out, full_range=given.full_range))
        else:
            _train(given)
    except TrackerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or given.command}: {error.strerror}; check the path", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = given.command in ("train", "ablations", "teacher", "detector")
        goes_on = "goes on from the last checkpoint" if resumes else "starts anew"
        print(f"stopped; the same command {goes_on}", file=sys.stderr)
        return 130
    return 0


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: give four whole numbers by comma") from error


def _train(given: argparse.Namespace) -> None:
    run = Run(**{option.name: getattr(given, option.name) for option in fields(Run)})
    names = given.sets.split(",")
    if unknown := set(names) - set(READERS):
        raise TrackerError(f"--sets {','.join(sorted(unknown))}: unknown; the sets are {', '.join(READERS)}")
    sets = [_faces(name, given) for name in names]
    if names[0] in VALIDATION:
        validation = _faces(names[0], given, part=VALIDATION[names[0]])
    else:
        unseen = held_out(sets[0])
        validation = [face for face in sets[0] if face.name in unseen]
    for index, (name, faces) in enumerate(zip(names, sets, strict=True)):
        # those of 300-W are kept out wherever it stands, so that what is trained on it can be compared
        if not given.all_faces and name not in VALIDATION and (index == 0 or name == "300w"):
            unseen = held_out(faces)
            sets[index] = [face for face in faces if face.name not in unseen]
    with joined(given.device) as (process, processes):
        shared = {"process": process, "processes": processes}
        train(run, sets, validation, given.out, given.device, **shared, start=given.start, all_faces=given.all_faces)


def _photographed(given: argparse.Namespace) -> list[list[LabelledFace]]:
    """The sets whose photos the face detector learns from."""
    sets = [READERS[name](given.data / name) for name in ("300w", "ytf68")]
    return sets + [READERS["pseudo"](folder) for folder in given.labelled]


def _detector(given: argparse.Namespace) -> None:
    others = read_others(given.others) if given.others else {}
    training, validation = [], []
    for faces in _photographed(given):
        unseen = held_out(faces)
        training += photos([face for face in faces if face.name not in unseen], others)
        validation += photos([face for face in faces if face.name in unseen], others)
    run = Run("facedet", steps=given.steps, batch=given.batch, seed=given.seed)
    sets = ["300w", "ytf68", *(folder.name for folder in given.labelled)]
    train_detector(run, training, textures(), validation, given.out, sets, given.device)


def _refine(given: argparse.Namespace) -> None:
    training, validation = _parted(_fine_set(given.run), given)
    report = refine(given.run, given.out, training, validation, given.steps)
    for part, before in report["before"].items():
        print(f"{part:8} {before:.3f} -> {report['after'][part]:.3f} %")


def _fine_set(run: Path) -> str:
    """The first set that a run was trained on."""
    return str(open_run(run)[0].get("sets", ["300w"])[0])  # older checkpoints do not state it


def _parted(name: str, given: argparse.Namespace) -> tuple[list[LabelledFace], list[LabelledFace]]:
    """The faces of a set to train on, and those to validate on."""
    if name not in READERS:
        raise TrackerError(f"--set {name}: unknown; the sets are {', '.join(READERS)}")
    faces = _faces(name, given)
    if name in VALIDATION:
        return faces, _faces(name, given, part=VALIDATION[name])
    unseen = held_out(faces)
    return [face for face in faces if face.name not in unseen], [face for face in faces if face.name in unseen]


def _faces(name: str, given: argparse.Namespace, **options: Any) -> list[LabelledFace]:
    if given.every < 1:
        raise TrackerError(f"--every {given.every}: give a whole number from 1")
    if name in THINNED:
        options["every"] = given.every
    return READERS[name](given.data / name, **options)


if __name__ == "__main__":
    torch.set_num_interop_threads(1)
    sys.exit(main())
