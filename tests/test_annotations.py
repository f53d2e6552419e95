from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.annotations import AnnotationError, read_keypoints_csv, read_pts


def test_pts_files_count_from_one(tmp_path: Path) -> None:
    path = tmp_path / "face.pts"
    path.write_text("version: 1\nn_points:  2\n{\n10.5 20\n1 1\n}\n")
    np.testing.assert_allclose(read_pts(path), [[9.5, 19], [0, 0]])
    np.testing.assert_allclose(read_pts(path, one_based=False), [[10.5, 20], [1, 1]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.one_of(st.binary(max_size=80), st.text("version{}1.-e \nnaif", max_size=80).map(str.encode)))
def test_a_damaged_pts_file_gives_one_line_or_points(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pts"
    path.write_bytes(content)
    try:
        assert np.isfinite(read_pts(path)).all()
    except AnnotationError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


def test_keypoint_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(",0,1,2,3\nAda_1.jpg,1.0,2.0,3.0,4.0\n")
    np.testing.assert_allclose(read_keypoints_csv(path)["Ada_1.jpg"], [[1, 2], [3, 4]])
    path.write_text(",0,1\nAda_1.jpg,1.0,none\n")
    with pytest.raises(AnnotationError, match=r"list\.csv"):
        read_keypoints_csv(path)
