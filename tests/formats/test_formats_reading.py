import numpy as np
import pytest

from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.formats.columns import REASONS, ROW
from tumorprog.formats.index import INDEX_COLUMNS, FrameIndex
from tumorprog.synthetic import plan


def index_of(path, row):
    return FrameIndex(*({**row, "file_bytes": path.stat().st_size}[name] for name in INDEX_COLUMNS))


def test_a_row_leads_back_to_the_array_with_and_without_its_index(cohort_folder):
    """The contract of a format: file -> rows, and row -> array."""
    for path in sorted((cohort_folder / plan.PROGRESSION).rglob("*.dcm"))[::15]:
        for row in reading.read_rows(str(path)):
            frame = reading.read_frame(str(path), row["frame"])
            assert frame.shape == (row["Rows"], row["Columns"])
            np.testing.assert_array_equal(
                reading.read_indexed_frame(str(path), row["frame"], index_of(path, row)), frame
            )
            without = FrameIndex(-1, -1, "", *([0] * 4), "", 0)
            np.testing.assert_array_equal(reading.read_indexed_frame(str(path), row["frame"], without), frame)
            assert set(row) == set(ROW.names)


def test_a_file_of_no_format_has_a_reason(tmp_path):
    (tmp_path / "text").write_text("no image")
    with pytest.raises(DicomError) as caught:
        reading.read_rows(str(tmp_path / "text"))
    assert caught.value.reason in REASONS
