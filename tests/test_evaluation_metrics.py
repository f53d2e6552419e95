"""Figures with answers computed by hand, and what must hold of them for any input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.figures import Errors, Measure, oracle_rows
from evaluation.metrics import (
    auc,
    ced,
    distances,
    failure_rate,
    figures,
    held,
    macro,
    median,
    micro,
    normalised,
    normalisers,
)
from evaluation.record import NO_FACE, Record
from evaluation.stability import (
    allan_deviation,
    flicker,
    identity_changes,
    recoveries,
    runs,
    second_difference,
    stability,
)
from tracker.datasets import numbers, protocol_300vw
from tracker.markup import AFLW19, CELEBA5, COFW29, IBUG68, WFLW98, Markup

INF = math.inf
ERRORS = np.array([0.02, 0.04, 0.10, INF])


def face(markup: Markup) -> np.ndarray:
    """Points about (50, 40): outer eye corners at x 20 and 80, eye centres at 30 and 70, within 100 x 40."""
    points = np.full((markup.size, 2), [50.0, 40.0])
    for eye, x in zip(markup.eyes, (30, 70), strict=True):
        points[list(eye)] = [x, 40]
        if len(eye) > 1:
            other = eye[1]
            points[eye[0]], points[other] = [x - 4, 40], [x + 4, 40]
    if markup.corners:
        for corner, x in zip(markup.corners, (20, 80), strict=True):
            eye = next((eye for eye in markup.eyes if corner in eye), None)
            if eye is not None:  # the mean of the eye stays where it is
                points[list(eye)] = [(len(eye) * (30 if x == 20 else 70) - x) / (len(eye) - 1), 40]
            points[corner] = [x, 40]
    free = [i for i in range(markup.size) if i not in {*sum(markup.eyes, ()), *(markup.corners or ())}]
    points[free[0]], points[free[1]] = [0, 20], [100, 60]
    return points


@pytest.mark.parametrize("markup", [IBUG68, AFLW19, COFW29, WFLW98, CELEBA5], ids=lambda markup: markup.name)
def test_normalisers_by_hand(markup: Markup) -> None:
    lengths = normalisers(face(markup)[None], markup)
    assert lengths["inter_pupil"][0] == pytest.approx(40)
    assert lengths["inter_ocular"][0] == pytest.approx(40 if markup.corners is None else 60)
    assert lengths["box_width"][0] == pytest.approx(100)
    assert lengths["box_diagonal"][0] == pytest.approx(math.hypot(100, 40))
    assert lengths["box_size"][0] == pytest.approx(math.sqrt(4000))


def test_a_box_of_the_set_comes_before_the_tight_one() -> None:
    truth = np.stack([face(AFLW19)] * 2)
    boxes = np.array([[0, 0, 30, 40], [np.nan] * 4])
    lengths = normalisers(truth, AFLW19, boxes)
    assert list(lengths["box_width"]) == pytest.approx([30, 100])
    assert lengths["box_diagonal"][0] == pytest.approx(50)


def test_distances_by_hand() -> None:
    """Half of the points are off by (3, 4), which is 5 pixels; of subsets only theirs count."""
    truth = np.stack([face(IBUG68)] * 3)
    predicted = truth.copy()
    predicted[:, :34] += [3, 4]
    found = np.array([True, True, False])
    known = np.ones((3, 68), bool)
    known[1, 34:] = False
    np.testing.assert_allclose(distances(predicted, truth, found), [2.5, 2.5, INF])
    np.testing.assert_allclose(distances(predicted, truth, found, known=known), [2.5, 5, INF])
    # of 51 points 17 to 33 are off; of 49 the same; of 66 the first 34
    for name, share in (("51", 17 / 51), ("49", 17 / 49), ("66", 34 / 66)):
        np.testing.assert_allclose(distances(predicted, truth, found, IBUG68.subsets[name])[:2], 5 * share)
    np.testing.assert_allclose(normalised(np.array([2.5, 1, INF]), np.array([50, 0, 50])), [0.05, INF, INF])


def test_means_by_hand() -> None:
    clips = np.array([0, 0, 0, 1])
    values = np.array([0.01, 0.02, 0.03, 0.10])
    assert micro(values) == pytest.approx(0.04)
    assert macro(values, clips) == pytest.approx((0.02 + 0.10) / 2)
    assert micro(ERRORS) == INF
    assert math.isnan(micro(np.empty(0)))
    assert math.isnan(macro(np.empty(0), np.empty(0)))


def test_ced_auc_failures_and_median_by_hand() -> None:
    np.testing.assert_allclose(ced(ERRORS, np.array([0, 0.02, 0.05, 0.2, INF])), [0, 0.25, 0.5, 0.75, 1])
    # the staircase rises at 0.02 and 0.04 by a quarter each: (0.06 + 0.04) / 4 of an area of 0.08
    assert auc(ERRORS, 0.08) == pytest.approx((0.06 + 0.04) / 4 / 0.08)
    assert auc(ERRORS, 0.07) == pytest.approx((0.05 + 0.03) / 4 / 0.07)
    assert failure_rate(ERRORS, 0.08) == 0.5
    assert failure_rate(ERRORS, 0.10) == 0.25, "an error at the limit is none"
    assert median(ERRORS) == pytest.approx(0.07)
    assert median(np.array([0.1, INF, INF])) == INF
    assert median(np.array([INF, INF])) == INF


def test_figures_are_in_per_cent_and_know_what_was_found() -> None:
    found = np.array([True, True, True, False])
    result = figures(ERRORS, found, np.zeros(4, int))
    assert result["nme"] == INF
    assert result["nme_found"] == pytest.approx(16 / 3)
    assert result["coverage"] == 75
    assert result["auc_008"] == pytest.approx(31.25)


def test_a_missed_face_may_keep_its_last_points_within_its_clip() -> None:
    points = np.arange(5.0)[:, None, None] * np.ones((5, 2, 2))
    found = np.array([False, True, False, False, True])
    kept, there = held(points, found, np.array([0, 0, 0, 1, 1]))
    assert list(there) == [False, True, True, False, True]
    assert list(kept[there][:, 0, 0]) == [1, 1, 4]


some_errors = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1) | st.just(INF))


@given(some_errors, st.floats(0.01, 0.5))
def test_the_area_is_that_under_the_curve_and_missed_faces_take_their_share(values: np.ndarray, limit: float) -> None:
    area = auc(values, limit)
    assert 0 <= area <= 1
    steps = np.unique(np.concatenate([[0, limit], values[values < limit]]))
    curve = ced(values, steps)
    assert np.all(np.diff(curve) >= 0)
    np.testing.assert_allclose(area, (curve[:-1] * np.diff(steps)).sum() / limit, atol=1e-9)
    with_misses = np.concatenate([values, np.full(len(values), INF)])
    assert auc(with_misses, limit) == pytest.approx(area / 2)
    assert failure_rate(with_misses, limit) == pytest.approx((failure_rate(values, limit) + 1) / 2)
    assert auc(np.zeros(3), limit) == 1


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.1, 10), st.floats(-500, 500))
def test_errors_do_not_change_when_both_are_moved(seed: int, angle: float, scale: float, shift: float) -> None:
    """By turning, scaling and shifting; the box only by scaling and shifting, as it stays upright."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, (1, 68, 2))
    predicted = truth + rng.normal(0, 3, truth.shape)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = np.array([True])
    for matrix, names in ((turn, ("inter_ocular", "inter_pupil")), (scale * np.eye(2), ("box_width", "box_size"))):
        moved = [array @ matrix.T + shift for array in (predicted, truth)]
        for name in names:
            before = normalised(distances(predicted, truth, found), normalisers(truth, IBUG68)[name])
            after = normalised(distances(*moved, found), normalisers(moved[1], IBUG68)[name])
            np.testing.assert_allclose(after, before, rtol=1e-6)
    assert distances(truth, truth, found)[0] == 0


# Stability: a face of 100 pixels whose truth stands still, so that errors are written down straight.
STILL = np.zeros((8, 2, 2))
SIZE = np.full(8, 100.0)
WHOLE = [slice(0, 8)]


def test_flicker_by_hand() -> None:
    """Points that jump by (3, 4) each frame: |difference| is 5, so 100 * 256 * 5 / 100; a constant error is none."""
    jumping = STILL + np.array([0, 1] * 4)[:, None, None] * [3.0, 4.0]
    assert flicker(jumping, STILL, SIZE, WHOLE) == pytest.approx(1280)
    assert flicker(STILL + 7, STILL, SIZE, WHOLE) == 0
    assert math.isnan(flicker(jumping, STILL, SIZE, [slice(0, 1), slice(3, 4)]))


def test_allan_deviation_by_hand() -> None:
    """Errors of 0 and 2 % by turns on both axes: successive frames differ by 2, so 2 / sqrt(2); blocks of 4 do not. A
    ramp of 1 % a frame differs by m between blocks of m."""
    jumping = STILL + np.array([0, 2] * 4)[:, None, None]
    assert allan_deviation(jumping, STILL, SIZE, WHOLE, 1) == pytest.approx(math.sqrt(2))
    assert allan_deviation(jumping, STILL, SIZE, WHOLE, 4) == pytest.approx(0)
    ramp = STILL + np.arange(8.0)[:, None, None]
    for block in (1, 4):
        assert allan_deviation(ramp, STILL, SIZE, WHOLE, block) == pytest.approx(block / math.sqrt(2))
    assert math.isnan(allan_deviation(ramp, STILL, SIZE, WHOLE, 16))


def test_second_difference_by_hand() -> None:
    """t^2 pixels along x have a second difference of 2, 4 % of an eye distance of 50; even motion has none."""
    time = np.arange(8.0)
    squared = STILL + (time**2)[:, None, None] * [1, 0]
    assert second_difference(squared, np.full(8, 50.0), WHOLE) == pytest.approx(4)
    assert second_difference(STILL + time[:, None, None], np.full(8, 50.0), WHOLE) == pytest.approx(0)


def test_differences_are_taken_within_runs_only() -> None:
    usable = np.array([True, True, False, True, True, True, True])
    assert list(runs(np.array([1, 2, 3, 4, 5, 7, 8]), usable)) == [slice(0, 2), slice(3, 5), slice(5, 7)]
    jumping = STILL.copy()
    jumping[4:] += 50
    assert flicker(jumping, STILL, SIZE, [slice(0, 4), slice(4, 8)]) == 0


def test_identities_and_recoveries_by_hand() -> None:
    yes, no = True, False
    assert identity_changes(np.array([0, 0, -1, 0, 2, 2, 1]), np.array([yes, yes, no, yes, yes, yes, yes])) == 2
    # found at once; lost for two frames; away for two, and found one frame after it is back; lost to the end
    found = np.array([yes, no, no, yes, no, no, no, yes, no])
    present = np.array([yes, yes, yes, yes, no, no, yes, yes, yes])
    assert recoveries(found, present) == ([0, 2, 1], 1)
    assert recoveries(np.array([no, no, yes]), np.array([yes, yes, yes])) == ([2], 0), "the first face is waited for"
    assert recoveries(np.array([yes, no, yes]), np.array([yes, no, yes])) == ([0, 0], 0), "back and found at once"


def test_stability_of_a_clip() -> None:
    found = np.array([True] * 4 + [False] + [True] * 3)
    ids = np.where(found, 3, -1)
    present = np.array([True] * 7 + [False])
    scored = np.ones(8, bool)
    result = stability(STILL + 1, STILL, SIZE, SIZE, np.arange(1, 9), ids, found, present, scored)
    assert result["lost"] == pytest.approx(100 / 7)
    assert result["false_faces"] == 1, "a face reported where there is none"
    assert result["nmf"] == result["nad_1"] == result["second_difference"] == 0
    assert (result["recovery_max"], result["never_recovered"], result["identity_changes"]) == (1, 0, 0)


@pytest.mark.parametrize("missing", ["infinite", "skip", "last"])
def test_beside_the_oracle_are_the_faces_that_both_found(missing: str) -> None:
    """Found by both, by the detector, by the oracle, by neither: one face of four, at 2 and 1 of 60 pixels."""
    truth = np.stack([face(IBUG68)] * 4).astype(np.float32)
    points = {"oracle": truth + np.float32([1, 0]), "detector": truth + np.float32([0, 2])}
    ids = {"oracle": np.array([0, NO_FACE, 0, NO_FACE]), "detector": np.array([0, 0, NO_FACE, NO_FACE])}
    for mode, of_mode in ids.items():
        points[mode][of_mode == NO_FACE] = np.nan
    no, clip = np.zeros(4, bool), np.zeros(4, int)
    boxes = np.full((4, 4), np.nan)
    record = Record(
        ["a"], [[]], clip, np.arange(4), truth, ~no[:, None] & np.ones(68, bool), boxes, no, no, points, ids, {}
    )
    measure = Measure(IBUG68, "inter_ocular", ("inter_ocular",), missing)
    (row,) = oracle_rows(Errors(record, measure, (0.0, 0.0)))
    assert (row["nme"], row["oracle"], row["ratio"], row["frames"]) == pytest.approx(
        (200 / 60, 100 / 60, 2, 1), rel=1e-4
    )
    ids["oracle"][0] = NO_FACE
    assert oracle_rows(Errors(record, measure, (0.0, 0.0))) == [], "nothing to set side by side"


def test_the_counts_of_300vw() -> None:
    """The published ones, by category, from the data file that the protocol runs on."""
    protocol = protocol_300vw()
    assert [protocol.scored(protocol.categories[number]) for number in (1, 2, 3)] == [62_135, 32_805, 26_338]
    assert [len(protocol.categories[number]) for number in (1, 2, 3)] == [31, 19, 14]
    assert sum(len(frames) for frames in protocol.left_out.values()) == 2_127
    assert all(max(frames) <= protocol.frames[name] for name, frames in protocol.left_out.items())
    assert len({*protocol.train, *protocol.frames}) == 114
    assert numbers("3,7-9") == {3, 7, 8, 9}
