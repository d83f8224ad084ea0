"""Predictions for slices -> the grade of a series, and of a patient on a date."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import GRADES

PROBABILITIES = [f"p{grade}" for grade in GRADES]


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
    grades = np.array(GRADES)
    for key, group in graded.groupby(keys, sort=True):
        probabilities = group[PROBABILITIES].to_numpy()
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
        Rows of `graders.columns.PATIENT_GRADES`, ordered by patient and date; slices without a date are excluded.
    """
    dated = graded[graded["StudyDate"] != ""].rename(columns={"StudyDate": "date"})
    votes = dated["sequence"].isin(sequences)
    available = votes.groupby([dated["PatientID"], dated["date"]]).transform("any").astype(bool)
    return vote(dated[votes | ~available], ["PatientID", "date"])
