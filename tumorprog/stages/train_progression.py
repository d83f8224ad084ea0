"""train-progression: features + reference sheet -> folds, progression/ (predictions of every fold, a final model)."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray

from tumorprog import __version__, tables
from tumorprog.cohort import splits
from tumorprog.errors import InputError
from tumorprog.evaluation import baselines, intervals
from tumorprog.models import weights
from tumorprog.models.progression import ProgressionLSTM, predict_months
from tumorprog.settings import Progression, Settings
from tumorprog.stages import streaming
from tumorprog.training import SeriesPart, fit_progression

log = logging.getLogger(__name__)

COVERAGE = 0.8
"""Nominal coverage of Lower..Upper."""
_KEYS = ["PatientID", "date", "Type"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of the grid {paper, patient} x {grade_rise, all}.

    Attributes:
        protocol: patient or paper.
        cohort: all or grade_rise.
        rows: which series make the cohort, indices into the table of series.
        fold: indices into `rows`.
    """

    protocol: str
    cohort: str
    rows: np.ndarray
    fold: splits.Fold


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Trains and judges the whole grid, folds side by side, then a final model on all patients for new ones.

    Raises:
        InputError: if fewer than three patients have two dates.
    """
    series = learnable(folder)
    if series["PatientID"].nunique() < 3:
        raise InputError(
            f"{folder / 'reference_sheet.csv'}: {series['PatientID'].nunique()} patients with two dates and features; "
            "leaving one out needs 3 or more"
        )
    streaming.connect(settings.cluster)
    trials = plan(series, seed=settings.seed)
    results = _train_all(series, trials, settings)
    target = out / "progression"
    target.mkdir(exist_ok=True)
    predictions = _with_intervals(pd.concat([result["predictions"] for result in results], ignore_index=True))
    tables.write_csv(target / "predictions.csv", predictions, tables.PROGRESSION_PREDICTIONS)
    beside = pd.concat([result["baselines"] for result in results], ignore_index=True)
    tables.write_csv(target / "baselines.csv", beside, ("Baseline", *tables.PROGRESSION_PREDICTIONS))
    history = pd.concat([result["history"] for result in results], ignore_index=True)
    tables.write_csv(target / "history.csv", history, tables.PROGRESSION_HISTORY)
    tables.write_csv(target / "folds.csv", _folds(series, trials), tables.FOLDS)
    made_with = tables.read_summary(folder / "features")
    _final_model(series, predictions, target, settings, made_with=made_with)
    honest = predictions[(predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")]
    error = (honest["Predicted_Progression_Timeline"] - honest["days"] / tables.DAYS_PER_MONTH).abs().mean()
    return (
        f"{len(series):,} series of {series['PatientID'].nunique()} patients, {len(trials)} folds; "
        f"mean absolute error leaving one patient out {error:.2f} months"
    )


def read_series(features: Path) -> pd.DataFrame:
    """The series with features.

    Args:
        features: folder of `tables.FEATURES`.

    Returns:
        A row per series: PatientID, date, Type, SeriesInstanceUID and vectors, (L, 100) float32 in the slices' order.
    """
    table = tables.read_shards(features, tables.FEATURES)
    rows = table.drop_columns(["vector"]).to_pandas()
    vectors = tables.vectors(table)
    found = [
        {**dict(zip([*_KEYS, "SeriesInstanceUID"], key, strict=True)), "vectors": vectors[group.index]}
        for key, group in rows.sort_values("order").groupby([*_KEYS, "SeriesInstanceUID"], sort=True)
    ]
    return pd.DataFrame(found, columns=[*_KEYS, "SeriesInstanceUID", "vectors"])


def learnable(folder: Path) -> pd.DataFrame:
    """The series of each patient's first date with the time to the next.

    Returns:
        The columns of `read_series` and of `tables.REFERENCE_SHEET`, and months = days / 30.4375.
    """
    sheet = tables.read_csv(folder / "reference_sheet.csv", tables.REFERENCE_SHEET).drop_duplicates(_KEYS)
    series = read_series(folder / "features").merge(sheet, on=_KEYS)
    return series.assign(months=series["days"] / tables.DAYS_PER_MONTH)


def plan(series: pd.DataFrame, *, seed: int) -> list[Trial]:
    """The folds of {paper, patient} x {grade_rise, all}; a cohort too small for a protocol has none there.

    Args:
        series: of `learnable`.
        seed: of the splits.
    """
    rising = np.flatnonzero(series["LaterGrade"] > series["FirstGrade"])
    trials = []
    for cohort, rows in (("all", np.arange(len(series))), ("grade_rise", rising)):
        patients = series["PatientID"].to_numpy()[rows]
        num_patients = len(np.unique(patients))
        if num_patients < 3:
            log.info("  cohort %s: %d patients, too few to train on; reported as such", cohort, num_patients)
            continue
        folds = {
            "patient": splits.leave_one_patient_out(patients, seed=seed),
            "paper": splits.random_series(len(rows), seed=seed),
        }
        trials += [
            Trial(protocol=protocol, cohort=cohort, rows=rows, fold=fold)
            for protocol, some in folds.items()
            for fold in some
        ]
    return trials


def _train_all(series: pd.DataFrame, trials: list[Trial], settings: Settings) -> list[dict[str, pd.DataFrame]]:
    shared = ray.put(series)
    remote = ray.remote(num_cpus=1, max_retries=3)(train_fold)
    pending = {remote.remote(shared, trial, settings.progression, settings.seed): n for n, trial in enumerate(trials)}
    progress = streaming.Progress("train-progression", total=len(trials), items="folds")
    results: dict[int, dict[str, pd.DataFrame]] = {}
    while pending:
        (ready,), _ = ray.wait(list(pending), num_returns=1)
        result = ray.get(ready)
        results[pending.pop(ready)] = result
        progress.add(1)
    return [results[number] for number in range(len(trials))]


def train_fold(series: pd.DataFrame, trial: Trial, progression: Progression, seed: int) -> dict[str, pd.DataFrame]:
    """One fold: what the model and the baselines say of its test part, and the model's losses.

    Args:
        series: of `learnable`, whole.
        trial: which rows of it, and which of these on which side.
        progression: the settings.
        seed: of the initial weights and the shuffling.

    Returns:
        predictions, rows of `tables.PROGRESSION_PREDICTIONS` without intervals; baselines, the same with `Baseline`;
        history, rows of `tables.PROGRESSION_HISTORY`.
    """
    cohort = series.iloc[trial.rows].reset_index(drop=True)
    fold = trial.fold
    training, validation = part(cohort, fold.train), part(cohort, fold.validation)
    model, losses = fit_progression(training, validation, settings=progression, seed=seed)
    test = cohort.iloc[fold.test]
    label = {"Fold": fold.name, "Protocol": trial.protocol, "Cohort": trial.cohort}
    told = test.drop(columns="vectors").assign(**label, Lower=np.nan, Upper=np.nan)
    months = np.maximum(predict_months(model, list(test["vectors"])), 0.0)
    seen = cohort.iloc[np.concatenate([fold.train, fold.validation])]
    beside = [
        told.assign(Baseline=name, Predicted_Progression_Timeline=predicted)
        for name, predicted in _baselines(seen, test).items()
    ]
    return {
        "predictions": told.assign(Predicted_Progression_Timeline=months),
        "baselines": pd.concat(beside),
        "history": pd.DataFrame(losses).assign(**label),
    }


def part(series: pd.DataFrame, rows: np.ndarray) -> SeriesPart:
    """The given rows of `learnable` as one side of a split."""
    chosen = series.iloc[rows]
    return SeriesPart(vectors=list(chosen["vectors"]), months=chosen["months"].to_numpy())


def _baselines(seen: pd.DataFrame, test: pd.DataFrame) -> dict[str, np.ndarray]:
    per_patient = seen.drop_duplicates(["PatientID", "date"])["months"].to_numpy()
    means = [np.stack([vectors.mean(axis=0) for vectors in side["vectors"]]) for side in (seen, test)]
    return {
        "mean": baselines.mean_months(per_patient, len(test)),
        "median": baselines.median_months(per_patient, len(test)),
        "ridge": baselines.ridge_on_mean_features(means[0], seen["months"].to_numpy(), means[1]),
    }


def _with_intervals(predictions: pd.DataFrame) -> pd.DataFrame:
    """Fills Lower and Upper from the residuals of the other patients of the same protocol and cohort."""
    filled = predictions.copy()
    for _, group in predictions.groupby(["Protocol", "Cohort"]):
        bounds = intervals.prediction_intervals(
            group["Predicted_Progression_Timeline"].to_numpy(),
            group["months"].to_numpy(),
            groups=group["PatientID"].to_numpy(),
            coverage=COVERAGE,
        )
        filled.loc[group.index, ["Lower", "Upper"]] = np.stack(bounds, axis=1)
    return filled


def _folds(series: pd.DataFrame, trials: list[Trial]) -> pd.DataFrame:
    tables_of_sides = [
        series.iloc[trial.rows[getattr(trial.fold, side)]][_KEYS].assign(
            Protocol=trial.protocol, Cohort=trial.cohort, Fold=trial.fold.name, side=side
        )
        for trial in trials
        for side in splits.SIDES
    ]
    return pd.concat(tables_of_sides)


def _final_model(
    series: pd.DataFrame, predictions: pd.DataFrame, target: Path, settings: Settings, *, made_with: dict[str, Any]
) -> None:
    patients = series["PatientID"].to_numpy()
    train, validation = splits.inner_split(patients, seed=settings.seed)
    model, losses = fit_progression(
        part(series, train), part(series, validation), settings=settings.progression, seed=settings.seed
    )
    honest = predictions[(predictions["Protocol"] == "patient") & (predictions["Cohort"] == "all")]
    half_width = intervals.half_width(
        honest["Predicted_Progression_Timeline"].to_numpy(),
        honest["months"].to_numpy(),
        groups=honest["PatientID"].to_numpy(),
        coverage=COVERAGE,
    )
    description = {
        "model": "bidirectional LSTM",
        "vector_length": tables.VECTOR_LENGTH,
        "wavelet": made_with["wavelet"],
        "roi": made_with["roi"],
        "progression": asdict(settings.progression),
        "seed": settings.seed,
        "epochs": len(losses),
        "training_patients": len(np.unique(patients[train])),
        "validation_patients": len(np.unique(patients[validation])),
        "interval_coverage": COVERAGE,
        "interval_half_width_months": half_width if np.isfinite(half_width) else None,
        "versions": {"tumorprog": __version__},
    }
    weights.save(target, model, description)


def load(folder: Path, *, wavelet: str, roi: str) -> tuple[ProgressionLSTM, dict[str, Any]]:
    """The final model of a run, and its description.

    Raises:
        InputError: if there is none, or it was trained on features of another wavelet or region.
    """
    description = weights.load_description(folder)
    model = ProgressionLSTM(description["progression"]["hidden"])
    weights.load_into(folder, model, expected={"vector_length": tables.VECTOR_LENGTH, "wavelet": wavelet, "roi": roi})
    return model.eval(), description
