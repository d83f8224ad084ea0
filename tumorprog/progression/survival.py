"""One fold of the prediction of survival: the model and the life table; and the final model."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tumorprog import model_files
from tumorprog.cohort import splits
from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.evaluation import combination
from tumorprog.heads import hazard
from tumorprog.heads.bilstm import ProgressionLSTM, predict_log_odds
from tumorprog.heads.fitting import SeriesDataset, fit_survival
from tumorprog.heads.settings import Progression
from tumorprog.progression.columns import SURVIVAL_MODELS
from tumorprog.progression.folds import Result, Trial, describe_model
from tumorprog.settings import Settings

_MONTHS = np.array(SURVIVAL_MONTHS, np.float64)
_CURVE = [f"Survival_{months}m" for months in SURVIVAL_MONTHS]


def first_dates(series: pd.DataFrame) -> pd.DataFrame:
    """Return the PatientID and the date of the first images of each patient, "" if the date is unknown."""
    dated = series.assign(date=series["date"].replace("", None)).groupby("PatientID")["date"].min()
    return dated.fillna("").reset_index()


def followed_series(series: pd.DataFrame, cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the series of the first date of every followed patient, with months and event (bool).

    Args:
        series: series of `progression.series.read_series`.
        cohort: patients of `outcomes.match`.
    """
    included = cohort.loc[cohort["status"] == "followed", ["PatientID", "date", "months", "event"]]
    return series.merge(included.astype({"months": float, "event": bool}), on=["PatientID", "date"])


def train_fold(series: pd.DataFrame, trial: Trial, progression: Progression, seed: int) -> Result:
    """Train one fold, and predict its test set with the model and with a life table.

    Args:
        series: all series of `followed_series`.
        trial: the cohort's rows, and their training, validation and test sets.
        progression: the settings.
        seed: seed of the initial weights and the shuffling.

    Returns:
        survival_predictions, rows of `SURVIVAL_PREDICTIONS`; patient_survival, rows of `PATIENT_SURVIVAL` for the
        model and for the life table of the training and validation patients; history, the losses of the model, rows
        of `PROGRESSION_HISTORY` (of `progression.columns`).
    """
    cohort, fold = series.iloc[trial.rows].reset_index(drop=True), trial.fold
    model, edges, losses = fit(cohort, fold.train, fold.validation, progression=progression, seed=seed)
    test = cohort.iloc[fold.test]
    label = {"Fold": fold.name, "Protocol": trial.protocol, "Cohort": trial.cohort}
    rows = test.drop(columns="vectors").assign(**label, event=test["event"].astype(int))
    errors = validation_errors(model, cohort.iloc[fold.validation], edges)
    weight = combination.weights(test, errors)
    predictions = add_curves(rows, predict_log_odds(model, list(test["vectors"])), edges).assign(Weight=weight)
    fitted = _patients(cohort.iloc[np.concatenate([fold.train, fold.validation])])
    common = hazard.baseline_log_odds(hazard.targets(fitted["months"].to_numpy(), fitted["event"].to_numpy(), edges))
    life_table = add_curves(rows, np.tile(common, (len(rows), 1)), edges).assign(Weight=1.0)
    return {
        "survival_predictions": predictions,
        "patient_survival": pd.concat(
            [
                combine_by_patient(model_rows).assign(Model=name)
                for name, model_rows in zip(SURVIVAL_MODELS, (predictions, life_table), strict=True)
            ]
        ),
        "history": pd.DataFrame(losses).assign(**label),
    }


def fit(
    series: pd.DataFrame, train: np.ndarray, validation: np.ndarray, *, progression: Progression, seed: int
) -> tuple[ProgressionLSTM, np.ndarray, list[dict[str, float]]]:
    """Return the model, its interval edges (derived from the training patients' events) and its losses."""
    training, validated = series.iloc[train], series.iloc[validation]
    patients = _patients(training)
    edges = hazard.interval_edges(patients["months"].to_numpy(), patients["event"].to_numpy())
    datasets = [
        SeriesDataset(list(rows["vectors"]), rows["months"].to_numpy(), rows["event"].to_numpy())
        for rows in (training, validated)
    ]
    model, losses = fit_survival(datasets[0], datasets[1], edges=edges, settings=progression, seed=seed)
    return model, edges, losses


def _patients(series: pd.DataFrame) -> pd.DataFrame:
    return series.drop_duplicates(["PatientID", "date"])


def validation_errors(model: ProgressionLSTM, validated: pd.DataFrame, edges: np.ndarray) -> dict[str, float]:
    """Return the model's loss on the validation series of each sequence, see `combination.errors_by_sequence`."""
    targets = hazard.targets(validated["months"].to_numpy(), validated["event"].to_numpy(), edges)
    log_odds = torch.tensor(predict_log_odds(model, list(validated["vectors"])), dtype=torch.float32)
    losses = np.array([hazard.loss(log_odds[[row]], targets[[row]]).item() for row in range(len(targets))])
    return combination.errors_by_sequence(validated["sequence"].to_numpy(), losses)


def add_curves(rows: pd.DataFrame, log_odds: np.ndarray, edges: np.ndarray) -> pd.DataFrame:
    """Add Expected_Months and the probabilities of not having progressed at `conventions.SURVIVAL_MONTHS` to the rows.

    Args:
        rows: table of N rows.
        log_odds: (N, K), per row and interval.
        edges: (K + 1,), of the intervals, months.
    """
    curves = hazard.survival(log_odds, edges, _MONTHS)
    return rows.assign(
        Expected_Months=hazard.expected_months(log_odds, edges), **dict(zip(_CURVE, curves.T, strict=True))
    )


def combine_by_patient(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one curve per patient, the weighted mean over its series, rows of `PATIENT_SURVIVAL`."""
    keys = ["Protocol", "Cohort", "Fold", "PatientID", "date"]
    observed = predictions.groupby(keys, sort=False).agg(months=("months", "first"), event=("event", "first"))
    return observed.join(combination.weighted_means(predictions, keys, ["Expected_Months", *_CURVE])).reset_index()


def train_final_model(series: pd.DataFrame, target: Path, settings: Settings, *, options: dict[str, Any]) -> None:
    """Train a model for new patients on all series, and save it.

    Args:
        series: series of `followed_series`.
        target: folder of the model.
        settings: `progression`, and the seed.
        options: of the encoder that computed the features.
    """
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, edges, losses = fit(series, train, validation, progression=settings.progression, seed=settings.seed)
    description = {
        "model": "bidirectional LSTM, discrete-time hazard",
        **describe_model(settings, options, patients=(patients[train], patients[validation]), epochs=len(losses)),
        "interval_edges_months": edges.tolist(),
        "interval_factor": None,
        "patient_interval_factor": None,
        "validation_errors_months": validation_errors(model, series.iloc[validation], edges),
    }
    model_files.save(target, model, description)
