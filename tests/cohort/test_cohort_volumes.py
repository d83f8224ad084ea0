import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorprog.cohort.columns import VOLUMES
from tumorprog.cohort.volumes import MEASURED, volumes_by_date
from tumorprog.formats.columns import CATALOGUE
from tumorprog.formats.dicom import header
from tumorprog.regions import sources
from tumorprog.synthetic import files, phantom, plan, tumours
from tumorprog.synthetic.settings import Synthetic


def measured(*rows, method="mask"):
    """Return measured regions, given as (patient, date, ml), with half of it in label 1."""
    table = pd.DataFrame(rows, columns=["PatientID", "date", "volume_ml"]).assign(method=method)
    return table.assign(label_1_ml=table["volume_ml"] / 2).reindex(columns=["PatientID", "date", "method", *MEASURED])


def test_volumes_are_sorted_by_date_with_the_change_since_the_previous_date():
    found = volumes_by_date(measured(("A", "2000-03-01", 3.0), ("A", "2000-01-01", 2.0), ("B", "2000-01-01", 0.5)))
    assert tuple(found.columns) == VOLUMES
    assert found["volume_ml"].tolist() == pytest.approx([2.0, 3.0, 0.5])
    assert found["days_since"].tolist()[1] == 60
    assert found.loc[1, ["change_ml", "change_percent"]].tolist() == pytest.approx([1.0, 50.0])
    assert found.loc[[0, 2], ["days_since", "change_ml", "change_percent"]].isna().all(axis=None)


def test_the_largest_of_several_masks_of_a_date_counts_with_its_labels():
    found = volumes_by_date(measured(("A", "2000-01-01", 0.1), ("A", "2000-01-01", 0.4)))
    assert found[["volume_ml", "label_1_ml", "masks"]].to_numpy().tolist() == [[0.4, 0.2, 2]]


def test_a_segmented_date_has_no_mask_and_counts_among_the_changes():
    masks, learned = measured(("A", "2000-01-01", 2.0)), measured(("A", "2000-02-01", 3.0), method="learned")
    found = volumes_by_date(pd.concat([learned, masks]))
    assert found[["method", "masks"]].to_numpy().tolist() == [["mask", 1], ["learned", 0]]
    assert found["change_ml"].tolist()[1] == pytest.approx(1.0)


def test_a_change_from_zero_volume_has_no_percentage():
    found = volumes_by_date(measured(("A", "2000-01-01", 0.0), ("A", "2000-02-01", 1.0)))
    assert found["change_ml"].tolist()[1] == pytest.approx(1.0)
    assert found["change_percent"].isna().all()


def test_a_region_without_a_date_or_voxel_size_has_no_volume():
    found = volumes_by_date(measured(("A", "", 1.0), ("B", "2000-01-01", 2.0), ("C", "2000-01-01", math.nan)))
    assert found["PatientID"].tolist() == ["B"]
    assert volumes_by_date(measured()).empty


@pytest.mark.parametrize("slices", [20, 33])
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
    defaults = {"stack": 0, "order": 0, "slice_spacing_mm": math.nan, "file_bytes": 0, "pixel_offset": -1}
    table = pa.Table.from_pylist([{**row, **defaults} for row in rows], CATALOGUE).select(sources.SLICE.names)
    assert {row["sequence"] for row in rows} == {"mask"}
    _, truth = tumours.volumes_ml(patient.studies[0].tumour)
    unpositioned = pa.array(np.full(len(rows), np.nan))  # the slices touch, so their thickness is sufficient
    without = table.set_column(table.schema.get_field_index("position_mm"), "position_mm", unpositioned)
    for found in (table, without):
        (measured_mask,), rejected = sources.read_masks(sources.stacks_of(found), ())
        assert not rejected
        assert measured_mask.volumes["volume_ml"] == pytest.approx(truth, rel=0.08)
