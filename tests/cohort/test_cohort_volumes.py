import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorprog.cohort.columns import VOLUMES
from tumorprog.cohort.volumes import volumes_by_date
from tumorprog.distributed.volumes import COUNTED, WORK, count_voxels
from tumorprog.formats.dicom import header
from tumorprog.synthetic import files, phantom, plan
from tumorprog.synthetic.settings import Synthetic


def counted(*masks):
    """Return counted masks, given as (patient, date, series, voxels of each slice): 1 x 2 x 3 mm voxels, 5 mm apart."""
    rows = [
        {"PatientID": patient, "date": date, "SeriesInstanceUID": series, "stack": 0, "voxels": voxels}
        | {"position_mm": 5.0 * order, "SliceThickness": 3.0, "row_spacing_mm": 1.0, "column_spacing_mm": 2.0}
        for patient, date, series, slices in masks
        for order, voxels in enumerate(slices)
    ]
    return pd.DataFrame(rows, columns=COUNTED.names)


def test_volumes_are_sorted_by_date_with_the_change_since_the_previous_date():
    found = volumes_by_date(
        counted(
            ("A", "2000-03-01", "2", [0, 150, 150]),
            ("A", "2000-01-01", "1", [100, 100, 0]),
            ("B", "2000-01-01", "3", [50, 0, 0]),
        )
    )
    assert tuple(found.columns) == VOLUMES
    assert found["volume_ml"].tolist() == pytest.approx([2.0, 3.0, 0.5])
    assert found["days_since"].tolist()[1] == 60
    assert found.loc[1, ["change_ml", "change_percent"]].tolist() == pytest.approx([1.0, 50.0])
    assert found.loc[[0, 2], ["days_since", "change_ml", "change_percent"]].isna().all(axis=None)


def test_the_largest_of_several_masks_of_a_date_counts():
    found = volumes_by_date(counted(("A", "d1", "1", [10, 0]), ("A", "d1", "2", [40, 0])).replace("d1", "2000-01-01"))
    assert found[["volume_ml", "masks"]].to_numpy().tolist() == [[0.4, 2]]


def test_a_change_from_zero_volume_has_no_percentage():
    found = volumes_by_date(counted(("A", "2000-01-01", "1", [0, 0]), ("A", "2000-02-01", "2", [100, 0])))
    assert found["change_ml"].tolist()[1] == pytest.approx(1.0)
    assert found["change_percent"].isna().all()


def test_a_mask_without_a_date_or_voxel_size_has_no_volume():
    unknown = counted(("A", "", "1", [10, 10]), ("B", "2000-01-01", "2", [10, 10]))
    assert volumes_by_date(unknown.assign(row_spacing_mm=np.nan)).empty
    assert volumes_by_date(unknown)["PatientID"].tolist() == ["B"]
    assert volumes_by_date(counted()).empty


@pytest.mark.parametrize("slices", [12, 33])
@pytest.mark.parametrize("number", [0, 1])  # GE's and Siemens' matrices and pixels
def test_the_mask_of_a_phantom_has_the_phantoms_volume(tmp_path, number, slices):
    """The mask is written as DICOM and read as the stage reads it; the true volume is from a grid of 1.5 mm."""
    shape = Synthetic(series_slices=slices, size=160)
    patient = plan.plan_patient("progression", number, shape=shape, seed=3)
    stack = patient.studies[0].stacks[0]
    mask = next(series for series in stack.series if series.sequence == "mask")
    writer = files.SeriesWriter(tmp_path, patient, study_index=0, stack_index=0, series=mask)
    for index, plane in enumerate(stack.planes):
        writer.write(index, plane, phantom.layers(patient.head, patient.studies[0].tumour, plane))
    rows = [row for path in sorted(tmp_path.rglob("*.dcm")) for row in header.read_rows(str(path))]
    defaults = {"stack": 0, "file_bytes": 0}
    work = [{**row, **defaults, "date": row["StudyDate"], "pixel_offset": -1} for row in rows]
    counts, rejected = count_voxels(pa.Table.from_pylist(work, WORK))
    assert not rejected
    assert {row["sequence"] for row in rows} == {"mask"}
    _, truth = phantom.volumes_ml(patient.studies[0].tumour)
    assert volumes_by_date(counts.to_pandas())["volume_ml"].item() == pytest.approx(truth, rel=0.08)
    unpositioned = counts.to_pandas().assign(position_mm=np.nan)  # the slices touch, so their thickness is sufficient
    assert volumes_by_date(unpositioned)["volume_ml"].item() == pytest.approx(truth, rel=0.08)
