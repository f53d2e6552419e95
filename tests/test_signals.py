"""Signals against truth: a head in three dimensions, turned by known angles before a known camera."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.markup import CELEBA5, IBUG68, WFLW98, Markup
from tracker.signals import HEAD, HEAD_POINTS, Blink, BlinkDetector, angles, blinks, measure

SIZE = (1280, 720)


def face(lids: float = 9.0, lips: float = 12.0, mouth: float = 50.0, markup: Markup = IBUG68) -> np.ndarray:
    """A head (P, 3) in millimetres whose eyes are ``lids`` and inner lips ``lips`` open and whose mouth is ``mouth``
    wide; what the signals do not read is NaN."""
    head = np.full((markup.size, 3), np.nan)
    head[list(HEAD_POINTS[markup.name])] = HEAD
    if markup is IBUG68:
        pairs = {36: ((37, 41), (38, 40)), 42: ((43, 47), (44, 46))}
        corners, lip_pairs = (48, 54), ((61, 67), (62, 66), (63, 65))
    else:
        pairs = {60: ((61, 67), (62, 66), (63, 65)), 68: ((69, 75), (70, 74), (71, 73))}
        corners, lip_pairs = (76, 82), ((89, 95), (90, 94), (91, 93))
    for first, lid_pairs in pairs.items():
        middle = (head[first] + head[first + (3 if markup is IBUG68 else 4)]) / 2
        for place, (upper, lower) in enumerate(lid_pairs):
            at = middle + np.array(((place - (len(lid_pairs) - 1) / 2) * 8, 0, -6))
            half = np.array((0, lids / 2, 0))
            head[upper], head[lower] = at - half, at + half
    head[list(corners)] = (-mouth / 2, 72, -20), (mouth / 2, 72, -20)
    for place, (upper, lower) in enumerate(lip_pairs):
        head[upper], head[lower] = (8 * (place - 1), 72 - lips / 2, -28), (8 * (place - 1), 72 + lips / 2, -28)
    return head


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    a, b, c = np.radians([pitch, yaw, roll])
    about_x = np.array([(1, 0, 0), (0, np.cos(a), -np.sin(a)), (0, np.sin(a), np.cos(a))])
    about_y = np.array([(np.cos(b), 0, np.sin(b)), (0, 1, 0), (-np.sin(b), 0, np.cos(b))])
    about_z = np.array([(np.cos(c), -np.sin(c), 0), (np.sin(c), np.cos(c), 0), (0, 0, 1)])
    return about_x @ about_y @ about_z


def seen(
    head: np.ndarray, turned: tuple[float, float, float], at: tuple[float, float, float], focal: float = 1280.0
) -> np.ndarray:
    """The points (P, 2) in the picture of a head turned by (pitch, yaw, roll) degrees and put at ``at`` millimetres."""
    places = head @ rotation(*turned).T + at
    return places[:, :2] / places[:, 2:] * focal + ((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)


@settings(max_examples=60)
@given(
    st.floats(-40, 40),
    st.floats(-60, 60),
    st.floats(-90, 90),
    st.tuples(st.floats(-150, 150), st.floats(-100, 100), st.floats(300, 3000)),
)
def test_a_turned_head_is_measured_exactly(
    pitch: float, yaw: float, roll: float, at: tuple[float, float, float]
) -> None:
    signals = measure(seen(face(), (pitch, yaw, roll), at), IBUG68, SIZE)
    assert (signals.pitch, signals.yaw, signals.roll) == pytest.approx((pitch, yaw, roll), abs=0.02)
    assert signals.translation == pytest.approx(at, rel=1e-3, abs=0.1)
    assert angles(rotation(pitch, yaw, roll)) == pytest.approx((pitch, yaw, roll), abs=1e-9)


def test_signs_are_those_of_the_docs() -> None:
    """Read off the picture: where the tip of the nose goes."""
    straight = seen(face(), (0, 0, 0), (0, 0, 600))
    down, left, clockwise = (seen(face(), turned, (0, 0, 600)) for turned in ((20, 0, 0), (0, 20, 0), (0, 0, 20)))
    assert down[30, 1] > straight[30, 1]
    assert left[30, 0] < straight[30, 0]
    assert clockwise[45, 1] > clockwise[36, 1]
    assert measure(down, IBUG68, SIZE).pitch == pytest.approx(20, abs=0.02)
    assert measure(left, IBUG68, SIZE).yaw == pytest.approx(20, abs=0.02)
    assert measure(clockwise, IBUG68, SIZE).roll == pytest.approx(20, abs=0.02)


def test_another_persons_proportions_and_noise_cost_a_few_degrees() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        turned = tuple(rng.uniform((-25, -45, -30), (25, 45, 30)))
        head = face() + rng.normal(0, 2, (68, 3))  # millimetres
        points = seen(head, turned, (0, 0, 700)) + rng.normal(0, 1, (68, 2))  # pixels
        signals = measure(points, IBUG68, SIZE)
        errors.append(np.subtract((signals.pitch, signals.yaw, signals.roll), turned))
    assert np.abs(errors).mean(0) == pytest.approx((2.5, 2.0, 1.0), abs=1.5)
    assert np.percentile(np.abs(errors), 95) < 9


def test_the_focal_length_scales_the_distance() -> None:
    points = seen(face(), (5, -20, 10), (30, -20, 900), focal=2000.0)
    told = measure(points, IBUG68, SIZE, focal=2000.0)
    assert told.translation == pytest.approx((30, -20, 900), rel=1e-3)
    assert told.yaw == pytest.approx(-20, abs=0.02)
    untold = measure(points, IBUG68, SIZE)
    assert untold.translation[2] == pytest.approx(900 * 1280 / 2000, rel=0.02)
    assert untold.yaw == pytest.approx(-20, abs=3)


@pytest.mark.parametrize("markup", [IBUG68, WFLW98], ids=lambda markup: markup.name)
@pytest.mark.parametrize("turned", [(0, 0, 0), (0, 0, 75), (15, 30, -20), (-15, -30, 5)], ids=str)
def test_openness_is_that_of_the_head_however_it_is_turned(markup: Markup, turned: tuple[float, float, float]) -> None:
    for lids, lips, mouth in ((9.0, 0.0, 50.0), (2.0, 25.0, 60.0)):
        signals = measure(seen(face(lids, lips, mouth, markup), turned, (0, 0, 800)), markup, SIZE)
        within = {"rel": 0.02 if turned[:2] == (0, 0) else 0.25, "abs": 0.02}
        assert signals.left_eye == pytest.approx(lids / 26, **within)
        assert signals.right_eye == pytest.approx(lids / 26, **within)
        assert signals.eyes == pytest.approx((signals.left_eye + signals.right_eye) / 2)
        assert signals.mouth_openness == pytest.approx(lips / 90, **within)
        assert signals.mouth_width == pytest.approx(mouth / 90, **within)


def test_one_eye_closed_is_the_pictures_left_or_right() -> None:
    points = seen(face(9.0), (0, 0, 0), (0, 0, 800))
    points[[37, 38]] = points[[41, 40]]
    signals = measure(points, IBUG68, SIZE)
    assert signals.left_eye == pytest.approx(0)
    assert signals.right_eye > 0.3


def test_what_cannot_be_measured_is_nan() -> None:
    points = seen(face(), (0, 0, 0), (0, 0, 800))
    for nothing in (
        measure(np.zeros((68, 2)), IBUG68, SIZE),
        measure(np.full((68, 2), np.nan), IBUG68, SIZE),
        measure(points[:5], CELEBA5, SIZE),
    ):
        assert math.isnan(nothing.yaw)
        assert math.isnan(nothing.eyes)
        assert math.isnan(nothing.translation[2])
    away = measure(seen(face(), (0, 80, 0), (0, 0, 800)), IBUG68, SIZE)
    assert away.yaw == pytest.approx(80, abs=0.1)
    assert math.isnan(away.left_eye)
    assert math.isnan(away.mouth_width)


# Blinks

TIMES = np.arange(0, 12, 1 / 30)


def eyes(*closings: tuple[float, float, float], usual: float = 0.3) -> np.ndarray:
    """The openness at TIMES, with closings (middle, half of the time, share left) as triangles."""
    openness = np.full(len(TIMES), usual)
    for middle, half, left in closings:
        openness *= 1 - (1 - left) * np.clip(1 - np.abs(TIMES - middle) / half, 0, 1)
    return openness


def test_blinks_are_found_where_they_are() -> None:
    found = blinks(TIMES, eyes((3.0, 0.2, 0.1), (7.5, 0.1, 0.3)))
    assert len(found) == 2
    for blink, (middle, half, left) in zip(found, ((3.0, 0.2, 0.1), (7.5, 0.1, 0.3)), strict=True):
        edge = half * (1 - 0.25 / (1 - left))  # where a quarter of the openness is lost
        assert (blink.start, blink.end) == pytest.approx((middle - edge, middle + edge), abs=0.002)
        assert blink.depth == pytest.approx(1 - left, abs=0.002)


def test_a_blink_ends_where_the_usual_openness_sinks_meanwhile() -> None:
    """Eyes that were wide ten seconds ago and are less so since: the edge may sink below the last closed frame."""
    times = np.arange(360) / 30
    for wide in range(140, 190):
        openness = np.where(np.arange(360) < wide, 0.4, 0.34)
        openness[320:324] = 0.1, 0.1, 0.1, 0.29
        (blink,) = blinks(times, openness)
        assert 322 / 30 <= blink.end <= 324 / 30


def test_what_is_no_blink() -> None:
    assert blinks(TIMES, eyes()) == []
    assert blinks(TIMES, eyes((3.0, 0.2, 0.72))) == []  # eyes narrowed
    assert blinks(TIMES, eyes((5.0, 2.0, 0.0))) == []  # eyes shut for longer
    assert blinks(TIMES, eyes((0.2, 0.1, 0.1))) == []  # nothing to compare it with yet
    gap = eyes((3.0, 0.2, 0.1))
    gap[(TIMES > 2.9) & (TIMES < 3.3)] = np.nan
    assert blinks(TIMES, gap) == []
    shut = np.where((TIMES > 3) & (TIMES < 3.3), np.nan, eyes((3.4, 0.2, 0.1)))  # found again with closed eyes
    assert blinks(TIMES, shut) == []


def test_a_blink_is_told_when_it_ends_and_noise_makes_none() -> None:
    rng = np.random.default_rng(1)
    openness = eyes((6.0, 0.15, 0.1)) + rng.normal(0, 0.012, len(TIMES))
    detector = BlinkDetector()
    found = [(time, detector.update(time, value)) for time, value in zip(TIMES, openness, strict=True)]
    told = [(time, blink) for time, blink in found if blink]
    ((when, blink),) = told
    assert isinstance(blink, Blink)
    assert 0 <= when - blink.end <= 1 / 30


@given(st.floats(0.05, 2.0), st.floats(0, 1e5))
def test_blinks_do_not_depend_on_the_eyes_size_or_the_start_of_time(scale: float, start: float) -> None:
    usual = blinks(TIMES, eyes((3.0, 0.2, 0.1)))
    (blink,) = blinks(TIMES + start, eyes((3.0, 0.2, 0.1)) * scale)
    assert (blink.start - start, blink.end - start) == pytest.approx((usual[0].start, usual[0].end), abs=1e-5)
    assert blink.depth == pytest.approx(usual[0].depth)


def test_eyes_that_stay_narrow_are_the_new_usual_openness() -> None:
    times = np.arange(0, 30, 1 / 30)
    openness = np.where(times < 3, 0.3, 0.15) * (1 - 0.9 * np.clip(1 - np.abs(times - 25) / 0.15, 0, 1))
    (blink,) = blinks(times, openness)
    assert blink.start == pytest.approx(25, abs=0.2)
