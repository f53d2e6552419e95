import numpy as np
import pytest

from tracker.markup import IBUG68, MARKUPS, Markup


@pytest.mark.parametrize("markup", MARKUPS.values(), ids=lambda markup: markup.name)
def test_a_markup_is_consistent(markup: Markup) -> None:
    everything = set(range(markup.size))
    assert sorted(markup.mirror) == sorted(everything)
    assert all(markup.mirror[markup.mirror[i]] == i for i in everything), "mirroring twice is no change"
    assert sorted(i for part in markup.parts.values() for i in part) == sorted(everything)
    assert {i for edge in markup.edges for i in edge} <= everything
    edges = {frozenset(edge) for edge in markup.edges}
    assert {frozenset(markup.mirror[i] for i in edge) for edge in edges} == edges, "lines are symmetric"
    left, right = markup.eyes
    assert {markup.mirror[i] for i in left} == set(right)


def test_subsets_have_their_names_size() -> None:
    assert {name: len(points) for name, points in IBUG68.subsets.items()} == {"66": 66, "51": 51, "49": 49}
    assert {60, 64}.isdisjoint(IBUG68.subsets["49"])


def test_eye_centres() -> None:
    points = np.zeros((2, 68, 2))
    points[:, 36:42] = [10, 5]
    points[:, 42:48] = [30, 7]
    np.testing.assert_allclose(IBUG68.eye_centres(points), [[[10, 5], [30, 7]]] * 2)
