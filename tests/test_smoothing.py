import numpy as np
import pytest

from tracker.smoothing import OneEuro, zero_lag


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
    """At one eye distance a second the filter lags by less than a two-hundredth of it."""
    times = np.arange(0, 3, 1 / rate)
    points = np.repeat((100 + 60 * times)[:, None, None], 2, 2)
    lag = points[-1] - smoothed(points, 60, rate)[-1]
    assert 0 <= lag.max() < 60 * 0.005


def test_a_head_that_sways_is_nearer_to_where_it_is_than_as_located() -> None:
    """By a tenth of the eye distance once a second, with noise of 0.5 %: more is won than the lag takes."""
    times = np.arange(90) / 30
    sway = np.stack([6 * np.sin(2 * np.pi * times), 0 * times], -1)[:, None]
    truth = np.random.default_rng(1).uniform(0, 120, (68, 2)) + sway
    points = truth + np.random.default_rng(0).normal(0, 0.3, truth.shape)
    wrong, rough = (np.linalg.norm(path - truth, axis=-1)[10:].mean() for path in (smoothed(points, 60, 30), points))
    assert wrong < 0.9 * rough


def test_a_mouth_that_speaks_moves_nothing_else() -> None:
    """Twenty-eight of 68 points go up and down by a sixth of the eye distance twice a second; the others lie still."""
    face = np.random.default_rng(1).uniform(0, 120, (68, 2))
    opening = np.maximum(np.sin(4 * np.pi * np.arange(90) / 30), 0)
    points = np.repeat(face[None], 90, axis=0)
    points[:, 40:, 1] += 10 * opening[:, None]
    path = smoothed(points, 60, 30)
    assert np.linalg.norm(path - points, axis=-1)[:, :40].max() < 0.005 * 60
    assert np.linalg.norm(path - points, axis=-1)[:, 40:].mean() < 0.015 * 60


def test_a_face_that_turns_and_comes_nearer_keeps_its_shape() -> None:
    face = np.random.default_rng(1).uniform(-60, 60, (68, 2))
    times = np.arange(60) / 30
    turns = np.exp(0.5j * np.sin(3 * times)) * (1 + 0.3 * times)
    path = turns[:, None] * (face[:, 0] + 1j * face[:, 1])
    found = smoothed(np.stack([path.real, path.imag], -1) + 200, 60, 30)[5:]
    assert np.linalg.norm(found - 200 - np.stack([path.real, path.imag], -1)[5:], axis=-1).mean() < 0.006 * 60


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


def test_zero_lag_follows_a_nodding_face_without_delay_and_is_as_steady() -> None:
    """A slight nod, 6 % of the eye distance at 1 Hz, as talkers make: the live filter is late, this one is not."""
    times = np.arange(0, 6, 1 / 30)
    noise = np.random.default_rng(0).normal(0, 0.3, (len(times), 5, 2))
    nod = 3 * np.sin(2 * np.pi * times)[:, None, None]
    points = (200 + nod + 0.1 * noise).astype(np.float32)
    steady, live = zero_lag(times, points, np.full(len(times), 60.0)), smoothed(points, 60, 30)

    def delay(path: np.ndarray) -> float:
        """In frames, from the phase of the nod."""
        wave = np.exp(-2j * np.pi * times[30:150])
        of = [np.angle((track[30:150, 0, 1] * wave).sum()) for track in (path, np.broadcast_to(nod, points.shape))]
        return float((of[1] - of[0]) / (2 * np.pi) * 30)

    assert 0.3 < delay(live) < 0.5
    assert abs(delay(steady)) < 0.05
    still = np.full((180, 5, 2), 200.0) + noise
    rough, smooth, both = (
        np.diff(path, n=2, axis=0).std()
        for path in (still, smoothed(still, 60, 30), zero_lag(times, still, np.full(180, 60.0)))
    )
    assert both < 1.1 * smooth < rough / 2


def test_zero_lag_starts_anew_after_a_pause() -> None:
    times = np.r_[np.arange(10) / 30, 5 + np.arange(10) / 30]
    points = np.repeat(np.r_[np.full(10, 0.0), np.full(10, 100.0)][:, None, None], 2, 2)
    assert zero_lag(times, points, np.full(20, 60.0)) == pytest.approx(points)
