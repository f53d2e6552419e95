import numpy as np
import pytest

from tracker.smoothing import OneEuro


def smoothed(points: np.ndarray, size: float, rate: float, **settings: float) -> np.ndarray:
    smooth = OneEuro(**settings)
    return np.stack([smooth(frame, size, index / rate) for index, frame in enumerate(points)])


def still(count: int = 300, size: float = 60, noise: float = 0.005) -> np.ndarray:
    return np.random.default_rng(0).normal(100, noise * size, (count, 68, 2))


def test_a_still_face_is_steadier() -> None:
    points = still()
    steady = smoothed(points, 60, 30)
    assert np.diff(steady[30:], axis=0).std() < 0.5 * np.diff(points[30:], axis=0).std()


@pytest.mark.parametrize("rate", [15, 30, 60])
def test_a_moving_face_is_not_left_behind(rate: float) -> None:
    """At one eye distance a second the filter lags by less than a twenty-fifth of it."""
    times = np.arange(0, 3, 1 / rate)
    points = np.repeat((100 + 60 * times)[:, None, None], 2, 2)
    lag = points[-1] - smoothed(points, 60, rate)[-1]
    assert 0 <= lag.max() < 60 * 0.04


def test_it_is_the_same_at_every_resolution() -> None:
    points = still()
    np.testing.assert_allclose(smoothed(points * 8, 480, 30), smoothed(points, 60, 30) * 8, rtol=1e-5)


def test_real_time_counts_and_not_the_number_of_frames() -> None:
    """Half the frames of a movement give nearly the same path."""
    times = np.arange(0, 2, 1 / 60)
    points = (100 + 20 * np.sin(3 * times))[:, None, None] * np.ones((1, 4, 2))
    every, second = smoothed(points, 60, 60), smoothed(points[::2], 60, 30)
    assert np.abs(every[::2][10:] - second[10:]).max() < 0.02 * 60


def test_it_starts_anew_after_a_pause_and_when_time_runs_backwards() -> None:
    smooth = OneEuro()
    here, there = np.full((3, 2), 10.0), np.full((3, 2), 90.0)
    smooth(here, 60, 0.0)
    assert smooth(here + 0.3, 60, 0.03)[0, 0] < 10.3
    np.testing.assert_allclose(smooth(there, 60, 5.0), there)
    np.testing.assert_allclose(smooth(here, 60, 1.0), here)
    np.testing.assert_allclose(smooth(there, 60, 1.0), here, err_msg="the same time twice changes nothing")
