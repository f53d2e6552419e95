"""What several tests share: the portrait, and the real detector and model."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from window_probe import PROBLEM

from tracker import LandmarkModel, load_detector, load_model
from tracker.detector import Detector
from tracker.portrait import write_clip

# No test depends on the clock: this machine may be doing other work.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# pytest-qt is not loaded of itself (see pyproject.toml), as without Qt's system libraries it would stop every test.
pytest_plugins = [] if PROBLEM or "pytestqt.plugin" in sys.modules else ["pytestqt.plugin"]


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """NASA's portrait of Eileen Collins (public domain), (512, 512, 3) RGB, from scikit-image's wheel."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut())


@pytest.fixture(scope="session")
def detector() -> Detector:
    return load_detector("far")


@pytest.fixture(scope="session")
def model() -> LandmarkModel:
    return load_model("trnet-68")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the demonstration's clip: one face, 60 frames, 640x480."""
    path = tmp_path_factory.mktemp("clip") / "astronaut.mp4"
    write_clip(path, 60)
    return path


@pytest.fixture(scope="session")
def attentive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with the points of trnet-68 and the attention maps of an AAN that was never trained."""
    import torch
    from safetensors.torch import load_file

    from tracker.networks import build
    from tracker.training.export import _write_onnx

    known = load_model("trnet-68")

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.points, self.maps = build("trnet20", 68, known.spec.options), build("aan", 68)
            self.points.load_state_dict(load_file(str(known.backend.path.with_suffix(".safetensors"))))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            points = self.points(torch.nn.functional.avg_pool2d(x, 2))["points"] * 2 + 0.5
            found = self.maps(x)
            return (points, *(found[f"attention_{level}"] for level in range(4)))

    torch.manual_seed(0)
    outputs = ("points", *(f"attention_{level}" for level in range(4)))
    spec = replace(known.spec, name="attentive", network="aan", input_size=128, outputs=outputs, options={})
    path = tmp_path_factory.mktemp("models") / "attentive.onnx"
    _write_onnx(Both().eval(), torch.randn(2, 3, 128, 128), spec, path)
    return path
