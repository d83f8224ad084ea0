"""Whether a grader's evidence prefers a part of the image: its share of the evidence minus its share of the area."""

from typing import Any

import pandas as pd

from tumorprog.evaluation import measures
from tumorprog.evaluation.measures import Metric


def preference(shares: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Any]:
    """Compare the share of the evidence with the share of the area, each the mean of the patients' means.

    Args:
        shares: rows of `graders.evidence.EVIDENCE`.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        Metrics evidence, area and their paired difference (n is the number of patients); slices, the number of slices
        evaluated, and without_evidence, the number of slices whose heat map is zero or which show no head.
    """
    known = shares.dropna()
    by_patient = known.groupby("PatientID")[["evidence", "area"]].mean()
    by_patient["difference"] = by_patient["evidence"] - by_patient["area"]
    compared = {str(name): _mean(values, resamples=resamples, seed=seed) for name, values in by_patient.items()}
    return {**compared, "slices": len(known), "without_evidence": len(shares) - len(known)}


def _mean(by_patient: pd.Series, *, resamples: int, seed: int) -> Metric:
    values = by_patient.to_numpy()
    return measures.measure(
        by_patient.index.to_numpy(), lambda rows: measures.mean(values[rows]), resamples=resamples, seed=seed
    )
