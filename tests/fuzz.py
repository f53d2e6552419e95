"""Damaged and malicious files for everything that reads one.

``python tests/fuzz.py --count 20000 [--seed 1] [--only NAME,NAME]``: small valid files of every kind are damaged, and
each is given to what reads it, in a process of its own that lives on from file to file. Every one must end in a result
or in one error line: no other exception, no death of the process, not ten seconds, no memory beyond a gigabyte and a
half, no file outside the folder for results. What fails is kept in --keep. The same seed gives the same files;
``--first N`` begins at the Nth of each kind.
"""

import argparse
import contextlib
import faulthandler
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import socket
import struct
import sys
import tempfile
import time
import traceback
import warnings
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import mutations
from tqdm import tqdm

if multiprocessing.parent_process() or __name__ == "__main__":  # not in the tests' own process, whose others inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")

PATIENCE = 10.0
"""Seconds for one file."""
SPACE = 4 << 30
"""Bytes of addresses that a process may have."""
MEMORY = 1536 << 20
"""Bytes of memory that one file may cost."""

Files = dict[str, bytes]
"""What lies in a folder, by the name in it; the first is what is to be read."""
SEEDS: dict[str, Callable[[Path], list[Files]]] = {}
READERS: dict[str, Callable[[Path, Path], object]] = {}
MUTATIONS: dict[str, tuple[mutations.Mutation, ...]] = {}


def kind(
    *ways: mutations.Mutation, seeds: Callable[[Path], list[Files]]
) -> Callable[[Callable[[Path, Path], object]], Callable[[Path, Path], object]]:
    """A reader: it takes a file and a folder for results. ``seeds`` writes valid files in a folder or gives them."""

    def add(reader: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
        name = reader.__name__.replace("_", "-")
        SEEDS[name], READERS[name], MUTATIONS[name] = seeds, reader, ways
        return reader

    return add


def each(*files: Path) -> list[Files]:
    return [{file.name: file.read_bytes()} for file in files]


# Recordings


def videos(folder: Path) -> list[Files]:
    from clips import LATE, encode

    kinds: dict[str, dict[str, Any]] = {
        "a.mp4": {"times": 6},
        "start.mov": {"times": LATE[:5], "container": {"movflags": "faststart"}},
        "fragments.mp4": {"times": 6, "options": {"g": "3"}, "container": {"movflags": "frag_keyframe+empty_moov"}},
        "sound.mp4": {"times": 5, "sound": "aac"},
        "a.mkv": {"times": 6, "sound": "pcm_s16le"},
        "a.webm": {"codec": "libvpx", "times": 4},
        "a.avi": {"codec": "mpeg4", "times": 6},
        "photos.avi": {"codec": "mjpeg", "pixels": "yuvj420p", "times": 4},
        "lossless.mkv": {"codec": "ffv1", "pixels": "yuv444p", "times": 3},
        "a.mpg": {"codec": "mpeg2video", "rate": 25, "times": 6},
        "a.ts": {"rate": 25, "times": 6},
        "a.flv": {"times": 5},
        "raw.h264": {"times": 5},
        "raw.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p", "rate": 25, "times": 4},
    }
    found = each(*(encode(folder / name, size=(48, 32), **how) for name, how in kinds.items()))
    pieces = {"a.ts": (folder / "a.ts").read_bytes()}
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n"
    found.append({"list.mp4": f"{head}#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n".encode(), **pieces})
    found.append({"live.mp4": head.encode(), **pieces})
    found.append({"joined.mp4": b"ffconcat version 1.0\nfile a.ts\nduration 1\nfile a.ts\n", **pieces})
    return found


@kind(mutations.of_bytes, seeds=videos)
def video(path: Path, out: Path) -> None:
    from tracker.sources import open_source

    with open_source(path) as source:
        for frame in source:
            assert frame.image.shape[2] == 3
            if frame.index > 200:
                break
        times = source.times  # type: ignore[attr-defined]
        for frame in source.frames(2):  # type: ignore[attr-defined]
            if frame.index > 5:
                break
    assert times is None or times.ndim == 1


def images(folder: Path) -> list[Files]:
    import cv2
    from clips import picture

    names = ("a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "a.jp2", "a.ppm", "a.gif", "a.hdr", "a.ras")
    found: list[Files] = []
    for name in names:
        with contextlib.suppress(cv2.error):  # which of them it writes depends on its build
            done, data = cv2.imencode(name[1:], picture(5, 30, 20))
            if done:
                found.append({name if name in names[:5] else f"{name[2:]}.png": data.tobytes()})
    huge = struct.pack(">II", 65535, 65535)
    png = found[0]["a.png"]
    found.append({"huge.png": png[:16] + huge + png[24:29] + mutations._sum(b"IHDR" + huge + png[24:29]) + png[33:]})
    return found


def _image(data: bytes, rng: Random) -> bytes:
    return mutations.of_png(data, rng) if data.startswith(b"\x89PNG") else mutations.of_bytes(data, rng)


@kind(mutations.of_bytes, _image, seeds=images)
def image(path: Path, out: Path) -> None:
    from tracker.datasets import read_picture
    from tracker.sources import open_source

    assert [frame.image.ndim for frame in open_source(path)] == [3]
    assert read_picture(path).ndim == 3


def answers(folder: Path) -> list[Files]:
    """What an http camera answers, and servers that send a video. None names another address."""
    import cv2
    from clips import encode, picture

    photo = cv2.imencode(".jpg", picture(5, 48, 32))[1].tobytes()
    part = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n".encode() + photo + b"\r\n"
    kinds = {"multipart/x-mixed-replace; boundary=next": 6 * part}
    for name, content in (("a.ts", "video/mp2t"), ("a.flv", "video/x-flv"), ("a.mp4", "video/mp4")):
        kinds[content] = encode(folder / name, size=(48, 32), rate=25, times=6).read_bytes()
    heads = [f"HTTP/1.0 200 OK\r\nContent-Type: {content}\r\n\r\n".encode() for content in kinds]
    return [{"answer": head + body} for head, body in zip(heads, kinds.values(), strict=True)]


@kind(mutations.of_bytes, seeds=answers)
def stream(path: Path, out: Path) -> None:
    from test_streams import server

    from tracker.streams import StreamCapture

    def answer(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(path.read_bytes())

    with server(answer) as port:
        capture = StreamCapture(f"http://127.0.0.1:{port}/", timeout=1.0)
        try:
            for _ in range(200):
                there, image = capture.read()
                if not there:
                    break
                assert image.shape[2] == 3
        finally:
            capture.release()


def recordings(folder: Path) -> list[Files]:
    return [*videos(folder), *images(folder)]


@kind(mutations.of_bytes, seeds=recordings)
def command(path: Path, out: Path) -> int:
    from tracker.__main__ import main

    words = [str(path), "--out", str(out), "--format", "csv,npz,video", "--jobs", "1", "--max-faces", "1"]
    return said(main, ["track", *words])


def said(main: Callable[[list[str]], int], words: list[str]) -> int:
    """The exit code of a command, which must be 0, or 2 with error lines."""
    from io import StringIO

    from tracker.core import TrackerError

    error = StringIO()
    with contextlib.redirect_stdout(StringIO()), contextlib.redirect_stderr(error):
        code = main(words)
    lines = [line for line in error.getvalue().splitlines() if line.startswith("error: ")]
    assert "please report" not in error.getvalue(), error.getvalue()
    assert code == 0 or (code == 2 and lines), (code, error.getvalue())
    if code:
        raise TrackerError(lines[0])
    return code


# What is to be done


def lists(folder: Path) -> list[Files]:
    lines = b"a.mp4\n# a remark\nday/*.mp4\nday\nday/**/*.mp4\n./day/../b.mov\nmore.txt\n../in/a.mp4\n"
    return [
        {
            "list.txt": lines,
            "more.txt": b"day/c.mp4\nlist.txt\n",
            **dict.fromkeys(("a.mp4", "b.mov", "day/c.mp4", "day/d/e.mp4", "day/f.png"), b"x"),
        }
    ]


def _tame(way: mutations.Mutation, data: bytes, rng: Random) -> bytes:
    """Lists that do not ask for the whole disc."""
    lines = way(data, rng).decode(errors="surrogateescape").splitlines(keepends=True)
    kept = [line for line in lines if line.count("..") <= 3 and (line[:1] != "/" or line.startswith("/dev/zero"))]
    return "".join(kept).encode(errors="surrogateescape")


@kind(partial(_tame, mutations.of_text), partial(_tame, mutations.of_bytes), seeds=lists)
def inputs(path: Path, out: Path) -> None:
    from tracker.jobs import jobs

    for job in jobs([path], out):
        assert Path(os.path.abspath(job.target)).is_relative_to(out), job
        assert job.target.name


# Labels


def points(count: int) -> str:
    return " ".join(f"{10 + 7.5 * index % 90:.2f}" for index in range(2 * count))


def labels(folder: Path) -> list[Files]:
    pts = f"version: 1\nn_points: 5\n{{\n{points(5)}\n}}\n"
    five = "".join(f"lfw_5590\\a{index}.jpg 10 90 10 90 {points(5)}\n" for index in range(3))
    wflw = "".join(f"{points(98)} 10 10 90 90 0 1 0 0 0 0 0--a/{index}.jpg\n" for index in range(2))
    celeba = f"2\nlefteye_x lefteye_y\n000001.jpg {points(5)}\n000002.jpg {points(5)}\n"
    boxes = "2\nimage_id x_1 y_1 width height\n000001.jpg 1 2 30 40\n000002.jpg 0 0 0 0\n"
    keypoints = f",{','.join(str(n) for n in range(136))}\na.jpg,{points(68).replace(' ', ',')}\n"
    texts = {"a.pts": pts, "trainImageList.txt": five, "wflw.txt": wflw, "list_landmarks_celeba.txt": celeba}
    texts |= {"parts.txt": "000001.jpg 0\n000002.jpg 1\n", "keypoints.csv": keypoints}
    found = [{name: text.encode()} for name, text in texts.items()]
    found[3]["list_bbox_celeba.txt"] = boxes.encode()
    return found


@kind(mutations.of_text, mutations.of_text, mutations.of_bytes, seeds=labels)
def label(path: Path, out: Path) -> None:
    from tracker import annotations

    match path.name:
        case "a.pts":
            found: Any = annotations.read_pts(path)
            assert found.ndim == 2
        case "trainImageList.txt":
            found = annotations.read_five_point_list(path)
        case "wflw.txt":
            found = annotations.read_wflw_list(path)
        case "list_landmarks_celeba.txt":
            found = annotations.read_celeba_list(path, path.with_name("list_bbox_celeba.txt"))
        case "parts.txt":
            found = annotations.read_celeba_parts(path)
        case _:
            found = annotations.read_keypoints_csv(path)
    assert len(found)


def matlab(folder: Path) -> list[Files]:
    import h5py
    import numpy as np
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    cells = np.array([[np.array(["0/a.jpg"])], [np.array(["2/b.jpg"])]], object)
    held = {"nameList": cells, "data": rng.uniform(0, 90, (2, 38)), "mask_new": np.ones((2, 19), np.uint8)}
    held |= {"bbox": np.tile([10.0, 90, 10, 90], (2, 1)), "ra": np.array([[2, 1]])}
    for name, small in (("aflw.mat", False), ("small-aflw.mat", True)):
        savemat(folder / name, held, do_compression=small)
    with h5py.File(folder / "cofw.mat", "w") as file:
        references = np.empty((1, 1), h5py.ref_dtype)
        references[0, 0] = file.create_dataset("#refs#/0", data=rng.integers(0, 256, (3, 9, 8), np.uint8)).ref
        file.create_dataset("IsTr", data=references, dtype=h5py.ref_dtype)
        file.create_dataset("phisTr", data=rng.uniform(0, 9, (87, 1)))
        file.create_dataset("bboxesTr", data=np.array([[1.0], [1], [8], [8]]))
    return each(*sorted(folder.glob("*.mat")))


@kind(mutations.of_bytes, seeds=matlab)
def mat(path: Path, out: Path) -> None:
    from tracker.annotations import read_aflw_mat, read_cofw_mat, read_cofw_picture

    if "aflw" in path.name:
        read_aflw_mat(path)
    else:
        read_cofw_mat(path)
        assert read_cofw_picture(path, 1).ndim == 3


# What we wrote ourselves


def tables(folder: Path) -> list[Files]:
    import numpy as np

    from tracker.core import Box, Crop, Face, Frame, Result
    from tracker.markup import IBUG68
    from tracker.tables import CSVSink, Rows

    places = np.random.default_rng(0).uniform(0, 90, (68, 2)).astype(np.float32)
    face = Face(0, places, 0.9, Box.around(places), Crop(50, 50, 90, 64), places[:, 0] / 100)
    with CSVSink(folder / "a.csv", Rows(IBUG68, None)) as sink:
        for index in range(3):
            faces = () if index == 1 else (face,)
            sink.write(Result(Frame(np.zeros((90, 90, 3), np.uint8), index, index / 10), faces))
    return each(folder / "a.csv")


@kind(mutations.of_text, mutations.of_bytes, seeds=tables)
def table(path: Path, out: Path) -> None:
    from tracker.demo import tracked_points

    assert all(found.shape == (68, 2) for found in tracked_points(path).values())


def runs(folder: Path) -> list[Files]:
    from tracker.recording import Settings, machine

    video, *_ = videos(folder)
    settings = Settings()
    record = {
        "schema": "landmark-tracker/run/1",
        "whole": True,
        "settings": json.loads(json.dumps(asdict(settings))),
        "versions": {"landmark-tracker": importlib.import_module("tracker._version").__version__},
        "input": {"measure": {"files": 1, "bytes": len(video["a.mp4"]), "changed": 0}},
        "outputs": [{"file": "a.csv", "format": "csv", "files": 1, "bytes": 3, "changed": 0}],
        **{part: {"name": part, "sha256": digest} for part, digest in machine(settings)[2].items()},
    }
    return [{"a.run.json": json.dumps(record).encode(), "a.csv": b"a,b", **video}]


@kind(mutations.of_json, mutations.of_bytes, seeds=runs)
def run_json(path: Path, out: Path) -> bool:
    from tracker.jobs import Job
    from tracker.recording import Settings, whole_record

    os.utime(path.with_name("a.mp4"), (0, 0))
    return whole_record(Job(path.with_name("a.mp4"), path.with_name("a")), Settings())


def records(folder: Path) -> list[Files]:
    import numpy as np

    from evaluation.record import Picture, Record

    rng, count = np.random.default_rng(0), 4
    places = rng.uniform(0, 90, (count, 5, 2)).astype(np.float32)
    Record(
        ["one", "two"],
        [["common"], []],
        np.array([0, 0, 1, 1]),
        np.arange(count),
        places,
        np.ones((count, 5), bool),
        np.full((count, 4), np.nan),
        *np.zeros((2, count), bool),
        points={"oracle": places + 1},
        ids={"oracle": np.zeros(count, np.int64)},
        milliseconds={"whole": np.ones(count, np.float32)},
        pictures={"oracle": [Picture(1.0, "one", 1, b"jpeg")]},
    ).save(folder / "0000.npz")
    return each(folder / "0000.npz")


@kind(mutations.of_zip, mutations.of_bytes, seeds=records)
def record(path: Path, out: Path) -> None:
    from evaluation.record import Record, joined

    held = Record.load(path)
    assert len(joined([held, held]).clip) == 2 * len(held.clip)


def reports(folder: Path) -> list[Files]:
    report = {
        "heading": "a set",
        "headline": {"normaliser": "inter_ocular", "nme": 3.0},
        "measured": {"modes": {"oracle": {}, "tracker": {}}},
    }
    rows = "".join(f"{clip},{n},0,0,{n + 1.5},{n + 2}\n" for clip in "ab" for n in range(3))
    table = f"clip,frame,left_out,absent,oracle.nme,tracker.nme\n{rows}"
    return [{"report.json": json.dumps(report).encode(), "frames.csv": table.encode()}]


def _report(data: bytes, rng: Random) -> bytes:
    return (mutations.of_json if data.startswith(b"{") else mutations.of_text)(data, rng)


@kind(_report, _report, mutations.of_bytes, seeds=reports)
def report(path: Path, out: Path) -> str:
    from evaluation.compare import compare

    return compare(path, path)


def made_clips(folder: Path) -> list[Files]:
    about = {"photo": "a", "kind": "still", "absent": "3,7-9", "size": [64, 48]}
    return [{"clip.json": json.dumps(about).encode(), "annot/000001.pts": b"{\n1 2\n}"}]


@kind(mutations.of_json, mutations.of_bytes, seeds=made_clips)
def made_clip(path: Path, out: Path) -> None:
    clip = importlib.import_module("evaluation.300vw")._clip(path.parent, True)
    clip.label(1)
    assert clip.absent(1) in (True, False)


def face_lists(folder: Path) -> list[Files]:
    return [{"others.json": json.dumps({"300w/a": [[10.0, 20.0, 5.0]], "300w/b": []}).encode()}]


@kind(mutations.of_json, mutations.of_bytes, seeds=face_lists)
def others(path: Path, out: Path) -> None:
    from tracker.training.label import read_others

    assert isinstance(read_others(path), dict)


def checkpoints(folder: Path) -> list[Files]:
    import torch

    from tracker.networks import build
    from tracker.training.loop import Run

    torch.manual_seed(0)
    run = Run(network="trnet20", options={"widths": [8, 8, 8, 8]})
    state = build(run.network, 68, run.options).state_dict()
    saved = {"run": asdict(run), "markup": "ibug68", "sets": [], "step": 3, "offset": (0.0, 0.0)}
    torch.save({**saved, "network": state, "average": state, "optimiser": {}}, folder / "checkpoint.pt")
    return each(folder / "checkpoint.pt")


@kind(mutations.of_zip, mutations.of_bytes, seeds=checkpoints)
def checkpoint(path: Path, out: Path) -> None:
    from tracker.training.loop import open_run

    open_run(path.parent)


# Models


def spec(**changes: Any) -> Any:
    from tracker.backends import Spec

    return replace(Spec("tiny", "trnet20", "celeba5", 64, 1.25, data=("none",), licence="research"), **changes)


def landmark_models(folder: Path) -> list[Files]:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(0, 5, (3, 10)), "b": rng.normal(32, 20, 10), "c": rng.normal(0, 5, (3, 5))}
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    weights.append(numpy_helper.from_array(np.array([-1, 5, 2]), "shape"))
    nodes = [
        helper.make_node("AveragePool", ["crops"], ["small"], kernel_shape=[64, 64]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["pairs"]),
        helper.make_node("Reshape", ["pairs", "shape"], ["points"]),
        helper.make_node("MatMul", ["flat", "c"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["confidence"]),
        helper.make_node("ReduceMean", ["confidence"], ["presence"], axes=[1], keepdims=0),
    ]
    shapes: dict[str, list[Any]] = {"points": ["n", 5, 2], "confidence": ["n", 5], "presence": ["n"]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        weights,
    )
    return _onnx_files(graph, spec(outputs=tuple(shapes)), folder / "tiny.onnx")


def _onnx_files(graph: Any, about: Any, path: Path) -> list[Files]:
    import onnx

    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {about.KEY: about.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return each(path)


@cache
def portrait() -> Any:
    from clips import picture

    return picture(9, 120, 90)


@kind(mutations.of_onnx, mutations.of_onnx, mutations.of_bytes, seeds=landmark_models)
def onnx(path: Path, out: Path) -> None:
    _locate(path)


def _locate(path: Path) -> None:
    import numpy as np

    from tracker.core import Box, Frame
    from tracker.detector import Detection
    from tracker.model import load_model
    from tracker.tracking import Tracker

    model = load_model(path)
    box = Box(20, 20, 70, 70)
    found = Detection(box, 1.0, 0.2, np.zeros((5, 2), np.float32))
    tracker = Tracker(model, lambda image: [found], max_faces=2)
    for index in range(3):
        tracker.update(Frame(portrait(), index, index / 3))
    crops = [model.crop(Box(10, 10, 80, 80)), model.crop(Box(30, 20, 90, 70), 0.3)]
    for face in model.locate(portrait(), crops):
        assert face.points.shape == (model.markup.size, 2)
        assert np.isfinite(face.points).all()


def detectors(folder: Path) -> list[Files]:
    """FaceDet's own outputs, from averages of its cells."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(0, 1, (14, 3, 1, 1)).astype(np.float32), "w"),
        *(numpy_helper.from_array(np.array(value), name) for name, value in (("flat", [0, 14, -1]), ("one", [1, 13]))),
        numpy_helper.from_array(np.array([0, -1]), "line"),
    ]
    nodes = [helper.make_node("Conv", ["crops", "w"], ["answers"])]
    for stride in (8, 16, 32):
        sides = [stride, stride]
        nodes += [
            helper.make_node("AveragePool", ["answers"], [f"p{stride}"], kernel_shape=sides, strides=sides),
            helper.make_node("Reshape", [f"p{stride}", "flat"], [f"r{stride}"]),
        ]
    nodes += [
        helper.make_node("Concat", ["r8", "r16", "r32"], ["cells"], axis=2),
        helper.make_node("Transpose", ["cells"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Split", ["rows", "one"], ["logits", "faces"], axis=2),
        helper.make_node("Reshape", ["logits", "line"], ["flat_logits"]),
        helper.make_node("Sigmoid", ["flat_logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", "c"]),
            helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", "c", 13]),
        ],
        weights,
    )
    about = spec(network="facedet", input_size=256, context=1.0, outputs=("scores", "faces"))
    return _onnx_files(graph, about, folder / "tiny.onnx")


@kind(mutations.of_onnx, mutations.of_onnx, mutations.of_bytes, seeds=detectors)
def detector(path: Path, out: Path) -> None:
    import numpy as np

    from tracker.detector import load_detector

    for found in load_detector(path)(portrait()):
        assert np.isfinite([found.box.x0, found.box.y0, found.box.x1, found.box.y1, found.angle]).all()


def torch_models(folder: Path) -> list[Files]:
    import torch
    from safetensors.torch import save_file

    from tracker.networks import build

    torch.manual_seed(0)
    for name, options in {
        "trnet20": {"widths": [4, 4, 4, 4], "heads": 4},
        "aan": {"widths": [2, 2, 2, 2], "dimension": 8},
    }.items():
        about = spec(network=name, options=options, input_size=128 if name == "aan" else 64)
        state = build(name, 5, options).state_dict()
        save_file(state, str(folder / f"{name}.safetensors"), metadata={about.KEY: about.to_json()})
    return each(*sorted(folder.glob("*.safetensors")))


@kind(mutations.of_safetensors, mutations.of_safetensors, mutations.of_bytes, seeds=torch_models)
def safetensors(path: Path, out: Path) -> None:
    _locate(path)


# The window


def window_settings(folder: Path) -> list[Files]:
    from PyQt6.QtCore import QSettings

    from app import settings

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(folder))
    window = empty_window()
    layout = {"geometry": window.saveGeometry().data(), "state": window.saveState().data()}
    held = replace(settings.Settings(), model="a.onnx", speed=0.5).with_recent("a.mp4").with_recent("b, c.mp4")
    settings.save(held, layout)
    return [{f"landmark-tracker/{path.name}": path.read_bytes() for path in folder.rglob("*.json")}]


@cache
def empty_window() -> Any:
    """A window with a dock, which takes a layout."""
    from PyQt6.QtCore import Qt
    from PyQt6.QtWidgets import QApplication, QDockWidget, QMainWindow

    empty_window.application = QApplication.instance() or QApplication([])  # type: ignore[attr-defined]
    window, dock = QMainWindow(), QDockWidget("dock")
    dock.setObjectName("dock")
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    return window


def _layout(data: bytes, rng: Random) -> bytes:
    held = json.loads(data)
    name = rng.choice(("geometry", "state"))
    held[name] = b64encode(mutations.of_bytes(b64decode(held[name]), rng)).decode()
    return json.dumps(held).encode()


@kind(mutations.of_json, mutations.of_text, mutations.of_bytes, _layout, seeds=window_settings)
def settings(path: Path, out: Path) -> None:
    from PyQt6.QtCore import QSettings

    from app import settings

    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(path.parents[1]))
    assert settings.place() == path
    assert settings.load().out
    layout = settings.load_layout()
    empty_window().restoreGeometry(layout.get("geometry", b""))
    empty_window().restoreState(layout.get("state", b""))


SLOW = frozenset({"mat"})
"""Kinds of which a tenth is enough: reading one starts a process."""
NEEDS = {"mat": ("scipy", "h5py"), "onnx": ("onnx",), "detector": ("onnx",), "settings": ("PyQt6.QtWidgets",)}
NEEDS |= dict.fromkeys(("safetensors", "checkpoint"), ("torch", "safetensors"))
NEEDS |= {"others": ("torch",), "stream": ("pytest",)}
"""What is needed besides the library; a kind is left out where it is not installed."""


def kinds() -> list[str]:
    """The kinds that can be read here."""

    def here(module: str) -> bool:
        try:
            importlib.import_module(module)
        except ImportError:
            return False
        return True

    return [name for name in READERS if all(map(here, NEEDS.get(name, ())))]


def damaged(files: Files, name: str, seed: int, number: int) -> Files:
    """Input ``number`` of a kind: the first file damaged, or now and then one that lies beside it."""
    rng = Random(f"{seed} {name} {number}")
    which = rng.choice(list(files)) if rng.random() < 0.2 else next(iter(files))
    way = rng.choice(MUTATIONS[name])
    if number == 0 or rng.random() < 0.01:  # a whole one must be read too
        return files
    try:
        return {**files, which: way(files[which], rng)}
    except (ValueError, IndexError):  # a neighbour of another format
        return {**files, which: mutations.of_bytes(files[which], rng)}


# The process that reads


@dataclass
class Worker:
    """A process that reads one file after the other in ``root``, the folder of all that it may touch."""

    root: Path
    seed: int
    process: Any = field(init=False)
    pipe: Any = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.root, self.seed), daemon=True)
        self.process.start()
        theirs.close()

    def read(self, name: str, number: int) -> tuple[str, str]:
        """What became of an input: result, error, crash, hang or elsewhere, and what is to be said of it."""
        try:
            self.pipe.send((name, number))
            if not self.pipe.poll(120):  # it makes the first files of a kind
                return self._end("hang", "no start within 120 s")
            if (told := self.pipe.recv()) != "ready":
                raise RuntimeError(told)
            start = self._used()
            used, slept = self._used(), 0
            while not self.pipe.poll(1.0):
                now = self._used()
                slept = slept + 1 if now == used else 0  # else it had too little of a busy processor
                if slept >= PATIENCE * (6 if name in SLOW else 1) or now - start >= PATIENCE:
                    return self._end("hang", f"no end within {PATIENCE:.0f} s")
                used = now
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join(10)
            said = (self.root / "stderr").read_text(errors="replace")[-3000:]
            return self._end("crash", f"the process died with {self.process.exitcode}\n{said}")

    def _used(self) -> float:
        """Seconds of the processor that the process has had."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _end(self, what: str, why: str) -> tuple[str, str]:
        self.close()
        self.start()
        return what, why

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def serve(pipe: Any, root: Path, seed: int) -> None:
    """Read what is asked for until the end."""
    here, out, watched = root / "in", root / "out", root / "home"
    for folder in (here, out, watched, root / "seeds"):
        folder.mkdir(parents=True, exist_ok=True)
    errors = os.open(root / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(errors, 2)
    faulthandler.enable(errors)
    os.environ |= {"HOME": str(watched), "TMPDIR": str(watched), "XDG_CONFIG_HOME": str(watched)}
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    tempfile.tempdir = str(watched)
    os.chdir(watched)
    import tracker  # noqa: F401  (before OpenCV, which it gives its limits)

    warnings.simplefilter("ignore")
    held: dict[str, list[Files]] = {}
    elsewhere: list[str] = []
    sys.addaudithook(partial(_note, (str(root), "/dev/"), elsewhere))
    while True:
        try:
            name, number = pipe.recv()
        except EOFError:
            return
        if name not in held:
            try:
                held[name] = _seeds(name, root / "seeds")
            except Exception:  # a fault of this script
                pipe.send(traceback.format_exc())
                return
            _fill(here, held[name][0])
            _read(READERS[name], here / next(iter(held[name][0])), out)  # what it loads is not counted
            resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
        kept = held[name]
        files = damaged(kept[number % len(kept)], name, seed, number // len(kept))
        _fill(here, files)
        _fill(out, {})
        _fill(watched, {})
        os.ftruncate(errors, 0)
        elsewhere.clear()
        Path("/proc/self/clear_refs").write_text("5")
        before = _memory("VmRSS")
        pipe.send("ready")
        what, why = _read(READERS[name], here / next(iter(files)), out)
        if _memory("VmHWM") - before > MEMORY:
            what, why = "crash", f"it took {(_memory('VmHWM') - before) >> 20} MiB of memory\n{why}"
        strange = [str(path) for path in watched.rglob("*")]
        strange += [
            str(path) for path in here.rglob("*") if path.is_file() and str(path.relative_to(here)) not in files
        ]
        strange += [str(path) for path in root.iterdir() if path.name not in ("in", "out", "home", "seeds", "stderr")]
        if strange := [*strange, *elsewhere]:
            what, why = "elsewhere", "\n".join([*strange, why])
        pipe.send((what, why))


def _note(allowed: tuple[str, ...], elsewhere: list[str], event: str, arguments: tuple[Any, ...]) -> None:
    """Note that Python opens a file for writing, or makes a folder, beyond what is allowed."""
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        writing = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if arguments[2] else False
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if writing and not path.startswith((*allowed, "/proc/self")):
            elsewhere.append(path)
    elif event == "os.mkdir" and not os.path.abspath(os.fsdecode(arguments[0])).startswith(allowed):
        elsewhere.append(os.fsdecode(arguments[0]))


def _seeds(name: str, folder: Path) -> list[Files]:
    """The valid files of a kind, made once; later processes take those of the first."""
    kept = folder / f"{name}.pickled"
    making = folder / name
    making.mkdir(exist_ok=True)
    index = folder / f"{name}.json"
    if not index.exists():
        found = SEEDS[name](making)
        kept.mkdir()
        names = []
        for number, files in enumerate(found):
            _fill(kept / str(number), files)
            names.append(list(files))
        index.write_text(json.dumps(names))
    return [
        {file: (kept / str(number) / file).read_bytes() for file in files}
        for number, files in enumerate(json.loads(index.read_text()))
    ]


def _fill(folder: Path, files: Files) -> None:
    """Make a folder hold these files and nothing else."""
    from tracker.files import remove

    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        remove(path)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _read(reader: Callable[[Path, Path], object], path: Path, out: Path) -> tuple[str, str]:
    from tracker.core import TrackerError

    try:
        reader(path, out)
    except TrackerError as error:
        if len(lines := str(error).splitlines()) != 1:
            return "crash", f"an error of {len(lines)} lines\n{error}"
        if len(str(error)) > 5000 + 4 * len(str(path)):
            return "crash", f"an error of {len(str(error))} characters\n{error}"
        return "error", str(error)
    except BaseException:
        return "crash", traceback.format_exc()
    return "result", ""


def _memory(word: str) -> int:
    """Bytes of memory: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(word))


# The loop


Counts = dict[str, Counter[str]]
BAD = ("crash", "hang", "elsewhere")


def fuzz(
    names: Sequence[str], count: int, seed: int, keep: Path, first: int = 0, progress: bool = False
) -> Iterator[tuple[str, int, str, str]]:
    """Kind, number, what became of it and why, for ``count`` inputs of all kinds together; bad ones are kept."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, *"abcdefgh")  # so that what leads out of it has some way to go
        root.mkdir(parents=True)
        worker = Worker(root, seed)
        try:
            share = -(-count // len(names))
            shares = {name: -(-share // 10) if name in SLOW else share for name in names}
            with tqdm(total=sum(shares.values()), unit=" files", disable=None if progress else True) as bar:
                for name in names:
                    bar.set_description(name)
                    for number in range(first, first + shares[name]):
                        what, why = worker.read(name, number)
                        if what in BAD:
                            place = keep / f"{name}-{seed}-{number}"
                            shutil.rmtree(place, ignore_errors=True)
                            shutil.copytree(root / "in", place)
                            (place / "why.txt").write_text(f"{what}: {why}")
                            tqdm.write(f"{what}: {place}: {(why.splitlines() or [''])[-1][:200]}")
                        bar.update()
                        yield name, number, what, why
        finally:
            worker.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="files of all kinds together (20000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first of each kind (0)")
    parser.add_argument("--only", help=f"any of {', '.join(READERS)}, by comma")
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="folder for what fails (out/fuzz)")
    parser.add_argument("--errors", action="store_true", help="print every error line")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else kinds()
    counts: Counts = {name: Counter() for name in names}
    start = time.perf_counter()
    with contextlib.suppress(KeyboardInterrupt):  # the table is of what was done
        for name, number, what, why in fuzz(names, given.count, given.seed, given.keep.resolve(), given.first, True):
            counts[name][what] += 1
            if given.errors and what == "error":
                tqdm.write(f"{name} {number}: {why}")
    heads = ("kind", "inputs", "results", "error lines", "crashes", "hangs", "files elsewhere")
    rows = [
        (name, count.total(), *(count[what] for what in ("result", "error", *BAD))) for name, count in counts.items()
    ]
    rows.append(("all", *(sum(row[place] for row in rows) for place in range(1, 7))))
    for row in (heads, *rows):
        print(f"{row[0]:12}" + "".join(f"{value:>16}" for value in row[1:]))
    print(f"{time.perf_counter() - start:.0f} s, seed {given.seed}")
    return 1 if any(rows[-1][4:]) else 0


if __name__ == "__main__":
    sys.exit(main())
