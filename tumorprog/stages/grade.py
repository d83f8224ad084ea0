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
_ROWS_PER_COPY = 2000
"""Number of slices for which starting another copy of the grader pays off."""
_PROBABILITIES = [f"p{grade}" for grade in tables.GRADES]
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
    weights.load_into(
        folder / "grader",
        grader.build("none", seed=0),
        expected={"classes": list(tables.GRADES), "scaling": settings.slices.scaling},
    )
    streaming.connect(settings.cluster, gpu=settings.grader.gpu)
    scanned = selected.rename(columns={"StudyDate": "date"})
    time_points = timeline.patients(scanned, min_gap_days=settings.cohort.min_gap_days)
    tables.write_csv(out / "timeline.csv", time_points, tables.TIMELINE)
    graded = _grade_slices(selected, folder / "grader", settings)
    series = vote(graded, _SERIES).sort_values(_SERIES)
    tables.write_csv(out / "grades.csv", series.rename(columns={"StudyDate": "date"}), tables.SERIES_GRADES)
    patients = grades_of_patients(graded, settings.grade.sequences)
    tables.write_csv(out / "patient_grades.csv", patients, tables.PATIENT_GRADES)
    sheet = reference_sheet(patients, series, min_gap_days=settings.cohort.min_gap_days)
    tables.write_csv(out / "reference_sheet.csv", sheet, tables.REFERENCE_SHEET)
    rising = sheet.loc[sheet["LaterGrade"] > sheet["FirstGrade"], "PatientID"].nunique()
    return (
        f"{len(graded):,} of {len(selected):,} slices graded in {len(series):,} series; "
        f"{sheet['PatientID'].nunique()} patients with two dates, {rising} with a rising grade"
    )


def _select_slices(catalogue: list[Path], settings: Settings) -> pd.DataFrame:
    """Return the slices to grade; only these are read, because a catalogue can be larger than memory."""
    values = {"sequences": list(settings.slices.sequences)}
    parts = queries.stream(_IMAGE_SLICES, tables.CATALOGUE, values, catalogue=catalogue)
    return pa.concat_tables([tables.CATALOGUE.empty_table(), *parts]).to_pandas()


def _grade_slices(selected: pd.DataFrame, model: Path, settings: Settings) -> pd.DataFrame:
    """Return the rows whose pixels could be decoded, with the predicted probabilities."""
    index = pa.Table.from_pandas(selected, frames.SCHEMA, preserve_index=False)
    work = index.append_column("row", pa.array(np.arange(len(selected))))
    images = ray.data.from_arrow(streaming.pieces(work)).map_batches(
        partial(slices.decode_images, scaling=settings.slices.scaling), batch_size=None, batch_format="pyarrow"
    )
    results = score(images, model, settings.grader, num_rows=len(selected))
    return selected.iloc[results["row"]].assign(**{name: results[name].to_numpy() for name in _PROBABILITIES})


def score(images: ray.data.Dataset, model: Path, settings: GraderSettings, *, num_rows: int) -> pd.DataFrame:
    """Predict the probabilities of the grades of a stream of images.

    Args:
        images: rows with `row` (int) and `image` (bytes of 224 x 224 uint8).
        model: folder of a trained grader.
        settings: with `workers` 0, or if there would be a single copy on a single machine, the grader runs in this
            process; otherwise copies run on all cores or GPUs.
        num_rows: number of images, for the progress display.

    Returns:
        Columns row, p2, p3, p4, sorted by row.
    """
    arguments = {"model": str(model), "device": "cuda" if settings.gpu else "cpu"}
    batches = {"batch_size": _BATCH, "batch_format": "pyarrow"}
    number = streaming.num_copies(num_rows // _ROWS_PER_COPY, gpu=settings.gpu)
    if settings.workers == 0 or (number == 1 and streaming.alone()):
        scored = map(Grader(**arguments), images.iter_batches(**batches))
    else:
        copies = streaming.copies(number, gpu=settings.gpu)
        scored = images.map_batches(Grader, fn_constructor_kwargs=arguments, **copies, **batches).iter_batches(
            **batches
        )
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
    """Return the majority grade of the slices of each group; a tie goes to the higher mean probability.

    Args:
        graded: a row per slice with p2, p3, p4 and the keys.
        keys: columns that define a group.

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
        predicted = {
            "PredictedGrade": int(grades[winner]),
            "Slices": len(group),
            **counted,
            "Confidence": means[winner],
        }
        rows.append({**dict(zip(keys, key, strict=True)), **predicted})
    columns = ["PredictedGrade", "Slices", *(f"Votes{grade}" for grade in grades), "Confidence"]
    return pd.DataFrame(rows, columns=[*keys, *columns])


def grades_of_patients(graded: pd.DataFrame, sequences: Sequence[str]) -> pd.DataFrame:
    """Return the grade of each patient on each date, by the votes of all slices of the given sequences.

    Args:
        graded: a row per slice, as for `vote`, with PatientID, StudyDate and sequence.
        sequences: those whose slices vote; on a date without any of them, all slices vote.

    Returns:
        Rows of `tables.PATIENT_GRADES`, ordered by patient and date; slices without a date are excluded.
    """
    dated = graded[graded["StudyDate"] != ""].rename(columns={"StudyDate": "date"})
    votes = dated["sequence"].isin(sequences)
    available = votes.groupby([dated["PatientID"], dated["date"]]).transform("any").astype(bool)
    return vote(dated[votes | ~available], ["PatientID", "date"])


def reference_sheet(patients: pd.DataFrame, series: pd.DataFrame, *, min_gap_days: int) -> pd.DataFrame:
    """Return what the progression model is trained on: the series of each pair's first date and the time to the second.

    Args:
        patients: result of `grades_of_patients`.
        series: result of `vote` for the series, with PatientID, StudyDate and Type.
        min_gap_days: studies that are fewer days apart are one time point.

    Returns:
        Rows of `tables.REFERENCE_SHEET`. FirstGrade and LaterGrade are the patient's on the two dates.
    """
    pairs = timeline.pairs(patients[["PatientID", "date"]], min_gap_days=min_gap_days)
    grades = patients[["PatientID", "date", "PredictedGrade"]]
    for date, name in (("first", "FirstGrade"), ("second", "LaterGrade")):
        renamed = grades.rename(columns={"date": date, "PredictedGrade": name})
        pairs = pairs.merge(renamed, on=["PatientID", date], how="left")
    first_series = series.rename(columns={"StudyDate": "date"})
    return pairs.merge(first_series, left_on=["PatientID", "first"], right_on=["PatientID", "date"], how="inner")
