"""What laboratories rely on overnight: complete files, whatever happens meanwhile."""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnx
import pytest
from clips import LATE, STEPS, encode, folder_of, number_in, picture, png
from stress import command, finish, killed_and_resumed, parts, start, tables, until, worker_killed, workers, write_clips
from test_sources import ONE, QUARTERS
from test_tables import rows_of

from tracker import load_model, open_source
from tracker.__main__ import main
from tracker.backends import Spec
from tracker.batch import Done, Progress, run
from tracker.detector import Detector
from tracker.jobs import InputError, Job, jobs, shard
from tracker.recording import Settings, whole_record
from tracker.sources import VideoFile


def track(*words: object) -> int:
    return main(["track", *map(str, words)])


def json_of(path: Path) -> Any:
    return json.loads(path.read_text())


# Exactness

MATRIX: dict[str, dict[str, Any]] = {
    "constant.mp4": {"sound": "aac"},
    "variable.mp4": {"times": STEPS, "sound": "aac"},
    "variable.mkv": {"times": STEPS, "sound": "pcm_s16le"},
    "late.mp4": {"times": LATE},
    "reordered.mp4": {"times": LATE, "options": {"bf": "3", "x264-params": "b-adapt=0"}, "sound": "aac"},
    "reordered.avi": {"options": {"bf": "3", "x264-params": "b-adapt=0"}},
    "turned.mp4": {"times": LATE},
    "odd.mkv": {"codec": "ffv1", "pixels": "yuv444p", "size": (97, 65)},
    "ten_bits.mp4": {"pixels": "yuv420p10le"},
    "photos.avi": {"codec": "mjpeg", "pixels": "yuvj420p", "sound": "pcm_s16le"},
    "raw.h264": {},
    "raw.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p", "rate": 25},
    "cut.mkv": {"times": [Fraction(number, 10) for number in range(40)], "options": {"g": "5", "bf": "0"}},
}


def packets_of_sound(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(audio=0))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of MATRIX and what was made of them, in ``in`` and ``out``."""
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "in").mkdir()
    for name, kind in MATRIX.items():
        path = encode(folder / "in" / name, **kind)
        data = bytearray(path.read_bytes())
        if name == "turned.mp4":
            a, b, c, d = QUARTERS[90]
            struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, ONE << 14)
            path.write_bytes(data)
        if name == "cut.mkv":
            path.write_bytes(data[: len(data) * 2 // 3])
    code = track(folder / "in", "--out", folder / "out", "--format", "csv,video", "--detector", "near", "--jobs", 1)
    assert code == 2, "one of them is cut"
    return folder


@pytest.mark.parametrize("name", MATRIX)
def test_rows_are_the_frames_of_the_file_at_their_times(matrix: Path, name: str) -> None:
    kind = MATRIX[name]
    times = kind.get("times", 30)
    expected = [number / kind.get("rate", 10) for number in range(times)] if isinstance(times, int) else times
    same_stem = sum(Path(other).stem == Path(name).stem for other in MATRIX) > 1
    target = matrix / "out" / (name if same_stem else Path(name).stem)
    rows = rows_of(target.with_name(target.name + ".csv"))
    record = json_of(target.with_name(target.name + ".run.json"))
    if name == "cut.mkv":
        expected = expected[: len(rows)]
        assert 15 < len(rows) < 40
        assert record["problem"]
        assert not record["whole"]
    else:
        assert record["whole"]
    assert [row["frame"] for row in rows] == [str(number + 1) for number in range(len(expected))]
    assert [float(row["timestamp"]) for row in rows] == pytest.approx([float(time) for time in expected], abs=1e-3)
    timed = not name.startswith("raw")
    assert {row["timed"] for row in rows} == {str(int(timed))}
    assert record["input"]["timed"] == timed
    assert any("states no times" in note for note in record["notes"]) != timed

    (video,) = [target.with_name(one["file"]) for one in record["outputs"] if one["format"] == "video"]
    assert video.suffix == (".mkv" if kind.get("sound") == "pcm_s16le" else ".mp4")
    frames = list(VideoFile(video))
    if name != "turned.mp4":
        assert [number_in(frame.image) for frame in frames] == list(range(len(expected)))
    assert [frame.time for frame in frames] == pytest.approx([float(time) for time in expected], abs=1e-3)
    width, height = record["input"]["width"], record["input"]["height"]
    assert frames[0].image.shape == (height + height % 2, width + width % 2, 3)
    assert any("98 x 66" in note for note in record["notes"]) == (name == "odd.mkv")
    assert (width, height) == {"turned.mp4": (64, 96), "odd.mkv": (97, 65)}.get(name, (96, 64))
    if "sound" in kind:
        assert packets_of_sound(video) == packets_of_sound(matrix / "in" / name)


# What is given


def test_inputs_are_found_and_their_structure_is_kept(tmp_path: Path) -> None:
    names = ("in/a/one.mp4", "in/a/b/two.MOV", "in/c/three.mkv", "in/notes.doc", "in/out/old.mp4", "else/four.mp4")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text(
        "\ufeffelse/four.mp4\n# a list with a mark before it, as Notepad writes\n\n  in/c  \nin/a/**/*.mp4\n",
        encoding="utf-8",
    )

    def found(*inputs: str, out: str = "out") -> dict[str, str]:
        todo = jobs([tmp_path / text for text in inputs], tmp_path / out)
        return {
            job.source.relative_to(tmp_path).as_posix(): job.target.relative_to(tmp_path / out).as_posix()
            for job in todo
        }

    whole = {"in/a/one.mp4": "a/one", "in/a/b/two.MOV": "a/b/two", "in/c/three.mkv": "c/three"}
    assert found("in", out="in/out") == whole
    assert found("in") == {**whole, "in/out/old.mp4": "out/old"}
    assert found("in", out="") == {**whole, "in/out/old.mp4": "out/old"}
    assert found("in/*/*.mp4", out="in/out") == {"in/a/one.mp4": "a/one"}
    assert found("in/a/**/*") == {"in/a/one.mp4": "one", "in/a/b/two.MOV": "b/two"}
    assert found("list.txt") == {"else/four.mp4": "four", "in/c/three.mkv": "three", "in/a/one.mp4": "one"}
    assert found("in/a/one.mp4", "in/a/one.mp4") == {"in/a/one.mp4": "one"}
    for bad, said in (("nothing.mp4", "no such"), ("in/*.mp4", "matches"), ("in/notes.doc", "")):
        if said:
            with pytest.raises(InputError, match=said):
                found(bad)
    (tmp_path / "list.txt").write_text("in/c\nnothing.mp4\n")
    with pytest.raises(InputError, match=r"list\.txt, line 2.*nothing\.mp4"):
        found("list.txt")
    (tmp_path / "else" / "one.mp4").write_bytes(b"x")
    with pytest.raises(InputError, match="same file"):
        jobs([tmp_path / "in/a/one.mp4", tmp_path / "else/one.mp4"], tmp_path)


def test_folders_of_pictures_are_recordings_where_there_are_no_videos(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("all/first", "all/second/deep"):
        (tmp_path / name).mkdir(parents=True)
        folder_of(tmp_path / name, {"1.png": png(picture(1))})
    todo = jobs([tmp_path / "all"], tmp_path / "out")
    assert [str(job.target.relative_to(tmp_path / "out")) for job in todo] == ["first", "second/deep"]
    assert [job.source for job in todo] == [tmp_path / "all" / "first", tmp_path / "all" / "second" / "deep"]
    assert not caplog.messages
    (tmp_path / "all" / "one.mp4").write_bytes(b"x")
    assert [job.source.name for job in jobs([tmp_path / "all"], tmp_path / "out")] == ["one.mp4"]
    assert "2 pictures are passed over" in caplog.text


@pytest.mark.parametrize("count", [1, 3, 7, 20])
def test_shards_are_all_recordings_once(count: int) -> None:
    todo = [Job(Path(f"{number}.mp4"), Path(str(number))) for number in range(11)]
    together = [job for index in range(count) for job in shard(todo, f"{index + 1}/{count}")]
    assert sorted(together, key=todo.index) == todo
    for bad in (f"0/{count}", f"{count + 1}/{count}", "1", "a/b", "1/0", "-1/3"):
        with pytest.raises(InputError, match="--shard"):
            shard(todo, bad)


# Nothing is lost


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), 4, 15)


@pytest.fixture(scope="module")
def undisturbed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of the clips, made in this process."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert track(clips, "--out", out, "--jobs", 1) == 0
    found = tables(out)
    assert sorted(found) == ["day0/clip00.csv", "day0/clip03.csv", "day1/clip01.csv", "day2/clip02.csv"]
    assert all(b",1," in table for table in found.values())
    return found


def test_a_run_tells_how_it_went(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("this is a text\n" * 50)
    assert track(clips / "day0", tmp_path / "text.mp4", "--out", tmp_path / "out", "--jobs", 1) == 2
    summary = json_of(tmp_path / "out" / "summary.json")
    assert [one["state"] for one in summary["recordings"]] == ["whole", "whole", "failed"]
    assert "text.mp4" in summary["recordings"][2]["problem"]
    assert not summary["whole"]
    assert summary["frames"] == 30
    assert sum(summary["stages"].values()) == pytest.approx(1, abs=0.01)
    assert {"decode", "detect", "landmarks"} < set(summary["stages"])
    said = capsys.readouterr()
    assert "3 recordings: 2 whole, 1 failed; 30 frames" in said.out
    assert "time: " in said.out
    assert said.err.count("\n") == 1
    record = json_of(tmp_path / "out" / "clip00.run.json")
    assert record["quality"]["frames"] == record["quality"]["frames_with_a_face"] == 15
    assert record["quality"]["losses"] == 0
    assert 0.5 < record["quality"]["mean_confidence"] <= 1
    assert 0 < record["quality"]["jitter"] < 0.05
    assert record["quality"]["warnings"] == []
    assert len(record["model"]["sha256"]) == 64
    assert record["settings"]["formats"] == ["csv"]
    assert record["outputs"][0]["bytes"] == (tmp_path / "out" / "clip00.csv").stat().st_size


def test_a_bad_recording_is_seen_at_once(portrait: np.ndarray, tmp_path: Path) -> None:
    pictures = {
        "dark": (portrait * 0.12).astype(np.uint8),
        "blurred": cv2.GaussianBlur(portrait, (0, 0), 5),
        "empty": np.full_like(portrait, 120),
    }
    for name, image in pictures.items():
        folder_of(tmp_path / name, {f"{number}.png": png(image[:, :, ::-1]) for number in range(3)})
        assert track(tmp_path / name, "--out", tmp_path / "out") == 0
    words = {"dark": "dark", "blurred": "blurred", "empty": "only 0 %"}
    for name, word in words.items():
        warnings = " ".join(json_of(tmp_path / "out" / f"{name}.run.json")["quality"]["warnings"])
        assert [other for other in words.values() if other in warnings] == [word]


def test_resume_skips_what_is_whole_and_repeats_what_is_not(
    clips: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_clips(source, 3, 5)
    words = (source, "--out", out, "--jobs", 1, "--format", "csv,pts")
    assert track(*words) == 0
    first, files = tables(out), sorted(out.rglob("*.csv"))

    def repeated(*more: object) -> list[str]:
        """What is made anew by a run that resumes."""
        for path in files:
            os.utime(path, ns=(1, 1))
        assert track(*words, "--resume", *more) == 0
        assert tables(out) == first or more
        return [path.stem for path in files if path.stat().st_mtime_ns != 1]

    def told() -> list[object]:
        return [(one["quality"], one["seconds"]) for one in json_of(out / "summary.json")["recordings"]]

    capsys.readouterr()
    before = told()
    assert repeated() == []
    assert "3 skipped" in capsys.readouterr().out
    assert told() == before, "the summary still says what they are like"
    files[0].write_bytes(first["day0/clip00.csv"][:-100])
    assert repeated() == ["clip00"]
    (out / "day1" / "clip01.pts" / "000003.pts").unlink()
    assert repeated() == ["clip01"]
    (out / "day2" / "clip02.run.json").write_text('{"whole": true')
    assert repeated() == ["clip02"]
    os.utime(source / "day0" / "clip00.mp4")
    assert repeated() == ["clip00"]
    assert repeated("--max-faces", 1) == ["clip00", "clip01", "clip02"]
    assert repeated() == ["clip00", "clip01", "clip02"], "back to the first settings"


def test_a_recording_that_is_not_whole_is_repeated(tmp_path: Path) -> None:
    path = encode(tmp_path / "cut.mkv", times=40, options={"g": "5", "bf": "0"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    words = (path, "--out", tmp_path / "out", "--detector", "near", "--resume")
    assert track(*words) == 2
    record = tmp_path / "out" / "cut.run.json"
    first, written = json_of(record), record.stat().st_mtime_ns
    assert track(*words) == 2
    assert record.stat().st_mtime_ns > written
    assert json_of(record)["problem"] == first["problem"]
    path.write_bytes(whole)
    assert track(*words) == 0


def test_results_of_another_recording_are_not_written_over(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "cam1" / "talk.mp4", tmp_path / "cam2" / "talk.mp4"
    for path, clip in ((first, "clip00"), (second, "clip01")):
        path.parent.mkdir()
        shutil.copyfile(next(clips.rglob(f"{clip}.*")), path)
    out = tmp_path / "out"
    monkeypatch.chdir(first.parent)
    assert track("talk.mp4", "--out", out) == 0
    before = (out / "talk.csv").read_bytes()
    assert track(second, "--out", out) == 2
    assert "cam1" in capsys.readouterr().err
    monkeypatch.chdir(second.parent)
    assert track("talk.mp4", "--out", out) == 2, "the same words, and another recording"
    assert (out / "talk.csv").read_bytes() == before
    assert track(first, "--out", out) == 0, "its own may be"
    first.unlink()
    assert track(second, "--out", out) == 0, "of which there is no other any more"


def test_times_that_jump_back_are_noted(tmp_path: Path) -> None:
    part = encode(tmp_path / "part.ts", times=10).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    assert track(tmp_path / "joined.ts", "--out", tmp_path / "out", "--detector", "near") == 0
    record = json_of(tmp_path / "out" / "joined.run.json")
    assert record["quality"]["frames"] == 20
    assert any("jump back (1 in all)" in note for note in record["notes"])


def test_what_was_made_beside_a_recording_is_none_while_it_is_made_anew(tmp_path: Path) -> None:
    source = encode(tmp_path / "talk.mkv", times=20)
    (job,) = jobs([tmp_path], tmp_path)
    for settings in (Settings(formats=("csv", "video")), Settings(formats=("csv",))):
        with closing(run([job], settings)) as events:
            for event in events:
                if settings.formats == ("csv",) and isinstance(event, Progress) and event.frames == 5:
                    break
    assert (tmp_path / "talk.mp4").exists()
    assert [one.source for one in jobs([tmp_path], tmp_path)] == [source]
    assert whole_record(job, Settings(formats=("csv", "video"))) is None
    record = json_of(tmp_path / "talk.run.json")
    assert not record["whole"]
    assert "tracked anew" in record["problem"]


def test_pictures_that_come_later_are_tracked_and_results_beside_them_are_none(
    portrait: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()

    def add(name: str) -> None:
        cv2.imwrite(str(folder / name), portrait[:, :, ::-1])

    for name in ("1.png", "2.png", "._2.png"):  # the last is macOS's, beside pictures on disks of others
        add(name)
    (job,) = jobs([folder], folder / "results")
    for event in run([job], Settings()):
        if isinstance(event, Progress) and event.frames == 1:
            add("3.png")
    words = (folder, "--out", folder / "results", "--resume")
    frames = []
    for _ in range(2):
        assert track(*words) == 0
        frames.append(json_of(folder / "results" / "pictures.run.json")["quality"]["frames"])
    assert frames == [3, 3]
    assert "1 skipped" in capsys.readouterr().out


def test_several_processes_give_the_same_bytes(clips: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    said = finish(clips, tmp_path, "--jobs", "2")
    assert "4 recordings: 4 whole; 60 frames" in said
    assert tables(tmp_path) == undisturbed


def test_killed_and_resumed_it_gives_the_same_bytes(clips: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    whole = killed_and_resumed(clips, tmp_path / "out", [0.0, 0.7], 0.5, "--jobs", "2")
    assert whole[0] < 4, "the first kill was in the middle"
    assert tables(tmp_path / "out") == undisturbed
    assert not parts(tmp_path / "out")


def test_a_killed_worker_is_replaced(clips: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    said = worker_killed(clips, tmp_path / "out", "--jobs", "2")
    assert "4 whole" in said
    assert tables(tmp_path / "out") == undisturbed
    assert not parts(tmp_path / "out")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_recording_that_kills_its_worker_is_named_and_the_others_go_on(
    processes: int, clips: Path, tmp_path: Path
) -> None:
    """A recording so long that its worker can be killed every time, beside short ones."""
    slow = tmp_path / "slow.mp4"
    encode(slow, times=63 * 40, rate=100, options={"preset": "ultrafast"})
    (tmp_path / "list.txt").write_text(f"{slow}\n{clips / 'day0'}\n")
    out = tmp_path / "out"
    process = start(tmp_path / "list.txt", out, "--jobs", str(processes))
    victims: set[int] = set()
    while len(victims) < 3 and until(lambda: (out / "slow.csv.part").exists(), process):
        for pid in workers(process):
            opened = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
            if str(out / "slow.csv.part") in opened:
                os.kill(pid, signal.SIGKILL)
                victims.add(pid)
                (out / "slow.csv.part").unlink()
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "slow.mp4: its process was killed 3 times" in errors
    assert "Traceback" not in errors
    states = [one["state"] for one in json_of(out / "summary.json")["recordings"]]
    assert states == ["failed", "whole", "whole"]


@pytest.mark.parametrize(("count", "when"), [("1", "writing"), ("2", "writing"), ("2", "starting")])
def test_ctrl_c_ends_cleanly(clips: Path, undisturbed: dict[str, bytes], tmp_path: Path, count: str, when: str) -> None:
    out = tmp_path / "out"
    process = start(clips, out, "--jobs", count, session=True)
    assert until(lambda: len(workers(process)) == 2 if when == "starting" else bool(parts(out)), process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    states = [one["state"] for one in json_of(out / "summary.json")["recordings"]]
    assert "not done" in states
    finish(clips, out, "--resume", "--jobs", count)
    assert tables(out) == undisturbed
    assert not parts(out)


def test_a_full_disk_fails_one_and_not_the_others(clips: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the end of the disk: the long table goes over it."""
    long = encode(tmp_path / "long.mp4", times=200)
    (tmp_path / "list.txt").write_text(f"{long}\n{clips / 'day1'}\n")
    done = subprocess.run(
        command(tmp_path / "list.txt", tmp_path / "out", "--jobs", "2", "--detector", "near"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000)),
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "long.csv" in line
    assert "space" in line
    states = [one["state"] for one in json_of(tmp_path / "out" / "summary.json")["recordings"]]
    assert states == ["failed", "whole"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clip01.csv",
        "clip01.run.json",
        "summary.json",
    ]


def test_shards_together_do_all(clips: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    for part in ("1/2", "2/2"):
        assert track(clips, "--out", tmp_path, "--shard", part, "--jobs", 1) == 0
    assert tables(tmp_path) == undisturbed
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["summary-1-of-2.json", "summary-2-of-2.json"]


def test_as_a_library_events_tell_the_progress(clips: Path, tmp_path: Path) -> None:
    todo = jobs([clips / "day1"], tmp_path)
    events = list(run(todo, Settings()))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.frames, event.total) for event in progress] == [(number, 15) for number in range(1, 16)]
    assert isinstance(events[-1], Done)
    assert events[-1].whole
    steps = run(todo, Settings())
    next(steps)
    steps.close()
    assert [path.name for path in parts(tmp_path)] == ["clip01.csv.part"], "what was written so far is kept"


# The video and its options


def test_zero_lag_smoothing_does_not_lag(clips: Path, tmp_path: Path) -> None:
    xs = {}
    for how in ("none", "live", "zero-lag"):
        words = ("--out", tmp_path / how, "--smooth", how, "--format", "csv,video", "--jobs", 1)
        assert track(clips / "day0" / "clip03.mp4", *words) == 0
        rows = rows_of(tmp_path / how / "clip03.csv")
        xs[how] = np.array([[float(row[f"x_{place}"]) for place in range(68)] for row in rows])
        assert len(list(VideoFile(tmp_path / how / "clip03.mp4"))) == len(rows) == 15
    moved = xs["none"][-1].mean() - xs["none"][0].mean()
    behind = {how: ((xs["none"] - xs[how])[3:-3].mean()) / moved for how in ("live", "zero-lag")}
    assert abs(behind["zero-lag"]) < 0.5 * abs(behind["live"])
    bend = {how: np.abs(np.diff(xs[how], n=2, axis=0)).mean() for how in xs}
    assert bend["zero-lag"] < bend["none"]


@pytest.mark.parametrize("background", ["blank", "blur"])
def test_nobody_can_be_recognised(portrait: np.ndarray, detector: Detector, tmp_path: Path, background: str) -> None:
    head = np.ascontiguousarray(cv2.resize(portrait[20:240, 110:330], (480, 480)))
    path = tmp_path / "head.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", 10)
        stream.width, stream.height, stream.pix_fmt = 480, 480, "yuv420p"
        tone: Any = container.add_stream("aac", 44100, layout="mono")
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(head)))
        container.mux(stream.encode(None))
        container.mux(tone.encode(None))
    words = ("--out", tmp_path / "out", "--format", "csv,video", "--background", background, "--overlay", "points")
    assert track(path, *words) == 0
    assert {row["success"] for row in rows_of(tmp_path / "out" / "head.csv")} == {"1"}
    with open_source(tmp_path / "out" / "head.mp4") as source:
        frames = [frame.image for frame in source]
    assert len(frames) == 5
    with av.open(str(tmp_path / "out" / "head.mp4")) as container:
        assert not container.streams.audio
    assert any("without sound" in note for note in json_of(tmp_path / "out" / "head.run.json")["notes"])
    assert (
        track(path, "--out", tmp_path / "none", "--format", "video", "--background", background, "--overlay", "none")
        == 0
    )
    (frame, *_) = VideoFile(tmp_path / "none" / "head.mp4")
    assert detector(head)
    assert background == "blur" or not detector(frame.image)
    small = cv2.resize(cv2.resize(frame.image, (8, 8), interpolation=cv2.INTER_AREA), (480, 480))
    assert np.abs(frame.image.astype(int) - small).mean() < 8, "nothing is there that 8 x 8 pixels do not hold"
    assert (np.ptp(frame.image) < 8) == (background == "blank")


def test_the_precision_is_chosen_and_written(clip: Path, tmp_path: Path) -> None:
    rows = {}
    for precision in ("fp32", "int8"):
        assert track(clip, "--out", tmp_path / precision, "--precision", precision) == 0
        record = json_of(tmp_path / precision / f"{clip.stem}.run.json")
        assert record["model"]["precision"] == record["settings"]["precision"] == precision
        rows[precision] = (tmp_path / precision / f"{clip.stem}.csv").read_text()
    assert rows["fp32"] != rows["int8"], "another network ran"
    model = tmp_path / "mine.onnx"
    model.write_bytes(load_model("trnet-68").backend.path.read_bytes())
    assert track(clip, "--out", tmp_path / "none", "--model", model, "--precision", "int8") == 2


@pytest.fixture(scope="session")
def attentive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives maps as AAN does: trnet-68, with the brightness of its input at four sizes as maps."""
    path = load_model("trnet-68").backend.path
    model = onnx.load(str(path))
    spec = json.loads({entry.key: entry.value for entry in model.metadata_props}[Spec.KEY])
    names = [f"attention_{layer}" for layer in range(4)]
    graph, source = model.graph, model.graph.input[0].name
    graph.node.append(onnx.helper.make_node("ReduceMean", [source], ["grey"], axes=[1], keepdims=1))
    graph.initializer.append(onnx.helper.make_tensor("channel", onnx.TensorProto.INT64, [1], [1]))
    for layer, name in enumerate(names):
        size = 2 << layer
        pool = {"kernel_shape": [size, size], "strides": [size, size]}
        graph.node.append(onnx.helper.make_node("AveragePool", ["grey"], [f"pooled_{layer}"], **pool))
        graph.node.append(onnx.helper.make_node("Squeeze", [f"pooled_{layer}", "channel"], [name]))
        shape = ["faces", 64 // size, 64 // size]
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    spec["outputs"] += names
    onnx.helper.set_model_props(model, {Spec.KEY: json.dumps(spec)})
    path = tmp_path_factory.mktemp("model") / "attentive.onnx"
    onnx.save(model, str(path))
    return path


def test_attention_is_shown_and_gathered_on_a_sheet(clips: Path, attentive: Path, tmp_path: Path) -> None:
    clip = clips / "day1" / "clip01.mp4"
    words = ("--model", attentive, "--format", "csv,video", "--overlay", "none")
    assert track(clip, "--out", tmp_path / "with", *words, "--attention") == 0
    assert track(clip, "--out", tmp_path / "without", *words) == 0
    row = rows_of(tmp_path / "with" / "clip01.csv")[0]
    x, y = round(float(row["x_30"])), round(float(row["y_30"]))
    shown, plain = (next(iter(VideoFile(tmp_path / name / "clip01.mp4"))).image for name in ("with", "without"))
    apart = np.abs(shown.astype(int) - plain)
    assert apart[y - 10 : y + 10, x - 10 : x + 10].mean() > 20, "on the face"
    assert apart[:20, :20].mean() < 6, "not beside it"
    sheet = cv2.imread(str(tmp_path / "with" / "clip01.attention.png"))
    assert sheet.shape == (5 * 134 + 6, 84 + 8 * 134 + 6, 3), "eight faces, each above its four maps"
    record = json_of(tmp_path / "with" / "clip01.run.json")
    assert [one["format"] for one in record["outputs"]] == ["csv", "video", "attention"]


def test_the_process_of_a_library_user_keeps_its_threads(clips: Path, tmp_path: Path) -> None:
    code = (
        "import cv2, sys; from pathlib import Path; from tracker.jobs import jobs; from tracker.batch import run;"
        "from tracker.recording import Settings; cv2.setNumThreads(3);"
        "list(run(jobs([sys.argv[1]], Path(sys.argv[2])), Settings())); print(cv2.getNumThreads())"
    )
    done = subprocess.run([sys.executable, "-c", code, clips / "day1", tmp_path], capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr
