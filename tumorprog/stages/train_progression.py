"""train-progression: features + reference sheet -> folds, progression/ (predictions of every fold, a final model)."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog import tables
from tumorprog.cohort import splits
from tumorprog.errors import InputError
from tumorprog.evaluation import baselines, combination, intervals
from tumorprog.fitting import SeriesPart, fit_progression
from tumorprog.models import weights
from tumorprog.models.progression import ProgressionLSTM, predict_months
from tumorprog.settings import Progression, Settings
from tumorprog.stages import folds, streaming, survival
from tumorprog.stages.folds import KEYS, Result, Trial

log = logging.getLogger(__name__)

COVERAGE = 0.8
"""Nominal coverage of Lower..Upper."""


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Train and evaluate all folds of the grid concurrently, then train a final model on all patients for new ones.

    Raises:
        InputError: if fewer than three patients have two dates; for survival, see `stages.survival`.
        LeakError: if a study belongs to several patients.
    """
    if settings.progression.target == "survival":
        return survival.run(folder, out, settings)
    series = read_training_series(folder)
    if series["PatientID"].nunique() < 3:
        raise InputError(
            f"{folder / 'reference_sheet.csv'}: found {series['PatientID'].nunique()} patients with two dates and "
            "features; leave-one-patient-out evaluation needs 3 or more"
        )
    folds.audit(folder, series, settings)
    streaming.connect(settings.cluster)
    trials = plan(series, seed=settings.seed, null_control=settings.progression.null_control)
    results = folds.train_all(series, trials, train_fold, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    predictions, patients = _write_results(target, series, trials, results)
    feature_summary = tables.read_summary(folder / "features")
    _final_model(series, (predictions, patients), target, settings, feature_summary=feature_summary)
    errors = patients["Predicted_Progression_Timeline"] - patients["days"] / tables.DAYS_PER_MONTH
    patient_level_mae = errors[(patients["Protocol"] == "patient") & (patients["Cohort"] == "all")].abs().mean()
    return (
        f"{len(series):,} series of {series['PatientID'].nunique()} patients, {len(trials)} folds; "
        f"leave-one-patient-out mean absolute error {patient_level_mae:.2f} months"
    )


def _write_results(
    target: Path, series: pd.DataFrame, trials: list[Trial], results: list[Result]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all tables of the grid and of the null control; return the predictions per series and per patient."""
    main = [result for trial, result in zip(trials, results, strict=True) if not trial.shuffled]
    null = [result for trial, result in zip(trials, results, strict=True) if trial.shuffled]
    predictions = _with_intervals(pd.concat([result["predictions"] for result in main], ignore_index=True))
    tables.write_csv(target / "predictions.csv", predictions, tables.PROGRESSION_PREDICTIONS)
    patients = _with_intervals(combination.patients(predictions))
    tables.write_csv(target / "patient_predictions.csv", patients, tables.PATIENT_PREDICTIONS)
    baseline_rows = pd.concat([result["baselines"] for result in main], ignore_index=True)
    tables.write_csv(target / "baselines.csv", baseline_rows, tables.BASELINES)
    history = pd.concat([result["history"] for result in main], ignore_index=True)
    tables.write_csv(target / "history.csv", history, tables.PROGRESSION_HISTORY)
    kept = [trial for trial in trials if not trial.shuffled]
    tables.write_csv(target / "folds.csv", folds.fold_table(series, kept), tables.FOLDS)
    if null:
        models = [result["predictions"].assign(Model="model") for result in null]
        means = [result["baselines"].query("Baseline == 'mean'").assign(Model="mean") for result in null]
        tables.write_csv(target / "null_control.csv", pd.concat([*models, *means]), tables.NULL_CONTROL)
    return predictions, patients


def read_training_series(folder: Path) -> pd.DataFrame:
    """Return the series of each patient's first date, with the time to the next date.

    Returns:
        The columns of `folds.read_series` and of `tables.REFERENCE_SHEET`, months = days / 30.4375, and volume_ml of
        the date's mask (NaN without one).
    """
    sheet = tables.read_csv(folder / "reference_sheet.csv", tables.REFERENCE_SHEET).drop_duplicates(KEYS)
    volumes = tables.read_csv(folder / "volumes.csv", tables.VOLUMES)[["PatientID", "date", "volume_ml"]]
    series = folds.read_series(folder / "features").merge(sheet, on=KEYS).merge(volumes, on=KEYS[:2], how="left")
    return series.assign(months=series["days"] / tables.DAYS_PER_MONTH)


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
        trials += folds.build_trials(cohort, series, rows, seed=seed)
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
        predictions, rows of `tables.PROGRESSION_PREDICTIONS` without intervals; baselines, the same with `Baseline`;
        history, the losses of the model, rows of `tables.PROGRESSION_HISTORY`.
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


def select_rows(series: pd.DataFrame, rows: np.ndarray) -> SeriesPart:
    """Return the given rows of `read_training_series` as input of the training functions."""
    chosen = series.iloc[rows]
    return SeriesPart(vectors=list(chosen["vectors"]), months=chosen["months"].to_numpy())


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


def _with_intervals(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with Lower and Upper from the residuals of other patients, per protocol and cohort."""
    filled = predictions.copy()
    for _, group in predictions.groupby(["Protocol", "Cohort"]):
        bounds = intervals.prediction_intervals(
            group["Predicted_Progression_Timeline"].to_numpy(),
            group["days"].to_numpy() / tables.DAYS_PER_MONTH,
            groups=group["PatientID"].to_numpy(),
            coverage=COVERAGE,
        )
        filled.loc[group.index, ["Lower", "Upper"]] = np.stack(bounds, axis=1)
    return filled


def _final_model(
    series: pd.DataFrame,
    predictions: tuple[pd.DataFrame, pd.DataFrame],
    target: Path,
    settings: Settings,
    *,
    feature_summary: dict[str, Any],
) -> None:
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, losses = fit_progression(
        select_rows(series, train), select_rows(series, validation), settings=settings.progression, seed=settings.seed
    )
    description = {
        "model": "bidirectional LSTM",
        **folds.describe_model(
            settings, feature_summary, patients=(patients[train], patients[validation]), epochs=len(losses)
        ),
        "interval_coverage": COVERAGE,
        "interval_half_width_months": _half_width(predictions[0]),
        "patient_interval_half_width_months": _half_width(predictions[1]),
        "validation_errors_months": validation_errors(model, series, validation),
    }
    weights.save(target, model, description)


def _half_width(predictions: pd.DataFrame) -> float | None:
    """Return the interval's half-width for a new patient, from leave-one-patient-out; None for too few patients."""
    held_out = predictions[(predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")]
    predicted, days = held_out["Predicted_Progression_Timeline"].to_numpy(), held_out["days"].to_numpy()
    groups = held_out["PatientID"].to_numpy()
    width = intervals.half_width(predicted, days / tables.DAYS_PER_MONTH, groups=groups, coverage=COVERAGE)
    return width if np.isfinite(width) else None


def load(folder: Path, *, wavelet: str, roi: str) -> tuple[ProgressionLSTM, dict[str, Any]]:
    """Load the final model of a run and its description.

    Raises:
        InputError: if the run has no model, or it was trained on features of another wavelet or ROI method.
    """
    description = weights.load_description(folder)
    edges = description.get("interval_edges_months", [0.0, 0.0])
    model = ProgressionLSTM(description["progression"]["hidden"], outputs=len(edges) - 1)
    weights.load_into(folder, model, expected={"vector_length": tables.VECTOR_LENGTH, "wavelet": wavelet, "roi": roi})
    return model.eval(), description
