"""The stages in their order, and which of them are due: skip, resume, fingerprint, whole results.

Everything follows from the table `STAGES`; the stages themselves know nothing of it. A stage is done when `run.json` in
the run directory holds a record of it with the same fingerprint (settings it depends on, files it reads, the version)
and every file that it left is still there. A stage writes to `.partial/<stage>-<fingerprint>/` first, and its results
are moved into place when it has finished: what is in place is whole, and what an interrupted stage had finished is
found again by the same command, because the folder's name says what it is a part of.
"""

import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tumorprog import __version__, storage
from tumorprog.errors import InputError
from tumorprog.settings import Settings, lookup
from tumorprog.tables import write_json

log = logging.getLogger(__name__)

PACKAGES = ("ray", "torch", "torchvision", "pydicom", "pywavelets", "scipy", "numpy", "pyarrow", "pandas")
"""Whose versions are recorded with a run."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A row of the table of contents.

    Attributes:
        name: module under `tumorprog.stages`; with hyphens, the command.
        reads: what it needs in the run directory.
        may_read: what it uses if it is there.
        settings: dotted names, or groups of them, that its result depends on.
        files: dotted names of settings that are paths of files it reads from outside.
        leaves: what it puts into the run directory.
        needs: dotted names of settings without which it has nothing to do.
    """

    name: str
    reads: tuple[str, ...] = ()
    may_read: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The stage's name on the command line."""
        return self.name.replace("_", "-")


_GRADING, _GRADES, _PROGRESSION = "archive.grading", "archive.grades", "archive.progression"

STAGES = (
    Stage(
        name="catalogue",
        files=(_GRADING, _PROGRESSION),
        settings=(_GRADING, _PROGRESSION),
        leaves=("catalogue", "quarantine.csv"),
    ),
    Stage(
        name="slices",
        reads=("catalogue",),
        files=(_GRADES,),
        settings=(_GRADES, "cohort.patient_column", "cohort.grade_column", "cohort.gbm_is_grade_4", "slices", "seed"),
        leaves=("slices",),
        needs=(_GRADING, _GRADES),
    ),
    Stage(
        name="train_grader",
        reads=("slices",),
        files=("grader.split", "grader.weights"),
        settings=("seed", "protocol", "grader", "cohort.allow_shared"),
        leaves=("grader",),
        needs=(_GRADING, _GRADES),
    ),
    Stage(
        name="grade",
        reads=("catalogue", "grader"),
        settings=("cohort.min_gap_days", "slices", "grade"),
        leaves=("grades.csv", "patient_grades.csv", "timeline.csv", "reference_sheet.csv"),
        needs=(_GRADING, _GRADES, _PROGRESSION),
    ),
    Stage(
        name="features",
        reads=("catalogue",),
        settings=("roi", "features"),
        leaves=("features", "volumes.csv"),
        needs=(_PROGRESSION,),
    ),
    Stage(
        name="train_progression",
        reads=("features", "volumes.csv", "grades.csv", "reference_sheet.csv"),
        may_read=("catalogue",),
        files=("archive.outcomes",),
        settings=("seed", "progression", "archive.outcomes", "cohort.allow_shared"),
        leaves=("progression",),
        needs=(_GRADING, _GRADES, _PROGRESSION),
    ),
    Stage(
        name="report",
        reads=("catalogue", "quarantine.csv"),
        may_read=(
            *("slices", "grader", "grades.csv", "timeline.csv", "reference_sheet.csv", "features", "volumes.csv"),
            *("progression", "tune"),
        ),
        settings=("seed", "roi", "features", "report"),
        leaves=("metrics.json", "report.html", "figures"),
    ),
)

PREDICT = (
    *(replace(stage, needs=(_PROGRESSION,)) for stage in STAGES if stage.name in {"catalogue", "grade", "features"}),
    Stage(
        name="predict",
        reads=("grades.csv", "features", "progression"),
        leaves=("predictions.csv", "patient_predictions.csv"),
        needs=(_PROGRESSION,),
    ),
)
"""A finished run's two models applied to new patients."""

_SWEPT = {"grader": ("slices",), "progression": ("features", "volumes.csv", "reference_sheet.csv", "grades.csv")}
TUNE = {
    model: Stage(
        name="tune",
        reads=reads,
        may_read=("catalogue",),
        settings=("seed", model, "tune", "report.bootstrap", "cohort.allow_shared"),
        files=("tune.sweep", "grader.split") if model == "grader" else ("tune.sweep",),
        leaves=("tune",),
    )
    for model, reads in _SWEPT.items()
}
"""The sweep of each model; the later one's results replace the other's."""


def stage_named(name: str) -> Stage:
    """The stage of `STAGES` with this command or module name."""
    return next(stage for stage in STAGES if name in (stage.name, stage.command))


def that_read(folder: Path, stages: Sequence[Stage]) -> list[Stage]:
    """The stages that are done in a run directory, and rest on what some others have just made anew.

    Args:
        folder: the run directory.
        stages: which have just run; they are none of those found.
    """
    fresh, found = {name for stage in stages for name in stage.leaves}, []
    done, ran = read_record(folder)["stages"], {stage.name for stage in stages}
    for stage in STAGES:
        if stage.name not in ran and stage.name in done and fresh & {*stage.reads, *stage.may_read}:
            found.append(stage)
            fresh |= set(stage.leaves)
    return found


def with_what_they_need(settings: Settings) -> list[Stage]:
    """The stages that have something to do for these settings: without a grading cohort, say, none is trained on."""
    chosen = []
    for stage in STAGES:
        missing = [name.removeprefix("archive.") for name in stage.needs if not lookup(settings, name)]
        if missing:
            log.info("%s: left out, for want of --%s", stage.command, " and --".join(missing))
        else:
            chosen.append(stage)
    return chosen


def check_places(folder: Path, settings: Settings) -> None:
    """Before anything is written: whether a run directory may stand where it is to.

    Args:
        folder: the run directory, which need not exist.
        settings: `archive`.

    Raises:
        InputError: if there is a file in its place or above it, if it cannot be written, or if it lies inside an
            archive that is read: its own files would be taken for the archive's, which would never be unchanged; or if
            an input lies among the results, which are replaced when they are made again.
    """
    for root in (lookup(settings, name) for name in (_GRADING, _PROGRESSION)):
        if root and _lies_in(folder, storage.place(root)):
            raise InputError(f"--out {folder}: inside the archive {root} that is read; choose a folder outside of it")
    made = {".partial", *(name for stage in (*STAGES, *PREDICT, TUNE["grader"]) for name in stage.leaves)}
    for given in (lookup(settings, name) for name in (_GRADING, _PROGRESSION, _GRADES, "archive.outcomes")):
        within = next((name for name in sorted(made) if given and _lies_in(storage.place(given), folder / name)), None)
        if within:
            raise InputError(
                f"{given}: lies in {folder / within}, which a run replaces; move it, or choose another --out"
            )
    if storage.is_remote(str(folder)):
        return
    there = storage.nearest(folder)
    if not there.is_dir():
        raise InputError(f"--out {folder}: {there} is no folder; choose another place for the run directory")
    if not storage.may_write(there):
        raise InputError(f"--out {folder}: {there} cannot be written; choose another place for the run directory")


def _lies_in(folder: Path, root: Path) -> bool:
    remote = storage.is_remote(str(folder))
    if remote != storage.is_remote(str(root)):
        return False
    # os.path.realpath, because a link that leads to itself is no error of it
    inner, outer = (folder, root) if remote else (Path(os.path.realpath(folder)), Path(os.path.realpath(root)))
    return inner == outer or outer in inner.parents


def run_stages(folder: Path, settings: Settings, stages: Sequence[Stage] = STAGES) -> int:
    """Does what is due of `stages`, in order, in the run directory.

    Args:
        folder: the run directory; made if missing.
        settings: resolved.
        stages: which, in an order in which each finds what it reads.

    Returns:
        How many stages had something to do.

    Raises:
        InputError: if a stage misses what it reads, or another process works on the same directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    worked = 0
    with storage.locked(folder):
        for number, stage in enumerate(stages, 1):
            worked += _run_if_due(folder, settings, stage, label=f"[{number}/{len(stages)}] {stage.command}")
    return worked


def _run_if_due(folder: Path, settings: Settings, stage: Stage, *, label: str) -> bool:
    record = read_record(folder)["stages"].get(stage.name)
    fingerprint = _fingerprint(folder, settings, stage)
    if record and record["fingerprint"] == fingerprint and _all_there(folder, record["left"], stage.leaves):
        log.info("%s: nothing changed, nothing to do", label)
        return False
    log.info("%s: starting", label)
    started = time.monotonic()
    partial = folder / ".partial" / f"{stage.name}-{fingerprint[:16]}"
    partial.mkdir(parents=True, exist_ok=True)
    _check_nodes(folder, settings, stage)
    summary = importlib.import_module(f"tumorprog.stages.{stage.name}").run(folder, partial, settings)
    _move_into_place(folder, partial, stage)
    _write_record(folder, stage, {"fingerprint": fingerprint, "settings": _depends_on(settings, stage)})
    for left_over in (folder / ".partial").glob(f"{stage.name}-*"):
        storage.remove(left_over)
    log.info("%s: %s (%.0f s)", label, summary, time.monotonic() - started)
    return True


def _check_nodes(folder: Path, settings: Settings, stage: Stage) -> None:
    """Before each stage: nodes may have come since the last, and a stage that goes on some of them has no result."""
    from tumorprog.stages import nodes

    archives = [
        lookup(settings, name) for name in (_GRADING, _PROGRESSION) if "catalogue" in (stage.name, *stage.reads)
    ]
    nodes.check_shared(folder, [root for root in archives if root], settings.cluster)


def _move_into_place(folder: Path, partial: Path, stage: Stage) -> None:
    """Takes the record out first: from here to the new record, a kill leaves a stage that is not done."""
    record = read_record(folder)
    if record["stages"].pop(stage.name, None):
        write_json(folder / "run.json", record)
    for name in stage.leaves:
        storage.move(partial / name, folder / name)


def _write_record(folder: Path, stage: Stage, known: dict[str, Any]) -> None:
    record = read_record(folder)
    left = dict(_sizes(folder, stage.leaves))
    record["versions"] = versions()
    record["stages"][stage.name] = {**known, "id": uuid.uuid4().hex, "left": left}
    write_json(folder / "run.json", record)


def read_record(folder: Path) -> dict[str, Any]:
    """What `run.json` says of the stages that have finished in a run directory; empty for a new one.

    Raises:
        InputError: if the file is not ours.
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


def versions() -> dict[str, str]:
    """The versions of tumorprog and of the packages that its results depend on."""
    return {"tumorprog": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}}


def _depends_on(settings: Settings, stage: Stage) -> dict[str, Any]:
    values = {name: lookup(settings, name) for name in stage.settings}
    return {name: asdict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in values.items()}


def _fingerprint(folder: Path, settings: Settings, stage: Stage) -> str:
    """Changes when the stage's result could: it hashes the settings, the files from outside and what it reads."""
    done = read_record(folder)["stages"]
    maker = {name: stage.name for stage in (*STAGES, TUNE["grader"]) for name in stage.leaves}
    present = [name for name in stage.may_read if (folder / name).exists()]
    read = {}
    for name in (*stage.reads, *present):
        if not (folder / name).exists():
            command = stage_named(maker[name]).command
            raise InputError(f"{folder / name}: missing, and {stage.command} reads it; run `tumorprog {command}` first")
        read[name] = done[maker[name]]["id"] if maker[name] in done else _tree_stamp(folder / name)
    outside = {
        name: _tree_stamp(storage.place(lookup(settings, name))) for name in stage.files if lookup(settings, name)
    }
    known = {"version": __version__, "settings": _depends_on(settings, stage), "read": read, "outside": outside}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=list).encode()).hexdigest()


def _tree_stamp(path: Path) -> str:
    """A hash over names, sizes and times of change of all files below a path; "" where there is none."""
    if not path.exists():
        return ""
    # a sum, because it needs neither an order nor memory, however many files there are
    total = sum(int.from_bytes(hashlib.sha256(repr(file).encode()).digest()) for file in storage.walk(path))
    return f"{total % 2**256:064x}"


def _sizes(folder: Path, leaves: Sequence[str]) -> Iterator[tuple[str, int]]:
    for name in leaves:
        top = str(folder / name)
        for file in storage.walk(folder / name):
            yield name + file.path.removeprefix(top), file.num_bytes


def _all_there(folder: Path, left: dict[str, int], leaves: Sequence[str]) -> bool:
    found = dict(_sizes(folder, leaves))
    return all(found.get(name) == size for name, size in left.items())
