"""The window, offscreen, with real clips, models and files."""

import csv
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from clips import encode
from window_probe import PROBLEM

if PROBLEM:
    pytest.skip(PROBLEM, allow_module_level=True)

from PyQt6.QtCore import QMimeData, QPoint, QPointF, QSettings, Qt, QUrl
from PyQt6.QtGui import QDragEnterEvent, QImage
from PyQt6.QtWidgets import QApplication, QDialog, QMessageBox
from pytestqt.qtbot import QtBot

from app.__main__ import _opened, _parser
from app.charts import StripChart
from app.history import FOUND
from app.pipeline import News, Pipeline
from app.reader import Reader
from app.recording import begin
from app.settings import FASTEST, MEAN, Settings
from app.window import Window
from tracker import LandmarkModel, Tracker, load_detector, load_model
from tracker.__main__ import main as command
from tracker.core import Frame
from tracker.cores import passing_threads
from tracker.markup import AFLW19, IBUG68
from tracker.smoothing import OneEuro
from tracker.sources import Source, SourceError, VideoFile

LONG = 180_000  # milliseconds that anything may take on a machine that is busy


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path) -> None:
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path) -> Iterator[Window]:
    """A window that plays as fast as it goes; afterwards nothing of it may be left."""
    made = Window(Settings(folder=str(tmp_path / "out"), speed=FASTEST))
    qtbot.addWidget(made)
    made.show()
    yield made
    assert not [box for box in QApplication.topLevelWidgets() if isinstance(box, QMessageBox) and box.isVisible()]
    made.close()
    assert made.session.wait(LONG)


Wait = Callable[[Callable[[], Any]], None]


@pytest.fixture
def wait(qtbot: QtBot) -> Wait:
    return lambda condition: qtbot.waitUntil(lambda: bool(condition()), timeout=LONG)


def picture(image: QImage) -> Any:
    """(H, W, 3) RGB of a QImage."""
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    pixels = np.frombuffer(image.constBits().asarray(image.sizeInBytes()), np.uint8).reshape(image.height(), -1)
    return pixels[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def paused_at(window: Window, wait: Wait, clip: Path, index: int) -> None:
    """Open the clip and stop at a frame of it."""
    window.open(clip)
    wait(lambda: window.view.painted and window.history.found.any())
    window.session.play(False)
    wait(lambda: not window.session.playing)
    before = window.view.shown  # perhaps of this very frame, which is yet to be processed again
    window.session.seek(index)
    wait(lambda: window.view.shown is not before and shown_index(window) == index)


def shown_index(window: Window) -> int:
    return window.view.shown.result.frame.index if window.view.shown else -1


def test_a_video_plays_to_its_end_with_points_on_every_frame(window: Window, wait: Wait, clip: Path) -> None:
    window.open(clip)
    wait(lambda: not window.session.playing)
    assert window.history.found.tolist() == [FOUND] * 60
    assert shown_index(window) == 59
    assert np.isfinite(window.history.values).all()
    assert "frames/s" in window.numbers.text()
    assert not window.banner.isVisible()
    assert clip.name in window.windowTitle()
    window.play()  # once more, from the beginning
    wait(lambda: window.session.playing and shown_index(window) < 59)
    wait(lambda: not window.session.playing)
    assert window.settings.recent == (str(clip),)


def test_the_overlay_is_that_of_the_frame_below_it(window: Window, wait: Wait, clip: Path) -> None:
    paused_at(window, wait, clip, 30)
    window.change(points=False, edges=False, ids=False)
    assert window.view.shown
    result = window.view.shown.result
    frame = list(VideoFile(clip))[30]
    assert np.array_equal(result.frame.image, frame.image)
    assert np.array_equal(picture(window.view.picture()), frame.image)
    for switch in ("points", "edges", "ids", "boxes", "crop", "pose"):
        window.change(**{switch: True})
        changed = (picture(window.view.picture()) != frame.image).any(-1)
        assert changed.any(), switch
        ys, xs = np.nonzero(changed)
        crop = result.faces[0].crop
        reach = 0.75 * crop.side
        assert np.abs(xs - crop.cx).max() < reach, switch
        assert np.abs(ys - crop.cy).max() < reach, switch
        if switch == "points":
            for x, y in np.rint(result.faces[0].points).astype(int).tolist():
                assert changed[y, x]
        window.change(**{switch: False})


def test_a_seek_shows_the_very_frame_and_begins_anew(window: Window, wait: Wait, clip: Path) -> None:
    paused_at(window, wait, clip, 40)
    assert window.view.shown
    frame = list(VideoFile(clip))[40]
    assert window.view.shown.result.frame.time == frame.time
    fresh = Tracker(load_model(), load_detector("far")).update(frame)
    np.testing.assert_array_equal(window.view.shown.result.faces[0].points, fresh.faces[0].points)
    window.session.step(1)
    wait(lambda: shown_index(window) == 41)
    window.session.step(-1)
    wait(lambda: shown_index(window) == 40)
    window.skip(-1.0)
    wait(lambda: shown_index(window) == 10)
    window.skip(100.0)
    wait(lambda: shown_index(window) == 59)
    line = window.playback.line
    QtBot.mouseClick(line, Qt.MouseButton.LeftButton, pos=QPoint(line.width() // 2, line.height() // 2))
    wait(lambda: 28 <= shown_index(window) <= 31)
    assert not window.session.playing


def test_a_file_is_played_in_a_loop(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted and (window.history.found == FOUND).all())
    before = window.view.painted
    wait(lambda: window.view.painted > before + 5)
    assert window.session.playing


def test_the_model_changes_while_it_runs_and_attention_appears(
    window: Window, wait: Wait, clip: Path, attentive: Path
) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 5)
    assert window.attention.pages.currentWidget() is window.attention.none
    assert "trnet-68 has no attention" in window.attention.why.text()
    for model in (str(attentive), "trnet-68", str(attentive)):
        window.change(model=model)
    wait(lambda: window.view.shown.result.faces and window.view.shown.result.faces[0].attention)
    window.session.play(False)
    wait(lambda: not window.session.playing)
    assert [spec.name for spec in window.view.models] == ["attentive"]
    assert window.attention.pages.currentWidget() is not window.attention.none
    face = window.view.shown.result.faces[0]
    assert [one.shape for one in face.attention] == [(64, 64), (32, 32), (16, 16), (8, 8)]
    window.change(points=False, edges=False, ids=False, opacity=1.0)
    plain = picture(window.view.picture())
    seen = []
    for which in (0, 1, 2, 3, MEAN):
        window.change(map=which)
        laid = picture(window.view.picture())
        inside = face.crop.to_input(np.array([[x, y] for y in range(480) for x in range(640)])).reshape(480, 640, 2)
        changed = (laid != plain).any(-1)
        assert changed[((inside > 2) & (inside < face.crop.size - 3)).all(-1)].mean() > 0.95
        assert not changed[((inside < -2) | (inside > face.crop.size + 1)).any(-1)].any()
        seen.append(laid)
    assert all((a != b).any() for a, b in itertools.pairwise(seen))
    window.attention.choose_face(face.id + 1)  # of another face: nothing lies over this one
    assert np.array_equal(picture(window.view.picture()), plain)


def test_what_is_asked_for_while_a_model_is_loaded_is_done(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 2)
    seen: list[News] = []
    window.session.news.connect(seen.append)
    window.change(model="trnet-5")
    window.change(smooth=False, loop=False)
    window.session.play(False)
    window.session.seek(7)
    window.session.step(-1)
    wait(lambda: [news for news in seen if news.shown])
    assert [spec.name for spec in window.view.models] == ["trnet-5"]
    assert shown_index(window) == 6
    assert not window.session.playing
    assert not seen[-1].smoothing.on
    window.play()
    wait(lambda: shown_index(window) == 59 and not window.session.playing)  # no loop


def test_what_is_asked_for_outlives_a_model_that_another_replaces_while_it_is_loaded(
    window: Window, wait: Wait, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 2)
    first, loading = window.session.pipeline, threading.Event()

    def slowly(name: str | Path, device: str) -> LandmarkModel:
        loading.wait(20)
        return load_model(name, device)

    monkeypatch.setattr("app.pipeline.load_model", slowly)
    window.change(model="trnet-5")
    wait(lambda: window.session.pipeline is not first)  # it is being loaded now
    window.session.play(False)
    window.session.seek(7)
    window.change(model="aan-68")
    loading.set()
    wait(lambda: bool(window.view.models) and window.view.models[0].name == "aan-68" and shown_index(window) == 7)
    assert not window.session.playing


def test_another_face_with_the_same_number_is_not_the_chosen_one(window: Window, wait: Wait, clip: Path) -> None:
    def shows_frame(index: int, model: str) -> bool:
        return shown_index(window) == index and window.view.models[0].name == model

    paused_at(window, wait, clip, 10)
    for number, go_on in enumerate([partial(window.session.seek, 20), partial(window.change, model="trnet-5")]):
        index = shown_index(window)
        window.attention.choose_face(window.view.shown.result.faces[0].id)
        window.session.step(1)
        wait(lambda index=index: shown_index(window) == index + 1)
        assert window.view.attended == window.attention.face.currentData() == window.view.shown.result.faces[0].id
        go_on()
        wait(lambda number=number: shows_frame(*((20, "trnet-68"), (21, "trnet-5"))[number]))
        assert window.view.attended is None
        assert window.attention.face.currentText() == "all faces"
        assert window.attention.face.count() == 1 + len(window.view.shown.result.faces)


def test_frozen_maps_stay_while_the_source_goes_on(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 3)
    window.actions_.freeze.trigger()
    kept, index = window.view.shown, window.history.index
    wait(lambda: window.history.index != index)
    assert window.view.shown is kept
    window.actions_.freeze.trigger()
    wait(lambda: window.view.shown is not kept)


def test_a_model_that_cannot_be_used_is_named_and_the_one_before_goes_on(
    window: Window, wait: Wait, clip: Path, tmp_path: Path
) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 3)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    window.open_paths([bad])
    wait(window.banner.isVisible)
    assert str(bad) in window.banner.text.text()
    assert window.settings.model == "trnet-68"
    before = window.view.painted
    wait(lambda: window.view.painted > before + 3)


@pytest.mark.parametrize("overlaid", [False, True])
def test_two_models_are_compared_on_the_same_frames(
    window: Window, wait: Wait, clip: Path, attentive: Path, overlaid: bool
) -> None:
    window.change(other=str(attentive), overlaid=overlaid)
    window.open(clip)
    wait(lambda: not window.session.playing)
    shown = window.view.shown
    assert shown
    assert shown.other
    assert shown.other.frame is shown.result.frame
    assert [spec.name for spec in window.view.models] == ["trnet-68", "attentive"]
    assert window.view.picture().width() == (640 if overlaid else 1280)
    share = float(window.model_panel.difference.text().split(" ")[0])
    assert 0 < share < 10  # the same network, at another scale
    window.change(other="")
    wait(lambda: len(window.view.models) == 1)
    assert window.view.picture().width() == 640


def test_a_recording_holds_every_frame_from_its_beginning_to_its_end(window: Window, wait: Wait, clip: Path) -> None:
    paused_at(window, wait, clip, 0)
    window.actions_.record.trigger()
    wait(window.red.isVisible)
    out = window.settings.out
    (table,), (_film,) = list(out.glob("*.csv.part")), list(out.glob("*.mp4.part"))
    for number in range(1, 6):  # the rows are there while it runs
        window.session.step(1)
        wait(lambda number=number: shown_index(window) == number)
        assert len(table.read_text().splitlines()) == 1 + number
    window.play()
    wait(lambda: shown_index(window) == 59 and not window.session.playing)
    window.actions_.record.trigger()
    wait(lambda: not list(out.glob("*.part")))
    with (out / table.name.removesuffix(".part")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(2, 61))
    tracker = Tracker(load_model(), load_detector("far"))
    results = [tracker.update(frame) for frame in VideoFile(clip)]
    for row, result in zip(rows, results[1:], strict=True):
        assert float(row["timestamp"]) == pytest.approx(result.frame.time, abs=1e-6)
        written = [[float(row[f"x_{n}"]), float(row[f"y_{n}"])] for n in range(68)]
        np.testing.assert_allclose(written, result.faces[0].points, atol=6e-4)
    film = list(VideoFile(next(out.glob("*.mp4"))))
    assert [frame.time for frame in film] == pytest.approx([number / 30 for number in range(59)], abs=1e-4)
    plain = np.abs(film[0].image.astype(int) - results[1].frame.image)
    points = np.rint(results[1].faces[0].points).astype(int)
    assert np.median(plain) < 4 < np.median(plain[points[:, 1], points[:, 0]].max(-1))


def test_no_recording_begins_before_the_model_is_loaded(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 2)
    before = window.session.pipeline
    window.change(model="trnet-5")
    window.actions_.record.trigger()
    assert not window.actions_.record.isChecked()
    assert "still being loaded" in window.status.currentMessage()
    wait(lambda: window.session.pipeline is not before)
    assert not list(window.settings.out.glob("*"))
    wait(lambda: window.session.models)
    window.actions_.record.trigger()  # though no frame of it has been seen
    wait(window.red.isVisible)
    count = window.view.painted
    wait(lambda: window.view.painted > count + 5)
    window.actions_.record.trigger()
    wait(lambda: list(window.settings.out.glob("*.csv")) and not list(window.settings.out.glob("*.part")))
    assert not window.banner.isVisible()
    header = next(window.settings.out.glob("*.csv")).read_text().splitlines()[0]
    assert "x_4," in header
    assert "x_5" not in header


def test_a_recording_for_other_points_ends_and_the_film_goes_on(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 2)
    window.session.record(begin(window.settings, "wrong", VideoFile(clip), AFLW19))
    wait(window.banner.isVisible)
    assert "19 points" in window.banner.text.text()
    count = window.view.painted
    wait(lambda: window.view.painted > count + 3)
    assert not list(window.settings.out.glob("*"))


def test_a_recording_that_a_pipeline_never_came_to_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    settings = Settings(folder=str(tmp_path / "out"))
    reader = Reader(partial(VideoFile, clip))
    pipeline = Pipeline(reader, settings)
    pipeline.record(begin(settings, "late", VideoFile(clip), IBUG68))
    assert list(settings.out.glob("*.part"))
    pipeline.stop()
    pipeline.start()
    assert pipeline.wait(LONG)
    reader.close()
    assert not list(settings.out.glob("*"))


def test_a_picture_and_the_points_are_kept(window: Window, wait: Wait, clip: Path) -> None:
    paused_at(window, wait, clip, 12)
    window.screenshot()
    (path,) = window.settings.out.glob("*.png")
    assert np.array_equal(picture(QImage(str(path))), picture(window.view.picture()))
    window.copy_points()
    rows = [line.split("\t") for line in QApplication.clipboard().text().splitlines()]
    face = window.view.shown.result.faces[0]
    assert rows[0] == ["face", "point", "x", "y"]
    assert [row[:2] for row in rows[1:]] == [[str(face.id), str(number)] for number in range(68)]
    np.testing.assert_allclose([[float(row[2]), float(row[3])] for row in rows[1:]], face.points, atol=6e-4)


def test_a_hundred_starts_and_stops_leave_nothing_behind(window: Window, wait: Wait, clip: Path) -> None:
    before = len(passing_threads())
    for number in range(100):
        window.open(clip)
        if number % 10 == 0:
            painted = window.view.painted
            wait(lambda painted=painted: window.view.painted > painted)
        elif number % 3 == 0:
            QApplication.processEvents()
        elif number % 3 == 1:
            window.change(max_faces=1 + number % 2)
    wait(lambda: window.view.painted and not window.session.playing)
    assert window.history.found.tolist() == [FOUND] * 60
    wait(lambda: len(passing_threads()) <= before + 1)  # the reader of the last one
    assert not window.banner.isVisible()


class Stuck:
    """A live source that gives some frames of a clip and then does what ``end`` does."""

    name, rate, length, live, problem = "stuck", 30.0, None, True, None

    def __init__(self, frames: list[Frame], end: Callable[[], None]) -> None:
        self.size = (640, 480)
        self._frames, self._end = frames, end

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            yield frame
            threading.Event().wait(0.02)
        self._end()

    def close(self) -> None: ...

    def __enter__(self) -> "Stuck":
        return self

    def __exit__(self, *error: object) -> None: ...


def hang() -> None:
    threading.Event().wait(3600)


def fail(error: Exception) -> None:
    raise error


def opening(source: Source, before: Callable[[], None] = lambda: None) -> Source:
    before()
    return source


@pytest.mark.parametrize("at_once", [True, False])
def test_a_source_that_hangs_says_so_and_keeps_nothing_waiting(
    window: Window, wait: Wait, clip: Path, at_once: bool
) -> None:
    frames = list(VideoFile(clip))[:5]
    stuck = Stuck(frames, hang)
    window.start(partial(opening, stuck, hang if at_once else lambda: None), "stuck")
    wait(window.banner.isVisible)
    assert window.banner.text.text() == "stuck gives no picture; still waiting for it."
    window.change(max_faces=2)  # still obeys
    window.open(clip)  # and another source takes its place
    wait(lambda: window.view.painted and not window.session.playing)
    assert not window.banner.isVisible()
    window.start(partial(opening, stuck, hang if at_once else lambda: None), "stuck")
    QApplication.processEvents()
    start = monotonic()
    window.close()
    assert monotonic() - start < 3  # a second on a machine that is not busy
    assert window.session.wait(LONG)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SourceError("camera 0: it gives no more pictures; plug it in again"), "camera 0: it gives no more pictures"),
        (ValueError("17 is not a picture"), "this source cannot be read: 17 is not a picture"),
    ],
)
def test_a_source_that_fails_leaves_a_banner_and_can_be_tried_again(
    window: Window, wait: Wait, clip: Path, error: Exception, told: str
) -> None:
    frames = list(VideoFile(clip))[:5]
    ends = [lambda: fail(error), hang]
    window.start(lambda: Stuck(frames, ends.pop(0)), "camera 0")
    wait(window.banner.isVisible)
    assert window.banner.text.text().startswith(told)
    assert shown_index(window) == 4  # what was read before is shown
    painted = window.view.painted
    QtBot.mouseClick(window.banner.button, Qt.MouseButton.LeftButton)
    wait(lambda: window.view.painted > painted)
    assert not ends


def test_a_source_that_stalls_and_then_fails_is_not_waited_for_any_more(window: Window, wait: Wait, clip: Path) -> None:
    gone = threading.Event()

    def break_off() -> None:
        gone.wait()
        fail(SourceError("camera 0: it gives no more pictures; plug it in again"))

    window.start(lambda: Stuck(list(VideoFile(clip))[:5], break_off), "camera 0")
    wait(window.banner.isVisible)
    assert "still waiting" in window.banner.text.text()
    gone.set()
    wait(lambda: window.session.pipeline is None)
    assert window.banner.text.text().startswith("camera 0: it gives no more pictures")
    window.actions_.record.trigger()  # there is nothing to record any more
    assert not window.actions_.record.isChecked()
    assert not list(window.settings.out.glob("*"))


def test_what_cannot_be_opened_is_named(window: Window, wait: Wait, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for path in (tmp_path / "empty.mp4", tmp_path / "none.mp4"):
        window.open_paths([path])
        wait(lambda path=path: window.banner.isVisible() and str(path) in window.banner.text.text())
    assert window.banner.button.isVisible()


def test_a_film_that_breaks_off_is_shown_to_there_and_says_so(window: Window, wait: Wait, tmp_path: Path) -> None:
    path = encode(tmp_path / "cut.mp4", times=40, container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    window.open(path)
    wait(window.banner.isVisible)
    assert "breaks off after frame" in window.banner.text.text()
    assert window.banner.button.isVisible()
    assert window.view.shown
    assert not window.session.playing
    window.banner.hide()
    window.change(loop=True)
    window.play()
    wait(window.banner.isVisible)
    assert "breaks off after frame" in window.banner.text.text()
    assert window.banner.button.isVisible()
    assert window.session.playing
    window.banner.hide()
    count = window.view.painted
    wait(lambda: window.view.painted > count + 80)  # more than a round
    assert not window.banner.isVisible()


def test_a_film_whose_time_stamps_jump_is_not_waited_for(window: Window, wait: Wait, tmp_path: Path) -> None:
    times = [Fraction(number, 10) + 3600 * (number // 10) for number in range(20)]
    window.change(speed=1.0)
    window.open(encode(tmp_path / "jump.mp4", times=times))
    wait(lambda: shown_index(window) == 19 and not window.session.playing)
    assert window.view.shown.result.frame.time > 3600


def test_closing_while_it_runs_finishes_the_recording(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 2)
    window.actions_.record.trigger()
    wait(window.red.isVisible)
    count = window.view.painted
    wait(lambda: window.view.painted > count + 10)  # some may be of frames from before it, or painted twice
    window.close()
    assert window.session.wait(LONG)
    out = window.settings.out
    assert not list(out.glob("*.part"))
    (table,), (film,) = out.glob("*.csv"), out.glob("*.mp4")
    assert len(list(VideoFile(film))) == len(table.read_text().splitlines()) - 1 > 5


def test_the_queue_writes_what_the_command_writes(window: Window, wait: Wait, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("one.mp4", "two.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    (folder / "broken.mp4").write_bytes(b"nothing")
    window.open_paths([folder])
    queue = window.batch
    assert queue.isVisible()
    queue.add([tmp_path / "absent.mp4"])
    assert "absent.mp4" in queue.message.text()
    before = passing_threads()
    queue.run()
    wait(lambda: queue.worker and not queue.running)
    wait(lambda: queue.message.text() == "2 of 3 finished")
    wait(lambda: passing_threads() <= before)
    words = [queue.table.item(row, 2).text() for row in range(3)]
    assert "not a video" in words[0]
    assert all(word.startswith("60 frames, face in 100.0 %") for word in words[1:])
    assert command(["track", str(folder / "one.mp4"), "--out", str(tmp_path / "command")]) == 0
    assert (queue.out / "one.csv").read_bytes() == (tmp_path / "command" / "one.csv").read_bytes()
    assert (queue.out / "two.csv").read_bytes() == (queue.out / "one.csv").read_bytes()
    queue.close()


def test_the_queue_forgets_what_is_removed_and_repeats_nothing(
    window: Window, wait: Wait, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "films" / "day1"  # below the one that is dropped
    folder.mkdir(parents=True)
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    window.change(boxes=True)
    window.open_paths([folder.parent])
    queue = window.batch

    def run() -> list[str]:
        queue.run()
        wait(lambda: queue.worker and not queue.running and "finished" in queue.message.text())
        return [queue.table.item(row, 0).text() for row in range(queue.table.rowCount())]

    queue.table.selectRow(1)  # by name: one, three, two
    queue.remove.click()
    assert run() == ["one.mp4", "two.mp4"]
    table = queue.out / "day1" / "one.csv"
    settings = json.loads((queue.out / "day1" / "one.run.json").read_text())["settings"]
    assert settings["overlay"] == ["points", "edges", "ids", "boxes"]
    written = table.stat().st_mtime_ns
    queue.add([folder / "three.mp4"])
    assert run() == ["one.mp4", "three.mp4", "two.mp4"]
    assert queue.message.text() == "3 of 3 finished"
    assert table.stat().st_mtime_ns == written
    assert queue.table.item(0, 2).text().startswith("60 frames")  # what was said of it stays
    window.change(max_faces=1)
    run()
    assert table.stat().st_mtime_ns > written  # by other settings
    queue.close()


def test_what_is_dropped_on_a_queue_at_work_is_refused(window: Window, wait: Wait, clip: Path, tmp_path: Path) -> None:
    def accepted() -> bool:
        files = QMimeData()
        files.setUrls([QUrl.fromLocalFile(str(clip))])
        left = Qt.MouseButton.LeftButton
        event = QDragEnterEvent(QPoint(9, 9), Qt.DropAction.CopyAction, files, left, Qt.KeyboardModifier.NoModifier)
        event.ignore()
        queue.dragEnterEvent(event)
        return event.isAccepted()

    queue = window.batch
    queue.add([clip])
    assert accepted()
    queue.run()
    (tmp_path / "two.mp4").write_bytes(clip.read_bytes())
    window.open_paths([clip, tmp_path / "two.mp4"])
    assert "The queue is at work" in queue.message.text()
    assert not accepted()
    assert queue.table.rowCount() == 1
    queue.stop()
    wait(lambda: not queue.running)
    window.open_paths([clip, tmp_path / "two.mp4"])
    assert queue.table.rowCount() == 2
    queue.close()


def test_the_queue_can_be_cancelled(window: Window, wait: Wait, clip: Path) -> None:
    queue = window.batch
    queue.add([clip])
    queue.run()
    wait(lambda: queue.table.item(0, 2).text() == "running")
    queue.stop()
    wait(lambda: not queue.running and "cancelled" in queue.table.item(0, 2).text())
    assert not (queue.out / "astronaut.csv").exists()


def test_a_film_without_a_length_can_be_sought(window: Window, wait: Wait, tmp_path: Path) -> None:
    film = encode(tmp_path / "browser.mkv", times=90, container={"live": "1"})  # as browsers record
    assert VideoFile(film).length is None
    paused_at(window, wait, film, 0)
    assert len(window.history.found) == 90
    window.skip(1.0)
    wait(lambda: shown_index(window) == round(VideoFile(film).rate or 25))


def test_a_model_alone_is_taken_and_something_to_play_asked_for(window: Window, attentive: Path) -> None:
    window.open_paths([attentive])
    assert window.settings.model == str(attentive)
    assert "Drag a video here" in window.view.hint


def test_a_model_given_by_a_path_is_found_from_any_folder(
    qtbot: QtBot, attentive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(attentive.parent)
    window = _opened(_parser().parse_args(["--model", attentive.name]))
    qtbot.addWidget(window)
    assert window.settings.model == str(Path.cwd() / attentive.name)
    window.change(model="trnet-68")
    window.open_paths([Path(attentive.name)])
    assert window.settings.model == str(Path.cwd() / attentive.name)
    window.close()


def test_charts_say_when_a_face_is_not_measured(window: Window, wait: Wait, clip: Path) -> None:
    charts = window.charts.findChildren(StripChart)
    assert [chart.lack for chart in charts] == ["no face yet"] * 2
    window.change(model="trnet-5")
    window.open(clip)
    wait(lambda: not window.session.playing)
    for whole in (True, False):
        window.change(whole=whole)
        assert [chart.lack for chart in charts] == ["not measured with these points"] * 2


def test_keys_are_for_what_was_reached_with_tab_and_else_for_the_film(
    window: Window, wait: Wait, qtbot: QtBot, clip: Path
) -> None:
    window.change(model="aan-68", map=0)
    paused_at(window, wait, clip, 20)
    window.activateWindow()
    wait(window.isActiveWindow)
    assert window.focusWidget() is window.view
    box, slider = window.model_panel.smooth, window.attention.opacity
    box.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(box, Qt.Key.Key_Space)
    assert not window.settings.smooth
    before = window.settings.opacity
    slider.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert window.settings.opacity > before
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    assert window.settings.smooth
    qtbot.keyClick(window.focusWidget(), Qt.Key.Key_Right)
    wait(lambda: shown_index(window) == 50)  # it was no seek before
    assert not window.session.playing
    qtbot.keyClick(window.focusWidget(), Qt.Key.Key_Space)
    wait(lambda: window.session.playing)


def test_choices_are_remembered(window: Window, qtbot: QtBot) -> None:
    from app.settings import load

    window.change(cutoff=0.7, boxes=True, map=MEAN, max_faces=2, smooth=False, colours="dark")
    window.resize(900, 600)
    window.close()
    assert load() == window.settings
    again = Window(load())
    qtbot.addWidget(again)
    assert again.height() == window.height() == 600
    assert again.model_panel.cutoff.value() == 0.7
    again.change(colours="system")


def test_the_settings_of_the_panels_reach_the_pipeline(window: Window, wait: Wait, clip: Path) -> None:
    window.change(loop=True)
    window.open(clip)
    wait(lambda: window.view.painted > 2)
    window.model_panel.smooth.click()
    wait(lambda: window.settings.smooth is False and window.model_panel.lag.text() == "0 ms")
    paused_at(window, wait, clip, 0)
    window.play()
    raw = Tracker(load_model(), load_detector("far"), smoother=None)
    smooth = Tracker(load_model(), load_detector("far"), smoother=OneEuro)
    frames = list(VideoFile(clip))[:21]
    window.session.play(False)
    wait(lambda: not window.session.playing)
    window.session.seek(0)
    wait(lambda: shown_index(window) == 0)
    for number in range(1, 21):
        window.session.step(1)
        wait(lambda number=number: shown_index(window) == number)
    expected, other = ([t.update(frame) for frame in frames][-1].faces[0].points for t in (raw, smooth))
    np.testing.assert_array_equal(window.view.shown.result.faces[0].points, expected)
    assert (expected != other).any()


def test_zooming_keeps_what_is_under_the_mouse(window: Window, wait: Wait, clip: Path) -> None:
    paused_at(window, wait, clip, 5)
    view = window.view
    place = QPointF(view.width() * 0.4, view.height() * 0.6)
    before = view._in_picture(place)
    view.zoom(3.0, place)
    after = view._in_picture(place)
    assert (after - before).manhattanLength() < 1e-6
    view.zoom(1e-9)
    view.fit()
    assert (view._in_picture(place) - before).manhattanLength() < 1e-6


def test_help_and_about_say_what_they_should(window: Window, wait: Wait, clip: Path) -> None:
    paused_at(window, wait, clip, 0)
    for show, words in (
        (window.show_help, ("Ctrl+O", "Screenshot", "Head pose")),
        (window.show_about, ("GPLv3", "trnet-68", "research", "onnxruntime")),
    ):
        show()
        (dialog,) = [box for box in window.findChildren(QDialog) if box.isVisible()]
        from PyQt6.QtWidgets import QLabel

        text = "".join(label.text() for label in dialog.findChildren(QLabel))
        assert all(word in text for word in words)
        screen = dialog.screen().availableGeometry()
        assert dialog.height() < max(screen.height(), 768)
        dialog.close()
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, 52)  # deferred deletes


def test_everything_that_can_be_used_has_an_accessible_name(window: Window) -> None:
    from PyQt6.QtWidgets import QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar

    for kind in (QComboBox, QAbstractSpinBox, QAbstractSlider, QAbstractButton):
        for widget in window.findChildren(kind):
            if widget.objectName().startswith("qt_") or isinstance(widget, QScrollBar):
                continue
            named = widget.accessibleName() or getattr(widget, "text", lambda: "")()
            assert named, widget
