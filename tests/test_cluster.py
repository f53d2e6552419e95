"""The same recordings on a Dask cluster of this machine: real workers, one of which is killed."""

import subprocess
from pathlib import Path

import pytest
from stress import command, parts, tables, worker_killed, write_clips

from tracker.__main__ import main

pytest.importorskip("distributed")


def test_with_a_killed_worker_the_tables_are_the_same_bytes(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 3, 15)
    assert main(["track", str(clips), "--out", str(tmp_path / "here"), "--jobs", "1"]) == 0
    said = worker_killed(clips, tmp_path / "cluster", "--cluster", "local", "--jobs", "2")
    assert "3 whole" in said
    assert tables(tmp_path / "cluster") == tables(tmp_path / "here")
    assert not parts(tmp_path / "cluster")


def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 1, 2)
    words = command(clips, tmp_path / "out", "--cluster", "nonsense://here")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "--cluster nonsense://here" in line
