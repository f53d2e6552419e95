"""Tables written and read back, each by the reader its users have."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import picture
from test_signals import face as head
from test_signals import seen

from tracker.annotations import read_pts
from tracker.core import Box, Crop, Face, Frame, Result
from tracker.markup import IBUG68, Markup
from tracker.signals import measure
from tracker.tables import CSVSink, JSONSink, NPZSink, ParquetSink, PtsSink, Rows

THREE = Markup("three", 3, {}, (), (0, 1, 2), ((0,), (1,)), (0, 0, 1))
POINTS = np.array([(1.25, 2), (3, -4.5), (1000.0625, 0)])


def face(number: int, points: Any, score: float = 0.9) -> Face:
    points = np.asarray(points, np.float32)
    return Face(number, points, score, Box.around(points), Crop(10, 10, 20, 64))


def some_results() -> list[Result]:
    """Two faces, none, one; the last frame without a time of its own."""
    times = (1.5, 1.533367, 7200.000001)
    frames = [Frame(picture(number), number, time, timed=number < 2) for number, time in enumerate(times)]
    return [
        Result(frames[0], (face(0, POINTS), face(7, POINTS + 1, 0.25))),
        Result(frames[1], ()),
        Result(frames[2], (face(7, POINTS),)),
    ]


def test_signals_are_those_of_the_face_as_it_is_and_not_as_it_is_stored() -> None:
    """With pixels that are wider than high, as in AVCHD's 1440 x 1080."""
    points = np.nan_to_num(seen(head(9), (5, -20, 10), (10, 20, 600)))
    (whole,) = Rows(IBUG68).of(Result(Frame(np.zeros((720, 1280, 3), np.uint8), 0, 0.0), (face(0, points),)))
    narrow = Frame(np.zeros((720, 960, 3), np.uint8), 0, 0.0, aspect=4 / 3)
    (stored,) = Rows(IBUG68).of(Result(narrow, (face(0, (points + 0.5) * (0.75, 1) - 0.5),)))
    assert stored.pose == pytest.approx(whole.pose, rel=1e-3, abs=1e-3)
    assert stored.others[:4] == pytest.approx(whole.others[:4], abs=1e-3)


def a_blinking_head() -> list[Result]:
    """Two seconds of a head, turned, whose eyes close once: (lids, frames) as a triangle about 1.2 s."""
    results = []
    for index in range(60):
        lids = 9 * (1 - 0.9 * max(0.0, 1 - abs(index / 30 - 1.2) / 0.15))
        points = seen(head(lids), (5, -20, 10), (10, 20, 600))
        frame = Frame(np.zeros((720, 1280, 3), np.uint8), index, index / 30)
        results.append(Result(frame, (face(3, np.nan_to_num(points)),)))
    return results


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("ascii"), newline="")))


def test_a_csv_has_a_row_for_each_face_and_one_for_a_frame_without(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.csv"
    with CSVSink(path, Rows(THREE)) as sink:
        for result in some_results():
            sink.write(result)
    text = path.read_bytes()
    assert b"\r" not in text
    assert text.endswith(b"\n")
    assert text.split(b"\n")[0] == (
        b"frame,face_id,timestamp,confidence,success,pose_Tx,pose_Ty,pose_Tz,pose_Rx,pose_Ry,pose_Rz,"
        b"x_0,x_1,x_2,y_0,y_1,y_2,eye_left,eye_right,mouth_openness,mouth_width,blink_start,blink_end,blink_depth,timed"
    )
    rows = rows_of(path)
    assert all(None not in row and None not in row.values() for row in rows), "every row has all the columns"
    assert [row["frame"] for row in rows] == ["1", "1", "2", "3"]
    assert [row["face_id"] for row in rows] == ["0", "7", "", "7"]
    assert [row["success"] for row in rows] == ["1", "1", "0", "1"]
    assert [row["timed"] for row in rows] == ["1", "1", "1", "0"]
    assert [float(row["timestamp"]) for row in rows] == [1.5, 1.5, 1.533367, 7200.000001]
    assert [float(row["confidence"]) for row in rows] == [0.9, 0.25, 0, 0.9]
    assert [row[f"{axis}_{place}"] for row in rows[2:3] for axis in "xy" for place in range(3)] == [""] * 6
    assert {row["pose_Rx"] for row in rows} == {""}, "three points have no pose"
    for row, expected in zip((rows[0], rows[1], rows[3]), (POINTS, POINTS + 1, POINTS), strict=True):
        read = [[float(row[f"{axis}_{place}"]) for axis in "xy"] for place in range(3)]
        assert np.array(read) == pytest.approx(expected, abs=5.1e-4)


def test_rows_are_in_the_file_as_soon_as_they_are_written(tmp_path: Path) -> None:
    csv_sink, json_sink = CSVSink(tmp_path / "a.csv", Rows(THREE)), JSONSink(tmp_path / "a.jsonl", Rows(THREE))
    for number, result in enumerate(some_results()):
        csv_sink.write(result)
        json_sink.write(result)
        assert rows_of(tmp_path / "a.csv.part")[-1]["frame"] == str(number + 1)
        assert len((tmp_path / "a.jsonl.part").read_text().splitlines()) == number + 1
    csv_sink.close()
    json_sink.close()


def test_the_signals_are_in_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with CSVSink(path, Rows(IBUG68)) as sink:
        for result in a_blinking_head():
            sink.write(result)
    rows = rows_of(path)
    expected = measure(seen(head(9), (5, -20, 10), (10, 20, 600)), IBUG68, (1280, 720))
    assert [float(rows[0][f"pose_T{axis}"]) for axis in "xyz"] == pytest.approx((10, 20, 600), abs=0.5)
    degrees = [math.degrees(float(rows[0][f"pose_R{axis}"])) for axis in "xyz"]
    assert degrees == pytest.approx((5, -20, 10), abs=0.05)
    assert float(rows[0]["eye_left"]) == pytest.approx(expected.left_eye, abs=1e-3)
    assert float(rows[0]["mouth_width"]) == pytest.approx(expected.mouth_width, abs=1e-3)
    (blink,) = [row for row in rows if row["blink_start"]]
    assert float(blink["blink_start"]) == pytest.approx(1.2 - 0.15 * 7 / 9, abs=0.01)
    assert float(blink["blink_end"]) == pytest.approx(1.2 + 0.15 * 7 / 9, abs=0.01)
    assert float(blink["blink_depth"]) == pytest.approx(0.9, abs=0.05)
    assert 0 <= float(blink["timestamp"]) - float(blink["blink_end"]) < 1 / 30


def test_a_face_of_another_markup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 points"), CSVSink(tmp_path / "a.csv", Rows(THREE)) as sink:
        sink.write(Result(Frame(picture(0), 0, 0.0), (face(0, [(1, 2)]),)))
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("kind", ["some", "blinking"])
def test_all_tables_say_the_same(tmp_path: Path, kind: str) -> None:
    pyarrow_parquet = pytest.importorskip("pyarrow.parquet")
    results, markup = (some_results(), THREE) if kind == "some" else (a_blinking_head(), IBUG68)
    rows = Rows(markup)
    sinks = [CSVSink(tmp_path / "a.csv", rows), JSONSink(tmp_path / "a.jsonl", rows)]
    sinks += [NPZSink(tmp_path / "a.npz", rows), ParquetSink(tmp_path / "a.parquet", rows)]
    for result in results:
        for sink in sinks:
            sink.write(result)
    for sink in sinks:
        sink.close()
    table = rows_of(tmp_path / "a.csv")
    names = list(table[0])
    places = [f"{axis}_{place}" for axis in "xy" for place in range(markup.size)]

    parquet = pyarrow_parquet.read_table(tmp_path / "a.parquet")
    assert parquet.column_names == names
    assert parquet.schema.metadata[b"schema"] == b"landmark-tracker/parquet/1"
    with np.load(tmp_path / "a.npz") as arrays:
        assert str(arrays["schema"]) == "landmark-tracker/npz/1"
        columns: dict[str, Any] = {name: arrays[name] for name in names if name in arrays}
        columns |= {name: arrays["pose"][:, place] for place, name in enumerate(n for n in names if "pose" in n)}
        columns |= dict(zip(places, arrays["points"].transpose(2, 1, 0).reshape(2 * markup.size, -1), strict=True))
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    flat = []
    for line in lines:
        head_of_line = {name: line[name] for name in ("frame", "timestamp", "timed")}
        for one in line["faces"] or [{"success": 0, "confidence": 0}]:
            xs_and_ys = dict(zip(places, np.array(one.get("points", [])).T.ravel(), strict=False))
            flat.append({"success": 1, **head_of_line, **one, **xs_and_ys})

    for name in names:
        expected = [row[name] for row in table]
        others = [parquet[name].to_pylist(), columns[name].tolist(), [row.get(name) for row in flat]]
        for values in others:
            assert len(values) == len(expected)
            for value, text in zip(values, expected, strict=True):
                if text == "":
                    assert value is None or value == -1 or math.isnan(value), name
                else:
                    assert float(value) == pytest.approx(float(text), abs=6e-3 if "pose_T" in name else 6e-4), name


def test_pts_files_are_those_of_300vw(tmp_path: Path) -> None:
    with PtsSink(tmp_path / "a.pts", Rows(THREE)) as sink:
        for result in some_results():
            sink.write(result)
    assert sorted(path.name for path in (tmp_path / "a.pts").iterdir()) == ["000001.pts", "000003.pts"]
    text = (tmp_path / "a.pts" / "000001.pts").read_text()
    assert text == "version: 1\nn_points: 3\n{\n2.250 3.000\n4.000 -3.500\n1001.062 1.000\n}\n"
    assert read_pts(tmp_path / "a.pts" / "000003.pts") == pytest.approx(POINTS, abs=1e-3)
    with PtsSink(tmp_path / "a.pts", Rows(THREE)) as sink:  # replaces the older folder whole
        sink.write(some_results()[2])
    assert [path.name for path in (tmp_path / "a.pts").iterdir()] == ["000003.pts"]
    assert not (tmp_path / "a.pts.part").exists()
