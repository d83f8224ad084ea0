"""grade: catalogue + grader -> grades.csv, patient_grades.csv (votes), timeline.csv (dates), reference_sheet.csv."""

from pathlib import Path

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
_SERIES = ["PatientID", "StudyDate", "Type", "SeriesInstanceUID", "sequence"]


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Grade every slice of the progression cohort and combine the slices of each series and date by votes.

    Raises:
        InputError: if there is no image series to grade, or the grader was trained with other preprocessing.
    """
    selected = _select_slices(tables.shards(folder / "catalogue"), settings)
    if selected.empty:
        raise InputError(
            f"{folder / 'catalogue'}: contains no image series; run `tumorprog catalogue` with --progression DIR"
        )
    resnet18.load(folder / "grader", scaling=settings.slices.scaling)  # before Ray starts
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


def _select_slices(catalogue: list[Path], settings: Settings) -> pd.DataFrame:
    """Return the slices to grade; only these are read, because a catalogue can be larger than memory."""
    values = {"sequences": list(settings.slices.sequences)}
    parts = queries.stream(_IMAGE_SLICES, CATALOGUE, values, catalogue=catalogue)
    return pa.concat_tables([CATALOGUE.empty_table(), *parts]).to_pandas()
