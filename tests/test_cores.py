"""Work that is shared out among the cores, and work that makes room for it."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import pytest

from tracker import load_model
from tracker.core import Crop, Face
from tracker.cores import cores, make_room, set_threads, shared_out
from tracker.model import model_files


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    set_threads(None)


@pytest.mark.parametrize("name", [path.stem for path in model_files()])
def test_the_faces_of_a_frame_are_shared_out_among_threads_and_are_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(name)
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    crops = [Crop(60.0 + 60 * one, 100.0 + 20 * one, 90.0 + 30 * one, model.spec.input_size) for one in range(5)]
    parts: list[int] = []
    run = model.backend.run

    def seen(part: np.ndarray) -> object:
        parts.append(len(part))
        return run(part)

    monkeypatch.setattr(model.backend, "run", seen)
    found: list[list[Face]] = []
    for threads, shares in ((1, [5]), (2, [2, 3]), (5, [1] * 5), (9, [1] * 5)):
        parts.clear()
        set_threads(threads)
        found.append(model.locate(picture, crops))
        assert sorted(parts) == shares
    for other in found[1:]:
        for one, alone in zip(other, found[0], strict=True):
            assert [
                field.name for field in fields(Face) if not same(getattr(one, field.name), getattr(alone, field.name))
            ] == []


def same(one: object, other: object) -> bool:
    """To the last bit; attention is a tuple of maps of several sizes."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other  # type: ignore[arg-type]


def test_parts_are_given_back_in_order_and_what_one_raises_when_all_have_ended() -> None:
    set_threads(3)
    assert shared_out(list, range(7)) == [[0, 1], [2, 3], [4, 5, 6]]
    assert shared_out(sum, [5]) == [5]
    ended: list[int] = []

    def work(part: Sequence[int]) -> None:
        if part[0] == 0:
            raise ValueError("the first")
        time.sleep(0.1)
        ended.append(part[0])

    set_threads(2)
    with pytest.raises(ValueError, match="the first"):
        shared_out(work, [0, 1])
    assert ended == [1]


def test_what_makes_room_begins_when_shared_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.cores.RECENTLY", -1.0)
    make_room(most=60)  # nothing was shared out of late: this returns at once
    monkeypatch.setattr("tracker.cores.RECENTLY", 60.0)
    items = range(max(2, cores()))
    set_threads(len(items))
    shared_out(list, items)
    may_end = threading.Event()
    sharing = threading.Thread(target=shared_out, args=(lambda part: may_end.wait(60), items))
    sharing.start()
    threading.Timer(0.2, may_end.set).start()
    make_room(most=60)
    assert may_end.is_set()
    sharing.join()
    before = time.monotonic()
    make_room(most=0.05)
    assert time.monotonic() - before < 30, "and nothing waits for work that does not come"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on
def test_a_forked_process_has_threads_of_its_own() -> None:
    set_threads(2)
    shared_out(list, [1, 2])
    child = multiprocessing.get_context("fork").Process(target=shared_out, args=(list, [1, 2]), daemon=True)
    child.start()
    child.join(30)
    assert child.exitcode == 0
