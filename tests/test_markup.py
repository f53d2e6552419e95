import numpy as np
import pytest

from tracker.markup import AFLW19, CELEBA5, COFW29, IBUG68, MARKUPS, WFLW98, Markup


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
    assert [markup.mirror[i] for i in markup.nose_mouth] == [markup.nose_mouth[i] for i in (0, 2, 1)]
    if markup.corners is not None:
        first, second = markup.corners
        assert markup.mirror[first] == second
        assert first in markup.parts["left eye"]
        assert second in markup.parts["right eye"]
    for name, part in markup.parts.items():
        if name.startswith("left "):
            assert {markup.mirror[i] for i in part} == set(markup.parts[name.replace("left", "right")])


# A face drawn by hand for each markup, (x, y) of some of its points: which point lies where is what a markup says, and
# these were read off pictures of the sets with the numbers drawn beside the points.
PLACES = {
    AFLW19: {0: (10, 20), 5: (90, 20), 6: (20, 40), 7: (30, 40), 8: (40, 40), 9: (60, 40), 11: (80, 40), 13: (50, 60)},
    COFW29: {0: (10, 20), 2: (40, 22), 3: (60, 22), 1: (90, 20), 8: (20, 40), 10: (40, 42), 11: (60, 42), 9: (80, 40)}
    | {4: (25, 15), 6: (75, 15), 5: (25, 22), 7: (75, 22), 22: (35, 80), 23: (65, 80), 28: (50, 99)},
    WFLW98: {0: (0, 40), 16: (50, 99), 32: (100, 40), 33: (10, 20), 46: (90, 20), 38: (40, 24), 50: (60, 24)}
    | {41: (25, 24), 47: (75, 24), 60: (20, 40), 64: (40, 42), 68: (60, 42), 72: (80, 40), 67: (25, 44), 73: (75, 44)}
    | {95: (45, 82), 93: (55, 82), 96: (30, 40), 97: (70, 40)},
}


@pytest.mark.parametrize("markup", PLACES, ids=lambda markup: markup.name)
def test_the_mirror_of_a_symmetric_face_is_itself(markup: Markup) -> None:
    places = PLACES[markup]
    for point, (x, y) in places.items():
        other = markup.mirror[point]
        if other in places:
            assert places[other] == (100 - x, y), f"{point} and {other}"
    if markup.corners is not None and set(markup.corners) <= set(places):
        assert [places[i] for i in markup.corners] == [(20, 40), (80, 40)], "the outer corners"


def test_subsets_have_their_names_size() -> None:
    assert {name: len(points) for name, points in IBUG68.subsets.items()} == {"66": 66, "51": 51, "49": 49}
    assert {60, 64}.isdisjoint(IBUG68.subsets["49"])


def test_eye_centres() -> None:
    points = np.zeros((2, 68, 2))
    points[:, 36:42] = [10, 5]
    points[:, 42:48] = [30, 7]
    np.testing.assert_allclose(IBUG68.eye_centres(points), [[[10, 5], [30, 7]]] * 2)


def test_the_five_points_are_eyes_nose_and_mouth() -> None:
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[30], points[48], points[54] = (3, 4), (7, 4), (5, 6), (4, 8), (6, 8)
    np.testing.assert_array_equal(IBUG68.five(points), [(3, 4), (7, 4), (5, 6), (4, 8), (6, 8)])
    five = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(CELEBA5.five(five), five)
