"""What the trials of a sweep do: a model's settings -> its figures on patients who are not the test part's."""

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
from tumorprog.errors import InputError
from tumorprog.evaluation import baselines, metrics
from tumorprog.fitting import SeriesPart, fit_progression, progression_epochs
from tumorprog.models.progression import predict_months
from tumorprog.settings import Settings, with_values
from tumorprog.stages import grader_training, streaming, train_grader, train_progression
from tumorprog.stages.folds import audit
from tumorprog.stages.sweep import Sweep, as_settings

ENDED = "ended"
"""In a report: whether the training has come to its own end; if its last report says no, the scheduler stopped it."""

_HELD_OUT = "held out"
_REPORTED = {"validation_accuracy": "Validation Acc (%)", "validation_loss": "Validation Loss"}
_WORKER_SHARE = 0.5
"""Of the cores of a grader trial; the rest is for what feeds it."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a sweep of one of the two models is made of.

    Attributes:
        trainable: for Ray Tune: takes a draw of the space, reports after every epoch.
        at_once: how many trials there is room for.
        test: from a trial's settings and its id, the figures of the test part; for the winner alone.
        told: who is in which part, for the log.
    """

    trainable: Any
    at_once: int
    test: Callable[[Settings, str], dict[str, Any]]
    told: str


def grader(folder: Path, work: Path, sweep: Sweep, settings: Settings) -> Study:
    """Trials of the grader: each a training by Ray Train, judged on the validation patients.

    Args:
        folder: the run directory, with slices.
        work: receives a folder for each trial.
        sweep: says what a trial may use.
        settings: of what the sweep does not vary; a trial has one worker at least.

    Raises:
        InputError: if a grade has too few patients.
        LeakError: if the split leaks.
    """
    settings = with_values(settings, {"grader.workers": max(1, settings.grader.workers)})
    known = train_grader.known_slices(folder)
    split = train_grader.patient_sides(known, settings)
    sides = known["PatientID"].map(split)
    splits.audit(known.assign(side=sides), protocol="patient", allowed=settings.cohort.allow_shared)
    seen = known.assign(side=sides.where(sides != "test", _HELD_OUT))
    workers = settings.grader.workers
    room = streaming.gpus() / (workers * sweep.gpu) if sweep.gpu else streaming.cores() / (workers * sweep.cpu)
    at_once = max(1, int(room))
    worker = {"CPU": _WORKER_SHARE * sweep.cpu, **({"GPU": sweep.gpu} if sweep.gpu else {})}
    cores = max(1, streaming.cores() // (at_once * workers))
    terms = _Terms(folder=folder.absolute(), work=work, settings=settings, worker=worker, cores=cores)
    trial = tune.with_parameters(_grader_trial, known=seen, terms=terms)

    def test(chosen: Settings, trial_id: str) -> dict[str, Any]:
        training = train_grader.Training(name="best trial", protocol="patient", folder=".", known=seen)
        plan = train_grader.plan_of(training, folder, work / trial_id, chosen, cores=streaming.cores())
        told = train_grader.predictions(known.assign(side=sides)[sides == "test"], plan)
        chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
        majority = {"majority": baselines.majority(known[sides == "train"], told)}
        return metrics.grader_beside(metrics.grader_levels(told), majority, **chance)

    counts = split.value_counts()
    return Study(
        trainable=tune.with_resources(trial, {"cpu": grader_training.WAITING_CPUS}),
        at_once=at_once,
        test=test,
        told="{train} patients to learn from, {validation} to choose by, {test} held out".format(**counts),
    )


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """What all trials of the grader share; `worker` are the resources of each of their workers."""

    folder: Path
    work: Path
    settings: Settings
    worker: dict[str, float]
    cores: int


def _grader_trial(config: dict[str, Any], *, known: pd.DataFrame, terms: _Terms) -> None:
    chosen = with_values(terms.settings, as_settings(config))
    target = terms.work / tune.get_context().get_trial_id()
    storage.remove(target)  # of a sweep that was killed: its epochs were reported to nobody who is there now
    target.mkdir(parents=True)
    training = train_grader.Training(name="trial", protocol="patient", folder=".", known=known)
    plan = train_grader.plan_of(training, terms.folder, target, chosen, cores=terms.cores)
    grader_training.train(plan, worker=terms.worker, callbacks=[_Report(chosen.grader.epochs)])
    storage.remove(plan.checkpoint)


class _Report(TuneReportCallback):
    """Hands each epoch's row of history on to Ray Tune, in the words of a sweep."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        row = metrics[0]
        told = {name: row[column] for name, column in _REPORTED.items()}
        super().after_report(run_context, [{**told, ENDED: row["Epoch"] == self._epochs}], checkpoint)


def progression(folder: Path, sweep: Sweep, settings: Settings) -> Study:
    """Trials of the progression model: each trains all inner folds in its own process, side by side epoch by epoch.

    Args:
        folder: the run directory, with features and a reference sheet.
        sweep: says what a trial may use.
        settings: of what the sweep does not vary.

    Raises:
        InputError: if fewer than five patients have two dates.
        LeakError: if a study is of several patients.
    """
    series = train_progression.learnable(folder)
    audit(folder, series, settings)
    names = series["PatientID"].to_numpy()
    held_out, folds = split(names, seed=settings.seed)
    trial = tune.with_parameters(_progression_trial, series=series, folds=folds, settings=settings)

    def test(chosen: Settings, trial_id: str) -> dict[str, Any]:
        del trial_id  # the folds' models are not kept: one is trained on all patients of all folds
        return _test_progression(series, held_out, chosen)

    return Study(
        trainable=tune.with_resources(trial, {"cpu": sweep.cpu}),
        at_once=max(1, int(streaming.cores() / sweep.cpu)),
        test=test,
        told=f"{len(folds)} patients left out in turn, {len(np.unique(names)) - len(folds)} held out",
    )


def split(patients: np.ndarray, *, seed: int) -> tuple[np.ndarray, list[splits.Fold]]:
    """Patients that no trial sees, and the inner folds of the others.

    Args:
        patients: (N,) patient of each series.
        seed: of the split.

    Returns:
        Rows of about a fifth of the patients, and folds over the rows of the others, left out one at a time.

    Raises:
        InputError: with fewer than five patients.
    """
    names = np.unique(patients)
    if len(names) < 5:
        raise InputError(f"{len(names)} patients with two dates; a sweep that holds some out needs 5 or more")
    shuffled = np.random.default_rng(seed).permutation(names)
    outside = np.isin(patients, shuffled[: max(1, len(names) // 5)])
    rows = np.flatnonzero(~outside)
    folds = [
        splits.Fold(name=fold.name, train=rows[fold.train], validation=rows[fold.validation], test=rows[fold.test])
        for fold in splits.leave_one_patient_out(patients[rows], seed=seed)
    ]
    return np.flatnonzero(outside), folds


def _progression_trial(
    config: dict[str, Any], *, series: pd.DataFrame, folds: list[splits.Fold], settings: Settings
) -> None:
    """After each epoch of all folds the error on the patients left out, each by the best epoch of its fold so far."""
    torch.set_num_threads(1)
    chosen = with_values(settings, as_settings(config))
    left_out = [_part(series, fold.test) for fold in folds]
    running = {
        number: progression_epochs(
            _part(series, fold.train), _part(series, fold.validation), settings=chosen.progression, seed=settings.seed
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
        off = np.concatenate(list(errors.values()))
        tune.report(
            {
                "validation_mae_months": float(np.abs(off).mean()),
                "validation_rmse_months": float(np.sqrt((off**2).mean())),
                ENDED: not running,
            }
        )


def _part(series: pd.DataFrame, rows: np.ndarray) -> SeriesPart:
    return train_progression.part(series, rows)


def _test_progression(series: pd.DataFrame, held_out: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Errors on the patients held out, of one model trained on all others."""
    inside = np.setdiff1d(np.arange(len(series)), held_out)
    train, watching = splits.inner_split(series["PatientID"].to_numpy()[inside], seed=settings.seed)
    model, _ = fit_progression(
        _part(series, inside[train]),
        _part(series, inside[watching]),
        settings=settings.progression,
        seed=settings.seed,
    )
    test = _part(series, held_out)
    others = series.iloc[inside].drop_duplicates(["PatientID", "date"])["months"].to_numpy()
    median = baselines.median_months(others, len(held_out))
    patients, chance = series["PatientID"].to_numpy()[held_out], {"resamples": settings.report.bootstrap, "seed": 0}

    def judged(told: np.ndarray) -> dict[str, Any]:
        off = np.abs(told - test.months)
        return {"mae": metrics.measure(patients, lambda rows: float(off[rows].mean()), **chance)}

    of_model = judged(predict_months(model, test.vectors))
    return {"series": {**of_model, "baselines": {"median": judged(median)}}, "patients": len(np.unique(patients))}
