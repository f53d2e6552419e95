"""Models in whole numbers of 8 bits: what they keep, and how near they stay to those in fp32."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn import drawn_face, write_300w
from onnx import numpy_helper

from tracker import Crop, load_model
from tracker.model import model_files
from tracker.training.__main__ import main
from tracker.training.augment import jittered
from tracker.training.quantise import quantise
from tracker.training.readers import read_300w

SHIPPED = [path for path in model_files() if path.stem.endswith("-int8")]


def test_an_int8_model_is_shipped() -> None:
    assert "trnet-68-int8" in [path.stem for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_int8_model_finds_what_the_fp32_model_finds(path: Path, portrait: np.ndarray) -> None:
    """The same Spec but for name and precision; on a tracker's crops of the portrait, points within 1 % of the face in
    the mean, and confidence and presence within a tenth."""
    short, full = load_model(path), load_model(path.stem.removesuffix("-int8"))
    assert replace(short.spec, name=full.spec.name, precision="fp32") == full.spec
    assert short.spec.precision == "int8"
    assert max(np.abs(array.astype(int)).max() for array in whole_weights(path)) <= 64, "else it needs VNNI"
    assert path.stat().st_size < path.with_name(f"{full.spec.name}.onnx").stat().st_size
    size = full.spec.input_size
    (seen,) = full.locate(portrait, [Crop(224, 120, 150, size)])
    crops = [jittered(seen.points, full.spec.context, size, np.random.default_rng(seed)) for seed in range(12)]
    for one, other in zip(short.locate(portrait, crops), full.locate(portrait, crops), strict=True):
        side = max(other.box.width, other.box.height)
        assert np.linalg.norm(one.points - other.points, axis=-1).mean() < 0.01 * side
        if other.presence is not None:
            assert abs(one.presence - other.presence) < 0.1
            assert np.abs(one.confidence - other.confidence).mean() < 0.1


def whole_weights(path: Path) -> list[np.ndarray]:
    """The weights of convolutions and linear layers that are kept in 8 bits."""
    arrays = [numpy_helper.to_array(part) for part in onnx.load(path).graph.initializer]
    return [array for array in arrays if array.ndim in (2, 4) and array.dtype == np.int8]


def test_a_model_is_quantised_with_all_it_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Heads and points come out of the same graph; weights keep to 7 bits unless all 8 are asked for; every convolution
    is in whole numbers. The next version of the model does not keep the whole numbers of this one."""
    write_300w(tmp_path / "data")
    data = ["--data", str(tmp_path / "data")]
    run, headed = tmp_path / "run", tmp_path / "headed"
    assert main(["train", *data, "--sets", "300w", "--batch", "2", "--steps", "1", "--out", str(run)]) == 0
    assert main(["heads", str(run), *data, "--out", str(headed)]) == 0
    assert main(["export", str(headed), "--name", "mine", "--out", str(tmp_path)]) == 0
    model = str(tmp_path / "mine.onnx")
    assert main(["quantise", model, *data, "--out", str(tmp_path)]) == 0
    quantise(Path(model), read_300w(tmp_path / "data" / "300w"), tmp_path / "all", crops=32, full_range=True)
    full = load_model(model)
    image, points = drawn_face(1)
    for folder, limit in ((tmp_path, 64), (tmp_path / "all", 127)):
        path = folder / "mine-int8.onnx"
        short = load_model(path)
        assert replace(short.spec, name="mine", precision="fp32") == full.spec
        found = whole_weights(path)
        assert len(found) == 19
        assert 0.9 * limit < max(np.abs(array.astype(int)).max() for array in found) <= limit
        one, other = (model.locate(image, [full.crop_around(points)])[0] for model in (short, full))
        assert np.linalg.norm(one.points - other.points, axis=-1).mean() < 0.02 * 70
        assert abs(one.presence - other.presence) < 0.1
    assert not list(tmp_path.rglob("*.part*"))
    assert main(["quantise", str(tmp_path / "mine-int8.onnx"), *data, "--out", str(tmp_path)]) == 2
    assert main(["quantise", model, "--set", "lfw", *data, "--out", str(tmp_path)]) == 2
    caplog.set_level("INFO")
    assert main(["export", str(run), "--name", "mine", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "mine-int8.onnx").exists()
    assert "mine-int8.onnx, of the model before, is taken away" in caplog.text


def test_the_embedding_of_an_aan_is_in_whole_numbers(tmp_path: Path) -> None:
    """The layer with most of its weights is, too, and what comes out stays near; the maps are there."""
    write_300w(tmp_path / "data")
    data = ["--data", str(tmp_path / "data")]
    run, small = tmp_path / "run", '{"widths": [4, 4, 4, 8], "dimension": 32}'
    options = ["--network", "aan", "--options", small, "--sets", "300w", "--batch", "4", "--steps", "8"]
    assert main(["train", *data, *options, "--out", str(run)]) == 0
    assert main(["export", str(run), "--name", "mine", "--out", str(tmp_path)]) == 0
    assert main(["quantise", str(tmp_path / "mine.onnx"), *data, "--out", str(tmp_path)]) == 0
    assert (32, 512) in [array.shape for array in whole_weights(tmp_path / "mine-int8.onnx")]
    full, short = (load_model(tmp_path / f"{name}.onnx") for name in ("mine", "mine-int8"))
    image, points = drawn_face(1)
    one, other = (model.locate(image, [full.crop_around(points)])[0] for model in (short, full))
    assert np.linalg.norm(one.points - other.points, axis=-1).mean() < 0.02 * 70
    for found, expected in zip(one.attention, other.attention, strict=True):
        assert np.abs(found - expected).mean() < 0.05
