"""train-progression with progression.target survival: features + a table of outcomes -> folds, progression/.

Every patient with a first date and an outcome is included, also without a second date or progression (censored).
"""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tumorprog import storage, tables
from tumorprog.cohort import outcomes, splits
from tumorprog.errors import InputError
from tumorprog.evaluation import combination
from tumorprog.fitting import SeriesPart, fit_survival
from tumorprog.models import hazard, weights
from tumorprog.models.progression import ProgressionLSTM, predict_log_odds
from tumorprog.settings import Progression, Settings
from tumorprog.stages import folds, streaming

log = logging.getLogger(__name__)

_MIN_PATIENTS = 3
_MONTHS = np.array(tables.SURVIVAL_MONTHS, np.float64)
_CURVE = [f"Survival_{months}m" for months in tables.SURVIVAL_MONTHS]


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Train and test the folds of both protocols concurrently, then train a final model on all patients for new ones.

    Raises:
        InputError: if the table of outcomes is missing or invalid, if fewer than three patients are followed or fewer
            than three of them progressed, or if the evaluation library is not installed.
    """
    if not settings.archive.outcomes:
        raise InputError("progression.target is survival, which requires a table of outcomes: --outcomes TABLE")
    if importlib.util.find_spec("torchsurv") is None:
        raise InputError(
            "progression.target is survival, whose evaluation requires torchsurv: pip install 'tumorprog[survival]'"
        )
    series = folds.read_series(folder / "features")
    first = first_dates(series)
    outcome_table = outcomes.read_outcomes(storage.place(settings.archive.outcomes), list(first["PatientID"]))
    cohort = outcomes.follow(first, outcome_table)
    followed = followed_series(series, cohort)
    _check_enough_patients(settings.archive.outcomes, cohort)
    folds.audit(folder, followed, settings)
    streaming.connect(settings.cluster)
    trials = folds.build_trials("all", followed, np.arange(len(followed)), seed=settings.seed)
    results = folds.train_all(followed, trials, train_fold, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    tables.write_csv(target / "outcomes.csv", cohort, tables.OUTCOMES)
    for name, columns in (
        ("survival_predictions", tables.SURVIVAL_PREDICTIONS),
        ("patient_survival", tables.PATIENT_SURVIVAL),
        ("history", tables.PROGRESSION_HISTORY),
    ):
        rows = pd.concat([result[name] for result in results], ignore_index=True)
        tables.write_csv(target / f"{name}.csv", rows, columns)
    tables.write_csv(target / "folds.csv", folds.fold_table(followed, trials), tables.FOLDS)
    _final_model(followed, target, settings, feature_summary=tables.read_summary(folder / "features"))
    included = cohort[cohort["status"] == "followed"]
    return (
        f"{len(followed):,} series of {len(included)} patients, {int(included['event'].sum())} of whom progressed; "
        f"{len(trials)} folds; {len(cohort) - len(included)} patients excluded"
    )


def first_dates(series: pd.DataFrame) -> pd.DataFrame:
    """Return the PatientID and the date of the first images of each patient, "" if the date is unknown."""
    dated = series.assign(date=series["date"].replace("", None)).groupby("PatientID")["date"].min()
    return dated.fillna("").reset_index()


def followed_series(series: pd.DataFrame, cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the series of the first date of every followed patient, with months and event (bool).

    Args:
        series: series of `folds.read_series`.
        cohort: patients of `outcomes.follow`.
    """
    included = cohort.loc[cohort["status"] == "followed", ["PatientID", "date", "months", "event"]]
    return series.merge(included.astype({"months": float, "event": bool}), on=["PatientID", "date"])


def _check_enough_patients(path: str, cohort: pd.DataFrame) -> None:
    included = cohort[cohort["status"] == "followed"]
    if len(included) < _MIN_PATIENTS or included["event"].sum() < _MIN_PATIENTS:
        unmatched = outcomes.unmatched(cohort)
        counts = ", ".join(f"{count} {status}" for status, count in cohort["status"].value_counts().items())
        raise InputError(
            f"{path}: {len(included)} patients are followed, {int(included['event'].sum())} of whom progressed; at "
            f"least {_MIN_PATIENTS} of each are required ({counts})" + (f"; {unmatched}" if unmatched else "")
        )


def train_fold(series: pd.DataFrame, trial: folds.Trial, progression: Progression, seed: int) -> folds.Result:
    """Train one fold, and predict its test set with the model and with a life table.

    Args:
        series: all series of `followed_series`.
        trial: the cohort's rows, and their training, validation and test sets.
        progression: the settings.
        seed: seed of the initial weights and the shuffling.

    Returns:
        survival_predictions, rows of `tables.SURVIVAL_PREDICTIONS`; patient_survival, rows of `tables.PATIENT_SURVIVAL`
        for the model and for the life table of the training and validation patients; history, the losses of the model,
        rows of `tables.PROGRESSION_HISTORY`.
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
    common = hazard.common_log_odds(hazard.targets(fitted["months"].to_numpy(), fitted["event"].to_numpy(), edges))
    life_table = add_curves(rows, np.tile(common, (len(rows), 1)), edges).assign(Weight=1.0)
    return {
        "survival_predictions": predictions,
        "patient_survival": pd.concat(
            [
                combine_by_patient(model_rows).assign(Model=name)
                for name, model_rows in zip(tables.SURVIVAL_MODELS, (predictions, life_table), strict=True)
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
        SeriesPart(list(rows["vectors"]), rows["months"].to_numpy(), rows["event"].to_numpy())
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
    """Add Expected_Months and the probabilities of not having progressed at `tables.SURVIVAL_MONTHS` to the rows.

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
    """Return one curve per patient, the weighted mean over its series, rows of `tables.PATIENT_SURVIVAL`."""
    keys = ["Protocol", "Cohort", "Fold", "PatientID", "date"]
    observed = predictions.groupby(keys, sort=False).agg(months=("months", "first"), event=("event", "first"))
    return observed.join(combination.weighted_means(predictions, keys, ["Expected_Months", *_CURVE])).reset_index()


def _final_model(series: pd.DataFrame, target: Path, settings: Settings, *, feature_summary: dict[str, Any]) -> None:
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, edges, losses = fit(series, train, validation, progression=settings.progression, seed=settings.seed)
    description = {
        "model": "bidirectional LSTM, discrete-time hazard",
        **folds.describe_model(
            settings, feature_summary, patients=(patients[train], patients[validation]), epochs=len(losses)
        ),
        "interval_edges_months": edges.tolist(),
        "interval_half_width_months": None,
        "patient_interval_half_width_months": None,
        "validation_errors_months": validation_errors(model, series.iloc[validation], edges),
    }
    weights.save(target, model, description)
