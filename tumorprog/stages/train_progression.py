"""train-progression: features + reference sheet -> folds, progression/ (predictions of every fold, a final model)."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

from tumorprog import storage, tables
from tumorprog.cohort import outcomes
from tumorprog.cohort.columns import OUTCOMES
from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.distributed import fold_training, session
from tumorprog.errors import InputError
from tumorprog.evaluation import combination
from tumorprog.progression import months, survival
from tumorprog.progression.columns import (
    BASELINES,
    FOLDS,
    LEFT_OUT,
    NULL_CONTROL,
    PATIENT_PREDICTIONS,
    PATIENT_SURVIVAL,
    PROGRESSION_HISTORY,
    PROGRESSION_PREDICTIONS,
    SEEDS,
    SURVIVAL_PREDICTIONS,
)
from tumorprog.progression.folds import Result, Trial, audit, build_trials, fold_table
from tumorprog.progression.series import read_options, read_series, read_training_series
from tumorprog.settings import Settings

_MIN_PATIENTS = 3


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Train and evaluate all folds of the grid concurrently, then train a final model on all patients for new ones.

    Raises:
        InputError: if fewer than three patients have two dates; for survival, see `progression.survival`.
        LeakError: if a study belongs to several patients.
    """
    if settings.progression.target == "survival":
        return _run_survival(folder, out, settings)
    series = read_training_series(folder)
    if series["PatientID"].nunique() < 3:
        raise InputError(
            f"{folder / 'reference_sheet.csv'}: found {series['PatientID'].nunique()} patients with two dates and "
            "features; leave-one-patient-out evaluation needs 3 or more"
        )
    audit(folder, series, settings)
    session.connect(settings.cluster)
    trials = months.plan(series, settings.progression, seed=settings.seed)
    results = fold_training.train_all(series, trials, months.train_fold, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    groups = months.interval_groups(series, seed=settings.seed)
    predictions, patients = _write_results(target, series, groups, trials, results)
    months.train_final_model(series, (predictions, patients), target, settings, options=read_options(folder))
    errors = patients["Predicted_Progression_Timeline"] - patients["days"] / DAYS_PER_MONTH
    patient_level_mae = errors[(patients["Protocol"] == "patient") & (patients["Cohort"] == "all")].abs().mean()
    return (
        f"{len(series):,} series of {series['PatientID'].nunique()} patients, {len(trials)} folds; "
        f"leave-one-patient-out mean absolute error {patient_level_mae:.2f} months"
    )


def _write_results(
    target: Path, series: pd.DataFrame, groups: pd.Series, trials: list[Trial], results: list[Result]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the tables of all trials; return the predictions of the grid per series and per patient."""
    left_out = _concat(trials, results, "predictions", "interval")
    left_out = left_out.assign(Group=left_out["PatientID"].map(groups))
    tables.write_csv(target / "left_out.csv", left_out, LEFT_OUT)
    predictions = months.with_intervals(_concat(trials, results, "predictions", "result"), left_out)
    tables.write_csv(target / "predictions.csv", predictions, PROGRESSION_PREDICTIONS)
    patients = months.with_intervals(combination.combine_by_patient(predictions), _combined(left_out, groups))
    tables.write_csv(target / "patient_predictions.csv", patients, PATIENT_PREDICTIONS)
    tables.write_csv(target / "baselines.csv", _concat(trials, results, "baselines", "result"), BASELINES)
    tables.write_csv(target / "history.csv", _concat(trials, results, "history", "result"), PROGRESSION_HISTORY)
    grid = [trial for trial in trials if trial.purpose == "result"]
    tables.write_csv(target / "folds.csv", fold_table(series, grid), FOLDS)
    seeds = _concat(trials, results, "predictions", "seed").rename(columns={"Repeat": "Seed"})
    tables.write_csv(target / "seeds.csv", seeds, SEEDS)
    if any(trial.purpose == "null" for trial in trials):
        model, baselines = (_concat(trials, results, name, "null") for name in ("predictions", "baselines"))
        mean = baselines[baselines["Baseline"] == "mean"]
        null = pd.concat([model.assign(Model="model"), mean.assign(Model="mean")]).rename(columns={"Repeat": "Draw"})
        tables.write_csv(target / "null_control.csv", null, NULL_CONTROL)
    return predictions, patients


def _concat(trials: list[Trial], results: list[Result], name: str, purpose: str) -> pd.DataFrame:
    """Return a table of all trials of a purpose, with the number of their repetition as Repeat."""
    rows = [
        result[name].assign(Repeat=trial.repeat)
        for trial, result in zip(trials, results, strict=True)
        if trial.purpose == purpose
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=[*PROGRESSION_PREDICTIONS, "Repeat"])


def _combined(left_out: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """Return the predictions of the left-out patients per patient."""
    patients = combination.combine_by_patient(left_out)
    return patients.assign(Group=patients["PatientID"].map(groups))


def _run_survival(folder: Path, out: Path, settings: Settings) -> str:
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
    series = read_series(folder / "features")
    first = survival.first_dates(series)
    outcome_table = outcomes.read_outcomes(storage.as_path(settings.archive.outcomes), list(first["PatientID"]))
    cohort = outcomes.match(first, outcome_table)
    followed = survival.followed_series(series, cohort)
    _check_enough_patients(settings.archive.outcomes, cohort)
    audit(folder, followed, settings)
    session.connect(settings.cluster)
    trials = build_trials("all", followed, np.arange(len(followed)), seed=settings.seed)
    results = fold_training.train_all(followed, trials, survival.train_fold, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    tables.write_csv(target / "outcomes.csv", cohort, OUTCOMES)
    for name, columns in (
        ("survival_predictions", SURVIVAL_PREDICTIONS),
        ("patient_survival", PATIENT_SURVIVAL),
        ("history", PROGRESSION_HISTORY),
    ):
        rows = pd.concat([result[name] for result in results], ignore_index=True)
        tables.write_csv(target / f"{name}.csv", rows, columns)
    tables.write_csv(target / "folds.csv", fold_table(followed, trials), FOLDS)
    survival.train_final_model(followed, target, settings, options=read_options(folder))
    included = cohort[cohort["status"] == "followed"]
    return (
        f"{len(followed):,} series of {len(included)} patients, {int(included['event'].sum())} of whom progressed; "
        f"{len(trials)} folds; {len(cohort) - len(included)} patients excluded"
    )


def _check_enough_patients(path: str, cohort: pd.DataFrame) -> None:
    included = cohort[cohort["status"] == "followed"]
    if len(included) < _MIN_PATIENTS or included["event"].sum() < _MIN_PATIENTS:
        unmatched = outcomes.unmatched(cohort)
        counts = ", ".join(f"{count} {status}" for status, count in cohort["status"].value_counts().items())
        raise InputError(
            f"{path}: {len(included)} patients are followed, {int(included['event'].sum())} of whom progressed; at "
            f"least {_MIN_PATIENTS} of each are required ({counts})" + (f"; {unmatched}" if unmatched else "")
        )
