"""Who may import whom (docs/architecture.md), read from the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for part in ("tracker", "app", "evaluation") for path in sorted((ROOT / part).rglob("*.py"))]

LAYERS = [
    {"core", "cores"},
    {"streams", "files"},
    {"markup", "annotations", "sources", "smoothing"},
    {"portrait", "metrics", "draw", "backends", "signals", "datasets"},
    {"detector", "model", "tables", "video"},
    {"sinks"},
    {"tracking", "jobs", "quality"},
    {"recording"},
    {"batch"},
    {"cluster", "bench"},
    {"bench_report"},
    {"__main__"},
    {"demo"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path: Path, top_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    top = {name.split(".")[0] for name in imports(path, top_only=True)}
    anywhere = {name.split(".")[0] for name in imports(path, top_only=False)}
    rooms = {path.parent.name, path.parent.parent.name}
    assert not top & {"mediapipe", "dask", "pyarrow", "skimage", "matplotlib", "scipy", "h5py"}
    if not rooms & {"networks", "training"}:
        assert not top & {"torch", "onnx", "safetensors"}
    if "app" not in rooms:
        assert "PyQt6" not in anywhere
        assert "app" not in anywhere
    if path.is_relative_to(ROOT / "tracker"):
        assert "evaluation" not in anywhere
    if "evaluation" in rooms:
        assert not any(name.startswith("tracker.training") for name in imports(path, top_only=False))
        assert not anywhere & {"torch", "app"}


@pytest.mark.parametrize("path", sorted((ROOT / "tracker").glob("*.py")), ids=lambda path: path.name)
def test_modules_import_downwards_only(path: Path) -> None:
    if path.stem in ("__init__", "_version"):
        return
    assert path.stem in LEVEL, f"{path.name} has no layer yet"
    for name in imports(path, top_only=False):
        module = name.removeprefix("tracker.")
        if name.startswith("tracker.training"):
            raise AssertionError(f"{path.name} imports training")
        if name.startswith("tracker.") and module in LEVEL:
            assert LEVEL[module] < LEVEL[path.stem], f"{path.name} imports {module}"


def test_torch_is_not_loaded_by_the_library() -> None:
    code = (
        "import tracker, tracker.__main__, sys; print([m for m in ('torch', 'PyQt6', 'mediapipe') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_points_of_a_picture_do_not_wait_for_libav() -> None:
    code = (
        "import sys, tracker, numpy as np\n"
        "frame = tracker.Frame(np.zeros((96, 96, 3), np.uint8), 0, 0.0)\n"
        "tracker.Tracker(tracker.load_model('trnet-68'), tracker.load_detector('near')).update(frame)\n"
        "print('av' in sys.modules)\n"
        "from tracker import open_sink, open_source\n"
        "print('av' in sys.modules, callable(open_sink), callable(open_source))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["False", "True True True"], done.stderr


def test_nothing_that_is_read_is_run() -> None:
    """Files from elsewhere are data: no pickle, no eval, no YAML; torch and numpy only without their pickles."""
    unsafe = {"pickle", "cPickle", "_pickle", "dill", "joblib", "marshal", "shelve", "yaml", "pandas"}
    found = []
    for path in [*FILES, *(ROOT / "weights").glob("*.py"), ROOT / "run.py"]:
        found += [f"{path}: imports {name}" for name in imports(path, top_only=False) if name.split(".")[0] in unsafe]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (what := unguarded(node)):
                found.append(f"{path}, line {node.lineno}: {what}")
    assert found == []


def unguarded(call: ast.Call) -> str | None:
    """What is wrong with a call that reads, or None."""
    name = ast.unparse(call.func)
    options = {
        option.arg: ast.unparse(option.value)
        for option in call.keywords
        if option.arg in ("weights_only", "allow_pickle")
    }
    if name in ("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"):
        return name
    if name in ("torch.load", "torch.jit.load", "torch.hub.load") and options.get("weights_only") != "True":
        return f"{name} without weights_only=True"
    if name in ("cv2.FileStorage", "np.fromregex") or options.get("allow_pickle", "False") != "False":
        return name
    return None


def test_unguarded_calls_are_seen() -> None:
    for text in ("eval(x)", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)"):
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert unguarded(call)
    for text in ("network.eval()", "torch.load(p, weights_only=True)", "np.load(p)", "re.compile(x)"):
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert not unguarded(call)
