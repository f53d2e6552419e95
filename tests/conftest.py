"""What several tests share: the portrait, and the real detector and model."""

from pathlib import Path

import numpy as np
import pytest

from tracker import LandmarkModel, load_detector, load_model
from tracker.demo import write_clip
from tracker.detector import Detector


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
