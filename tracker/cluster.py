"""Recordings over several machines, with Dask (the extra ``cluster``): the same jobs and the same events as in
``batch``. docs/cluster.md says how to start the workers."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

import cv2

from tracker.batch import Done, Event, Progress, attempt, dead
from tracker.cores import set_threads
from tracker.jobs import InputError, Job
from tracker.recording import Record, Settings

TOPIC = "landmark-tracker"
PATIENCE = 60.0
"""Seconds within which the first worker has to be there."""


def run(todo: Sequence[Job], settings: Settings, address: str, processes: int) -> Generator[Event, None, None]:
    """Track the recordings on the Dask cluster at ``address``; ``local`` starts one here with ``processes`` workers.

    A recording whose worker dies is tried again on another one, as often as Dask's setting ``allowed-failures`` has it.
    Paths are made absolute and have to mean the same on all machines. Raises InputError when Dask is not installed,
    nobody answers, or a worker has several threads.
    """
    try:
        import distributed
    except ImportError as error:
        remedy = "pip install 'landmark-tracker[cluster]'"
        raise InputError(f"--cluster needs Dask distributed, which is not installed; {remedy}") from error
    with ExitStack() as stack:
        try:
            if address == "local":
                options = {"n_workers": processes, "threads_per_worker": 1, "dashboard_address": None}
                cluster = stack.enter_context(distributed.LocalCluster(**options, silence_logs=50))
                client = stack.enter_context(distributed.Client(cluster))
            else:
                client = stack.enter_context(distributed.Client(address, timeout=PATIENCE))
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            why = "no worker is there" if isinstance(error, TimeoutError) and address == "local" else "nobody answers"
            remedy = "give the address that the scheduler prints, as tcp://10.0.0.1:8786, and start workers"
            raise InputError(f"--cluster {address}: {why}; {remedy}") from error
        if any(threads != 1 for threads in client.nthreads().values()):
            raise InputError(f"--cluster {address}: a worker has several threads; start workers with --nthreads 1")
        yield from _watch(client, todo, settings, distributed.KilledWorker)


def _watch(client: Any, todo: Sequence[Job], settings: Settings, killed: type[Exception]) -> Iterator[Event]:
    """Submit the jobs and tell what becomes of them."""
    run_id = uuid.uuid4().hex
    messages: queue.SimpleQueue[tuple[float, Any]] = queue.SimpleQueue()
    client.subscribe_topic(TOPIC, messages.put)
    pending = {}
    for index, job in enumerate(todo):
        there = Job(job.source.resolve(), job.target.resolve())
        key = f"landmark-tracker-{run_id}-{index}"
        pending[client.submit(_track, run_id, index, there, settings, key=key, pure=False)] = job
    try:
        while pending:
            sleep(0.1)
            while not messages.empty():
                message = messages.get()[1]
                if message["run"] == run_id:
                    yield Progress(todo[message["job"]], message["frames"], message["total"])
            for future in [future for future in pending if future.done()]:
                yield Done(pending.pop(future), _record_of(future, todo, killed))
    finally:
        client.unsubscribe_topic(TOPIC)
        client.cancel(list(pending))


def _record_of(future: Any, todo: Sequence[Job], killed: type[Exception]) -> Record:
    job = todo[int(future.key.rpartition("-")[2])]
    error = future.exception()
    if error is None:
        return dict(future.result())
    if isinstance(error, killed):
        return dead(job)
    return {"whole": False, "problem": f"{job.source}: the worker could not track it ({' '.join(str(error).split())})"}


def _track(run_id: str, index: int, job: Job, settings: Settings) -> Record:
    """Track one recording on a worker and tell every second how far it is."""
    from distributed import get_worker

    cv2.setNumThreads(1)
    set_threads(1)
    worker = get_worker()
    steps = attempt(job, settings)
    told = -1.0
    while True:
        try:
            frames, total = next(steps)
        except StopIteration as end:
            return dict(end.value)
        if monotonic() - told >= 1:
            told = monotonic()
            worker.log_event(TOPIC, {"run": run_id, "job": index, "frames": frames, "total": total})
