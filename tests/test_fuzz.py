"""A small part of ``python tests/fuzz.py``: damaged files of every kind give a result or one error line."""

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("resource")  # limits of memory are not to be had on Windows

import fuzz

EACH = 24


def test_damaged_files_of_every_kind_end_in_a_result_or_one_line(tmp_path: Path) -> None:
    kinds = fuzz.kinds()
    ends = list(fuzz.fuzz(kinds, EACH * len(kinds), 7, tmp_path))
    assert [end for end in ends if end[2] in fuzz.BAD] == []
    tried = Counter(name for name, *_ in ends)
    assert all(tried[name] >= (1 if name in fuzz.SLOW else EACH) for name in kinds)
    counts = Counter((name, what) for name, _, what, _ in ends)
    for name in kinds:  # else it would say nothing
        assert counts[name, "result"], f"no {name} could be read"
        assert counts[name, "error"] or name in (*fuzz.SLOW, "run-json", "settings"), f"no {name} was refused"


@pytest.mark.parametrize("name", ["inputs", "label", "report", "others"])
def test_the_same_seed_gives_the_same_files(name: str, tmp_path: Path) -> None:
    whole = fuzz.SEEDS[name](tmp_path)[0]
    one, same, other = ([fuzz.damaged(whole, name, seed, number) for number in range(1, 9)] for seed in (1, 1, 2))
    assert one == same != other
