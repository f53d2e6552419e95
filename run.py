"""``python3 run.py demo [VIDEO]``, ``app [SOURCE]`` and ``test``: makes an environment, installs into it, runs.

Needs nothing but Python 3.10 or newer; a second call finds everything in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SUPPORTED = ((3, 13), (3, 12), (3, 11), (3, 10))
NEWEST = {"test-mediapipe": (3, 12)}
"""The newest Python that a job's packages exist for, where that is not the newest of all."""

JOBS = {
    "demo": [["-m", "tracker.demo"]],
    "app": [["-m", "app"]],
    "test": [["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"], ["-m", "mypy"], ["-m", "pytest"]],
    "test-mediapipe": [["-m", "pytest", "tests/test_mediapipe.py"]],
}
AFTER = {"test": "test-mediapipe"}
"""What a job goes on with, when it is called without arguments."""


def interpreter(job: str) -> str | None:
    """A Python that every dependency of ``job`` exists for: this one, else another on the path, newest first."""
    wanted = [version for version in SUPPORTED if version <= NEWEST.get(job, SUPPORTED[0])]
    if sys.version_info[:2] in wanted:
        return sys.executable
    for major, minor in wanted:
        found = shutil.which(f"python{major}.{minor}")
        if found and subprocess.run([found, "-c", "import venv"], capture_output=True).returncode == 0:
            return found
    return None


def environment(job: str) -> Path:
    """MediaPipe lays another OpenCV over ours, so that it has an environment of its own."""
    return ROOT / (".venv-mediapipe" if job == "test-mediapipe" else ".venv")


def prepare(job: str, base: str) -> Path:
    """The Python of the environment of ``job``, which is made with ``base`` and given the extra that is named like the
    job, unless that was done for this pyproject.toml."""
    venv = environment(job)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / f"ready-{job}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing what '{job}' needs into {venv} (once)", flush=True)
    if not python.exists() or subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode:
        subprocess.run([base, "-m", "venv", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable"]
    for what, name in ((".", "the base environment"), (f".[{job}]", f"with what '{job}' needs it")):
        subprocess.run([*pip, what], cwd=ROOT, check=True)
        size = sum(file.stat().st_size for file in venv.rglob("*") if file.is_file() and not file.is_symlink())
        print(f"{name} is {size / 1e6:.0f} MB", flush=True)
    stamp.write_text(wanted)
    return python


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in JOBS:
        print(f"usage: python3 run.py {{{'|'.join(JOBS)}}} [...]", file=sys.stderr)
        return 2
    job, *rest = arguments
    base = interpreter(job)
    if base is None:
        newest, oldest = NEWEST.get(job, SUPPORTED[0]), SUPPORTED[-1]
        wanted = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
        print(f"error: this is Python {sys.version.split()[0]}; '{job}' needs one from {wanted}", file=sys.stderr)
        return 2
    try:
        python = prepare(job, base)
    except subprocess.CalledProcessError as error:
        hint = "; a bare Debian or Ubuntu lacks it: sudo apt-get install python3-venv" if "venv" in error.cmd else ""
        print(f"error: {' '.join(map(str, error.cmd))} failed; read what it printed above{hint}", file=sys.stderr)
        return 2
    *first, last = JOBS[job]
    for command in [*first, [*last, *rest]]:
        code = subprocess.run([str(python), *command], cwd=None if job in ("demo", "app") else ROOT).returncode
        if code:
            return code
    if job in AFTER and not rest:
        if interpreter(AFTER[job]) is not None:
            return main([AFTER[job]])
        print(f"not run: {AFTER[job]}, which needs an older Python than those found here")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
