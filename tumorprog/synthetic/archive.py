"""Writing of a synthetic cohort: two DICOM trees in the layout of TCIA, their clinical tables and the ground truth.

The output depends only on the shape of the cohort and the seed, not on the time or the number of processes. The folder
of a patient is created atomically, so that an interrupted run can be resumed with the same command.
"""

import datetime
import io
import json
import multiprocessing
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from tumorprog import tables
from tumorprog.errors import InputError, TumorprogError
from tumorprog.synthetic import files, phantom, plan, tumours
from tumorprog.synthetic.settings import Synthetic

CLINICAL_TABLE = "clinical_2014-01-16.xlsx"
OUTCOMES_TABLE = "outcomes.csv"

TRUTH = (
    "collection",
    "PatientID",
    "date",
    "grade",
    "Institution",
    "tumour_ml",
    "enhancing_ml",
    "days",
    *(f"{part}_{axis}_mm" for part in ("centre", "radius") for axis in "xyz"),
)
"""Columns of `truth.csv`. `grade` is the simulated grade, also for patients without a grade in the clinical table;
`days` is the number of days to the next date, the date of progression; `enhancing_ml` is the volume of MaskTumor."""

METADATA = (
    "Series UID",
    "Collection",
    "Subject ID",
    "Study UID",
    "Study Description",
    "Study Date",
    "Series Description",
    "Manufacturer",
    "Modality",
    "SOP Class UID",
    "Number of Images",
    "File Location",
)
_CENSORED_EVERY, _CENSORED_AFTER = 3, 0.6
"""Every third patient of the progression tree is censored after this fraction of the time to progression."""

_CLINICAL = ("Sample", " Age", " Gender", " Disease", " Grade", " Institution")
_ROMAN = {2: " II", 3: " III", 4: " IV"}
_Rows = dict[str, list[dict[str, Any]]]
_LICENSE = (
    "<!DOCTYPE html>\n<title>License</title>\n<p>Synthetic images of phantoms: no person is shown. CC0 1.0.</p>\n"
)
_ZIP_DATE = (2014, 1, 16, 0, 0, 0)


def write_cohort(out: Path, shape: Synthetic, *, seed: int, processes: int = 1) -> Iterator[tuple[int, int]]:
    """Write a synthetic cohort, patient by patient, as the returned iterator is consumed.

    Writes `REMBRANDT/` and `clinical_2014-01-16.xlsx` (if the cohort has grading patients), `Brain-Tumor-Progression/`
    and `outcomes.csv` (if it has progression patients), `truth.csv` and the marker `synthetic.json`. The same shape and
    seed give the same bytes with any number of processes; adding patients does not change the earlier ones.

    Args:
        out: a new or empty folder, or that of an interrupted run with the same shape and seed, which is resumed.
        shape: numbers of patients, slices and pixels.
        seed: random seed of the cohort.
        processes: number of processes that write patients; 1 writes in the calling process. More processes are spawned,
            so that a calling script needs `if __name__ == "__main__"`.

    Returns:
        An iterator of pairs (completed patients, all patients); the tables are written before the last pair.

    Raises:
        InputError: immediately, if `out` contains anything else.
        TumorprogError: while consumed, if a file cannot be written or a process was killed.
    """
    _prepare_folder(out, {"made_by": "tumorprog synthesize", "layout": 1, "seed": seed, "shape": asdict(shape)})
    return _write_all(out, shape, seed=seed, processes=processes)


def _prepare_folder(out: Path, fingerprint: dict[str, Any]) -> None:
    try:
        if out.is_dir() and any(out.iterdir()):
            _check_marker(out, fingerprint)
            return
        out.mkdir(parents=True, exist_ok=True)
        tables.write_json(out / plan.SYNTHETIC, fingerprint)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error


def _check_marker(out: Path, fingerprint: dict[str, Any]) -> None:
    try:
        found = json.loads((out / plan.SYNTHETIC).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{out}: is not empty and is not a synthetic cohort (no readable {plan.SYNTHETIC}); choose a new or "
            "empty folder"
        ) from error
    if found != fingerprint:
        raise InputError(
            f"{out}: contains a synthetic cohort with a different shape or seed (see its {plan.SYNTHETIC}); "
            "choose another folder, delete this one, or use the same shape and seed"
        )


def _write_all(out: Path, shape: Synthetic, *, seed: int, processes: int) -> Iterator[tuple[int, int]]:
    patients = plan.list_patients(shape)
    write = partial(_write_patient, out=out, shape=shape, seed=seed)
    written: list[_Rows] = []
    try:
        for rows in _map_patients(write, patients, processes=processes):
            written.append(rows)
            if len(written) < len(patients):
                yield len(written), len(patients)
        _write_tables(out, written)
    except OSError as error:
        raise TumorprogError(
            f"{error.filename or out}: could not be written ({error.strerror}); the patients written so far are "
            "complete: solve the problem and run the same command again to resume"
        ) from error
    except BrokenProcessPool as error:
        raise TumorprogError(
            f"{out}: a writer process was killed, possibly because it ran out of memory; the patients written so far "
            "are complete: run the same command again to resume, possibly with fewer processes"
        ) from error
    yield len(written), len(patients)


def _map_patients(
    write: Callable[[tuple[plan.Kind, int]], _Rows], patients: list[tuple[plan.Kind, int]], *, processes: int
) -> Iterator[_Rows]:
    """Yield the result of `write` for each patient, in order."""
    if processes <= 1 or len(patients) <= 1:
        yield from map(write, patients)
        return
    # spawn, because a caller with threads (Ray, torch) must not be forked
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(patients)), mp_context=context)
    try:
        yield from pool.map(write, patients)
    finally:
        pool.shutdown(cancel_futures=True)


def _write_patient(kind_and_number: tuple[plan.Kind, int], *, out: Path, shape: Synthetic, seed: int) -> _Rows:
    """Write the folder of one patient unless it exists, and return its rows of the three tables."""
    patient = plan.plan_patient(*kind_and_number, shape=shape, seed=seed)
    folder = out / patient.collection / patient.patient_id
    if not folder.exists():
        unfinished = out / ".unfinished" / patient.collection / patient.patient_id
        shutil.rmtree(unfinished, ignore_errors=True)
        for study_index, study in enumerate(patient.studies):
            _write_study(unfinished, patient, study_index=study_index, study=study)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(folder)
    return {"truth": _truth_rows(patient), "metadata": _metadata_rows(patient), "clinical": _clinical_rows(patient)}


def _write_study(folder: Path, patient: plan.Patient, *, study_index: int, study: plan.Study) -> None:
    for stack_index, stack in enumerate(study.stacks):
        writers = [
            files.SeriesWriter(folder, patient, study_index=study_index, stack_index=stack_index, series=series)
            for series in stack.series
        ]
        for index, plane in enumerate(stack.planes):
            painted = phantom.layers(patient.head, study.tumour, plane)
            for writer in writers:
                writer.write(index, plane, painted)


def _truth_rows(patient: plan.Patient) -> list[dict[str, Any]]:
    has_follow_up = patient.collection == plan.PROGRESSION
    rows = []
    for study, later in zip_longest(patient.studies, patient.studies[1:]):
        tumour_ml, enhancing_ml = tumours.volumes_ml(study.tumour)
        row = {
            "collection": patient.collection,
            "PatientID": patient.patient_id,
            "date": study.day.isoformat(),
            "grade": patient.grade,
            "Institution": patient.institution,
            "tumour_ml": round(tumour_ml, 3),
            "enhancing_ml": round(enhancing_ml, 3) if has_follow_up else None,
            "days": f"{(later.day - study.day).days}" if later else "",
        }
        for part, vector in (("centre", study.tumour.centre_mm), ("radius", study.tumour.radii_mm)):
            row |= {f"{part}_{axis}_mm": round(float(value), 3) for axis, value in zip("xyz", vector, strict=True)}
        rows.append(row)
    return rows


def _metadata_rows(patient: plan.Patient) -> list[dict[str, Any]]:
    return [
        {
            "Series UID": files.series_uid(patient, study_index, series),
            "Collection": patient.collection,
            "Subject ID": patient.patient_id,
            "Study UID": files.study_uid(patient, study_index),
            "Study Description": study.description,
            "Study Date": study.day.strftime("%m-%d-%Y"),
            "Series Description": series.description,
            "Manufacturer": study.scanner.manufacturer,
            "Modality": "MR",
            "SOP Class UID": SecondaryCaptureImageStorage if series.sequence == "mask" else MRImageStorage,
            "Number of Images": len(stack.planes),
            "File Location": str(
                Path(patient.collection, patient.patient_id, files.series_folder(patient, study_index, series))
            ),
        }
        for study_index, study in enumerate(patient.studies)
        for stack in study.stacks
        for series in stack.series
    ]


def _clinical_rows(patient: plan.Patient) -> list[dict[str, Any]]:
    """Return the patient's row of the clinical table; its names and values start with a space, as in the original."""
    if not patient.in_table:
        return []
    return [
        {
            "Sample": patient.patient_id.replace("-", "_"),
            " Age": f" {patient.age}",
            " Gender": f" {patient.sex}",
            " Disease": f" {patient.disease}",
            " Grade": _ROMAN[patient.grade] if patient.grade_known else " --",
            " Institution": f" {patient.institution}",
        }
    ]


_NO_IMAGES = {
    "Sample": "HF0098",
    " Age": " 51",
    " Gender": " F",
    " Disease": " ASTROCYTOMA",
    " Grade": " III",
    " Institution": f" {plan.HENRY_FORD}",
}
"""A row of the clinical table for a patient without images; no phantom has this ID."""


def _write_tables(out: Path, written: list[_Rows]) -> None:
    truth, metadata, clinical = (
        pd.DataFrame([row for rows in written for row in rows[name]]) for name in ("truth", "metadata", "clinical")
    )
    tables.write_csv(out / "truth.csv", truth, TRUTH)
    if truth.empty:
        return
    for collection in truth["collection"].unique():
        tables.write_csv(out / collection / "metadata.csv", metadata[metadata["Collection"] == collection], METADATA)
        (out / collection / "license.html").write_text(_LICENSE)
    if (truth["collection"] == plan.PROGRESSION).any():
        followed = truth[(truth["collection"] == plan.PROGRESSION) & (truth["days"] != "")]
        tables.write_csv(out / OUTCOMES_TABLE, _outcome_rows(followed), ("PatientID", "date", "event"))
    if (truth["collection"] == plan.GRADING).any():
        # a cohort with ungraded patients also has the other defects: a missing row, and a row without images
        ungraded = len(clinical) < (truth["collection"] == plan.GRADING).sum()
        _write_clinical(out / CLINICAL_TABLE, [*clinical.to_dict("records"), *([_NO_IMAGES] if ungraded else [])])
    shutil.rmtree(out / ".unfinished", ignore_errors=True)


def _outcome_rows(followed: pd.DataFrame) -> pd.DataFrame:
    """Return the outcome of each patient of the progression tree: a date, and whether progression was observed."""
    rows = []
    for index, patient in enumerate(followed.to_dict("records")):
        censored = index % _CENSORED_EVERY == _CENSORED_EVERY - 1
        days = round(int(patient["days"]) * (_CENSORED_AFTER if censored else 1))
        date = datetime.date.fromisoformat(patient["date"]) + datetime.timedelta(days=days)
        rows.append({"PatientID": patient["PatientID"], "date": date.isoformat(), "event": int(not censored)})
    return pd.DataFrame(rows)


def _write_clinical(path: Path, rows: list[Any]) -> None:
    """Write the sheet `report`, with the current date and time replaced by those of the original release."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "report"
    sheet.append(_CLINICAL)
    for row in rows:
        sheet.append([row[name] for name in _CLINICAL])
    buffer = io.BytesIO()
    book.save(buffer)
    temporary = path.with_name(f".{path.name}")
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2014-01-16T00:00:00Z", source.read(name))
            target.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content, zipfile.ZIP_DEFLATED)
    temporary.replace(path)
