"""The grader's predictions in a run directory -> its metrics, and what its sections show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog import model_files, tables
from tumorprog.evaluation import calibration, metrics, ordinal, repetitions
from tumorprog.evaluation.baselines import institution, majority
from tumorprog.evaluation.evidence import preference
from tumorprog.graders import evidence, resnet18
from tumorprog.graders.columns import FOLD_PREDICTIONS, GRADER_PREDICTIONS, HISTORY
from tumorprog.settings import Settings

FOLDS, BY_PATIENT = "grader/folds", "grader"
SUBFOLDERS = (BY_PATIENT, FOLDS, "grader/paper")
"""Folders of trainings that have a section each; `grader` has the paper's protocol if it is the only one."""

SITES = ("Institution", "Manufacturer")


@dataclass(frozen=True, kw_only=True)
class GraderResults:
    """Results of the grader under one protocol, or in cross-validation.

    Attributes:
        folder: folder of its files in the run directory.
        test: rows of `graders.columns.GRADER_PREDICTIONS` of the test set.
        levels: test predictions at each level, from `evaluation.metrics.grader_levels`.
        bins: from `evaluation.calibration.reliability_bins`, for the levels with enough patients.
        groups: metrics per patient from `evaluation.metrics.by_group` and the number of slices, by column; one column
            "Institution and manufacturer" where each institution has one manufacturer and the other way round.
        initial_weights: `initial_weights` of model.json.
        history: rows of `graders.columns.HISTORY`; empty for a cross-validation.
        leaks: rows of leaks.csv.
        examples: examples for `report.grading.figures.grad_cam_panel`.
    """

    folder: str
    test: pd.DataFrame
    levels: Mapping[str, pd.DataFrame]
    bins: Mapping[str, pd.DataFrame]
    groups: Mapping[str, Mapping[str, Any]]
    initial_weights: str
    history: pd.DataFrame
    leaks: pd.DataFrame
    examples: Sequence[Mapping[str, Any]] = ()


def evaluate(
    folder: Path, subfolder: str, masked: pd.DataFrame, settings: Settings
) -> tuple[str, dict[str, Any], GraderResults]:
    """Evaluate the test set of the training in a subfolder.

    Args:
        folder: the run directory.
        subfolder: one of `SUBFOLDERS`, with predictions.
        masked: slices of the progression cohort, as for `graders.evidence.in_tumour`.
        settings: settings of the report, and the seed.

    Returns:
        The protocol, its part of metrics.json, and its results.
    """
    if subfolder == FOLDS:
        return "folds", *_evaluate_folds(folder, settings)
    description = model_files.load_description(folder / subfolder)
    predictions = tables.read_shards(folder / subfolder, GRADER_PREDICTIONS).to_pandas()
    train, test = (predictions[predictions["side"] == side] for side in ("train", "test"))
    compared = {"majority": majority(train, test), "institution": institution(train, test)}
    shown = _collect(
        test,
        subfolder,
        settings,
        by=SITES,
        initial_weights=description["initial_weights"],
        history=tables.read_csv(folder / subfolder / "history.csv", HISTORY),
        leaks=tables.read_csv(folder / subfolder / "leaks.csv", ("what",)),
    )
    scores = _scores(shown.levels, compared, settings) | _repetitions(folder / subfolder, shown.levels["patient"])
    if subfolder == BY_PATIENT and settings.report.evidence_slices and (folder / "slices").exists():
        scores["evidence"] = _evidence(folder, predictions, masked, settings)
    return description["protocol"], scores, shown


def _evaluate_folds(folder: Path, settings: Settings) -> tuple[dict[str, Any], GraderResults]:
    """Evaluate the test sets of all folds together, so that every patient counts once."""
    tested = tables.read_shards(folder / FOLDS, FOLD_PREDICTIONS).to_pandas()
    split = tables.read_csv(folder / FOLDS / "split.csv", ("fold", "patient", "side"))
    compared = {}
    for name, baseline in (("majority", majority), ("institution", institution)):
        by_fold = []
        for fold, test in tested.groupby("fold"):
            train_patients = split.loc[(split["fold"] == fold) & (split["side"] == "train"), "patient"]
            by_fold.append(baseline(tested[tested["PatientID"].isin(train_patients)], test))
        compared[name] = pd.concat(by_fold)
    shown = _collect(
        tested,
        FOLDS,
        settings,
        by=(*SITES, "fold"),
        initial_weights=model_files.load_description(folder / FOLDS / "fold-1")["initial_weights"],
        history=pd.DataFrame(),
        leaks=pd.DataFrame(),
    )
    return _scores(shown.levels, compared, settings), shown


def _collect(
    test: pd.DataFrame, subfolder: str, settings: Settings, *, by: tuple[str, ...], **known: Any
) -> GraderResults:
    levels = metrics.grader_levels(test)
    bins = {
        name: calibration.reliability_bins(level)
        for name, level in levels.items()
        if not calibration.too_few(level, name)
    }
    groups = _groups(levels, by, settings)
    return GraderResults(folder=subfolder, test=test, levels=levels, bins=bins, groups=groups, **known)


def _scores(
    levels: Mapping[str, pd.DataFrame], compared: Mapping[str, pd.DataFrame], settings: Settings
) -> dict[str, Any]:
    options: dict[str, Any] = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    scores: dict[str, Any] = dict(metrics.grader_metrics_with_baselines(levels, compared, **options))
    for name, level in levels.items():
        scores[name]["calibration"] = calibration.calibration_metrics(level, name, **options)
    scores["patient"] |= ordinal.agreement(levels["patient"], **options)
    return scores


def _groups(
    levels: Mapping[str, pd.DataFrame], by: tuple[str, ...], settings: Settings
) -> dict[str, dict[str, dict[str, Any]]]:
    patients, counts = levels["patient"], levels["slice"]["PatientID"].value_counts()
    patients = patients.assign(slices=patients["PatientID"].map(counts))
    if coincide(patients):
        institution, manufacturer = (metrics.group_names(patients, column) for column in SITES)
        both = institution + ", " + manufacturer
        patients = patients.assign(**{"Institution and manufacturer": both})
        by = ("Institution and manufacturer", *(column for column in by if column not in SITES))
    return {column: _group(patients, column, settings) for column in by}


def coincide(patients: pd.DataFrame) -> bool:
    """Return whether each of several institutions has one manufacturer and the other way round.

    Args:
        patients: with columns Institution and Manufacturer.
    """
    pairs = len(patients[list(SITES)].drop_duplicates())
    return pairs > 1 and all(patients[column].nunique() == pairs for column in SITES)


def _group(patients: pd.DataFrame, column: str, settings: Settings) -> dict[str, dict[str, Any]]:
    scores = metrics.by_group(patients, column, resamples=settings.report.bootstrap, seed=settings.seed)
    slices = patients["slices"].groupby(metrics.group_names(patients, column)).sum()
    return {name: {**group, "slices": int(slices[name])} for name, group in scores.items()}


def _repetitions(folder: Path, patients: pd.DataFrame) -> dict[str, Any]:
    """Return the parts of metrics.json on other seeds and on the null control, if they were trained."""
    observed = _balanced_accuracy(patients)
    seeds, draws = (
        [_balanced_accuracy_of(path) for path in sorted((folder / name).glob("*/predictions.parquet"), key=_number)]
        for name in ("seeds", "null")
    )
    evaluated: dict[str, Any] = {}
    if seeds:
        evaluated["seeds"] = {"balanced_accuracy": repetitions.spread([observed, *seeds])}
    if draws:
        evaluated["null_control"] = repetitions.permutation_test(observed, draws, lower_is_better=False)
    return evaluated


def _number(predictions: Path) -> int:
    return int(predictions.parent.name.rpartition("-")[2])


def _balanced_accuracy_of(predictions: Path) -> float:
    rows = tables.read_shards(predictions.parent, GRADER_PREDICTIONS).to_pandas()
    return _balanced_accuracy(metrics.grader_levels(rows[rows["side"] == "test"])["patient"])


def _balanced_accuracy(patients: pd.DataFrame) -> float:
    return metrics.BalancedAccuracy(patients)(patients.reset_index().index.to_numpy())


def _evidence(folder: Path, predictions: pd.DataFrame, masked: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Return region -> model or random -> metric, for the trained network and for one with random weights."""
    choice: dict[str, Any] = {"count": settings.report.evidence_slices, "seed": settings.seed}
    scaling = model_files.load_description(folder / BY_PATIENT)["scaling"]
    known = masked[masked["sequence"].isin({*predictions["sequence"], "mask"})]
    regions = {
        "outside_head": evidence.outside_head(folder / "slices", predictions[predictions["side"] == "test"], **choice),
        "in_tumour": evidence.in_tumour(known, scaling=scaling, **choice),
    }
    networks = {
        "model": resnet18.load(folder / BY_PATIENT),
        "random": resnet18.build("none", seed=settings.seed),
    }
    options: dict[str, Any] = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    return {
        name: {network: preference(evidence.shares(model, region), **options) for network, model in networks.items()}
        for name, region in regions.items()
        if len(region.patients)
    }
