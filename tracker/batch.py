"""Many recordings: in this process or in several, skipped when they are whole, and summed up.

Every way of running gives the same events, so that whoever shows them (the command, the window) need not know which it
is. ``tracker.cluster`` is one more way, over several machines.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from tracker.core import TrackerError
from tracker.cores import cores, set_threads
from tracker.files import write_json
from tracker.jobs import Job
from tracker.recording import Record, Settings, track_recording

TRIES = 3
"""How often a recording is tried whose process dies; the third time it is given up."""

SUMMARY_VERSION = 1


@dataclass(frozen=True)
class Progress:
    """``frames`` of ``total`` (None: unknown) of a recording are done."""

    job: Job
    frames: int
    total: int | None


@dataclass(frozen=True)
class Done:
    """A recording is at its end, whole or not: ``record`` is what its NAME.run.json says, or only its ``problem``."""

    job: Job
    record: Record

    @property
    def whole(self) -> bool:
        return bool(self.record.get("whole"))


Event = Progress | Done


def run(
    todo: Sequence[Job], settings: Settings, processes: int = 1, apart: bool = False
) -> Generator[Event, None, None]:
    """Track the recordings, ``processes`` at a time, which share the cores, in their order; one at a time is tracked in
    this process unless several are to be ``apart`` from it. A recording that fails, or whose process is killed, does
    not stop the others. Closing the generator stops all within a frame; what they have written stays as ``.part``."""
    if len(todo) <= 1 or (processes <= 1 and not apart):
        for job in todo:
            yield from _here(job, settings)
    else:
        yield from _Lanes(todo, settings, min(processes, len(todo))).run()


def attempt(job: Job, settings: Settings) -> Generator[tuple[int, int | None], None, Record]:
    """``track_recording``, with what goes wrong as the record's ``problem``."""
    try:
        return (yield from track_recording(job, settings))
    except TrackerError as error:
        return {"whole": False, "problem": str(error)}
    except Exception as error:  # whatever is wrong with one recording, the others go on
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return {"whole": False, "problem": f"{job.source}: it cannot be tracked ({what}); please report this"}


def _here(job: Job, settings: Settings) -> Iterator[Event]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with closing(attempt(job, settings)) as steps:
            while True:
                try:
                    yield Progress(job, *next(steps))
                except StopIteration as end:
                    yield Done(job, end.value)
                    return
    finally:
        cv2.setNumThreads(threads)


# Several processes. Each lane is an executor of one process, so that it is known whose death was whose, and the others
# go on undisturbed. Frames are counted in memory that all share, without locks that a killed process might hold.

_counts: Any = None  # in a lane's process: frames done and to be done of each job, and last whether to stop


def _begin(counts: Any, threads: int) -> None:
    """Prepare a lane's process: its share of the cores, Ctrl-C left to the first process, no life without it."""
    global _counts
    _counts = counts
    set_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _track(index: int, job: Job, settings: Settings) -> Record | None:
    """Track one recording in a lane's process; None when told to stop."""
    steps = attempt(job, settings)
    while not _counts[-1]:
        try:
            _counts[2 * index], total = next(steps)
            _counts[2 * index + 1] = total or 0
        except StopIteration as end:
            return end.value
    steps.close()
    return None


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Ctrl-C waits until the end of this, and a process that is started meanwhile leaves it to this one from its first
    moment, as it inherits the waiting."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Lanes:
    def __init__(self, todo: Sequence[Job], settings: Settings, count: int) -> None:
        self._todo, self._settings = todo, settings
        self._context = multiprocessing.get_context("spawn")
        self._counts: Any = self._context.RawArray(ctypes.c_int64, 2 * len(todo) + 1)
        self._threads = max(1, cores() // count)
        self._waiting = deque(range(len(todo)))
        self._tries = [0] * len(todo)
        self._idle = [self._lane() for _ in range(count)]
        self._busy: dict[Future[Record | None], tuple[ProcessPoolExecutor, int]] = {}

    def run(self) -> Iterator[Event]:
        try:
            while self._waiting or self._busy:
                while self._waiting and self._idle:
                    self._start(self._waiting.popleft())
                done, _ = wait(self._busy, timeout=0.2, return_when=FIRST_COMPLETED)
                for index in [index for _, index in self._busy.values()]:
                    frames, total = self._counts[2 * index : 2 * index + 2]
                    yield Progress(self._todo[index], frames, total or None)
                for future in done:
                    yield from self._end(future)
        finally:
            self._counts[-1] = 1
            for lane in [*self._idle, *(lane for lane, _ in self._busy.values())]:
                lane.shutdown(wait=True, cancel_futures=True)

    def _lane(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, _begin, (self._counts, self._threads))

    def _start(self, index: int) -> None:
        lane = self._idle.pop()
        self._tries[index] += 1
        work = partial(_track, index, self._todo[index], self._settings)
        with _ctrl_c_later():
            try:
                future = lane.submit(work)
            except BrokenProcessPool:  # it was killed when it had nothing to do
                lane.shutdown(wait=True)
                lane = self._lane()
                future = lane.submit(work)
        self._busy[future] = lane, index

    def _end(self, future: Future[Record | None]) -> Iterator[Event]:
        lane, index = self._busy.pop(future)
        job = self._todo[index]
        try:
            record = future.result()
            assert record is not None
        except BrokenProcessPool:
            lane.shutdown(wait=True)
            lane = self._lane()
            if self._tries[index] < TRIES:
                self._counts[2 * index : 2 * index + 2] = (0, 0)
                self._waiting.appendleft(index)
            else:
                record = dead(job)
                yield Done(job, record)
        else:
            yield Done(job, record)
        self._idle.append(lane)


def dead(job: Job) -> Record:
    """The record of a recording whose process died each time it was tried."""
    what = f"its process was killed {TRIES} times; is there memory enough, and is the file damaged?"
    return {"whole": False, "problem": f"{job.source}: {what}"}


# The summary


class Summary:
    """What became of all recordings of a run."""

    def __init__(self, todo: Sequence[Job]) -> None:
        self.todo = todo
        self._states: dict[Job, str] = {}
        self._before: dict[Job, Record] = {}
        self.records: dict[Job, Record] = {}

    def skip(self, job: Job, record: Record) -> None:
        """``job`` was whole before, as its ``record`` says."""
        self._states[job] = "skipped"
        self._before[job] = record

    def add(self, done: Done) -> None:
        """Take down how a recording ended: whole, incomplete (it breaks off, or pictures are missing) or failed."""
        self._states[done.job] = "whole" if done.whole else "incomplete" if "quality" in done.record else "failed"
        self.records[done.job] = done.record

    def left(self) -> list[Job]:
        """The jobs of which nothing is known yet."""
        return [job for job in self.todo if job not in self._states]

    @property
    def whole(self) -> bool:
        """Whether all are."""
        return all(self._states.get(job) in ("whole", "skipped") for job in self.todo)

    def stages(self) -> dict[str, float]:
        """The share of each stage in the time of all recordings that were tracked, largest first."""
        spent: dict[str, float] = {}
        for record in self.records.values():
            for stage, milliseconds in record.get("milliseconds", {}).items():
                spent[stage] = spent.get(stage, 0.0) + milliseconds
        total = sum(spent.values())
        return {stage: part / total for stage, part in sorted(spent.items(), key=lambda pair: -pair[1]) if total}

    def frames(self) -> int:
        return sum(record.get("quality", {}).get("frames", 0) for record in self.records.values())

    def text(self, seconds: float) -> str:
        """The summary in two lines for people."""
        counts = Counter(self._states.get(job, "not done") for job in self.todo)
        what = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing to do"
        rate = self.frames() / max(seconds, 1e-9)
        lines = [f"{len(self.todo)} recordings: {what}; {self.frames()} frames in {seconds:.1f} s, {rate:.0f} frames/s"]
        if stages := self.stages():
            lines.append("time: " + ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in stages.items()))
        return "\n".join(lines)

    def write(self, path: Path, seconds: float, processes: int) -> None:
        """Write summary.json (docs/outputs.md). Raises SinkError."""
        recordings = []
        for job in self.todo:
            record = self.records.get(job) or self._before.get(job, {})
            recordings.append(
                {
                    "input": str(job.source),
                    "target": str(job.target.relative_to(path.parent)),
                    "state": self._states.get(job, "not done"),
                    "problem": record.get("problem"),
                    "seconds": record.get("seconds"),
                    "quality": record.get("quality"),
                    "notes": record.get("notes", []),
                }
            )
        value = {
            "schema": f"landmark-tracker/summary/{SUMMARY_VERSION}",
            "whole": self.whole,
            "recordings": recordings,
            "frames": self.frames(),
            "seconds": round(seconds, 3),
            "processes": processes,
            "stages": {stage: round(share, 4) for stage, share in self.stages().items()},
        }
        write_json(path, value)
