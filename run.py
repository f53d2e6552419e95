"""``python3 run.py demo [VIDEO]``, ``app [SOURCE]`` and ``test``: makes .venv, installs what the job needs, runs it.

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
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SUPPORTED = ((3, 12), (3, 11), (3, 10))  # MediaPipe's last self-contained wheel ends at 3.12

JOBS = {
    "demo": [["-m", "tracker.demo"]],
    "app": [["-m", "app"]],
    "test": [["-m", "ruff", "check"], ["-m", "ruff", "format", "--check"], ["-m", "mypy"], ["-m", "pytest"]],
}


def interpreter() -> str:
    """A Python that every dependency exists for: this one, else another on the path."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in SUPPORTED:
        found = shutil.which(f"python{major}.{minor}")
        if found and subprocess.run([found, "-c", "import venv"], capture_output=True).returncode == 0:
            return found
    sys.exit(f"error: this is Python {sys.version.split()[0]}; install Python 3.12, 3.11 or 3.10 and run this again")


def prepare(job: str) -> None:
    """Make .venv and install the extra that is named like the job, unless that was done for this pyproject.toml."""
    stamp = VENV / f"ready-{job}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing what '{job}' needs into {VENV} (once)", flush=True)
    if not PYTHON.exists():
        subprocess.run([interpreter(), "-m", "venv", str(VENV)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", f".[{job}]"], cwd=ROOT, check=True)
    stamp.write_text(wanted)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in JOBS:
        print(f"usage: python3 run.py {{{'|'.join(JOBS)}}} [...]", file=sys.stderr)
        return 2
    job, *rest = arguments
    try:
        prepare(job)
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd))} failed; read what it printed above", file=sys.stderr)
        return 2
    *first, last = JOBS[job]
    for command in [*first, [*last, *rest]]:
        code = subprocess.run([str(PYTHON), *command], cwd=ROOT if job == "test" else None).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
