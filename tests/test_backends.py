import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracker import load_model
from tracker.__main__ import main
from tracker.backends import (
    ModelError,
    OnnxBackend,
    Spec,
    TorchBackend,
    _sound,
    network_input,
    open_backend,
    weights_folder,
)
from tracker.model import model_files

NAMES = [path.stem for path in model_files()]


def test_the_default_model_is_there() -> None:
    assert "trnet-68" in NAMES


FULL = [path for path in model_files() if not path.stem.endswith("-int8")]


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_a_shipped_model_is_complete(path: Path) -> None:
    """Both files with one Spec, a model card, and the same points from both, within 1e-4 of the crop."""
    on_onnx, on_torch = open_backend(path), open_backend(path.with_suffix(".safetensors"))
    assert isinstance(on_onnx, OnnxBackend)
    assert isinstance(on_torch, TorchBackend)
    spec = on_onnx.spec
    assert spec == on_torch.spec
    assert spec.name == path.stem
    assert "research" in spec.licence
    assert path.with_suffix(".md").read_text().startswith(f"# {path.stem}")
    for count in (1, 3):
        crops = np.random.default_rng(count).integers(0, 256, (count, spec.input_size, spec.input_size, 3))
        one, other = (backend.run(crops.astype(np.uint8)) for backend in (on_onnx, on_torch))
        assert tuple(one) == tuple(other) == spec.outputs
        assert one["points"].shape == (count, spec.points.size, 2)
        assert np.abs(one["points"] - other["points"]).max() < 1e-4 * spec.input_size
        for name in set(spec.outputs) - {"points"}:
            assert np.abs(one[name] - other[name]).max() < 1e-4


def test_a_batch_gives_what_single_crops_give() -> None:
    backend = load_model("trnet-68").backend
    crops = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    together = backend.run(crops)["points"]
    alone = np.concatenate([backend.run(crops[i : i + 1])["points"] for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_the_network_reads_planes_of_the_spec() -> None:
    spec = Spec("x", "trnet20", "ibug68", 8, 1.25, mean=100, std=50)
    crops = np.zeros((1, 8, 8, 3), np.uint8)
    crops[..., 2] = 200
    planes = network_input(crops, spec)
    assert planes.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(planes[0, :, 0, 0], [-2, -2, 2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_asked_for_and_absent_is_one_clear_line() -> None:
    with pytest.raises(ModelError, match="--device cpu"):
        load_model("trnet-68", "cuda")


def test_eight_bits_are_refused_on_cuda_by_their_name() -> None:
    with pytest.raises(ModelError, match="trnet-68-int8: 8 bits run on the CPU"):
        load_model("trnet-68-int8", "cuda")


def test_a_damaged_model_among_the_others_hides_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.onnx", "._trnet-68.onnx"):
        (tmp_path / name).write_bytes(b"no model")
    shutil.copyfile(weights_folder() / "trnet-68.onnx", tmp_path / "b.onnx")
    monkeypatch.setattr("tracker.model.weights_folder", lambda: tmp_path)
    assert main(["models"]) == 2
    said = capsys.readouterr()
    assert "trnet20 in fp32" in said.out
    assert said.err.count("\n") == 1
    assert "a.onnx" in said.err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    found = [load_model("trnet-68", device).backend.run(crops)["points"] for device in ("cpu", "cuda")]
    assert np.abs(found[0] - found[1]).max() < 0.01 * 64, "half precision there: within a hundredth of the crop"


def test_unknown_and_damaged_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="trnet-68"):
        load_model("trnet-69")
    for suffix in (".onnx", ".safetensors"):
        path = tmp_path / f"bad{suffix}"
        with pytest.raises(ModelError, match="no such model"):
            load_model(path)
        for content in (b"", b"hello", FULL[0].with_suffix(suffix).read_bytes()[:5000]):
            path.write_bytes(content)
            with pytest.raises(ModelError, match="bad"):
                load_model(path)
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(ModelError, match=r"\.onnx"):
        open_backend(tmp_path / "model.txt")


def test_another_file_works_when_dropped_in_and_one_without_a_spec_is_named(tmp_path: Path) -> None:
    source = next(path for path in model_files() if path.stem == "trnet-68")
    copy = tmp_path / "mine.onnx"
    copy.write_bytes(source.read_bytes())
    assert load_model(copy).spec.network == "trnet20"
    bare = onnx.load(copy)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ModelError, match=r"bare\.onnx.*Spec"):
        load_model(tmp_path / "bare.onnx")


def test_a_spec_survives_its_file() -> None:
    spec = Spec("x", "aan", "ibug68", 128, 1.3, offset=(0.007, 0.0), options={"embedding": False}, data=("a", "b"))
    assert Spec.from_json(spec.to_json(), Path("x")) == spec
    newer = json.loads(spec.to_json()) | {"a later field": 1}
    assert Spec.from_json(json.dumps(newer), Path("x")) == spec


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
fields = st.sampled_from(["markup", "input_size", "context", "std", "offset", "outputs", "name"])


@given(st.dictionaries(fields, anything))
def test_a_spec_that_makes_no_sense_is_refused_in_one_line(changes: dict[str, object]) -> None:
    values = json.loads(Spec("x", "aan", "ibug68", 128, 1.3).to_json()) | changes
    try:
        Spec.from_json(json.dumps(values), Path("x.onnx"))
    except ModelError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e38])
def test_what_no_network_means_is_refused(value: float) -> None:
    """Numbers so large, too, that the points of the frame would not be finite."""
    backend = load_model("trnet-68").backend
    found = dict(backend.run(np.zeros((1, 64, 64, 3), np.uint8)))
    assert _sound(found, 1, backend) is found
    found["points"] = found["points"].copy()
    found["points"][0, 5, 1] = value
    with pytest.raises(ModelError, match="its points are not what its Spec says"):
        _sound(found, 1, backend)
