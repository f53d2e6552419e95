"""The examples of the README, as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def place(clip: Path, portrait: np.ndarray, tmp_path: Path) -> Path:
    """A folder with what the examples speak of."""
    (tmp_path / "recordings").mkdir()
    shutil.copy(clip, tmp_path / "talk.mp4")
    shutil.copy(clip, tmp_path / "recordings")
    cv2.imwrite(str(tmp_path / "photo.jpg"), portrait[:, :, ::-1])
    return tmp_path


def printed(code: str, place: Path) -> list[str]:
    script = place / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout.splitlines()


def test_they_are_all_tried() -> None:
    assert len(EXAMPLES) == 3
    assert all(code.count("\n") <= 10 for code in EXAMPLES), "ten lines"


def test_the_results_of_a_video_and_of_an_image(place: Path) -> None:
    lines = printed(EXAMPLES[0], place)
    assert len(lines) == 60
    assert lines[0].startswith("0.0 0 [")
    assert len(printed(EXAMPLES[0].replace("talk.mp4", "photo.jpg"), place)) == 1


def test_pictures_from_elsewhere(place: Path) -> None:
    images = "import cv2\nimages = [cv2.imread('photo.jpg')[:, :, ::-1]] * 3\n"
    lines = [line.split() for line in printed(images + EXAMPLES[1], place)]
    assert [words[0] for words in lines] == ["0"] * 3
    assert all(abs(float(words[2])) < 30 for words in lines)


def test_a_batch(place: Path) -> None:
    (line,) = printed(EXAMPLES[2], place)
    assert "'frames_with_a_face': 60" in line
    assert (place / "results" / "astronaut.csv").exists()
