"""train-progression with progression.target survival: features + a table of outcomes -> folds, progression/.

Every patient with a first date and an outcome takes part: one date is enough, and so is not having progressed.
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

_LEAST = 3
_MONTHS = np.array(tables.SURVIVAL_MONTHS, np.float64)
_CURVE = [f"Survival_{months}m" for months in tables.SURVIVAL_MONTHS]


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Trains and tests both protocols, folds side by side, then a final model on all patients for new ones.

    Raises:
        InputError: if there is no table of outcomes, it cannot be used, fewer than three patients are followed or
            fewer than three of them progressed, or the library that judges is not installed.
    """
    if not settings.archive.outcomes:
        raise InputError("progression.target is survival, which needs a table of outcomes: --outcomes TABLE")
    if importlib.util.find_spec("torchsurv") is None:
        raise InputError(
            "progression.target is survival, which is judged by torchsurv: pip install 'tumorprog[survival]'"
        )
    series = folds.read_series(folder / "features")
    first = first_dates(series)
    known = outcomes.read_outcomes(storage.place(settings.archive.outcomes), list(first["PatientID"]))
    who = outcomes.follow(first, known)
    followed = followed_series(series, who)
    _refuse_few(settings.archive.outcomes, who)
    folds.audit(folder, followed, settings)
    streaming.connect(settings.cluster)
    trials = folds.trials_of("all", followed, np.arange(len(followed)), seed=settings.seed)
    results = folds.train_all(followed, trials, train_fold, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    tables.write_csv(target / "outcomes.csv", who, tables.OUTCOMES)
    for name, columns in (
        ("survival_predictions", tables.SURVIVAL_PREDICTIONS),
        ("patient_survival", tables.PATIENT_SURVIVAL),
        ("history", tables.PROGRESSION_HISTORY),
    ):
        rows = pd.concat([result[name] for result in results], ignore_index=True)
        tables.write_csv(target / f"{name}.csv", rows, columns)
    tables.write_csv(target / "folds.csv", folds.sides(followed, trials), tables.FOLDS)
    _final_model(followed, target, settings, made_with=tables.read_summary(folder / "features"))
    taken = who[who["status"] == "followed"]
    return (
        f"{len(followed):,} series of {len(taken)} patients, {int(taken['event'].sum())} of whom progressed; "
        f"{len(trials)} folds; {len(who) - len(taken)} patients left out"
    )


def first_dates(series: pd.DataFrame) -> pd.DataFrame:
    """PatientID and the date of the first images of each patient, "" if none is known."""
    known = series.assign(date=series["date"].replace("", None)).groupby("PatientID")["date"].min()
    return known.fillna("").reset_index()


def followed_series(series: pd.DataFrame, who: pd.DataFrame) -> pd.DataFrame:
    """The series of the first date of everyone who is followed, with months and event (bool).

    Args:
        series: of `folds.read_series`.
        who: of `outcomes.follow`.
    """
    taken = who.loc[who["status"] == "followed", ["PatientID", "date", "months", "event"]]
    return series.merge(taken.astype({"months": float, "event": bool}), on=["PatientID", "date"])


def _refuse_few(path: str, who: pd.DataFrame) -> None:
    taken = who[who["status"] == "followed"]
    if len(taken) < _LEAST or taken["event"].sum() < _LEAST:
        apart = outcomes.unmatched(who)
        counts = ", ".join(f"{count} {status}" for status, count in who["status"].value_counts().items())
        raise InputError(
            f"{path}: {len(taken)} patients are followed, {int(taken['event'].sum())} of whom progressed; {_LEAST} or "
            f"more of either are needed ({counts})" + (f"; {apart}" if apart else "")
        )


def train_fold(series: pd.DataFrame, trial: folds.Trial, progression: Progression, seed: int) -> folds.Result:
    """One fold: what the model and a life table say of its test part, and the model's losses.

    Args:
        series: of `followed_series`, whole.
        trial: which rows of it, and which of these on which side.
        progression: the settings.
        seed: of the initial weights and the shuffling.

    Returns:
        survival_predictions, rows of `tables.SURVIVAL_PREDICTIONS`; patient_survival, of `tables.PATIENT_SURVIVAL`, for
        the model and for the life table of the training patients; history, of `tables.PROGRESSION_HISTORY`.
    """
    cohort, fold = series.iloc[trial.rows].reset_index(drop=True), trial.fold
    model, edges, losses = fit(cohort, fold.train, fold.validation, progression=progression, seed=seed)
    test = cohort.iloc[fold.test]
    label = {"Fold": fold.name, "Protocol": trial.protocol, "Cohort": trial.cohort}
    told = test.drop(columns="vectors").assign(**label, event=test["event"].astype(int))
    errors = validation_errors(model, cohort.iloc[fold.validation], edges)
    weight = combination.weights(test, errors)
    predictions = with_curves(told, predict_log_odds(model, list(test["vectors"])), edges).assign(Weight=weight)
    seen = _patients(cohort.iloc[np.concatenate([fold.train, fold.validation])])
    common = hazard.common_log_odds(hazard.targets(seen["months"].to_numpy(), seen["event"].to_numpy(), edges))
    table = with_curves(told, np.tile(common, (len(told), 1)), edges).assign(Weight=1.0)
    return {
        "survival_predictions": predictions,
        "patient_survival": pd.concat(
            [
                of_patients(rows).assign(Model=name)
                for name, rows in zip(tables.SURVIVAL_MODELS, (predictions, table), strict=True)
            ]
        ),
        "history": pd.DataFrame(losses).assign(**label),
    }


def fit(
    series: pd.DataFrame, train: np.ndarray, validation: np.ndarray, *, progression: Progression, seed: int
) -> tuple[ProgressionLSTM, np.ndarray, list[dict[str, float]]]:
    """The model, the edges of its intervals and its losses; the edges are those of the training patients' events."""
    training, watched = series.iloc[train], series.iloc[validation]
    once = _patients(training)
    edges = hazard.interval_edges(once["months"].to_numpy(), once["event"].to_numpy())
    parts = [
        SeriesPart(list(rows["vectors"]), rows["months"].to_numpy(), rows["event"].to_numpy())
        for rows in (training, watched)
    ]
    model, losses = fit_survival(parts[0], parts[1], edges=edges, settings=progression, seed=seed)
    return model, edges, losses


def _patients(series: pd.DataFrame) -> pd.DataFrame:
    return series.drop_duplicates(["PatientID", "date"])


def validation_errors(model: ProgressionLSTM, watched: pd.DataFrame, edges: np.ndarray) -> dict[str, float]:
    """The model's loss on the validation series of each sequence, `combination.errors_by_sequence`."""
    targets = hazard.targets(watched["months"].to_numpy(), watched["event"].to_numpy(), edges)
    log_odds = torch.tensor(predict_log_odds(model, list(watched["vectors"])), dtype=torch.float32)
    losses = np.array([hazard.loss(log_odds[[row]], targets[[row]]).item() for row in range(len(targets))])
    return combination.errors_by_sequence(watched["sequence"].to_numpy(), losses)


def with_curves(rows: pd.DataFrame, log_odds: np.ndarray, edges: np.ndarray) -> pd.DataFrame:
    """The rows with Expected_Months and the probabilities of not having progressed at `tables.SURVIVAL_MONTHS`.

    Args:
        rows: N of them.
        log_odds: (N, K).
        edges: (K + 1,).
    """
    curves = hazard.survival(log_odds, edges, _MONTHS)
    return rows.assign(
        Expected_Months=hazard.expected_months(log_odds, edges), **dict(zip(_CURVE, curves.T, strict=True))
    )


def of_patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """One curve for each patient: the mean over its series by their weights, rows of `tables.PATIENT_SURVIVAL`."""
    keys = ["Protocol", "Cohort", "Fold", "PatientID", "date"]
    known = predictions.groupby(keys, sort=False).agg(months=("months", "first"), event=("event", "first"))
    return known.join(combination.weighted_means(predictions, keys, ["Expected_Months", *_CURVE])).reset_index()


def _final_model(series: pd.DataFrame, target: Path, settings: Settings, *, made_with: dict[str, Any]) -> None:
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, edges, losses = fit(series, train, validation, progression=settings.progression, seed=settings.seed)
    description = {
        "model": "bidirectional LSTM, discrete-time hazard",
        **folds.described(settings, made_with, sides=(patients[train], patients[validation]), epochs=len(losses)),
        "interval_edges_months": edges.tolist(),
        "interval_half_width_months": None,
        "patient_interval_half_width_months": None,
        "validation_errors_months": validation_errors(model, series.iloc[validation], edges),
    }
    weights.save(target, model, description)
