"""The command line, on real files."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tracker.__main__ import main
from tracker.demo import main as demo
from tracker.jobs import jobs
from tracker.sources import SourceError, open_source


def track(out: Path, *words: object) -> int:
    return main(["track", *map(str, words), "--out", str(out)])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_recording_gives_a_table_and_a_video(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(tmp_path, clip, "--format", "csv,video") == 0
    table = rows(tmp_path / "astronaut.csv")
    assert [row["frame"] for row in table] == [str(number + 1) for number in range(60)]
    assert {row["success"] for row in table} == {"1"}
    assert list(table[0])[:7] == ["frame", "face_id", "timestamp", "confidence", "success", "pose_Tx", "pose_Ty"]
    with open_source(clip) as before, open_source(tmp_path / "astronaut.mp4") as after:
        times = [[frame.time for frame in source] for source in (before, after)]
        assert before.size == after.size
    np.testing.assert_allclose(times[0], times[1], atol=5e-4)
    np.testing.assert_allclose([float(row["timestamp"]) for row in table], times[0], atol=1e-6)
    line = capsys.readouterr().out
    assert re.search(r"60 frames, face in 100.0 %, 1 identities, \d+ frames/s .*landmarks \d", line)
    assert not list(tmp_path.glob("*.part*"))


def test_folders_keep_their_structure(clip: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "in"
    (recordings / "a").mkdir(parents=True)
    for name in ("a/one.mp4", "two.mp4"):
        (recordings / name).write_bytes(clip.read_bytes())
    (recordings / "notes.txt").write_text("not a recording")
    assert track(tmp_path / "out", recordings) == 0
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert found == ["a/one.csv", "a/one.run.json", "summary.json", "two.csv", "two.run.json"]


def test_recordings_of_one_name_do_not_overwrite_each_other(clip: Path, tmp_path: Path) -> None:
    for name in ("clip.mp4", "clip.m4v"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    assert track(tmp_path / "out", tmp_path / "clip.mp4", tmp_path / "clip.m4v") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.csv")) == ["clip.m4v.csv", "clip.mp4.csv"]


def test_names_that_differ_in_capitals_only_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """On the disks of Windows and macOS these are one name."""
    for name in ("Talk.mp4", "talk.mov"):
        (tmp_path / name).touch()
    assert [job.target.name for job in jobs([tmp_path], tmp_path / "out")] == ["Talk.mp4", "talk.mov"]


def test_results_beside_their_recordings_are_no_recordings(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    names = ["day/other", "talk"]
    for name in names:
        shutil.copyfile(clip, tmp_path / f"{name}.avi")
    for options in ((), ("--resume",)):
        assert track(tmp_path, tmp_path, "--format", "csv,video", *options) == 0
        found = jobs([tmp_path], tmp_path)
        assert [job.source for job in found] == [tmp_path / f"{name}.avi" for name in names]
        assert [job.target for job in found] == [tmp_path / name for name in names]
    assert (tmp_path / "talk.mp4").exists()
    assert json.loads((tmp_path / "summary.json").read_text())["recordings"][0]["state"] == "skipped"


def test_a_folder_of_pictures_is_one_recording(portrait: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "001"  # a name that is a number is no camera
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), portrait[:, :, ::-1])
    assert track(tmp_path / "out", folder) == 0
    assert [row["success"] for row in rows(tmp_path / "out" / "001.csv")] == ["1", "1", "1"]


def test_points_as_located_differ_from_smoothed_ones(clip: Path, tmp_path: Path) -> None:
    assert track(tmp_path / "a", clip, "--max-faces", 1) == 0
    assert track(tmp_path / "b", clip, "--max-faces", 1, "--smooth", "none") == 0
    smooth, raw = (np.array([float(r["x_30"]) for r in rows(tmp_path / n / "astronaut.csv")]) for n in "ab")
    assert 0 < np.abs(smooth - raw).max() < 20


@pytest.fixture
def bad(clip: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    whole = clip.read_bytes()
    (folder / "no_index.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("this is a text\n" * 50)
    (folder / "nothing.mp4").write_bytes(b"")
    (folder / "empty").mkdir()
    (folder / "a_file").write_text("x")
    (folder / "list.txt").write_text("# recordings\nmissing.mp4\n")
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.mp4"], "missing.mp4"),
        (["text.mp4"], "text.mp4"),
        (["nothing.mp4"], "nothing.mp4"),
        (["no_index.mp4"], "index"),
        (["empty"], "empty"),
        (["text.mp4", "--model", "nonsense"], "nonsense"),
        (["text.mp4", "--model", "a_file"], "a_file"),
        (["text.mp4", "--format", "docx"], "docx"),
        (["text.mp4", "--format", ""], "--format"),
        (["text.mp4", "--overlay", "hats"], "hats"),
        (["text.mp4", "--overlay", "points"], "--format csv,video"),
        (["text.mp4", "--background", "blur"], "--format csv,video"),
        (["text.mp4", "--smooth", "much"], "much"),
        (["text.mp4", "--quality", "52"], "52"),
        (["text.mp4", "--focal", "0"], "--focal"),
        (["text.mp4", "--background", "beach"], "beach"),
        (["text.mp4", "--shard", "3/2"], "3/2"),
        (["text.mp4", "--attention", "--background", "blur"], "--background"),
        (["a_file", "--attention", "--format", "video"], "attention maps"),
        (["*.xyz"], "*.xyz"),
        (["list.txt"], "list.txt, line 2"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    bad: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad)
    assert track(bad / "out", *words) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (bad / "out").exists() or [path.name for path in (bad / "out").iterdir()] == ["summary.json"]


def test_an_output_folder_that_cannot_be_written(clip: Path, bad: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert track(bad / "a_file" / "out", clip) == 2
    error = capfd.readouterr().err.strip()
    assert "a_file" in error
    assert "\n" not in error


def test_an_output_that_cannot_be_replaced_is_one_line(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "day1").mkdir(parents=True)
    shutil.copy(clip, tmp_path / "in" / "day1" / "a.mp4")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "day1").write_text("a file where a folder is to be")
    assert track(tmp_path / "out", tmp_path / "in") == 2
    error = capfd.readouterr().err.strip()
    assert "day1" in error
    assert "report" not in error
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert track(tmp_path / "loop", clip) == 2
    assert "leads nowhere" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".png", "a\0b"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source(name)


def test_the_demonstration_names_what_is_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").write_text("a file")
    assert demo([]) == 2
    assert capfd.readouterr().err.startswith("error: out")


@pytest.mark.skipif(os.name == "nt", reason="the reader of a pipe goes otherwise there")
def test_who_reads_the_output_may_leave_early() -> None:
    words = [sys.executable, "-m", "tracker", "models"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as models:
        assert models.stdout
        assert models.stderr
        models.stdout.close()
        assert models.stderr.read() == ""
    assert models.returncode == 141


def test_what_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["bench", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bad_option_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["track", "x.mp4", "--out", "o", "--max-faces", "0"])
    assert end.value.code == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("missing", "words"), [("pyarrow", ("--format", "csv,parquet")), ("distributed", ("--cluster", "local"))]
)
def test_a_missing_extra_is_named_in_one_line(
    clip: Path,
    tmp_path: Path,
    missing: str,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert track(tmp_path / "out", clip, *words) == 2
    error = capfd.readouterr().err.strip()
    assert "pip install 'landmark-tracker[" in error
    assert "\n" not in error
    assert not list((tmp_path / "out").glob("astronaut.*"))


def test_one_bad_recording_does_not_stop_the_others(
    clip: Path, bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert track(tmp_path / "out", bad / "text.mp4", clip) == 2
    assert len(rows(tmp_path / "out" / "astronaut.csv")) == 60
    assert "text.mp4" in capfd.readouterr().err


def test_a_recording_cut_in_the_middle_keeps_its_frames(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(str(clip)) as source, av.open(str(whole), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    assert track(tmp_path / "out", cut) == 2
    assert 10 < len(rows(tmp_path / "out" / "cut.csv")) < 60
    error = capfd.readouterr().err.strip()
    assert "cut.mp4" in error
    assert "\n" not in error


def test_a_run_that_is_refused_leaves_the_record_of_an_earlier_one(clip: Path, tmp_path: Path) -> None:
    source = shutil.copyfile(clip, tmp_path / "talk.mp4")
    assert track(tmp_path, source) == 0
    before = (tmp_path / "talk.run.json").read_text()
    assert track(tmp_path, source, "--format", "video") == 2
    assert (tmp_path / "talk.run.json").read_text() == before


def test_the_video_is_never_written_over_itself(clip: Path, tmp_path: Path) -> None:
    recording = tmp_path / "clip.mp4"
    recording.write_bytes(clip.read_bytes())
    assert track(tmp_path, recording, "--format", "video") == 2
    assert recording.read_bytes() == clip.read_bytes()


def test_the_program_as_it_is_called(clip: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tracker", "track", str(clip), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert done.stderr == "", "nothing but the program's own words"
    models = subprocess.run([sys.executable, "-m", "tracker", "models"], capture_output=True, text=True)
    assert "trnet-68" in models.stdout
    assert main(["cameras"]) == 0
