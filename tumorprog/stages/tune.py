"""tune: a sweep + slices, or features and reference sheet -> tune/ (all trials; the best settings for `--config`)."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tumorprog import storage, tables
from tumorprog.distributed import session, sweep_trials
from tumorprog.distributed.search import keep_events, run_sweep, tabulate
from tumorprog.errors import InputError, SettingsError
from tumorprog.settings import Settings, with_values
from tumorprog.sweep_file import as_settings, read_sweep

log = logging.getLogger(__name__)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Run the sweep's trials without the test set, then evaluate the best trial on the test set, once.

    A killed sweep resumes when it is run again: finished trials are kept, the others are restarted.

    Raises:
        SettingsError: if the sweep is invalid.
        InputError: if there are too few patients, or every trial failed.
    """
    if settings.tune.model == "progression" and settings.progression.target != "months":
        raise SettingsError(
            f"progression.target is {settings.progression.target}; sweeps support only progression.target months"
        )
    sweep = read_sweep(storage.as_path(settings.tune.sweep), model=settings.tune.model, settings=settings)
    grader = settings.tune.model == "grader"
    session.connect(settings.cluster, gpu=sweep.gpu > 0, train_workers=max(1, settings.grader.workers) * grader)
    if grader:
        study = sweep_trials.grader(folder, (out / ".trials").absolute(), sweep, settings)
    else:
        study = sweep_trials.progression(folder, sweep, settings)
    log.info("  %s", study.summary)
    results = run_sweep(sweep, study, (out / ".ray").absolute(), settings)
    trial_table, curves = tabulate(results, sweep)
    target = out / "tune"
    target.mkdir(exist_ok=True)
    tables.write_csv(target / "trials.csv", trial_table, list(trial_table.columns))
    tables.write_csv(target / "curves.csv", curves, list(curves.columns))
    keep_events(results, target / "tensorboard")
    evaluated = trial_table.dropna(subset=[sweep.metric])
    if evaluated.empty:
        last_line = str(results.errors[0]).strip().splitlines()[-1] if results.errors else "nothing was reported"
        raise InputError(f"{settings.tune.sweep}: every trial failed; the first error: {last_line}")
    best = evaluated.sort_values(sweep.metric, ascending=sweep.mode == "min", kind="stable").iloc[0]
    chosen = as_settings(results[int(best["trial"])].config)
    storage.write_text(target / "best.yaml", yaml.safe_dump(_nested(chosen), sort_keys=False))
    outcome = {
        "model": settings.tune.model,
        "metric": sweep.metric,
        "mode": sweep.mode,
        "trials": {str(status): int(count) for status, count in trial_table["status"].value_counts().items()},
        "best": chosen,
        "validation": float(best[sweep.metric]),
        "test": study.test(with_values(settings, chosen), str(best["id"])),
    }
    tables.write_json(target / "test.json", outcome)
    return (
        f"{len(trial_table)} trials, best {chosen}: {sweep.metric} {best[sweep.metric]:.4g}; evaluated once on the "
        "held-out test set"
    )


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        nested.setdefault(group, {})[leaf] = value
    return nested
