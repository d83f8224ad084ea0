"""One fold of the prediction of months: the model, the baselines and their errors; and the final model."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog import model_files
from tumorprog.cohort import splits
from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation import baselines, combination, intervals
from tumorprog.heads.bilstm import ProgressionLSTM, predict_months
from tumorprog.heads.fitting import fit_progression
from tumorprog.heads.settings import Progression
from tumorprog.progression.folds import Result, Trial, build_trials, describe_model
from tumorprog.progression.series import KEYS, select_rows
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

COVERAGE = 0.8
"""Nominal coverage of Lower..Upper."""


def plan(series: pd.DataFrame, *, seed: int, null_control: bool = False) -> list[Trial]:
    """Return the trials of {paper, patient} x {grade_rise, all}, without cohorts that are too small.

    Args:
        series: series of `read_training_series`.
        seed: seed of the splits.
        null_control: whether to add the folds of the cohort `all` a second time, trained on shuffled months.
    """
    rising = np.flatnonzero(series["LaterGrade"] > series["FirstGrade"])
    trials = []
    for cohort, rows in (("all", np.arange(len(series))), ("grade_rise", rising)):
        num_patients = series["PatientID"].iloc[rows].nunique()
        if num_patients < 3:
            log.info("  cohort %s: %d patients, too few for training; the report states this", cohort, num_patients)
            continue
        trials += build_trials(cohort, series, rows, seed=seed)
    null = [replace(trial, shuffled=True) for trial in trials if trial.cohort == "all"] if null_control else []
    return trials + null


def shuffle_months(series: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the series with the months to progression permuted so that every patient gets another patient's value.

    Args:
        series: series of `read_training_series`, with all series of each patient.
        seed: seed of the permutation.
    """
    targets = ["days", "MonthDif", "months"]
    dates = series.drop_duplicates(KEYS[:2])[[*KEYS[:2], *targets]]
    order = np.random.default_rng(seed).permutation(len(dates))
    permuted = dates.copy()
    permuted.iloc[order, 2:] = dates.iloc[np.roll(order, 1), 2:].to_numpy()
    return series.drop(columns=targets).merge(permuted, on=KEYS[:2], how="left").set_index(series.index)


def train_fold(series: pd.DataFrame, trial: Trial, progression: Progression, seed: int) -> Result:
    """Train one fold, and predict its test set with the model and the baselines.

    Args:
        series: all series of `read_training_series`.
        trial: the cohort's rows, and their training, validation and test sets.
        progression: the settings.
        seed: seed of the initial weights, the shuffling and the null control.

    Returns:
        predictions, rows of `PROGRESSION_PREDICTIONS` without intervals; baselines, the same with `Baseline`;
        history, the losses of the model, rows of `PROGRESSION_HISTORY` (of `progression.columns`).
    """
    cohort = series.iloc[trial.rows].reset_index(drop=True)
    cohort = shuffle_months(cohort, seed=seed) if trial.shuffled else cohort
    fold = trial.fold
    training, validation = select_rows(cohort, fold.train), select_rows(cohort, fold.validation)
    model, losses = fit_progression(training, validation, settings=progression, seed=seed)
    test = cohort.iloc[fold.test]
    label = {"Fold": fold.name, "Protocol": trial.protocol, "Cohort": trial.cohort}
    rows = test.drop(columns="vectors").assign(**label, Lower=np.nan, Upper=np.nan, Weight=1.0)
    months = np.maximum(predict_months(model, list(test["vectors"])), 0.0)
    errors = validation_errors(model, cohort, fold.validation)
    weight = combination.weights(test, errors)
    fitted = cohort.iloc[np.concatenate([fold.train, fold.validation])]
    baseline_rows = [
        rows.assign(Baseline=name, Predicted_Progression_Timeline=predicted)
        for name, predicted in _baselines(fitted, test).items()
    ]
    return {
        "predictions": rows.assign(Predicted_Progression_Timeline=months, Weight=weight),
        "baselines": pd.concat(baseline_rows),
        "history": pd.DataFrame(losses).assign(**label),
    }


def validation_errors(model: ProgressionLSTM, series: pd.DataFrame, rows: np.ndarray) -> dict[str, float]:
    """Return the model's error on the validation series of each sequence, see `combination.errors_by_sequence`."""
    chosen = series.iloc[rows]
    months = np.maximum(predict_months(model, list(chosen["vectors"])), 0.0)
    return combination.errors_by_sequence(chosen["sequence"].to_numpy(), months - chosen["months"].to_numpy())


def _baselines(fitted: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the baselines' predictions for the test series, fitted on the training and validation series."""
    patients = fitted.drop_duplicates(KEYS[:2])
    months = patients["months"].to_numpy()
    means = [np.stack([vectors.mean(axis=0) for vectors in rows["vectors"]]) for rows in (fitted, test)]
    predicted = {name: constant(months, len(test)) for name, constant in baselines.CONSTANTS.items()}
    predicted["ridge"] = baselines.ridge_on_mean_features(means[0], fitted["months"].to_numpy(), means[1])
    if pd.concat([fitted, test])["volume_ml"].notna().any():
        predicted["volume"] = baselines.log_volume(
            patients["volume_ml"].to_numpy(), months, test["volume_ml"].to_numpy()
        )
    return predicted


def with_intervals(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with Lower and Upper from the residuals of other patients, per protocol and cohort."""
    filled = predictions.copy()
    for _, group in predictions.groupby(["Protocol", "Cohort"]):
        bounds = intervals.prediction_intervals(
            group["Predicted_Progression_Timeline"].to_numpy(),
            group["days"].to_numpy() / DAYS_PER_MONTH,
            groups=group["PatientID"].to_numpy(),
            coverage=COVERAGE,
        )
        filled.loc[group.index, ["Lower", "Upper"]] = np.stack(bounds, axis=1)
    return filled


def train_final_model(
    series: pd.DataFrame,
    predictions: tuple[pd.DataFrame, pd.DataFrame],
    target: Path,
    settings: Settings,
    *,
    options: dict[str, Any],
) -> None:
    """Train a model for new patients on all series, and save it with what it can be expected to achieve.

    Args:
        series: series of `read_training_series`.
        predictions: for the held-out patients, per series and per patient, from which the intervals are derived.
        target: folder of the model.
        settings: `progression`, and the seed.
        options: of the encoder that computed the features.
    """
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, losses = fit_progression(
        select_rows(series, train), select_rows(series, validation), settings=settings.progression, seed=settings.seed
    )
    description = {
        "model": "bidirectional LSTM",
        **describe_model(settings, options, patients=(patients[train], patients[validation]), epochs=len(losses)),
        "interval_coverage": COVERAGE,
        "interval_half_width_months": _half_width(predictions[0]),
        "patient_interval_half_width_months": _half_width(predictions[1]),
        "validation_errors_months": validation_errors(model, series, validation),
    }
    model_files.save(target, model, description)


def _half_width(predictions: pd.DataFrame) -> float | None:
    """Return the interval's half-width for a new patient, from leave-one-patient-out; None for too few patients."""
    held_out = predictions[(predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")]
    predicted, days = held_out["Predicted_Progression_Timeline"].to_numpy(), held_out["days"].to_numpy()
    groups = held_out["PatientID"].to_numpy()
    width = intervals.half_width(predicted, days / DAYS_PER_MONTH, groups=groups, coverage=COVERAGE)
    return width if np.isfinite(width) else None
