"""Training by several processes under torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn import drawn_labels, write_300w

from tracker.training.__main__ import main
from tracker.training.loop import Run, TrainingError, train


def under_torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = [*command, "-m", "--", "tracker.training", *arguments]
    return subprocess.run(done, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no processes")
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """The same batches, split: CNN-6, which normalises no batch, ends at the same weights but for rounding. One
    process alone writes."""
    write_300w(tmp_path / "data")
    begun, one, two = (tmp_path / name for name in ("begun", "one", "two"))
    common = ["train", "--data", str(tmp_path / "data"), "--sets", "300w", "--network", "cnn6", "--batch", "6"]
    assert main([*common, "--steps", "1", "--out", str(begun)]) == 0
    common += ["--steps", "4", "--rate", "1e-4", "--start", str(begun), "--out"]
    assert main([*common, str(one)]) == 0
    done = under_torchrun([*common, str(two)])
    assert done.returncode == 0, done.stderr
    alone, together = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (one, two))
    assert together["step"] == 4
    start = torch.load(begun / "checkpoint.pt", weights_only=True)["average"]
    apart = [(together["network"][key] - value).norm().item() for key, value in alone["network"].items()]
    moved = [(start[key] - value).norm().item() for key, value in alone["network"].items()]
    assert max(apart) < 0.1 * max(moved)
    first, second = (json.loads((folder / "log.jsonl").read_text()) for folder in (one, two))
    assert second["loss"] == pytest.approx(first["loss"], rel=0.01)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="multiple"):
        train(Run(batch=5), [[drawn_labels(0)]], [], tmp_path / "run", processes=2)
    assert not (tmp_path / "run").exists()
