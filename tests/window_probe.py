"""Whether Qt can open a window here. Qt ends the process when a library is missing, so another process tries."""

import os
import subprocess
import sys
from importlib.util import find_spec

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def _problem() -> str | None:
    if missing := [name for name in ("PyQt6", "pytestqt") if find_spec(name) is None]:
        return f"{missing[0]} is not installed"
    code = "from PyQt6.QtWidgets import QApplication; QApplication([])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        return f"Qt cannot start here: {(done.stderr.strip().splitlines() or ['it gave no reason'])[-1]}"
    return None


PROBLEM = _problem()
