"""Which slices the grader is trained on and applied to; catalogues and regions are made up."""

import math
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tumorprog.errors import InputError
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders.settings import Slices
from tumorprog.regions.columns import REGIONS
from tumorprog.settings import Settings
from tumorprog.stages import grade, slices

COHORT = pd.DataFrame(
    [("A", 2, "X", "graded"), ("B", 4, "X", "graded"), ("C", pd.NA, "X", "no grade")],
    columns=["PatientID", "grade", "Institution", "status"],
)
TUMOUR = replace(Settings(), slices=Slices(only="tumour", min_tumour_mm2=50.0))


def rows_of(cohort, patient, areas, series="1"):
    """Return rows of the catalogue and of the regions: a slice per area, None for a slice without a row of regions."""
    named = {"cohort": cohort, "PatientID": patient, "SeriesInstanceUID": f"{patient}.{series}", "sequence": "T1post"}
    known = [
        {**named, "StudyDate": "2000-01-01", "path": f"{patient}/{series}/{order}", "order": order}
        for order in range(len(areas))
    ]
    regions = [
        {**{name: row[name] for name in ("path", "cohort", "PatientID")}, "frame": 0, "area_mm2": area}
        for row, area in zip(known, areas, strict=True)
        if area is not None
    ]
    return known, regions


@pytest.fixture
def run_directory(tmp_path, write_table):
    """Write the catalogue and the regions of series, each given as for `rows_of`."""

    def write(*series):
        known, regions = zip(*(rows_of(*one) for one in series), strict=True)
        return (
            [write_table("catalogue", [row for rows in known for row in rows], CATALOGUE)],
            [write_table("regions", [row for rows in regions for row in rows], REGIONS)],
        )

    return write


def planned(tmp_path, catalogue, regions, settings):
    paths = slices.plan(catalogue, regions, COHORT, settings, tmp_path / "work")
    return sorted(path for part in paths for path in pq.read_table(part, columns=["path"])["path"].to_pylist())


GRADED = (
    ("grading", "A", [0.0, 49.9, 50.0, math.nan]),
    ("grading", "B", [300.0, None, 10.0]),
    ("grading", "C", [500.0]),
    ("progression", "A", [800.0], "2"),
)


def test_only_slices_with_enough_tumour_become_images_and_the_others_are_counted(tmp_path, run_directory):
    catalogue, regions = run_directory(*GRADED)
    assert planned(tmp_path, catalogue, regions, TUMOUR) == ["A/1/2", "B/1/0"]
    counted = slices.count_dropped(catalogue, regions, COHORT, TUMOUR)
    assert counted == {"without_tumour": 3, "without_region": 2}


def test_all_slices_of_graded_patients_become_images_by_default(tmp_path, run_directory):
    catalogue, _ = run_directory(*GRADED)
    assert len(planned(tmp_path, catalogue, [], Settings())) == 4 + 3


def test_the_numbers_of_the_slices_have_no_gaps(tmp_path, run_directory):
    catalogue, regions = run_directory(*GRADED)
    paths = slices.plan(catalogue, regions, COHORT, TUMOUR, tmp_path / "work")
    assert sorted(pq.read_table(paths[0])["slice"].to_pylist()) == [0, 1]


@pytest.mark.parametrize("area", [math.nan, 49.0, None])
def test_no_slice_with_tumour_is_an_error_that_says_what_to_do(area, run_directory):
    catalogue, regions = run_directory(("grading", "A", [area, area]), ("progression", "D", [900.0]))
    with pytest.raises(InputError, match=r"no slice of the graded patients.*train-segmenter"):
        slices.count_dropped(catalogue, regions, COHORT, TUMOUR)


def selected(folder, settings):
    return grade.select_slices(folder, settings)["path"].tolist()


def test_the_grader_grades_slices_with_tumour_and_all_of_a_series_without_any(tmp_path, run_directory):
    run_directory(
        ("progression", "P", [0.0, 60.0, math.nan, 70.0]),
        ("progression", "P", [0.0, math.nan, None], "2"),
        ("grading", "A", [90.0]),
    )
    assert selected(tmp_path, TUMOUR) == ["P/1/1", "P/1/3", "P/2/0", "P/2/1", "P/2/2"]
    assert selected(tmp_path, Settings()) == [f"P/1/{order}" for order in range(4)] + [
        f"P/2/{order}" for order in range(3)
    ]


def test_the_area_of_the_grading_cohort_does_not_count_for_a_shared_file(tmp_path, write_table):
    known, regions = rows_of("progression", "P", [0.0, 60.0])
    write_table("catalogue", known, CATALOGUE)
    shared = [{**row, "cohort": "grading", "area_mm2": 900.0} for row in regions]
    write_table("regions", [*regions, *shared], REGIONS)
    assert selected(tmp_path, TUMOUR) == ["P/1/1"]


def test_a_grader_records_its_selection_and_the_area_only_where_it_matters():
    assert Slices().selection == Slices(min_tumour_mm2=9).selection == {"only": "all"}
    assert Slices(only="tumour").selection != Slices(only="tumour", min_tumour_mm2=9).selection
