import numpy as np
import pytest

from tracker.markup import CELEBA5, IBUG68
from tracker.metrics import in_set_terms, inter_ocular, inter_pupil, nme, oracle_crop


def face() -> np.ndarray:
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    points[36], points[45] = [20, 50], [80, 50]
    points[37:42], points[42:45], points[46:48] = [32, 50], [68, 50], [68, 50]
    return points


def test_normalisers() -> None:
    assert inter_ocular(face(), IBUG68) == pytest.approx(60)
    assert inter_pupil(face(), IBUG68) == pytest.approx(40)
    five = np.array([[0.0, 0], [3, 4], [0, 0], [0, 0], [0, 0]])
    assert inter_ocular(five, CELEBA5) == inter_pupil(five, CELEBA5) == pytest.approx(5)


def test_nme_is_the_mean_distance_over_the_normaliser() -> None:
    truth = np.stack([face(), face()])
    predicted = truth + np.array([[[3.0, 4.0]], [[0, 0]]])
    predicted[1, 0] += [0, 68]
    np.testing.assert_allclose(nme(predicted, truth, inter_ocular(truth, IBUG68)), [5 / 60, 1 / 60])


def test_the_nme_counts_known_points_only() -> None:
    predicted = face() + np.array([3.0, 4.0])
    predicted[36:] += 1000
    known = np.arange(68) < 36
    assert nme(predicted, face(), np.array(50.0), known) == pytest.approx(0.1)


def test_the_offset_of_a_set_counts_in_eye_corner_distances() -> None:
    moved = in_set_terms(face(), IBUG68, (0.01, -0.02))
    np.testing.assert_allclose(moved - face(), [[0.6, -1.2]] * 68)


def test_the_oracle_box_is_the_tight_square_times_the_context() -> None:
    truth = face()
    low, high = truth.min(0), truth.max(0)
    crop = oracle_crop(truth, 1.25, 64)
    assert (crop.cx, crop.cy) == pytest.approx(tuple((low + high) / 2))
    assert crop.side == pytest.approx(1.25 * (high - low).max())
    assert crop.angle == 0
