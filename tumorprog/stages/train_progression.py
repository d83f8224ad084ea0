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
    """Trains and judges the whole grid, folds side by side, then a final model on all patients for new ones.

    Raises:
        InputError: if fewer than three patients have two dates; for survival, see `stages.survival`.
        LeakError: if a study is of several patients.
    """
    if settings.progression.target == "survival":
        return survival.run(folder, out, settings)
    series = learnable(folder)
    if series["PatientID"].nunique() < 3:
        raise InputError(
            f"{folder / 'reference_sheet.csv'}: {series['PatientID'].nunique()} patients with two dates and features; "
            "leaving one out needs 3 or more"
        )
    folds.audit(folder, series, settings)
    streaming.connect(settings.cluster)
    trials = plan(series, seed=settings.seed, null_control=settings.progression.null_control)
    results = folds.train_all(series, trials, train_fold, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    predictions, patients = _write_results(target, series, trials, results)
    made_with = tables.read_summary(folder / "features")
    _final_model(series, (predictions, patients), target, settings, made_with=made_with)
    errors = patients["Predicted_Progression_Timeline"] - patients["days"] / tables.DAYS_PER_MONTH
    honest = errors[(patients["Protocol"] == "patient") & (patients["Cohort"] == "all")].abs().mean()
    return (
        f"{len(series):,} series of {series['PatientID'].nunique()} patients, {len(trials)} folds; "
        f"mean absolute error leaving one patient out {honest:.2f} months"
    )


def _write_results(
    target: Path, series: pd.DataFrame, trials: list[Trial], results: list[Result]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leaves every table of the grid and of the null control; returns the predictions per series and per patient."""
    told = [result for trial, result in zip(trials, results, strict=True) if not trial.shuffled]
    null = [result for trial, result in zip(trials, results, strict=True) if trial.shuffled]
    predictions = _with_intervals(pd.concat([result["predictions"] for result in told], ignore_index=True))
    tables.write_csv(target / "predictions.csv", predictions, tables.PROGRESSION_PREDICTIONS)
    patients = _with_intervals(combination.patients(predictions))
    tables.write_csv(target / "patient_predictions.csv", patients, tables.PATIENT_PREDICTIONS)
    beside = pd.concat([result["baselines"] for result in told], ignore_index=True)
    tables.write_csv(target / "baselines.csv", beside, tables.BASELINES)
    history = pd.concat([result["history"] for result in told], ignore_index=True)
    tables.write_csv(target / "history.csv", history, tables.PROGRESSION_HISTORY)
    kept = [trial for trial in trials if not trial.shuffled]
    tables.write_csv(target / "folds.csv", folds.sides(series, kept), tables.FOLDS)
    if null:
        models = [result["predictions"].assign(Model="model") for result in null]
        means = [result["baselines"].query("Baseline == 'mean'").assign(Model="mean") for result in null]
        tables.write_csv(target / "null_control.csv", pd.concat([*models, *means]), tables.NULL_CONTROL)
    return predictions, patients


def learnable(folder: Path) -> pd.DataFrame:
    """The series of each patient's first date with the time to the next.

    Returns:
        The columns of `folds.read_series` and of `tables.REFERENCE_SHEET`, months = days / 30.4375, and volume_ml of
        the date's mask (NaN without one).
    """
    sheet = tables.read_csv(folder / "reference_sheet.csv", tables.REFERENCE_SHEET).drop_duplicates(KEYS)
    volumes = tables.read_csv(folder / "volumes.csv", tables.VOLUMES)[["PatientID", "date", "volume_ml"]]
    series = folds.read_series(folder / "features").merge(sheet, on=KEYS).merge(volumes, on=KEYS[:2], how="left")
    return series.assign(months=series["days"] / tables.DAYS_PER_MONTH)


def plan(series: pd.DataFrame, *, seed: int, null_control: bool = False) -> list[Trial]:
    """The folds of {paper, patient} x {grade_rise, all}; a cohort too small for a protocol has none there.

    Args:
        series: of `learnable`.
        seed: of the splits.
        null_control: whether to add the folds of the cohort `all` once more, to be trained on shuffled months.
    """
    rising = np.flatnonzero(series["LaterGrade"] > series["FirstGrade"])
    trials = []
    for cohort, rows in (("all", np.arange(len(series))), ("grade_rise", rising)):
        num_patients = series["PatientID"].iloc[rows].nunique()
        if num_patients < 3:
            log.info("  cohort %s: %d patients, too few to train on; reported as such", cohort, num_patients)
            continue
        trials += folds.trials_of(cohort, series, rows, seed=seed)
    null = [replace(trial, shuffled=True) for trial in trials if trial.cohort == "all"] if null_control else []
    return trials + null


def shuffle_months(series: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The series with the months of each patient's date given to another's, who is never the same.

    Args:
        series: of `learnable`, whole patients.
        seed: of the draw.
    """
    told = ["days", "MonthDif", "months"]
    dates = series.drop_duplicates(KEYS[:2])[[*KEYS[:2], *told]]
    order = np.random.default_rng(seed).permutation(len(dates))
    given = dates.copy()
    given.iloc[order, 2:] = dates.iloc[np.roll(order, 1), 2:].to_numpy()
    return series.drop(columns=told).merge(given, on=KEYS[:2], how="left").set_index(series.index)


def train_fold(series: pd.DataFrame, trial: Trial, progression: Progression, seed: int) -> Result:
    """One fold: what the model and the baselines say of its test part, and the model's losses.

    Args:
        series: of `learnable`, whole.
        trial: which rows of it, and which of these on which side.
        progression: the settings.
        seed: of the initial weights, the shuffling and the null control.

    Returns:
        predictions, rows of `tables.PROGRESSION_PREDICTIONS` without intervals; baselines, the same with `Baseline`;
        history, rows of `tables.PROGRESSION_HISTORY`.
    """
    cohort = series.iloc[trial.rows].reset_index(drop=True)
    cohort = shuffle_months(cohort, seed=seed) if trial.shuffled else cohort
    fold = trial.fold
    training, validation = part(cohort, fold.train), part(cohort, fold.validation)
    model, losses = fit_progression(training, validation, settings=progression, seed=seed)
    test = cohort.iloc[fold.test]
    label = {"Fold": fold.name, "Protocol": trial.protocol, "Cohort": trial.cohort}
    told = test.drop(columns="vectors").assign(**label, Lower=np.nan, Upper=np.nan, Weight=1.0)
    months = np.maximum(predict_months(model, list(test["vectors"])), 0.0)
    errors = validation_errors(model, cohort, fold.validation)
    weight = combination.weights(test, errors)
    seen = cohort.iloc[np.concatenate([fold.train, fold.validation])]
    beside = [
        told.assign(Baseline=name, Predicted_Progression_Timeline=predicted)
        for name, predicted in _baselines(seen, test).items()
    ]
    return {
        "predictions": told.assign(Predicted_Progression_Timeline=months, Weight=weight),
        "baselines": pd.concat(beside),
        "history": pd.DataFrame(losses).assign(**label),
    }


def validation_errors(model: ProgressionLSTM, series: pd.DataFrame, rows: np.ndarray) -> dict[str, float]:
    """How far the model is off on the validation series of each sequence, `combination.errors_by_sequence`."""
    chosen = series.iloc[rows]
    months = np.maximum(predict_months(model, list(chosen["vectors"])), 0.0)
    return combination.errors_by_sequence(chosen["sequence"].to_numpy(), months - chosen["months"].to_numpy())


def part(series: pd.DataFrame, rows: np.ndarray) -> SeriesPart:
    """The given rows of `learnable` as one side of a split."""
    chosen = series.iloc[rows]
    return SeriesPart(vectors=list(chosen["vectors"]), months=chosen["months"].to_numpy())


def _baselines(seen: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    patients = seen.drop_duplicates(KEYS[:2])
    months = patients["months"].to_numpy()
    means = [np.stack([vectors.mean(axis=0) for vectors in side["vectors"]]) for side in (seen, test)]
    told = {name: constant(months, len(test)) for name, constant in baselines.CONSTANTS.items()}
    told["ridge"] = baselines.ridge_on_mean_features(means[0], seen["months"].to_numpy(), means[1])
    if pd.concat([seen, test])["volume_ml"].notna().any():
        told["volume"] = baselines.log_volume(patients["volume_ml"].to_numpy(), months, test["volume_ml"].to_numpy())
    return told


def _with_intervals(predictions: pd.DataFrame) -> pd.DataFrame:
    """Fills Lower and Upper from the residuals of the other patients of the same protocol and cohort."""
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
    told: tuple[pd.DataFrame, pd.DataFrame],
    target: Path,
    settings: Settings,
    *,
    made_with: dict[str, Any],
) -> None:
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, losses = fit_progression(
        part(series, train), part(series, validation), settings=settings.progression, seed=settings.seed
    )
    description = {
        "model": "bidirectional LSTM",
        **folds.described(settings, made_with, sides=(patients[train], patients[validation]), epochs=len(losses)),
        "interval_coverage": COVERAGE,
        "interval_half_width_months": _half_width(told[0]),
        "patient_interval_half_width_months": _half_width(told[1]),
        "validation_errors_months": validation_errors(model, series, validation),
    }
    weights.save(target, model, description)


def _half_width(predictions: pd.DataFrame) -> float | None:
    """Of the interval for someone new, by the folds that left one patient out; None for too few patients."""
    honest = predictions[(predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")]
    predicted, days = honest["Predicted_Progression_Timeline"].to_numpy(), honest["days"].to_numpy()
    groups = honest["PatientID"].to_numpy()
    width = intervals.half_width(predicted, days / tables.DAYS_PER_MONTH, groups=groups, coverage=COVERAGE)
    return width if np.isfinite(width) else None


def load(folder: Path, *, wavelet: str, roi: str) -> tuple[ProgressionLSTM, dict[str, Any]]:
    """The final model of a run, and its description.

    Raises:
        InputError: if there is none, or it was trained on features of another wavelet or region.
    """
    description = weights.load_description(folder)
    edges = description.get("interval_edges_months", [0.0, 0.0])
    model = ProgressionLSTM(description["progression"]["hidden"], outputs=len(edges) - 1)
    weights.load_into(folder, model, expected={"vector_length": tables.VECTOR_LENGTH, "wavelet": wavelet, "roi": roi})
    return model.eval(), description
