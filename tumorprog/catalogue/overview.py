"""A catalogue -> its series, and what is wrong with them for this pipeline."""

from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog import queries, storage
from tumorprog.catalogue import instances
from tumorprog.cohort import clinical, identity, inventory
from tumorprog.formats.columns import CATALOGUE, DATES_APART, NO_STUDY_DATE, OTHER_DATE
from tumorprog.settings import Settings

_IDENTITIES = """
SELECT cohort, PatientID, PatientID_stated, StudyDate, StudyInstanceUID,
    regexp_replace(path, '[^/]*$', '') AS folder,
    count(*) AS files,
    count(*) FILTER (contains(warnings, $renamed)) AS renamed,
    count(*) FILTER (contains(warnings, $undated)) AS undated,
    count(*) FILTER (contains(warnings, $torn)) AS torn
FROM catalogue WHERE frame = 0 GROUP BY ALL ORDER BY ALL
"""
"""The columns of `identity.OCCURRENCES`."""

_SERIES = """
SELECT cohort, PatientID, StudyDate, SeriesInstanceUID, min(Type) AS Type, sequence, plane,
    min(sequence_witnesses) AS witnesses, max(sequence_contradiction) AS contradiction,
    count(DISTINCT stack) AS stacks,
    count(*) AS slices,
    count(*) FILTER (frame = 0) AS files,
    sum(missing_before)::BIGINT AS missing,
    count(*) FILTER (repeats > 0) AS repeated,
    count(*) FILTER (warnings <> '') AS warned,
    count(*) FILTER (contains(warnings, $other_date)) AS redated,
    max(series_joined) AS joined
FROM catalogue GROUP BY ALL ORDER BY ALL
"""
"""The columns of `inventory.SERIES`."""


def check(folder: Path, settings: Settings) -> pd.DataFrame:
    """Find problems of the catalogued data that matter to this pipeline; see `inventory.check`.

    Args:
        folder: the run directory.
        settings: `archive.grades`, `cohort`.
    """
    series = series_of(folder / "catalogue")
    graded = sorted(series.loc[series["cohort"] == "grading", "PatientID"].unique())
    patients = None
    if settings.archive.grades:
        table = clinical.read_grades(storage.as_path(settings.archive.grades), settings.cohort, graded)
        patients = clinical.match(graded, table)
    problems = inventory.check(series, patients, min_gap_days=settings.cohort.min_gap_days)
    notes = {"renamed": instances.REPLACED_UID, "undated": NO_STUDY_DATE, "torn": DATES_APART}
    identities = queries.fetch(_IDENTITIES, notes, catalogue=catalogue_files(folder / "catalogue"))
    graded_twice = clinical.findings(patients) if patients is not None else ()
    findings = pd.DataFrame([*identity.findings(identities), *graded_twice], columns=list(inventory.FINDINGS))
    return pd.concat([findings, problems], ignore_index=True)


def series_of(folder: Path) -> pd.DataFrame:
    """Return the series of a catalogue, with the columns `inventory.SERIES`."""
    return queries.fetch(_SERIES, {"other_date": OTHER_DATE}, catalogue=catalogue_files(folder))


def catalogue_files(folder: Path) -> Any:
    """Return the files of a catalogue; an empty table if it has none."""
    return sorted(folder.glob("*.parquet")) or CATALOGUE.empty_table()
