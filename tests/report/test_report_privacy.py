"""A report is passed on: it names no patient, date, series or file unless `report.identifiers` is true."""

import datetime
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorprog import tables
from tumorprog.cohort import timeline
from tumorprog.cohort.columns import OUTCOMES, TIMELINE, VOLUMES
from tumorprog.conventions import DAYS_PER_MONTH, SURVIVAL_MONTHS
from tumorprog.evaluation import combination
from tumorprog.formats import reading
from tumorprog.formats.columns import CATALOGUE, QUARANTINE
from tumorprog.progression.columns import (
    BASELINES,
    PATIENT_PREDICTIONS,
    PATIENT_SURVIVAL,
    PROGRESSION_HISTORY,
    PROGRESSION_PREDICTIONS,
    REFERENCE_SHEET,
)
from tumorprog.regions.columns import LESIONS, REGIONS, SCORES
from tumorprog.report.settings import Report
from tumorprog.settings import Settings
from tumorprog.stages import report
from tumorprog.synthetic import plan

NAMES = {"PGBM-001": "QQX-DOE-1", "PGBM-002": "QQX-DOE-2", "PGBM-003": "QQX-DOE-3"}
REPORT = Report(bootstrap=200)


@pytest.fixture(scope="module")
def catalogue(cohort_folder):
    files = sorted((cohort_folder / plan.PROGRESSION).rglob("*.dcm"))
    rows = pd.DataFrame([row for path in files for row in reading.read_rows(str(path))])
    listed = {"cohort": "progression", "series_joined": 0, "stack": 0, "missing_before": 0, "repeats": 0}
    named = rows.assign(PatientID=rows["PatientID"].map(NAMES), **listed)
    return named.assign(order=rows["InstanceNumber"], slice_spacing_mm=np.nan, file_bytes=1)


def write(folder, name, frame, columns):
    (folder / name).parent.mkdir(exist_ok=True)
    tables.write_csv(folder / name, pd.DataFrame(frame), columns)


def volumes(dates):
    changes = {"days_since": 30, "change_ml": 1.0, "change_percent": 50.0}
    return dates.assign(method="mask", volume_ml=5.0, masks=1, **changes)


@pytest.fixture
def run(catalogue, tmp_path):
    """A run directory of three patients with two dates and one with one, without predictions."""
    (tmp_path / "catalogue").mkdir()
    table = pa.Table.from_pandas(catalogue, schema=CATALOGUE, preserve_index=False)
    tables.write_shard(tmp_path / "catalogue" / "part-00000.parquet", table, CATALOGUE)
    summary = {
        "found": 5,
        "used": 4,
        "quarantined": 1,
        "slices": 4,
        "series": 4,
        "patients": 3,
        "fingerprint": "f" * 64,
    }
    tables.write_json(tmp_path / "catalogue" / tables.SUMMARY, summary)
    (tmp_path / "regions").mkdir()
    regions = catalogue.assign(date=catalogue["StudyDate"], method="component", model="", area_mm2=0.0, region=None)
    table = pa.Table.from_pandas(regions, schema=REGIONS, preserve_index=False)
    tables.write_shard(tmp_path / "regions" / "part-00000.parquet", table, REGIONS)
    write(tmp_path, "regions/_scores.csv", [], SCORES)
    write(tmp_path, "regions/_lesions.csv", [], LESIONS)
    lost = {"path": "/data/QQX-DOE-9/1.dcm", "reason": "unreadable", "detail": "no access to /data/QQX-DOE-9/1.dcm"}
    write(tmp_path, "quarantine.csv", [lost], QUARANTINE)
    dates = catalogue[["PatientID", "StudyDate", "StudyInstanceUID"]].drop_duplicates()
    studies = dates.rename(columns={"StudyDate": "date"})
    single = {"PatientID": "QQX-DOE-4", "studies": 1, "dates": "1993-07-21", "time_points": 1, "status": "one date"}
    summarised = pd.concat([timeline.patients(studies, min_gap_days=14), pd.DataFrame([single])])
    write(tmp_path, "timeline.csv", summarised, TIMELINE)
    write(tmp_path, "volumes.csv", volumes(studies[["PatientID", "date"]].sort_values(["PatientID", "date"])), VOLUMES)
    pairs = timeline.pairs(studies, min_gap_days=14).rename(columns={"first": "date"})
    sheet = pairs.assign(Type="T1post", PredictedGrade=4, FirstGrade=3, LaterGrade=4)
    write(tmp_path, "reference_sheet.csv", sheet, REFERENCE_SHEET)
    return tmp_path


@pytest.fixture
def months(run):
    sheet = pd.read_csv(run / "reference_sheet.csv")
    result = sheet.assign(Protocol="patient", Cohort="all", Fold=sheet["PatientID"], Weight=1.0, stack=0)
    result = result.assign(Predicted_Progression_Timeline=5.0, Lower=1.0, Upper=9.0, SeriesInstanceUID="1.2.77.88")
    write(run, "progression/predictions.csv", result, PROGRESSION_PREDICTIONS)
    patients = combination.combine_by_patient(result)
    write(run, "progression/patient_predictions.csv", patients, PATIENT_PREDICTIONS)
    baselines = pd.concat([result.assign(Baseline=name) for name in ("mean", "median")])
    write(run, "progression/baselines.csv", baselines, BASELINES)
    history = [dict(zip(PROGRESSION_HISTORY, ("patient", "all", name, 1, 1.0, 1.0), strict=True)) for name in NAMES]
    write(run, "progression/history.csv", history, PROGRESSION_HISTORY)
    return run


@pytest.fixture
def survival(run):
    pytest.importorskip("torchsurv")
    sheet = pd.read_csv(run / "reference_sheet.csv")
    rows = sheet.assign(Protocol="patient", Cohort="all", Fold="A", months=sheet["days"] / DAYS_PER_MONTH, event=1)
    curves = {f"Survival_{month}m": 0.5 for month in SURVIVAL_MONTHS}
    rows = rows.assign(Expected_Months=[3.0, 4.0, 5.0], Series=1, **curves)
    both = pd.concat([rows.assign(Model=name) for name in ("model", "life table")])
    write(run, "progression/patient_survival.csv", both, PATIENT_SURVIVAL)
    outcomes = rows.assign(outcome_date="1994-02-27", status="followed")
    write(run, "progression/outcomes.csv", outcomes, OUTCOMES)
    return run


def passed_on(run, **options):
    """Return the texts of a new report of a run: the page without its pictures, and the metrics."""
    report.run(run, run, replace(Settings(), report=replace(REPORT, **options)))
    page = re.sub(r'data:image/[^"]*', "", (run / "report.html").read_text())
    return page, json.dumps(json.loads((run / "metrics.json").read_text()))


def secrets(catalogue):
    values = {value for name in ("PatientID", "StudyDate", "SeriesInstanceUID", "path") for value in catalogue[name]}
    return {
        *values,
        *(date.replace("-", "") for date in catalogue["StudyDate"]),
        *NAMES,
        "QQX-",
        "1993-07-21",
        "1.2.77.88",
    }


@pytest.mark.parametrize("target", ["months", "survival"])
def test_no_identifier_is_passed_on_by_default(request, target, catalogue):
    run = request.getfixturevalue(target)
    page, metrics = passed_on(run)
    passed = [*(run / "figures").iterdir(), *(run / "cards").iterdir()]
    files = [f"{path.name} {path.read_bytes().decode('latin-1')}" for path in passed]
    texts = "\n".join([page, metrics, *files])
    assert [secret for secret in secrets(catalogue) if secret in texts] == []
    written = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    assert set(re.findall(r"\b(?:19|20)\d\d-\d\d-\d\d\b", texts)) <= {written}
    assert "patient 01" in texts


def test_ids_and_dates_are_shown_on_request(months, catalogue):
    page, metrics = passed_on(months, identifiers=True)
    first = catalogue.loc[catalogue["PatientID"] == "QQX-DOE-1", "StudyDate"].min()
    assert f"QQX-DOE-1, {first}" in page
    assert "1993-07-21" in page
    assert "QQX-DOE-2" in (months / "figures" / "patients-courses.svg").read_text()
    assert "QQX-" not in metrics
