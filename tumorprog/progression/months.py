"""One fold of the prediction of months: the model, the baselines and their errors; and the final model."""

import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog import model_files
from tumorprog.cohort import splits
from tumorprog.evaluation import baselines, combination, prediction_intervals
from tumorprog.heads.bilstm import ProgressionLSTM, predict_months
from tumorprog.heads.fitting import fit_progression
from tumorprog.heads.settings import Progression
from tumorprog.progression.folds import Result, Trial, build_trials, describe_model
from tumorprog.progression.series import KEYS, select_rows
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

_INTERVAL_GROUPS = 10
"""Groups of patients that are left out in pairs: 55 trainings, however many patients there are."""
_NULL_FOLDS = 5
"""Folds of each repetition of the null control."""


def plan(series: pd.DataFrame, progression: Progression, *, seed: int) -> list[Trial]:
    """Return all trials: the grid without cohorts that are too small, other seeds, intervals and the null control.

    Args:
        series: series of `read_training_series`.
        progression: the settings.
        seed: seed of the splits.
    """
    rising = np.flatnonzero(series["LaterGrade"] > series["FirstGrade"])
    trials = []
    for cohort, rows in (("all", np.arange(len(series))), ("grade_rise", rising)):
        num_patients = series["PatientID"].iloc[rows].nunique()
        if num_patients < 3:
            log.info("  cohort %s: %d patients, too few for training; the report states this", cohort, num_patients)
            continue
        trials += build_trials(cohort, series, rows, seed=seed)
    left_out = [trial for trial in trials if (trial.protocol, trial.cohort) == ("patient", "all")]
    seeds = [
        replace(trial, purpose="seed", repeat=repeat) for repeat in range(1, progression.seeds) for trial in left_out
    ]
    return trials + seeds + interval_trials(series, seed=seed) + null_trials(series, progression, seed=seed)


def interval_groups(series: pd.DataFrame, *, seed: int) -> pd.Series:
    """Return the group of each patient that `interval_trials` leave out in pairs; index PatientID."""
    return splits.patient_groups(series["PatientID"].to_numpy(), groups=_INTERVAL_GROUPS, seed=seed)


def interval_trials(series: pd.DataFrame, *, seed: int) -> list[Trial]:
    """Return the trials that each leave out two groups of patients, or one of several patients.

    With ten patients or fewer, these are all pairs of patients. See `evaluation.prediction_intervals` for their use.

    Args:
        series: series of `read_training_series`.
        seed: seed of the groups and of the validation sets.
    """
    patients = series["PatientID"].to_numpy()
    groups = interval_groups(series, seed=seed)
    trials = []
    for first, second in itertools.combinations_with_replacement(sorted(groups.unique()), 2):
        held_out = groups.index[groups.isin([first, second])].to_numpy()
        if len(held_out) > 1 and len(groups) - len(held_out) > 1:
            name = prediction_intervals.fold_name(first, second)
            fold = splits.leave_out(patients, held_out, name=name, seed=seed)
            trials.append(_whole_cohort(series, "patient", fold, purpose="interval"))
    return trials


def null_trials(series: pd.DataFrame, progression: Progression, *, seed: int) -> list[Trial]:
    """Return the trials of the permutation control: repetition 0 with the true months, the others with shuffled ones.

    Args:
        series: series of `read_training_series`.
        progression: `null_control`, `null_draws`.
        seed: seed of the folds, which are the same in all repetitions.

    Returns:
        The trials; none if one patient has more than half of the dates, so that `shuffle_months` is impossible.
    """
    if not progression.null_control:
        return []
    if not _can_shuffle(series):
        log.info(
            "  no null control: one patient has more than half of the dates, too few others to exchange months with"
        )
        return []
    patients = series["PatientID"].to_numpy()
    groups = splits.patient_groups(patients, groups=_NULL_FOLDS, seed=seed)
    folds = [
        ("patient", splits.leave_out(patients, groups.index[groups == name].to_numpy(), name=name, seed=seed))
        for name in sorted(groups.unique())
    ]
    folds += [("paper", fold) for fold in splits.random_series(len(series), seed=seed)]
    return [
        _whole_cohort(series, protocol, fold, purpose="null", repeat=repeat)
        for repeat in range(progression.null_draws + 1)
        for protocol, fold in folds
    ]


def _whole_cohort(series: pd.DataFrame, protocol: str, fold: splits.Fold, **kind: Any) -> Trial:
    return Trial(protocol=protocol, cohort="all", rows=np.arange(len(series)), fold=fold, **kind)


def shuffle_months(series: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the series with the months to progression permuted so that every date gets another patient's value.

    The dates are put into a random order in which those of a patient are adjacent, and shifted by the largest number of
    dates of a patient.

    Args:
        series: series of `read_training_series`, with all series of each patient.
        seed: seed of the permutation.

    Raises:
        ValueError: if one patient has more than half of the dates, so that there is no such permutation.
    """
    if not _can_shuffle(series):
        raise ValueError("one patient has more than half of the dates")
    targets = ["days", "MonthDif", "months"]
    dates = _dates(series)[[*KEYS[:2], *targets]]
    order = np.random.default_rng(seed).permutation(len(dates))
    patients = pd.factorize(dates["PatientID"].iloc[order])[0]
    order = order[np.argsort(patients, kind="stable")]
    permuted = dates.copy()
    permuted.iloc[order, 2:] = dates.iloc[np.roll(order, np.bincount(patients).max()), 2:].to_numpy()
    return series.drop(columns=targets).merge(permuted, on=KEYS[:2], how="left").set_index(series.index)


def _can_shuffle(series: pd.DataFrame) -> bool:
    counts = _dates(series)["PatientID"].value_counts()
    return bool(2 * counts.max() <= counts.sum())


def _dates(series: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each date of each patient: a date with more series must not have a greater weight."""
    return series.drop_duplicates(KEYS[:2])


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
    seed += trial.repeat
    cohort = shuffle_months(cohort, seed=seed) if trial.purpose == "null" and trial.repeat else cohort
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
    return {
        "predictions": rows.assign(Predicted_Progression_Timeline=months, Weight=weight),
        "baselines": _baseline_rows(rows, fitted, test),
        "history": pd.DataFrame(losses).assign(**label),
    }


def validation_errors(model: ProgressionLSTM, series: pd.DataFrame, rows: np.ndarray) -> dict[str, float]:
    """Return the model's error on the validation series of each sequence, see `combination.errors_by_sequence`."""
    chosen = series.iloc[rows]
    months = np.maximum(predict_months(model, list(chosen["vectors"])), 0.0)
    return combination.errors_by_sequence(chosen["sequence"].to_numpy(), months - chosen["months"].to_numpy())


def _baselines(fitted: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the baselines' predictions for the test series, fitted on the training and validation series."""
    dates = _dates(fitted)
    months = dates["months"].to_numpy()
    means = [np.stack([vectors.mean(axis=0) for vectors in rows["vectors"]]) for rows in (fitted, test)]
    predicted = {name: constant(months, len(test)) for name, constant in baselines.CONSTANTS.items()}
    predicted["ridge"] = baselines.ridge_on_mean_features(means[0], fitted["months"].to_numpy(), means[1])
    if pd.concat([fitted, test])["volume_ml"].notna().any():
        predicted["volume"] = baselines.log_volume(dates["volume_ml"].to_numpy(), months, test["volume_ml"].to_numpy())
    return predicted


def _baseline_rows(rows: pd.DataFrame, fitted: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the test series with each baseline's predictions; the median's have an interval."""
    predicted = [
        rows.assign(Baseline=name, Predicted_Progression_Timeline=months)
        for name, months in _baselines(fitted, test).items()
    ]
    table = pd.concat(predicted)
    lower, upper = prediction_intervals.constant_interval(_dates(fitted)["months"].to_numpy())
    table.loc[table["Baseline"] == "median", ["Lower", "Upper"]] = lower, upper
    return table


def with_intervals(predictions: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with Lower and Upper, for the folds by patient of the cohort `all`; NaN for the others.

    Args:
        predictions: per series, or per patient.
        left_out: predictions of the `interval` trials at the same level, with Group, the group of their patient.
    """
    judged = (predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")
    if left_out.empty:
        return predictions
    groups = left_out.groupby("PatientID")["Group"].first()
    bounds = prediction_intervals.with_intervals(predictions[judged], left_out, groups)
    return predictions.assign(Lower=bounds["Lower"], Upper=bounds["Upper"])


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
        "interval_coverage": prediction_intervals.COVERAGE,
        "interval_factor": _factor(predictions[0]),
        "patient_interval_factor": _factor(predictions[1]),
        "validation_errors_months": validation_errors(model, series, validation),
    }
    model_files.save(target, model, description)


def _factor(predictions: pd.DataFrame) -> float | None:
    """Return the factor of a new patient's interval, from leave-one-patient-out; None for too few patients."""
    held_out = predictions[(predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")]
    factor = prediction_intervals.error_factor(held_out)
    return factor if np.isfinite(factor) else None
