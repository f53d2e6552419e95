"""What a user can rely on from the tracker, with the real detector and the real weights, on known pictures."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pytest

from tracker import Box, Crop, Frame, LandmarkModel, Result, Tracker, load_model
from tracker.demo import motion_error
from tracker.detector import Detection, Detector
from tracker.portrait import picture
from tracker.tracking import views_agree

RATE = 30


def frames(images: Iterable[np.ndarray], start: float = 0.0) -> Iterator[Frame]:
    for index, image in enumerate(images):
        image.setflags(write=False)
        yield Frame(image, index, start + index / RATE)


def run(tracker: Tracker, images: Iterable[np.ndarray], start: float = 0.0) -> list[Result]:
    return [tracker.update(frame) for frame in frames(images, start)]


def on_grey(portrait: np.ndarray, *places: tuple[int, int], side: int = 260) -> np.ndarray:
    """A picture (360, 800, 3) with the portrait's head at each place (its left upper corner)."""
    image = np.full((360, 800, 3), 120, np.uint8)
    head = cv2.resize(portrait[0:230, 110:340], (side, side))
    for x, y in places:
        part = image[y : y + side, max(x, 0) : max(x + side, 0)]
        part[:] = head[:, max(-x, 0) :][: part.shape[0], : part.shape[1]]
    return image


def empty() -> np.ndarray:
    return np.full((360, 800, 3), 120, np.uint8)


def test_a_face_is_followed_through_known_motion(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    results = run(Tracker(model, detector), (picture(portrait, number) for number in range(90)))
    assert [[face.id for face in result.faces] for result in results] == [[0]] * 90
    points = {index: result.faces[0].points.astype(float) for index, result in enumerate(results)}
    assert motion_error(points).mean() < 0.02


def test_points_sit_on_the_face(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    """Eyes, nose tip and mouth corners of the portrait, read off by eye to about two pixels."""
    result = run(Tracker(model, detector), [portrait.copy()])[0]
    points = result.faces[0].points
    seen = {
        36: (193, 101),
        39: (211, 101),
        42: (238, 104),
        45: (257, 104),
        30: (222, 126),
        48: (203, 140),
        54: (246, 141),
    }
    seen[8] = (224, 179)  # the chin
    for index, place in seen.items():
        assert np.linalg.norm(points[index] - place) < 5, index


def test_smoothing_makes_a_still_face_steadier(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    rng = np.random.default_rng(0)
    still = on_grey(portrait, (200, 50)).astype(float)
    noisy = [np.clip(still + rng.normal(0, 6, still.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    paths = {}
    for name, keywords in (("smooth", {}), ("raw", {"smoother": None})):
        results = run(Tracker(model, detector, **keywords), noisy)
        paths[name] = np.stack([result.faces[0].points for result in results])[5:]
    jitter = {name: np.diff(path, n=2, axis=0).std() for name, path in paths.items()}
    assert jitter["smooth"] < 0.6 * jitter["raw"]


def test_two_faces_keep_their_ids(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    images = [on_grey(portrait, (20 + 2 * k, 40), (500 - 2 * k, 60)) for k in range(40)]
    results = run(Tracker(model, detector), images)
    sides = {}
    for result in results:
        assert [face.id for face in result.faces] == [0, 1]
        for face in result.faces:
            sides.setdefault(face.id, []).append(face.box.centre[0] > 400)
    assert all(len(set(side)) == 1 for side in sides.values())


def faces(portrait: np.ndarray, *places: tuple[int, float], covered: int | None = None) -> np.ndarray:
    """A picture (420, 700, 3) with the portrait's face alone, from cheek to cheek, at each place (its left edge, how
    much enlarged); one is ``covered`` from the brows to the chin."""
    image = np.full((420, 700, 3), 120, np.uint8)
    face = portrait[40:215, 186:258]
    hidden = face.copy()
    hidden[20:160] = 120
    for number, (x, scale) in enumerate(places):
        part = cv2.resize(hidden if number == covered else face, None, fx=scale, fy=scale)
        image[30 : 30 + part.shape[0], x : x + part.shape[1]] = part
    return image


def test_a_hidden_face_does_not_take_its_neighbours_place(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    """Cheek to cheek, in boxes that overlap, so that a look around the one sees the other."""
    beside = (150, 2.0), (294, 2.0)
    both, hidden = faces(portrait, *beside), faces(portrait, *beside, covered=1)
    tracker = Tracker(model, detector)
    where = [
        {face.id: face.box.centre[0] < 294 for face in result.faces}
        for result in run(tracker, [both] * 12 + [hidden] * 30 + [both] * 20)
    ]
    assert len(where[0]) == 2
    assert {0: where[0][0]} in where[12:42], "one of them is lost"
    assert where[-1] == where[0]
    assert all(seen.items() <= where[0].items() for seen in where)


def test_two_faces_that_come_back_at_once_are_not_exchanged(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    """A small one was there first, the larger one beside it is found first; each of them is nearest to itself."""
    small, large = (294, 1.2), (150, 2.0)
    both, black = faces(portrait, large, small), np.zeros((420, 700, 3), np.uint8)
    results = run(Tracker(model, detector), [faces(portrait, small)] * 3 + [both] * 20 + [black] * 2 + [both] * 8)
    sizes = [{face.id: face.box.width > 130 for face in result.faces} for result in results]
    assert sizes[22] == sizes[-1] == {0: False, 1: True}
    assert not sizes[24]


def test_five_points_stay_while_the_detector_looks(portrait: np.ndarray, detector: Detector) -> None:
    """They fill less than half of the box that detectors give, and are not to be sought there again."""
    results = run(Tracker(load_model("trnet-5"), detector, smoother=None), [portrait] * 25)
    points = np.stack([result.faces[0].points for result in results])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(-1) / np.linalg.norm(points[0, 0] - points[0, 1])
    assert steps.max() < 0.006


def test_no_more_faces_than_asked_for(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    images = [on_grey(portrait, (20, 40), (460, 60)) for _ in range(12)]
    results = run(Tracker(model, detector, max_faces=1), images)
    assert [[face.id for face in result.faces] for result in results] == [[0]] * 12


def test_what_is_no_face_takes_no_place(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    """A detector that is wrong in every frame, about something larger than the face."""

    def mistaken(image: np.ndarray) -> list[Detection]:
        wrong = (
            [Detection(Box(420, 20, 760, 340), 0.75, 0.0, np.zeros((5, 2), np.float32))]
            if image.shape[1] == 800
            else []
        )  # not in a closer look
        return [*wrong, *detector(image)]

    results = run(Tracker(model, mistaken, max_faces=1), [on_grey(portrait, (20, 40)) for _ in range(3)])
    assert [[face.box.centre[0] < 300 for face in result.faces] for result in results] == [[True]] * 3


def test_a_face_that_goes_is_lost_in_its_frame_and_a_new_one_gets_a_new_id(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    tracker = Tracker(model, detector)
    run(tracker, [on_grey(portrait, (20, 40))] * 15)
    gone = run(tracker, [empty()] * 60, start=15 / RATE)
    assert not any(result.faces for result in gone)
    back = run(tracker, [on_grey(portrait, (480, 40))] * 15, start=75 / RATE)
    assert {face.id for result in back for face in result.faces} == {1}
    assert back[5].faces, "a face that comes is found at once"


def test_a_single_black_frame_shows_no_face(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    image = on_grey(portrait, (200, 40))
    results = run(Tracker(model, detector), [*[image] * 8, np.zeros_like(image), *[image] * 3])
    assert [[face.id for face in result.faces] for result in results] == [[0]] * 8 + [[]] + [[0]] * 3


def test_a_face_hidden_for_a_moment_keeps_its_id(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    tracker = Tracker(model, detector)
    run(tracker, [on_grey(portrait, (200, 40))] * 10)
    run(tracker, [empty()] * 18, start=10 / RATE)
    back = run(tracker, [on_grey(portrait, (210, 40))] * 10, start=28 / RATE)
    assert back[-1].faces[0].id == 0


def test_a_face_that_jumps_is_found_at_its_new_place(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    tracker = Tracker(model, detector)
    run(tracker, [on_grey(portrait, (20, 40))] * 10)
    after = run(tracker, [on_grey(portrait, (480, 40))] * 20, start=10 / RATE)
    assert len(after[-1].faces) == 1
    assert after[-1].faces[0].box.centre[0] > 480


def test_a_face_that_rushes_past_keeps_its_points(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    """Up to 52 pixels a frame, half a face; judged by where the points lie while it stands still."""
    way = np.round(20 + 500 * 0.5 * (1 - np.cos(np.linspace(0, np.pi, 16)))).astype(int)
    places = [*[20] * 8, *way]
    results = run(Tracker(model, detector, smoother=None), [on_grey(portrait, (int(x), 40)) for x in places])
    assert [[face.id for face in result.faces] for result in results] == [[0]] * len(places)
    still = results[7].faces[0].points - (20, 0)
    off = [
        np.linalg.norm(r.faces[0].points - (x, 0) - still, axis=1).mean() for r, x in zip(results, places, strict=True)
    ]
    eyes = np.linalg.norm(still[36] - still[45])
    assert max(off) < 0.03 * eyes


def test_of_two_faces_one_that_comes_back_is_soon_found(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    tracker = Tracker(model, detector)
    both, one = on_grey(portrait, (20, 40), (460, 60)), on_grey(portrait, (20, 40))
    run(tracker, [both] * 10)
    for hidden in range(8, 14):
        start = 10 + 30 * (hidden - 8)
        run(tracker, [one.copy() for _ in range(hidden)], start=start / RATE)
        back = run(tracker, [both.copy() for _ in range(30 - hidden)], start=(start + hidden) / RATE)
        assert [face.id for face in back[3].faces] == [0, 1]


def test_a_face_at_the_edge_does_no_harm(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    images = [on_grey(portrait, (300 - 16 * k, 40)) for k in range(40)]
    results = run(Tracker(model, detector), images)
    assert results[5].faces
    assert not results[-1].faces


@pytest.mark.parametrize("name", ["brick", "coffee", "coins", "grass", "gravel"])
def test_no_face_is_found_where_there_is_none(name: str, model: LandmarkModel, detector: Detector) -> None:
    import skimage.data

    image = getattr(skimage.data, name)()
    image = np.repeat(image[:, :, None], 3, 2) if image.ndim == 2 else np.ascontiguousarray(image)
    results = run(Tracker(model, detector), [image] * 5)
    assert not any(result.faces for result in results)


def test_views_agree_on_a_face_and_never_on_textures(portrait: np.ndarray, model: LandmarkModel) -> None:
    """This alone keeps a face that the detector does not see, so that a crop of anything else must not pass."""
    import skimage.data

    rng = np.random.default_rng(0)
    for _ in range(40):
        crop = Crop(*(rng.normal((225, 132), 6)), 135 * rng.uniform(0.9, 1.15), 64, rng.normal(0, 0.15))
        (face,) = model.locate(portrait, [crop])
        assert views_agree(model, face, portrait)
    for name in ("brick", "coffee", "coins", "grass", "gravel"):
        image = getattr(skimage.data, name)()
        image = np.repeat(image[:, :, None], 3, 2) if image.ndim == 2 else np.ascontiguousarray(image)
        for _ in range(20):
            (face,) = model.locate(image, [Crop(*rng.uniform(80, 220, 2), rng.uniform(60, 200), 64)])
            assert not views_agree(model, face, image)


def test_a_jump_back_in_time_starts_anew(portrait: np.ndarray, model: LandmarkModel, detector: Detector) -> None:
    tracker = Tracker(model, detector)
    image = on_grey(portrait, (20, 40))
    assert run(tracker, [image] * 3, start=10)[-1].faces[0].id == 0
    assert run(tracker, [image] * 3, start=0)[-1].faces[0].id == 1


def test_a_time_a_little_before_the_last_is_no_jump(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    tracker = Tracker(model, detector)
    times = (0.0, 0.033, 0.066, 0.065, 0.1)
    ids = [[face.id for face in tracker.update(Frame(portrait, *at)).faces] for at in enumerate(times)]
    assert ids == [[0]] * 5
    paths = []
    for other in (tracker, Tracker(model, detector)):  # but a restart forgets the time, however little it goes back
        other.restart()
        images = (np.roll(portrait, 3 * number, 1) for number in range(4))
        paths.append([result.faces[0].points for result in run(other, images, 0.05)])
    np.testing.assert_allclose(*paths, atol=1e-3)


def test_every_result_holds_its_own_frame_and_times(
    portrait: np.ndarray, model: LandmarkModel, detector: Detector
) -> None:
    (result,) = run(Tracker(model, detector), [on_grey(portrait, (20, 40))])
    assert result.frame.index == 0
    assert set(result.milliseconds) == {"landmarks", "detect", "smooth"}
    face = result.faces[0]
    assert face.points.shape == (68, 2)
    assert face.points.dtype == np.float32
    assert 0 < face.score <= 1
