"""grade: catalogue + grader -> grades.csv, patient_grades.csv (votes), timeline.csv (dates), reference_sheet.csv."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data

from tumorprog import storage, tables
from tumorprog.cohort import timeline
from tumorprog.errors import InputError
from tumorprog.models import grader, weights
from tumorprog.settings import Grader as GraderSettings
from tumorprog.settings import Settings
from tumorprog.stages import frames, queries, slices, streaming

log = logging.getLogger(__name__)

_BATCH = 64
_ROWS_A_COPY = 2000
"""Slices that are worth starting another copy of the grader for."""
_PROBABILITIES = [f"p{grade}" for grade in tables.GRADES]
_WANTED = """
SELECT * FROM catalogue WHERE cohort = 'progression' AND list_contains($sequences, sequence)
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""
_SERIES = ["PatientID", "StudyDate", "Type", "SeriesInstanceUID", "sequence"]


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Grades every slice of the progression cohort, and lets the slices of a series vote.

    Raises:
        InputError: if there is no image series to grade, or the grader was trained on other preprocessing.
    """
    wanted = _wanted(tables.shards(folder / "catalogue"), settings)
    if wanted.empty:
        raise InputError(f"{folder / 'catalogue'}: no image series; give `tumorprog catalogue` a --progression DIR")
    weights.load_into(
        folder / "grader",
        grader.build("none", seed=0),
        expected={"classes": list(tables.GRADES), "scaling": settings.slices.scaling},
    )
    streaming.connect(settings.cluster, gpu=settings.grader.gpu)
    scanned = wanted.rename(columns={"StudyDate": "date"})
    who = timeline.patients(scanned, min_gap_days=settings.cohort.min_gap_days)
    tables.write_csv(out / "timeline.csv", who, tables.TIMELINE)
    graded = _grade_slices(wanted, folder / "grader", settings)
    series = vote(graded, _SERIES).sort_values(_SERIES)
    tables.write_csv(out / "grades.csv", series.rename(columns={"StudyDate": "date"}), tables.SERIES_GRADES)
    patients = grades_of_patients(graded, settings.grade.sequences)
    tables.write_csv(out / "patient_grades.csv", patients, tables.PATIENT_GRADES)
    sheet = reference_sheet(patients, series, min_gap_days=settings.cohort.min_gap_days)
    tables.write_csv(out / "reference_sheet.csv", sheet, tables.REFERENCE_SHEET)
    rising = sheet.loc[sheet["LaterGrade"] > sheet["FirstGrade"], "PatientID"].nunique()
    return (
        f"{len(graded):,} of {len(wanted):,} slices graded in {len(series):,} series; "
        f"{sheet['PatientID'].nunique()} patients with two dates, {rising} with a rising grade"
    )


def _wanted(catalogue: list[Path], settings: Settings) -> pd.DataFrame:
    """The slices to grade: they alone are read, because a catalogue can be larger than memory."""
    chosen = {"sequences": list(settings.slices.sequences)}
    parts = queries.stream(_WANTED, tables.CATALOGUE, chosen, catalogue=catalogue)
    return pa.concat_tables([tables.CATALOGUE.empty_table(), *parts]).to_pandas()


def _grade_slices(wanted: pd.DataFrame, model: Path, settings: Settings) -> pd.DataFrame:
    """Adds the probabilities to the rows whose pixels could be decoded."""
    index = pa.Table.from_pandas(wanted, frames.SCHEMA, preserve_index=False)
    work = index.append_column("row", pa.array(np.arange(len(wanted))))
    images = ray.data.from_arrow(streaming.pieces(work)).map_batches(
        partial(slices.decoded, scaling=settings.slices.scaling), batch_size=None, batch_format="pyarrow"
    )
    results = score(images, model, settings.grader, num_rows=len(wanted))
    return wanted.iloc[results["row"]].assign(**{name: results[name].to_numpy() for name in _PROBABILITIES})


def score(images: ray.data.Dataset, model: Path, settings: GraderSettings, *, num_rows: int) -> pd.DataFrame:
    """The probabilities of a stream of images.

    Args:
        images: rows with `row` (int) and `image` (bytes of 224 x 224 uint8).
        model: folder of a trained grader.
        settings: with `workers` 0, or where there would be one copy on one machine, the grader runs in this process;
            else in copies on all cores or GPUs.
        num_rows: of the stream, for the progress shown.

    Returns:
        Sorted by `row`: row, p2, p3, p4.
    """
    built = {"model": str(model), "device": "cuda" if settings.gpu else "cpu"}
    whole = {"batch_size": _BATCH, "batch_format": "pyarrow"}
    number = streaming.num_copies(num_rows // _ROWS_A_COPY, gpu=settings.gpu)
    if settings.workers == 0 or (number == 1 and streaming.alone()):
        scored = map(Grader(**built), images.iter_batches(**whole))
    else:
        copies = streaming.copies(number, gpu=settings.gpu)
        scored = images.map_batches(Grader, fn_constructor_kwargs=built, **copies, **whole).iter_batches(**whole)
    progress = streaming.Progress("grading", total=num_rows, items="slices")
    parts = []
    for part in scored:
        progress.add(part.num_rows)
        parts.append(part)
    return pa.concat_tables(parts).to_pandas().sort_values("row", ignore_index=True)


class Grader:
    """A copy of the grader in a Ray Data worker: batches of images -> batches of probabilities."""

    def __init__(self, *, model: str, device: str) -> None:
        self._model = grader.build("none", seed=0)
        self._device = device
        weights.load_into(storage.place(model), self._model, expected={"classes": list(tables.GRADES)})

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows with `row` and `image` -> rows with `row`, p2, p3, p4."""
        probabilities = grader.probabilities(self._model, tables.images(batch), device=self._device)
        columns = dict(zip(_PROBABILITIES, probabilities.T, strict=True))
        return pa.table({"row": batch["row"], **{name: pa.array(values) for name, values in columns.items()}})


def vote(graded: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The most common grade of the slices of each group; a tie goes to the grade with the higher mean probability.

    Args:
        graded: a row per slice with p2, p3, p4 and the keys.
        keys: columns that make a group.

    Returns:
        A row per group: the keys, PredictedGrade, Slices, Votes2, Votes3, Votes4 and Confidence, the mean probability
        of the predicted grade.
    """
    rows: list[dict[str, Any]] = []
    grades = np.array(tables.GRADES)
    for key, group in graded.groupby(keys, sort=True):
        probabilities = group[_PROBABILITIES].to_numpy()
        votes = np.bincount(probabilities.argmax(axis=1), minlength=len(grades))
        means = probabilities.mean(axis=0)
        winner = max(range(len(grades)), key=lambda index: (votes[index], means[index]))
        counted = {f"Votes{grade}": int(count) for grade, count in zip(grades, votes, strict=True)}
        told = {"PredictedGrade": int(grades[winner]), "Slices": len(group), **counted, "Confidence": means[winner]}
        rows.append({**dict(zip(keys, key, strict=True)), **told})
    known = ["PredictedGrade", "Slices", *(f"Votes{grade}" for grade in grades), "Confidence"]
    return pd.DataFrame(rows, columns=[*keys, *known])


def grades_of_patients(graded: pd.DataFrame, sequences: Sequence[str]) -> pd.DataFrame:
    """The grade of each patient on each date, by the votes of all slices of some sequences together.

    Args:
        graded: a row per slice, as for `vote`, with PatientID, StudyDate and sequence.
        sequences: whose slices vote; on a date that has none of them, all slices do.

    Returns:
        Rows of `tables.PATIENT_GRADES`, ordered by patient and date; without slices of an unknown date.
    """
    dated = graded[graded["StudyDate"] != ""].rename(columns={"StudyDate": "date"})
    telling = dated["sequence"].isin(sequences)
    told = telling.groupby([dated["PatientID"], dated["date"]]).transform("any").astype(bool)
    return vote(dated[telling | ~told], ["PatientID", "date"])


def reference_sheet(patients: pd.DataFrame, series: pd.DataFrame, *, min_gap_days: int) -> pd.DataFrame:
    """What there is to learn from: the series of each pair's first date, with the time to the second.

    Args:
        patients: of `grades_of_patients`.
        series: of `vote` over the series, with PatientID, StudyDate and Type.
        min_gap_days: studies closer than that are one time point.

    Returns:
        Rows of `tables.REFERENCE_SHEET`. FirstGrade and LaterGrade are the patient's on the two dates.
    """
    pairs = timeline.pairs(patients[["PatientID", "date"]], min_gap_days=min_gap_days)
    grades = patients[["PatientID", "date", "PredictedGrade"]]
    for date, name in (("first", "FirstGrade"), ("second", "LaterGrade")):
        there = grades.rename(columns={"date": date, "PredictedGrade": name})
        pairs = pairs.merge(there, on=["PatientID", date], how="left")
    first_series = series.rename(columns={"StudyDate": "date"})
    return pairs.merge(first_series, left_on=["PatientID", "first"], right_on=["PatientID", "date"], how="inner")
