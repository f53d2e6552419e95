"""The cores of this machine: work that is shared out among them, and work that makes room for it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST_THREADS = 8
"""Above it a further thread has too few faces to gain anything."""

RECENTLY = 0.1
"""Seconds after which work that was shared out says nothing of what is to come."""

_threads: int | None = None
_ended = threading.Condition()
_rounds, _last = 0, float("-inf")  # how often work was shared out among all cores, and when that last ended


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int | None) -> None:
    """In how many threads this process may share out its work, at least one; None: as it has cores, up to
    ``MOST_THREADS``."""
    global _threads
    _threads = count


def threads() -> int:
    """In how many threads this process may share out its work."""
    return _threads or min(cores(), MOST_THREADS)


def shared_out(work: Callable[[Sequence[T]], R], items: Sequence[T]) -> list[R]:
    """What ``work`` gives for ``items``, part by part in their order: each part is done in a thread of its own, the
    first in the caller's. What it raises is raised when all have ended."""
    count = max(1, min(len(items), threads()))
    bounds = [len(items) * part // count for part in range(count + 1)]
    first, *others = (items[start:end] for start, end in pairwise(bounds))
    if not others:
        return [work(first)]
    futures = [_helpers(os.getpid()).submit(work, part) for part in others]
    try:
        return [work(first), *(future.result() for future in futures)]
    finally:
        wait(futures)
        if count >= cores():
            _end_round()


def make_room(most: float = 0.02) -> None:
    """Wait until work that is shared out among all cores, as it lately was, has ended once more, for ``most`` seconds.
    For work beside it that is in no hurry: begun then, it has a core that would otherwise have nothing to do."""
    with _ended:
        if time.monotonic() - _last < RECENTLY:
            now = _rounds
            _ended.wait_for(lambda: _rounds != now, most)


def passing_threads() -> set[threading.Thread]:
    """All threads but those that share work, which stay until the process ends."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("shared_")}


def _end_round() -> None:
    global _rounds, _last
    with _ended:
        _rounds, _last = _rounds + 1, time.monotonic()
        _ended.notify_all()


@cache
def _helpers(process: int) -> ThreadPoolExecutor:
    """The threads of a process that work beside the one that asks for it, by its number: a forked one has none of its
    parent's. All of them are begun at once, so that it can be seen whether others are left behind."""
    count = max(1, min(cores(), MOST_THREADS) - 1)
    helpers, all_there = ThreadPoolExecutor(count, "shared"), threading.Barrier(count, timeout=30)
    list(helpers.map(lambda _: all_there.wait(), range(count)))
    return helpers
