"""The memory of this process: how much it is, and that what is free goes back to the system.

A picture is made in one thread and forgotten in another, and every source and model brings a new thread. Of itself
glibc keeps free memory for the thread that had it, so that a program of this kind grows for as long as it runs.
"""

from __future__ import annotations

import ctypes
import math
import sys
from pathlib import Path
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # the names of options in malloc.h


def _c_library() -> Any:
    """glibc, or None where there is another C library."""
    try:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        return library if hasattr(library, "malloc_trim") else None
    except OSError:
        return None


_LIBRARY = _c_library()


def spare_memory() -> None:
    """From now on have few pools of memory, of which not more than some pictures lie free. Memory for pictures comes
    from them, too: asked of the system for every picture, it takes longer than decoding it."""
    if _LIBRARY:
        _LIBRARY.mallopt(_MMAP_THRESHOLD, 1 << 25)
        _LIBRARY.mallopt(_TRIM_THRESHOLD, 1 << 24)
        _LIBRARY.mallopt(_ARENA_MAX, 2)


def give_back() -> None:
    """Give all that is free back to the system. It takes some milliseconds."""
    if _LIBRARY:
        _LIBRARY.malloc_trim(0)


def resident() -> float:
    """Megabytes of this process in memory; NaN where the system does not say."""
    return status("VmRSS") / 1024


def status(name: str) -> float:
    """A number that Linux tells of this process (``/proc/self/status``); NaN elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return math.nan
