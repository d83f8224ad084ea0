"""Planned patients in, two DICOM trees as TCIA writes them, their clinical table and the truth out.

Whatever is written follows from the shape and the seed alone: no clock, no order of processes, no random UID. A
patient's folder appears whole or not at all, so that a killed run goes on with the same command.
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

from tumorprog import settings, tables
from tumorprog.errors import InputError, TumorprogError
from tumorprog.synthetic import files, phantom, plan

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
"""Columns of `truth.csv`. `grade` is what the tumour looks like, also where the clinical table keeps it back; `days`
are those to the next date, which is the date of progression; `enhancing_ml` is the volume of MaskTumor."""

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
_LOST_EVERY, _LOST_AFTER = 3, 0.6
"""Every third patient of the progression tree is last seen, not yet progressed, after this part of its time."""

_CLINICAL = ("Sample", " Age", " Gender", " Disease", " Grade", " Institution")
_ROMAN = {2: " II", 3: " III", 4: " IV"}
_Rows = dict[str, list[dict[str, Any]]]
_LICENSE = (
    "<!DOCTYPE html>\n<title>License</title>\n<p>Synthetic images of phantoms: no person is shown. CC0 1.0.</p>\n"
)
_ZIP_DATE = (2014, 1, 16, 0, 0, 0)


def write_cohort(out: Path, shape: settings.Synthetic, *, seed: int, processes: int = 1) -> Iterator[tuple[int, int]]:
    """Writes a synthetic cohort, patient by patient, as the returned iterator is consumed.

    Leaves `REMBRANDT/` and `clinical_2014-01-16.xlsx` (if there are patients of the grading tree),
    `Brain-Tumor-Progression/` and `outcomes.csv` (if there are any of the other), `truth.csv` and the marker
    `synthetic.json`. The same shape and seed give the same bytes, by any number of processes; more patients leave the
    earlier ones' bytes alone.

    Args:
        out: the folder, new or empty or left by an interrupted run with the same shape and seed, which is continued.
        shape: how many patients, slices and pixels.
        seed: of every random choice.
        processes: that write patients; 1 writes in the calling process. More are spawned, so a calling script needs
            `if __name__ == "__main__"`.

    Returns:
        Pairs (patients done, patients in all); the tables are written before the last one arrives.

    Raises:
        InputError: at once, if `out` holds anything else.
        TumorprogError: while consumed, if a file cannot be written or a process was killed.
    """
    _claim(out, {"made_by": "tumorprog synthesize", "layout": 1, "seed": seed, "shape": asdict(shape)})
    return _write_all(out, shape, seed=seed, processes=processes)


def _claim(out: Path, fingerprint: dict[str, Any]) -> None:
    try:
        if out.is_dir() and any(out.iterdir()):
            _check_marker(out, fingerprint)
            return
        out.mkdir(parents=True, exist_ok=True)
        tables.write_json(out / tables.SYNTHETIC, fingerprint)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error


def _check_marker(out: Path, fingerprint: dict[str, Any]) -> None:
    try:
        found = json.loads((out / tables.SYNTHETIC).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{out}: is not empty and no synthetic cohort (no readable {tables.SYNTHETIC}); choose a new or an empty "
            "folder"
        ) from error
    if found != fingerprint:
        raise InputError(
            f"{out}: holds a synthetic cohort of another shape or seed (its {tables.SYNTHETIC} says which); "
            "choose another folder, delete this one, or ask for the same shape and seed"
        )


def _write_all(out: Path, shape: settings.Synthetic, *, seed: int, processes: int) -> Iterator[tuple[int, int]]:
    todo = plan.patients_of(shape)
    write = partial(_write_patient, out=out, shape=shape, seed=seed)
    written: list[_Rows] = []
    try:
        for rows in _each(write, todo, processes=processes):
            written.append(rows)
            if len(written) < len(todo):
                yield len(written), len(todo)
        _write_tables(out, written)
    except OSError as error:
        raise TumorprogError(
            f"{error.filename or out}: could not be written ({error.strerror}); the patients written so far are whole: "
            "mend it and run the same command again to go on"
        ) from error
    except BrokenProcessPool as error:
        raise TumorprogError(
            f"{out}: a process that wrote patients was killed, perhaps for want of memory; the patients written so far "
            "are whole: run the same command again to go on, perhaps with fewer processes"
        ) from error
    yield len(written), len(todo)


def _each(
    write: Callable[[tuple[plan.Kind, int]], _Rows], todo: list[tuple[plan.Kind, int]], *, processes: int
) -> Iterator[_Rows]:
    """What `write` returns for each patient, in order."""
    if processes <= 1 or len(todo) <= 1:
        yield from map(write, todo)
        return
    # spawned, because a caller with threads (Ray, torch) must not be forked
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(todo)), mp_context=context)
    try:
        yield from pool.map(write, todo)
    finally:
        pool.shutdown(cancel_futures=True)


def _write_patient(who: tuple[plan.Kind, int], *, out: Path, shape: settings.Synthetic, seed: int) -> _Rows:
    """Writes the folder of one patient, unless it stands; returns its rows of the three tables."""
    patient = plan.plan_patient(*who, shape=shape, seed=seed)
    folder = out / patient.collection / patient.patient_id
    if not folder.exists():
        beside = out / ".unfinished" / patient.collection / patient.patient_id
        shutil.rmtree(beside, ignore_errors=True)
        for place, study in enumerate(patient.studies):
            _write_study(beside, patient, place=place, study=study)
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.rename(folder)
    return {"truth": _truth(patient), "metadata": _metadata(patient), "clinical": _clinical(patient)}


def _write_study(folder: Path, patient: plan.Patient, *, place: int, study: plan.Study) -> None:
    for stack_place, stack in enumerate(study.stacks):
        writers = [
            files.SeriesWriter(folder, patient, place=place, stack_place=stack_place, series=series)
            for series in stack.series
        ]
        for index, plane in enumerate(stack.planes):
            painted = phantom.layers(patient.head, study.tumour, plane)
            for writer in writers:
                writer.write(index, plane, painted)


def _truth(patient: plan.Patient) -> list[dict[str, Any]]:
    followed = patient.collection == plan.PROGRESSION
    rows = []
    for study, later in zip_longest(patient.studies, patient.studies[1:]):
        tumour_ml, enhancing_ml = phantom.volumes_ml(study.tumour)
        row = {
            "collection": patient.collection,
            "PatientID": patient.patient_id,
            "date": study.day.isoformat(),
            "grade": patient.grade,
            "Institution": patient.institution,
            "tumour_ml": round(tumour_ml, 3),
            "enhancing_ml": round(enhancing_ml, 3) if followed else None,
            "days": f"{(later.day - study.day).days}" if later else "",
        }
        for part, vector in (("centre", study.tumour.centre_mm), ("radius", study.tumour.radii_mm)):
            row |= {f"{part}_{axis}_mm": round(float(value), 3) for axis, value in zip("xyz", vector, strict=True)}
        rows.append(row)
    return rows


def _metadata(patient: plan.Patient) -> list[dict[str, Any]]:
    return [
        {
            "Series UID": files.series_uid(patient, place, series),
            "Collection": patient.collection,
            "Subject ID": patient.patient_id,
            "Study UID": files.study_uid(patient, place),
            "Study Description": study.description,
            "Study Date": study.day.strftime("%m-%d-%Y"),
            "Series Description": series.description,
            "Manufacturer": study.scanner.manufacturer,
            "Modality": "MR",
            "SOP Class UID": SecondaryCaptureImageStorage if series.sequence == "mask" else MRImageStorage,
            "Number of Images": len(stack.planes),
            "File Location": str(
                Path(patient.collection, patient.patient_id, files.series_folder(patient, place, series))
            ),
        }
        for place, study in enumerate(patient.studies)
        for stack in study.stacks
        for series in stack.series
    ]


def _clinical(patient: plan.Patient) -> list[dict[str, Any]]:
    """The patient's row of the clinical table; its names and values begin with a space, as the original's do."""
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
"""A row of the clinical table whose patient has no images; no phantom has this id."""


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
        tables.write_csv(out / OUTCOMES_TABLE, _outcomes(followed), ("PatientID", "date", "event"))
    if (truth["collection"] == plan.GRADING).any():
        # with ungraded patients the cohort also gets the other oddities: no row, and a row without images
        ungraded = len(clinical) < (truth["collection"] == plan.GRADING).sum()
        _write_clinical(out / CLINICAL_TABLE, [*clinical.to_dict("records"), *([_NO_IMAGES] if ungraded else [])])
    shutil.rmtree(out / ".unfinished", ignore_errors=True)


def _outcomes(followed: pd.DataFrame) -> pd.DataFrame:
    """What a clinic would know of the patients of the progression tree: a date, and whether they had progressed."""
    rows = []
    for place, patient in enumerate(followed.to_dict("records")):
        lost = place % _LOST_EVERY == _LOST_EVERY - 1
        days = round(int(patient["days"]) * (_LOST_AFTER if lost else 1))
        date = datetime.date.fromisoformat(patient["date"]) + datetime.timedelta(days=days)
        rows.append({"PatientID": patient["PatientID"], "date": date.isoformat(), "event": int(not lost)})
    return pd.DataFrame(rows)


def _write_clinical(path: Path, rows: list[Any]) -> None:
    """Writes the sheet `report`, with the date and time of now replaced by that of the original release."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "report"
    sheet.append(_CLINICAL)
    for row in rows:
        sheet.append([row[name] for name in _CLINICAL])
    stamped = io.BytesIO()
    book.save(stamped)
    beside = path.with_name(f".{path.name}")
    with zipfile.ZipFile(stamped) as before, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2014-01-16T00:00:00Z", before.read(name))
            after.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content, zipfile.ZIP_DEFLATED)
    beside.replace(path)
