"""What no file may do: take gigabytes, keep the program waiting, lead it elsewhere, or end it with a traceback."""

import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from clips import encode, picture, png
from fuzz import landmark_models, spec
from onnx import TensorProto, helper

from evaluation.compare import CompareError, compare
from evaluation.record import Record, RecordError
from tracker.annotations import AnnotationError, read_celeba_list, read_pts
from tracker.backends import ModelError, OnnxBackend
from tracker.core import Box, Result, TrackerError
from tracker.datasets import DataError, numbers, read_picture
from tracker.demo import tracked_points
from tracker.detector import load_detector
from tracker.files import read_json, read_text, write_json
from tracker.jobs import InputError, Job, jobs
from tracker.model import load_model
from tracker.recording import Settings, whole_record
from tracker.sources import SourceError, VideoFile, open_source
from tracker.video import VideoSink

# Pictures


@pytest.mark.parametrize("size", [(65535, 65535), (16385, 1), (1, 16385), (16384, 16384), (255, 1 << 29)])
def test_an_image_that_claims_to_be_huge_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "huge.png"
    whole = png(picture(1))
    body = b"IHDR" + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + whole[24:29]
    path.write_bytes(whole[:12] + body + zlib.crc32(body).to_bytes(4, "big") + whole[33:])
    with pytest.raises(SourceError, match="no image here can be read"):
        open_source(path)
    with pytest.raises(DataError, match="not a picture"):
        read_picture(path)


@pytest.mark.parametrize("length", [1 << 31, (1 << 32) - 1])
def test_an_image_with_a_part_that_claims_to_be_huge_is_refused(tmp_path: Path, length: int) -> None:
    path, whole = tmp_path / "a.png", png(picture(1))
    path.write_bytes(whole[:33] + length.to_bytes(4, "big") + whole[37:])
    with pytest.raises(SourceError, match="no image here can be read"):
        open_source(path)


def test_pictures_that_grow_too_large_within_a_film_are_left_out(tmp_path: Path) -> None:
    small, large = (
        encode(tmp_path / f"{side}.mjpeg", codec="mjpeg", pixels="yuvj420p", size=(side, 16), times=2)
        for side in (96, 16400)
    )
    path = tmp_path / "both.mjpeg"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    source = VideoFile(path)
    assert [frame.image.shape for frame in source] == [(16, 96, 3)] * 2
    assert source.problem is not None
    with pytest.raises(SourceError, match="16400 x 16"):
        VideoFile(large)


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n",  # without an end: a live one, to be waited for
        b"ffconcat version 1.0\nfile a.ts\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"ID3\3\0\0\0\0\0\0"])
def test_a_list_of_other_films_is_no_film(tmp_path: Path, text: bytes, before: bytes) -> None:
    encode(tmp_path / "a.ts", rate=25, times=5)
    path = tmp_path / "list.mp4"
    path.write_bytes(before + text)
    with pytest.raises(SourceError, match="not a video"):
        VideoFile(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.png", "a.mp4"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SourceError):
            open_source(tmp_path / name)
    with pytest.raises(AnnotationError, match="not a file"):
        read_pts(tmp_path / "a.png")


def test_sound_of_no_known_kind_is_left_out(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", sound="pcm_s16le", times=3)
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XXX/INT/LIT"))
    with VideoFile(path) as source, VideoSink(tmp_path / "b.mkv", source, lambda result: result.frame.image) as sink:
        for frame in source:
            sink.write(Result(frame, ()))
    assert sink.lost_sound == "unknown"
    assert len(list(VideoFile(tmp_path / "b.mkv"))) == 3


# Lists


def target_folders(list_: Path, out: Path) -> list[str]:
    return [os.path.relpath(job.target, out) for job in jobs([list_], out)]


def test_lists_that_name_one_another_end(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    for number in range(60):  # each names the next twice: without an end to it, 2 ** 60 recordings
        following = f"{number + 1}.txt\n" if number < 59 else "0.txt\na.mp4\n"
        (tmp_path / f"{number}.txt").write_text(following * 2)
    assert target_folders(tmp_path / "0.txt", tmp_path / "out") == ["a"]


def test_no_result_lies_outside_its_folder(tmp_path: Path) -> None:
    day = tmp_path / "data" / "day"
    day.mkdir(parents=True)
    (tmp_path / "x.mp4").write_bytes(b"x")
    (day / "y.mp4").write_bytes(b"x")
    (day / "link.mp4").symlink_to(tmp_path / "x.mp4")
    list_, out = tmp_path / "data" / "list.txt", tmp_path / "out"
    list_.write_text("../x.mp4\nday/../../data/day\n")
    assert target_folders(list_, out) == ["x", "link", "y"]
    for pattern in ("*/../../x.mp4", "**/../*.mp4", "d?y/../../*.mp4"):
        list_.write_text(pattern)
        with pytest.raises(InputError, match=r"line 1.*\.\. comes after a wildcard"):
            jobs([list_], out)


@pytest.mark.parametrize("entry", ["x" * 300, "x" * 100_000, "a\0b", "a\0*", "x" * 300 + "*", "/dev/zero", "[", "~"])
def test_an_entry_that_is_no_name_is_one_line(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# a list\n{entry}\n")
    with pytest.raises(InputError, match="line 2") as caught:
        jobs([path], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_stars_in_a_row_search_once(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcdefghijkl")
    deep.mkdir(parents=True)
    (deep / "a.mp4").write_bytes(b"x")
    (job,) = jobs([str(tmp_path / "/".join(["**"] * 12) / "*.mp4")], tmp_path / "out")
    assert job.target == (tmp_path / "out").joinpath(*"abcdefghijkl", "a")


# Labels, and what we wrote ourselves


@pytest.mark.parametrize("text", ["{1e30 2}", "{" + "9" * 400 + " 1}", "{" + "x" * 70_000 + " 1}", "{\n" * 3])
def test_places_beyond_any_picture_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.pts"
    path.write_text(text)
    with pytest.raises(AnnotationError) as caught:
        read_pts(path)
    assert len(str(caught.value)) < 500


def test_a_list_without_faces_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list_landmarks_celeba.txt"
    path.write_text("0\nlefteye_x lefteye_y\n")
    with pytest.raises(AnnotationError, match="no faces"):
        read_celeba_list(path)


def test_a_text_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 101)
    assert read_text(path, 101) == "x" * 101
    with pytest.raises(ValueError, match="100 are the limit"):
        read_text(path, 100)
    with pytest.raises(ValueError, match="not a file"):
        read_text(tmp_path)


def test_deep_json_is_refused_everywhere(tmp_path: Path) -> None:
    deep = "[" * 100_000
    for name in ("a.run.json", "report.json"):
        (tmp_path / name).write_text(deep)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match="deep"):
        read_json(tmp_path / "report.json")
    assert not whole_record(Job(tmp_path / "a.mp4", tmp_path / "a"), Settings())
    with pytest.raises(CompareError):
        compare(tmp_path / "report.json", tmp_path / "report.json")


def test_a_name_that_is_no_utf8_is_written_and_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"input": "take \udcff.mp4", "other": "\u00e9"})
    assert read_json(tmp_path / "a.json") == {"input": "take \udcff.mp4", "other": "\u00e9"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_recording_of_any_name_is_tracked(tmp_path: Path) -> None:
    """Two frames without a face, of a name that is no text and one of two lines."""
    for name in (b"take \xff.mp4", b"two\nlines.mp4"):
        film = encode(tmp_path / "a.mp4", times=2)
        os.rename(film, os.path.join(os.fsencode(tmp_path), name))
    (tmp_path / "broken\nname.mp4").write_bytes(b"x")
    words = [sys.executable, "-m", "tracker", "track", str(tmp_path), "--out", str(tmp_path / "out"), "--jobs", "1"]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert done.returncode == 2
    errors = [line for line in done.stderr.split(b"\n") if b"error:" in line]
    assert len(errors) == 1, done.stderr
    assert errors[0].endswith(b"choose another file or convert it")
    assert b"Traceback" not in done.stderr
    assert os.path.exists(os.path.join(os.fsencode(tmp_path / "out"), b"take \xff.csv"))
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())["recordings"]) == 3


@pytest.mark.parametrize("text", ["", "frame,success\n1,1\n", "frame,success,x_0\nx,1,nan\n", "\0", "\xff" * 9])
def test_a_damaged_table_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="latin-1")
    try:
        assert tracked_points(path) == {}
    except InputError as error:
        assert str(path) in str(error)


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    from fuzz import records

    (files,) = records(tmp_path)
    path = tmp_path / "0000.npz"
    assert len(Record.load(path).clip) == 4
    for content in (b"", b"PK", files[path.name][:-40], files[path.name].replace(b"truth", b"tooth")):
        path.write_bytes(content)
        with pytest.raises(RecordError, match="--resume"):
            Record.load(path)
    record = Record.load(tmp_path / records(tmp_path)[0].popitem()[0])
    record.points["oracle"] = record.points["oracle"][1:]  # of another length than the rest
    record.save(path)
    with pytest.raises(RecordError):
        Record.load(path)


def test_numbers_of_frames_have_a_limit() -> None:
    assert numbers("3,7-9") == {3, 7, 8, 9}
    for text in ("1-99999999999", "1-" + "9" * 30, "99999999999"):
        with pytest.raises(ValueError, match="so many frames"):
            numbers(text)


def test_faces_have_a_limit() -> None:
    for count in (0, -1, 1000):
        with pytest.raises(InputError, match="--max-faces"):
            Settings(max_faces=count)


# Models


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A landmark network of a few numbers, with all that a model file has."""
    landmark_models(tmp_path)
    path = tmp_path / "tiny.onnx"
    crop = load_model(path).crop(Box(10, 10, 80, 80))
    assert load_model(path).locate(picture(3), [crop])[0].points.shape == (5, 2)
    return path


def outside(tensor: onnx.TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


@pytest.mark.parametrize("location", ["weights.bin", "../../../../../../etc/passwd", "/etc/passwd", "/dev/zero"])
def test_a_model_opens_no_other_file(tiny: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    np.ones(1000, np.float32).tofile("weights.bin")
    model = onnx.load(tiny)
    outside(model.graph.initializer[0], location)
    tiny.write_bytes(model.SerializeToString())
    for load in (load_model, load_detector):
        with pytest.raises(ModelError, match="from other files"):
            load(tiny)


def test_nor_does_a_part_of_a_model(tiny: Path) -> None:
    """In a constant of a branch within a branch, and in the constants of a function."""
    value = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    outside(value, "weights.bin")
    constant = helper.make_node("Constant", [], ["w"], value=value)
    inner = helper.make_graph([constant], "inner", [], [])
    for _ in range(3):
        node = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "outer", [], [])
    function = helper.make_function("x", "f", [], ["w"], [constant], [helper.make_opsetid("", 17)])
    for change in (lambda m: m.graph.node.extend([node]), lambda m: m.functions.extend([function])):
        model = onnx.load(tiny)
        change(model)
        (tiny.parent / "nested.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="from other files"):
            load_model(tiny.parent / "nested.onnx")


def changed(path: Path, weights: str, value: float) -> Path:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == weights:
            tensor.raw_data = np.full(tensor.dims, value, np.float32).tobytes()
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_that_answers_no_numbers_is_refused(tiny: Path) -> None:
    with pytest.raises(ModelError, match="points are not what its Spec says"):
        load_model(changed(tiny, "b", float("nan")))


def test_a_model_that_is_not_what_its_spec_says_is_refused(tiny: Path) -> None:
    model = onnx.load(tiny)
    about = spec(outputs=("points", "confidence", "presence"))
    for other, said in (
        (replace(about, markup="ibug68"), "points are not"),
        (replace(about, input_size=32), "fails on a picture"),
        (replace(about, outputs=("points",)), "other outputs"),
    ):
        onnx.helper.set_model_props(model, {about.KEY: other.to_json()})
        tiny.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=said):
            OnnxBackend(tiny)


def test_what_is_no_model_is_not_given_to_opencv(tiny: Path) -> None:
    """Its reader of networks dies of some of them, as of one with a number of sizes that is none."""
    model = onnx.load(tiny)
    model.graph.initializer[3].dims[:] = [32767000]
    tiny.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not a readable ONNX model"):
        load_detector(tiny)


@pytest.mark.parametrize(
    "options", [{"widths": [60000] * 4}, {"heads": 65536}, {"widths": [10**12] * 4}, {"widths": "x"}, {"widths": []}]
)
def test_absurd_sizes_in_a_spec_take_no_memory(tmp_path: Path, options: dict[str, object]) -> None:
    from safetensors.torch import save_file

    from tracker.networks import build

    sound = {"widths": [4, 4, 4, 4]}
    values = json.loads(spec(network="trnet20", options=sound).to_json()) | {"options": options}
    path = tmp_path / "a.safetensors"
    save_file(build("trnet20", 5, sound).state_dict(), str(path), metadata={"landmark-tracker": json.dumps(values)})
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_weights_of_half_precision_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from tracker.networks import build

    options = {"widths": [4, 4, 4, 4]}
    state = {
        name: one.half() if one.is_floating_point() else one
        for name, one in build("trnet20", 5, options).state_dict().items()
    }
    about = spec(network="trnet20", options=options)
    save_file(state, str(tmp_path / "a.safetensors"), metadata={about.KEY: about.to_json()})
    model = load_model(tmp_path / "a.safetensors")
    (face,) = model.locate(picture(3), [model.crop(Box(10, 10, 40, 40))])
    assert np.isfinite(face.points).all()


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    from tracker.training.loop import open_run

    for content in (b"", b"PK", b"\x80\x04cos\nsystem\n(S'true'\ntR."):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(TrackerError, match="holds no run"):
            open_run(tmp_path)
