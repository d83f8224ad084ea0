"""The stages in their order, and which of them must run: skipping, resuming, fingerprints, atomic results.

Everything follows from the table `STAGES`; the stages themselves do not depend on it. A stage is up to date if
`run.json` in the run directory records it with the same fingerprint (the settings it depends on, the files it reads,
the version) and all of its output files still exist. A stage writes to `.partial/<stage>-<fingerprint>/`, and its
outputs are moved to their final paths when it has finished, so that these are always complete. An interrupted stage
resumes when the same command runs again, because the fingerprint in the folder's name identifies its finished work.
"""

import datetime
import hashlib
import importlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tumorprog import __version__, provenance, storage
from tumorprog.errors import InputError
from tumorprog.settings import Settings, lookup
from tumorprog.tables import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the pipeline: what it depends on, and what it writes.

    Attributes:
        name: module under `tumorprog.stages`; with hyphens, the command.
        reads: names in the run directory that it requires.
        may_read: names in the run directory that it uses if they exist.
        reads_if: names in the run directory that it requires if a setting has a value: (name, setting, value).
        settings: dotted names of settings, or of groups of them, that its results depend on.
        files: dotted names of settings that are paths of files it reads outside the run directory.
        writes: names in the run directory that it creates.
        requires: dotted names of settings without which it has nothing to do.
    """

    name: str
    reads: tuple[str, ...] = ()
    may_read: tuple[str, ...] = ()
    reads_if: tuple[tuple[str, str, str], ...] = ()
    settings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The stage's name on the command line."""
        return self.name.replace("_", "-")

    def required(self, settings: Settings) -> tuple[str, ...]:
        """Return the names in the run directory that it requires under these settings."""
        return (*self.reads, *(name for name, setting, value in self.reads_if if lookup(settings, setting) == value))


_GRADING, _GRADES, _PROGRESSION = "archive.grading", "archive.grades", "archive.progression"
_REGIONS_IF_TUMOUR = (("regions", "slices.only", "tumour"),)
"""For stages that use all slices unless only those with tumour are wanted: a grader does not depend on regions else."""

STAGES = (
    Stage(
        name="catalogue",
        files=(_GRADING, _PROGRESSION),
        settings=(_GRADING, _PROGRESSION),
        writes=("catalogue", "quarantine.csv"),
    ),
    Stage(
        name="train_segmenter",
        reads=("catalogue",),
        settings=("seed", "segmenter", "roi.labels", "cohort.allow_shared"),
        writes=("segmenter",),
        requires=(_PROGRESSION,),
    ),
    Stage(
        name="regions",
        reads=("catalogue",),
        may_read=("segmenter",),
        settings=("roi", "segmenter.sequences", "slices.only"),
        writes=("regions", "volumes.csv"),
        requires=(_PROGRESSION,),
    ),
    Stage(
        name="slices",
        reads=("catalogue",),
        reads_if=_REGIONS_IF_TUMOUR,
        files=(_GRADES,),
        settings=(
            *(_GRADES, "cohort.patient_column", "cohort.grade_column", "cohort.grade_edition"),
            *("cohort.gbm_is_grade_4", "slices", "seed"),
        ),
        writes=("slices",),
        requires=(_GRADING, _GRADES),
    ),
    Stage(
        name="train_grader",
        reads=("slices",),
        files=("grader.split", "grader.weights"),
        settings=("seed", "protocol", "grader", "cohort.allow_shared"),
        writes=("grader",),
        requires=(_GRADING, _GRADES),
    ),
    Stage(
        name="grade",
        reads=("catalogue", "grader"),
        reads_if=_REGIONS_IF_TUMOUR,
        settings=("cohort.min_gap_days", "slices", "grade"),
        writes=("grades.csv", "patient_grades.csv", "timeline.csv", "reference_sheet.csv"),
        requires=(_GRADING, _GRADES, _PROGRESSION),
    ),
    Stage(
        name="features",
        reads=("catalogue", "regions"),
        settings=("features",),
        writes=("features",),
        requires=(_PROGRESSION,),
    ),
    Stage(
        name="train_progression",
        reads=("features", "volumes.csv", "grades.csv", "reference_sheet.csv"),
        may_read=("catalogue",),
        files=("archive.outcomes",),
        settings=("seed", "progression", "archive.outcomes", "cohort.allow_shared"),
        writes=("progression",),
        requires=(_GRADING, _GRADES, _PROGRESSION),
    ),
    Stage(
        name="report",
        reads=("catalogue", "quarantine.csv"),
        may_read=(
            *("segmenter", "regions", "volumes.csv", "slices", "grader", "grades.csv", "timeline.csv"),
            *("reference_sheet.csv", "features", "progression", "tune"),
        ),
        settings=("seed", "roi", "features", "report", "study"),
        writes=("metrics.json", "report.html", "figures", "cards"),
    ),
)

_PREDICTED = {"catalogue", "regions", "grade", "features"}
PREDICT = (
    *(replace(stage, requires=(_PROGRESSION,)) for stage in STAGES if stage.name in _PREDICTED),
    Stage(
        name="predict",
        reads=("grades.csv", "features", "progression"),
        writes=("predictions.csv", "patient_predictions.csv"),
        requires=(_PROGRESSION,),
    ),
)
"""The stages of `tumorprog predict`: the models of a finished run, applied to new patients."""

_SWEPT = {"grader": ("slices",), "progression": ("features", "volumes.csv", "reference_sheet.csv", "grades.csv")}
TUNE = {
    model: Stage(
        name="tune",
        reads=reads,
        may_read=("catalogue",),
        settings=("seed", model, "tune", "report.bootstrap", "cohort.allow_shared"),
        files=("tune.sweep", "grader.split") if model == "grader" else ("tune.sweep",),
        writes=("tune",),
    )
    for model, reads in _SWEPT.items()
}
"""The sweep of each model; the results of a second sweep replace those of the first."""


def stage_named(name: str) -> Stage:
    """Return the stage of `STAGES` with this command or module name."""
    return next(stage for stage in STAGES if name in (stage.name, stage.command))


def outdated_after(folder: Path, settings: Settings, stages: Sequence[Stage]) -> list[Stage]:
    """Return the finished stages that depend on what some others have just written again.

    Args:
        folder: the run directory.
        settings: resolved.
        stages: the stages that have just run; they are not among those returned.
    """
    rewritten, outdated = {name for stage in stages for name in stage.writes}, []
    finished, ran = read_record(folder)["stages"], {stage.name for stage in stages}
    for stage in STAGES:
        read = {*stage.required(settings), *stage.may_read}
        if stage.name not in ran and stage.name in finished and rewritten & read:
            outdated.append(stage)
            rewritten |= set(stage.writes)
    return outdated


def applicable_stages(settings: Settings) -> list[Stage]:
    """Return the stages whose inputs the settings name; without a grading cohort, for example, no grader is trained."""
    applicable = []
    for stage in STAGES:
        if stage.name == "train_segmenter" and not _needs_segmenter(settings):
            log.info("%s: skipped, because roi.method is %s", stage.command, settings.roi.method)
            continue
        missing = [name.removeprefix("archive.") for name in stage.requires if not lookup(settings, name)]
        if missing:
            given = "is not given" if len(missing) == 1 else "are not given"
            log.info("%s: skipped, because --%s %s", stage.command, " and --".join(missing), given)
        else:
            applicable.append(stage)
    return applicable


def _needs_segmenter(settings: Settings) -> bool:
    return settings.roi.method in {"auto", "learned"} or settings.slices.only == "tumour"


def check_paths(folder: Path, settings: Settings) -> None:
    """Check, before anything is written, that the run directory can be at this path.

    Args:
        folder: the run directory, which need not exist.
        settings: `archive`.

    Raises:
        InputError: if the path or one of its parents is a file; if it cannot be written; if it is inside an archive
            that is read, whose contents would then change with every run; or if an input is among the results, which
            are replaced when they are computed again.
    """
    for root in (lookup(settings, name) for name in (_GRADING, _PROGRESSION)):
        if root and _is_inside(folder, storage.as_path(root)):
            raise InputError(f"--out {folder}: inside the archive {root} that is read; choose a folder outside of it")
    outputs = {".partial", *(name for stage in (*STAGES, *PREDICT, TUNE["grader"]) for name in stage.writes)}
    for given in (lookup(settings, name) for name in (_GRADING, _PROGRESSION, _GRADES, "archive.outcomes")):
        inside = [name for name in sorted(outputs) if given and _is_inside(storage.as_path(given), folder / name)]
        if inside:
            raise InputError(
                f"{given}: inside {folder / inside[0]}, which a run replaces; move it, or choose another --out"
            )
    if storage.is_remote(str(folder)):
        return
    existing = storage.nearest_existing(folder)
    if not existing.is_dir():
        raise InputError(f"--out {folder}: {existing} is not a folder; choose another path for the run directory")
    if not storage.may_write(existing):
        raise InputError(f"--out {folder}: {existing} cannot be written; choose another path for the run directory")


def _is_inside(folder: Path, root: Path) -> bool:
    remote = storage.is_remote(str(folder))
    if remote != storage.is_remote(str(root)):
        return False
    # os.path.realpath, because it accepts a link that points to itself
    inner, outer = (folder, root) if remote else (Path(os.path.realpath(folder)), Path(os.path.realpath(root)))
    return inner == outer or outer in inner.parents


def run_stages(folder: Path, settings: Settings, stages: Sequence[Stage] = STAGES) -> int:
    """Run the outdated stages among `stages` in the run directory, in order.

    Args:
        folder: the run directory; created if missing.
        settings: resolved.
        stages: in an order in which each finds its inputs.

    Returns:
        The number of stages that were outdated.

    Raises:
        InputError: if an input of a stage is missing, or another process works on the same directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    num_run = 0
    with storage.locked(folder):
        for number, stage in enumerate(stages, 1):
            num_run += _run_if_outdated(folder, settings, stage, label=f"[{number}/{len(stages)}] {stage.command}")
    return num_run


def _run_if_outdated(folder: Path, settings: Settings, stage: Stage, *, label: str) -> bool:
    record = read_record(folder)["stages"].get(stage.name)
    fingerprint = _fingerprint(folder, settings, stage)
    if record and record["fingerprint"] == fingerprint and _all_exist(folder, record["left"], stage.writes):
        log.info("%s: up to date", label)
        return False
    log.info("%s: started", label)
    started, began = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    partial = folder / ".partial" / f"{stage.name}-{fingerprint[:16]}"
    partial.mkdir(parents=True, exist_ok=True)
    _check_nodes(folder, settings, stage)
    summary = importlib.import_module(f"tumorprog.stages.{stage.name}").run(folder, partial, settings)
    _publish(folder, partial, stage)
    entry = {"fingerprint": fingerprint, "settings": _relevant_settings(settings, stage)}
    seconds = round(time.monotonic() - started, 1)
    _write_record(folder, stage, {**entry, "started": began, "seconds": seconds, **provenance.of_this_process()})
    for leftover in (folder / ".partial").glob(f"{stage.name}-*"):
        storage.remove(leftover)
    log.info("%s: %s (%.0f s)", label, summary, time.monotonic() - started)
    return True


def _check_nodes(folder: Path, settings: Settings, stage: Stage) -> None:
    """Check before each stage that all nodes see the files, because nodes may have joined since the previous one."""
    from tumorprog.distributed import nodes

    archives = [
        lookup(settings, name) for name in (_GRADING, _PROGRESSION) if "catalogue" in (stage.name, *stage.reads)
    ]
    nodes.check_shared(folder, [root for root in archives if root], settings.cluster)


def _publish(folder: Path, partial: Path, stage: Stage) -> None:
    """Move the outputs to their final paths; without the old record, a kill in between leaves an outdated stage."""
    record = read_record(folder)
    if record["stages"].pop(stage.name, None):
        write_json(folder / "run.json", record)
    for name in stage.writes:
        storage.move(partial / name, folder / name)


def _write_record(folder: Path, stage: Stage, entry: dict[str, Any]) -> None:
    finished = read_record(folder)["stages"]
    sizes = dict(_sizes(folder, stage.writes))
    finished[stage.name] = {**entry, "id": uuid.uuid4().hex, "left": sizes}
    write_json(folder / "run.json", {"stages": finished})


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the finished stages in `run.json`; empty for a new run directory.

    Raises:
        InputError: if the file was not written by tumorprog.
    """
    path = folder / "run.json"
    if not path.exists():
        return {"stages": {}}
    try:
        record = json.loads(path.read_text())
        record["stages"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a record of a run ({error}); choose another --out or delete it") from error
    return record


def _relevant_settings(settings: Settings, stage: Stage) -> dict[str, Any]:
    values = {name: lookup(settings, name) for name in stage.settings}
    return {name: asdict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in values.items()}


def _fingerprint(folder: Path, settings: Settings, stage: Stage) -> str:
    """Hash everything that the outputs of a stage depend on: settings, external files, and what it reads."""
    finished = read_record(folder)["stages"]
    writer = {name: stage.name for stage in (*STAGES, TUNE["grader"]) for name in stage.writes}
    present = [name for name in stage.may_read if (folder / name).exists()]
    read = {}
    for name in (*stage.required(settings), *present):
        if not (folder / name).exists():
            command = stage_named(writer[name]).command
            raise InputError(f"{folder / name}: missing, but {stage.command} needs it; run `tumorprog {command}` first")
        read[name] = finished[writer[name]]["id"] if writer[name] in finished else _tree_stamp(folder / name)
    external = {
        name: _tree_stamp(storage.as_path(lookup(settings, name))) for name in stage.files if lookup(settings, name)
    }
    values = _relevant_settings(settings, stage)
    inputs = {"version": __version__, "settings": values, "read": read, "outside": external}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=list).encode()).hexdigest()


def _tree_stamp(path: Path) -> str:
    """Return a hash of the names, sizes and modification times of all files below a path; "" if it does not exist."""
    if not path.exists():
        return ""
    # a sum needs neither an order nor memory, for any number of files
    total = sum(int.from_bytes(hashlib.sha256(repr(file).encode()).digest()) for file in storage.walk(path))
    return f"{total % 2**256:064x}"


def _sizes(folder: Path, outputs: Sequence[str]) -> Iterator[tuple[str, int]]:
    for name in outputs:
        top = str(folder / name)
        for file in storage.walk(folder / name):
            yield name + file.path.removeprefix(top), file.num_bytes


def _all_exist(folder: Path, sizes: dict[str, int], outputs: Sequence[str]) -> bool:
    found = dict(_sizes(folder, outputs))
    return all(found.get(name) == size for name, size in sizes.items())
