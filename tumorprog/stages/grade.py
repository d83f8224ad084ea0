"""grade: catalogue + grader -> grades.csv, patient_grades.csv (votes), timeline.csv (dates), reference_sheet.csv.

With `slices.only: tumour` also from regions/: of each series, only the slices whose region is large enough.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tumorprog import queries, tables
from tumorprog.cohort import timeline
from tumorprog.cohort.columns import TIMELINE
from tumorprog.distributed import session
from tumorprog.distributed.inference import grade_slices
from tumorprog.errors import InputError
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders import resnet18
from tumorprog.graders.columns import PATIENT_GRADES, SERIES_GRADES
from tumorprog.graders.votes import grades_of_patients, vote
from tumorprog.progression.columns import REFERENCE_SHEET
from tumorprog.progression.series import reference_sheet
from tumorprog.settings import Settings

_IMAGE_SLICES = """
SELECT * FROM catalogue WHERE cohort = 'progression' AND list_contains($sequences, sequence)
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""
_WITH_TUMOUR = f"""
WITH images AS ({_IMAGE_SLICES}), areas AS (
    SELECT path, frame, isfinite(area_mm2) AND area_mm2 >= $smallest AS tumour
    FROM regions WHERE cohort = 'progression'
), found AS (SELECT images.*, coalesce(tumour, false) AS tumour FROM images LEFT JOIN areas USING (path, frame))
SELECT * FROM found
QUALIFY tumour OR NOT bool_or(tumour) OVER (PARTITION BY PatientID, StudyDate, SeriesInstanceUID)
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""  # noqa: S608
_SERIES = ["PatientID", "StudyDate", "Type", "SeriesInstanceUID", "sequence"]


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Grade the slices of the progression cohort and combine the slices of each series and date by votes.

    With `slices.only: tumour` these are the slices that show tumour; of a series without such slices all are graded, so
    that every series has a grade.

    Raises:
        InputError: if there is no image series to grade, or the grader was trained with other preprocessing.
    """
    selected = select_slices(folder, settings)
    if selected.empty:
        raise InputError(
            f"{folder / 'catalogue'}: contains no image series; run `tumorprog catalogue` with --progression DIR"
        )
    made = {"scaling": settings.slices.scaling, "selection": settings.slices.selection}
    resnet18.load(folder / "grader", **made)  # before Ray starts
    session.connect(settings.cluster, gpu=settings.grader.gpu)
    scanned = selected.rename(columns={"StudyDate": "date"})
    time_points = timeline.patients(scanned, min_gap_days=settings.cohort.min_gap_days)
    tables.write_csv(out / "timeline.csv", time_points, TIMELINE)
    graded = grade_slices(selected, folder / "grader", settings)
    series = vote(graded, _SERIES).sort_values(_SERIES)
    tables.write_csv(out / "grades.csv", series.rename(columns={"StudyDate": "date"}), SERIES_GRADES)
    patients = grades_of_patients(graded, settings.grade.sequences)
    tables.write_csv(out / "patient_grades.csv", patients, PATIENT_GRADES)
    sheet = reference_sheet(patients, series, min_gap_days=settings.cohort.min_gap_days)
    tables.write_csv(out / "reference_sheet.csv", sheet, REFERENCE_SHEET)
    rising = sheet.loc[sheet["LaterGrade"] > sheet["FirstGrade"], "PatientID"].nunique()
    return (
        f"{len(graded):,} of {len(selected):,} slices graded in {len(series):,} series; "
        f"{sheet['PatientID'].nunique()} patients with two dates, {rising} with a rising grade"
    )


def select_slices(folder: Path, settings: Settings) -> pd.DataFrame:
    """Return the slices to grade; only these are read, because a catalogue can be larger than memory.

    Args:
        folder: the run directory, with a catalogue and, for `slices.only: tumour`, regions.
        settings: `slices`.

    Returns:
        Rows of `formats.columns.CATALOGUE`, ordered by patient, date, series and order.
    """
    sql: str = _IMAGE_SLICES
    values: dict[str, Any] = {"sequences": list(settings.slices.sequences)}
    sources = {"catalogue": tables.shards(folder / "catalogue")}
    if settings.slices.only == "tumour":
        sql = _WITH_TUMOUR
        values["smallest"] = settings.slices.min_tumour_mm2
        sources["regions"] = tables.shards(folder / "regions")
    parts = queries.stream(sql, CATALOGUE, values, **sources)
    return pa.concat_tables([CATALOGUE.empty_table(), *parts]).to_pandas()
