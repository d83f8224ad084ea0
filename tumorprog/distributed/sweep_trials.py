"""Trials of a sweep: training with the sampled settings, evaluated on patients outside the test set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from tumorprog import storage
from tumorprog.cohort import splits
from tumorprog.distributed import inference, session
from tumorprog.distributed.grader_plans import Training, build_plan, patient_sides, read_slice_metadata
from tumorprog.distributed.training import WAITING_CPUS, train
from tumorprog.errors import InputError
from tumorprog.evaluation import baselines
from tumorprog.evaluation.measures import measure
from tumorprog.evaluation.metrics import grader_levels, grader_metrics_with_baselines
from tumorprog.heads.bilstm import predict_months
from tumorprog.heads.fitting import SeriesDataset, fit_progression, progression_epochs
from tumorprog.progression.folds import audit
from tumorprog.progression.series import read_training_series, select_rows
from tumorprog.settings import Settings, with_values
from tumorprog.sweep_file import Sweep, as_settings

ENDED = "ended"
"""Key of a trial's reports: whether the training is complete; if false in the last report, the trial was stopped."""

_HELD_OUT = "held out"
_REPORTED = {"validation_accuracy": "Validation Acc (%)", "validation_loss": "Validation Loss"}
_WORKER_SHARE = 0.5
"""Share of a grader trial's cores given to its workers; the rest is for the tasks that feed them."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Components of a sweep of one model.

    Attributes:
        trainable: Ray Tune trainable, which takes a sample of the space and reports after every epoch.
        max_concurrent: number of trials that the cluster can run concurrently.
        test: function from the settings and the id of the best trial to its metrics on the test set.
        summary: number of patients in each set, for the log.
    """

    trainable: Any
    max_concurrent: int
    test: Callable[[Settings, str], dict[str, Any]]
    summary: str


def grader(folder: Path, work: Path, sweep: Sweep, settings: Settings) -> Study:
    """Return the trials of the grader: each is a training by Ray Train, evaluated on the validation patients.

    Args:
        folder: the run directory, with slices.
        work: parent of the trials' folders.
        sweep: the sweep, which defines the resources of a trial.
        settings: settings that the sweep does not vary; a trial has at least one worker.

    Raises:
        InputError: if a grade has too few patients.
        LeakError: if the split leaks.
    """
    settings = with_values(settings, {"grader.workers": max(1, settings.grader.workers)})
    slices = read_slice_metadata(folder)
    split = patient_sides(slices, settings)
    sides = slices["PatientID"].map(split)
    splits.audit(slices.assign(side=sides), protocol="patient", allowed=settings.cohort.allow_shared)
    without_test = slices.assign(side=sides.where(sides != "test", _HELD_OUT))
    workers = settings.grader.workers
    capacity = session.gpus() / (workers * sweep.gpu) if sweep.gpu else session.cores() / (workers * sweep.cpu)
    max_concurrent = max(1, int(capacity))
    worker = {"CPU": _WORKER_SHARE * sweep.cpu, **({"GPU": sweep.gpu} if sweep.gpu else {})}
    cores = max(1, session.cores() // (max_concurrent * workers))
    options = _GraderTrialOptions(folder=folder.absolute(), work=work, settings=settings, worker=worker, cores=cores)
    trial = tune.with_parameters(_grader_trial, slices=without_test, options=options)

    def test(chosen: Settings, trial_id: str) -> dict[str, Any]:
        training = Training(name="best trial", protocol="patient", folder=".", slices=without_test)
        plan = build_plan(training, folder, work / trial_id, chosen, cores=session.cores())
        predicted = inference.predictions(slices.assign(side=sides)[sides == "test"], plan)
        bootstrap = {"resamples": settings.report.bootstrap, "seed": settings.seed}
        majority = {"majority": baselines.majority(slices[sides == "train"], predicted)}
        return grader_metrics_with_baselines(grader_levels(predicted), majority, **bootstrap)

    counts = split.value_counts()
    return Study(
        trainable=tune.with_resources(trial, {"cpu": WAITING_CPUS}),
        max_concurrent=max_concurrent,
        test=test,
        summary="{train} training patients, {validation} validation patients, {test} test patients held out".format(
            **counts
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _GraderTrialOptions:
    """Options shared by all trials of the grader; `worker` holds the resources of each of their workers."""

    folder: Path
    work: Path
    settings: Settings
    worker: dict[str, float]
    cores: int


def _grader_trial(config: dict[str, Any], *, slices: pd.DataFrame, options: _GraderTrialOptions) -> None:
    chosen = with_values(options.settings, as_settings(config))
    target = options.work / tune.get_context().get_trial_id()
    storage.remove(target)  # left by a killed sweep, whose reported epochs are lost
    target.mkdir(parents=True)
    training = Training(name="trial", protocol="patient", folder=".", slices=slices)
    plan = build_plan(training, options.folder, target, chosen, cores=options.cores)
    train(plan, worker=options.worker, callbacks=[_Report(chosen.grader.epochs)])
    storage.remove(plan.checkpoint)


class _Report(TuneReportCallback):
    """Report each epoch's row of history to Ray Tune, under the metric names of a sweep."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        row = metrics[0]
        values = {name: row[column] for name, column in _REPORTED.items()}
        super().after_report(run_context, [{**values, ENDED: row["Epoch"] == self._epochs}], checkpoint)


def progression(folder: Path, sweep: Sweep, settings: Settings) -> Study:
    """Return the trials of the progression model: each trains all inner folds in one process, epoch by epoch.

    Args:
        folder: the run directory, with features and a reference sheet.
        sweep: the sweep, which defines the resources of a trial.
        settings: settings that the sweep does not vary.

    Raises:
        InputError: if fewer than five patients have two dates.
        LeakError: if a study belongs to several patients.
    """
    series = read_training_series(folder)
    audit(folder, series, settings)
    names = series["PatientID"].to_numpy()
    held_out, folds = split(names, seed=settings.seed)
    trial = tune.with_parameters(_progression_trial, series=series, folds=folds, settings=settings)

    def test(chosen: Settings, trial_id: str) -> dict[str, Any]:
        del trial_id  # the folds' models are not kept; a new model is trained on the patients of all folds
        return _test_progression(series, held_out, chosen)

    return Study(
        trainable=tune.with_resources(trial, {"cpu": sweep.cpu}),
        max_concurrent=max(1, int(session.cores() / sweep.cpu)),
        test=test,
        summary=f"{len(folds)} patients for leave-one-patient-out, {len(np.unique(names)) - len(folds)} test patients "
        "held out",
    )


def split(patients: np.ndarray, *, seed: int) -> tuple[np.ndarray, list[splits.Fold]]:
    """Hold out patients from all trials, and return their rows and the inner folds of the other patients.

    Args:
        patients: (N,) patient of each series.
        seed: seed of the split.

    Returns:
        Rows of about a fifth of the patients, and leave-one-patient-out folds over the rows of the others.

    Raises:
        InputError: with fewer than five patients.
    """
    names = np.unique(patients)
    if len(names) < 5:
        raise InputError(
            f"found {len(names)} patients with two dates; a sweep with a held-out test set needs 5 or more"
        )
    shuffled = np.random.default_rng(seed).permutation(names)
    held_out = np.isin(patients, shuffled[: max(1, len(names) // 5)])
    rows = np.flatnonzero(~held_out)
    folds = [
        splits.Fold(name=fold.name, train=rows[fold.train], validation=rows[fold.validation], test=rows[fold.test])
        for fold in splits.leave_one_patient_out(patients[rows], seed=seed)
    ]
    return np.flatnonzero(held_out), folds


def _progression_trial(
    config: dict[str, Any], *, series: pd.DataFrame, folds: list[splits.Fold], settings: Settings
) -> None:
    """Report the error on the left-out patients after each epoch of all folds, by each fold's best epoch so far."""
    torch.set_num_threads(1)
    chosen = with_values(settings, as_settings(config))
    left_out = [_select(series, fold.test) for fold in folds]
    running = {
        number: progression_epochs(
            _select(series, fold.train),
            _select(series, fold.validation),
            settings=chosen.progression,
            seed=settings.seed,
        )
        for number, fold in enumerate(folds)
    }
    errors: dict[int, np.ndarray] = {}
    while running:
        for number in list(running):
            step = next(running[number])
            if step.is_best:
                errors[number] = predict_months(step.model, left_out[number].vectors) - left_out[number].months
            if step.is_last:
                del running[number]
        all_errors = np.concatenate(list(errors.values()))
        tune.report(
            {
                "validation_mae_months": float(np.abs(all_errors).mean()),
                "validation_rmse_months": float(np.sqrt((all_errors**2).mean())),
                ENDED: not running,
            }
        )


def _select(series: pd.DataFrame, rows: np.ndarray) -> SeriesDataset:
    return select_rows(series, rows)


def _test_progression(series: pd.DataFrame, held_out: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Return the errors on the held-out patients of one model trained on all others."""
    others = np.setdiff1d(np.arange(len(series)), held_out)
    train, validation = splits.inner_split(series["PatientID"].to_numpy()[others], seed=settings.seed)
    model, _ = fit_progression(
        _select(series, others[train]),
        _select(series, others[validation]),
        settings=settings.progression,
        seed=settings.seed,
    )
    test = _select(series, held_out)
    months = series.iloc[others].drop_duplicates(["PatientID", "date"])["months"].to_numpy()
    median = baselines.median_months(months, len(held_out))
    patients = series["PatientID"].to_numpy()[held_out]

    def evaluate(predicted: np.ndarray) -> dict[str, Any]:
        errors = np.abs(predicted - test.months)
        resamples = settings.report.bootstrap
        error = measure(patients, lambda rows: float(errors[rows].mean()), resamples=resamples, seed=0, skewed=True)
        return {"mae": error}

    of_model = evaluate(predict_months(model, test.vectors))
    return {"series": {**of_model, "baselines": {"median": evaluate(median)}}, "patients": len(np.unique(patients))}
