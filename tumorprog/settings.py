"""Every setting: its dotted name, type, default, meaning and check.

One vocabulary: `--grader.epochs 2` on the command line, `grader: {epochs: 2}` in YAML and `grader.epochs` in a sweep
are the same words. A value that cannot work is refused here, with its dotted name, before anything starts.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from tumorprog.errors import SettingsError

SEQUENCES = ("T1pre", "T1post", "dT1", "FLAIR", "T2", "ADC", "nCBF", "nRCBV", "sRCBV", "other")
"""Canonical names of series that are images of the head (not masks, not localizers)."""


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise SettingsError(f"{name} is {value}; it must be {least} or more")


def _above(name: str, value: float, bound: float) -> None:
    if not value > bound:
        raise SettingsError(f"{name} is {value}; it must be greater than {bound}")


SHARABLE = ("study", "series", "instance", "image")
"""What patients on two sides of a split may be allowed to share, because in this archive it identifies nobody."""


def _some_sequences(name: str, sequences: tuple[str, ...]) -> None:
    if not sequences or set(sequences) - set(SEQUENCES):
        raise SettingsError(f"{name} is {list(sequences)}; choose from {', '.join(SEQUENCES)}")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What goes in."""

    grading: str = ""
    """Folder of DICOM files of patients whose grades are known (REMBRANDT or another). Also: --grading DIR."""
    grades: str = ""
    """Table of patients and grades: xlsx, csv or tab-separated text. Also: --grades TABLE."""
    progression: str = ""
    """Folder of DICOM files of patients with two dates or more (BTP or another). Also: --progression DIR."""
    outcomes: str = ""
    """Table of PatientID, date, event (1: progressed then, 0: not by then), for survival. Also: --outcomes TABLE."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Who takes part."""

    patient_column: str = ""
    """Column of the patients' ids in the table of grades; empty: found by its usual names."""
    grade_column: str = ""
    """Column of the grades in the table of grades; empty: found by its usual names."""
    gbm_is_grade_4: bool = False
    """Whether a glioblastoma without a written grade counts as grade 4, which it is by definition."""
    min_gap_days: int = 14
    """Studies of a patient that are less than so many days apart are one time point."""
    allow_shared: tuple[str, ...] = ()
    """What may stand on two sides of a split: study, series, instance (UIDs that are a constant), image (a page)."""

    def __post_init__(self) -> None:
        _at_least("cohort.min_gap_days", self.min_gap_days, 1)
        if set(self.allow_shared) - set(SHARABLE):
            raise SettingsError(
                f"cohort.allow_shared is {list(self.allow_shared)}; choose from {', '.join(SHARABLE)} or none"
            )


@dataclass(frozen=True, kw_only=True)
class Slices:
    """How a slice becomes an input of the grader."""

    scaling: Literal["robust", "minmax"] = "robust"
    """How intensities come to [0, 1]: between the 0.5th and 99.5th percentile, or the paper's minimum and maximum."""
    sequences: tuple[str, ...] = SEQUENCES
    """Which sequences are graded and trained on, by canonical name."""

    def __post_init__(self) -> None:
        _some_sequences("slices.sequences", self.sequences)


@dataclass(frozen=True, kw_only=True)
class Grader:
    """The ResNet-18 and its training."""

    weights: str = "imagenet"
    """Start from `imagenet` (torchvision's, downloaded once), `none` (random), or a file of ResNet-18 weights."""
    epochs: int = 10
    """Passes over the training slices."""
    batch_size: int = 64
    """Slices in a step, over all workers."""
    learning_rate: float = 1e-3
    """Adam's."""
    weight_decay: float = 0.0
    """Adam's."""
    step_epochs: int = 5
    """The learning rate is multiplied by step_factor every so many epochs."""
    step_factor: float = 0.1
    """What the learning rate is multiplied by."""
    augment: bool = False
    """Whether training slices are flipped, turned and brightened a little at random; off, as in the paper."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic in training; bfloat16 is about twice as fast on a GPU with tensor cores."""
    compile: bool = False
    """Whether torch.compile makes kernels for this network first: minutes at the start, faster epochs on a GPU."""
    split: str = ""
    """A CSV with columns patient and side (train, validation, test) instead of a drawn split."""
    folds: int = 0
    """Trainings of a cross-validation by patients beside the split's own, side by side; 0 for none. Also: --folds K."""
    null_control: bool = False
    """Whether to train once more with the grades shuffled between patients: what is then learned is leaked."""
    workers: int = 1
    """Ray Train workers; 0 trains in the calling process (Ray Train's local mode), quicker for small runs."""
    gpu: bool = False
    """Whether each worker and each grading actor gets a GPU."""

    def __post_init__(self) -> None:
        _at_least("grader.epochs", self.epochs, 1)
        _at_least("grader.batch_size", self.batch_size, 2)
        _above("grader.learning_rate", self.learning_rate, 0)
        _at_least("grader.weight_decay", self.weight_decay, 0)
        _at_least("grader.step_epochs", self.step_epochs, 1)
        _above("grader.step_factor", self.step_factor, 0)
        _at_least("grader.workers", self.workers, 0)
        if self.workers and self.batch_size % self.workers:
            raise SettingsError(
                f"grader.batch_size is {self.batch_size}; it must be a multiple of grader.workers ({self.workers})"
            )
        if self.folds:
            _at_least("grader.folds, if not 0,", self.folds, 2)


@dataclass(frozen=True, kw_only=True)
class Grade:
    """How the grades of slices become the grade of a patient on a date."""

    sequences: tuple[str, ...] = ("T1post", "FLAIR")
    """Whose slices vote, by canonical name; all of them on a date that has none of these."""

    def __post_init__(self) -> None:
        _some_sequences("grade.sequences", self.sequences)


@dataclass(frozen=True, kw_only=True)
class Roi:
    """The region of interest of a slice, from which its features are computed."""

    method: Literal["brightest", "component"] = "brightest"
    """The brightest of three clusters, as in the paper; or the largest unusually bright piece inside the skull."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """The vector of a slice."""

    wavelet: str = "haar"
    """Any discrete wavelet of PyWavelets."""


@dataclass(frozen=True, kw_only=True)
class Progression:
    """The bidirectional LSTM and its training."""

    target: Literal["months", "survival"] = "months"
    """Learn the months to the next date, or from archive.outcomes the risk over time, also of who did not progress."""
    hidden: int = 128
    """Hidden units in each direction."""
    epochs: int = 30
    """Passes over the training series, at most."""
    patience: int = 5
    """Training stops when the validation loss has not improved for so many epochs."""
    min_improvement: float = 0.01
    """What counts as an improvement of the validation loss (mean squared error of standardised months)."""
    learning_rate: float = 1e-3
    """Adam's."""
    batch_size: int = 16
    """Series in a step."""
    null_control: bool = True
    """Whether to train once more with the months shuffled between patients, which teaches nothing about new ones."""

    def __post_init__(self) -> None:
        _at_least("progression.hidden", self.hidden, 1)
        _at_least("progression.epochs", self.epochs, 1)
        _at_least("progression.patience", self.patience, 1)
        _at_least("progression.min_improvement", self.min_improvement, 0)
        _above("progression.learning_rate", self.learning_rate, 0)
        _at_least("progression.batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class Tune:
    """The sweep of `tumorprog tune`."""

    model: Literal["grader", "progression"] = "progression"
    """Which model's settings it varies."""
    sweep: str = ""
    """A YAML file that says what to try of which settings, and how; tune_configs/ has some."""
    mlflow: str = ""
    """Tracking URI of an MLflow server that is to get every trial too; needs the extra `mlflow`."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is printed about the results."""

    bootstrap: int = 1000
    """Resamplings of the patients behind each 95 % interval."""

    def __post_init__(self) -> None:
        _at_least("report.bootstrap", self.bootstrap, 10)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where it runs; changes no result."""

    address: str = "local"
    """`local` starts Ray on this machine; `auto` or host:port joins a running cluster."""
    cores: int = 0
    """Cores of a local Ray; 0 takes all."""

    def __post_init__(self) -> None:
        _at_least("cluster.cores", self.cores, 0)


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The size of a synthetic cohort."""

    graded_patients: int = 24
    """Patients with a grade in the grading tree, spread evenly over grades 2, 3 and 4."""
    ungraded_patients: int = 2
    """Patients without a grade in the grading tree."""
    progression_patients: int = 6
    """Patients with two dates in the progression tree."""
    series_slices: int = 10
    """Slices of a series in both trees."""
    size: int = 128
    """Rows of the progression tree's slices, in pixels; the grading tree mixes this with smaller and wider ones."""

    def __post_init__(self) -> None:
        _at_least("synthetic.graded_patients", self.graded_patients, 0)
        _at_least("synthetic.ungraded_patients", self.ungraded_patients, 0)
        _at_least("synthetic.progression_patients", self.progression_patients, 0)
        _at_least("synthetic.series_slices", self.series_slices, 1)
        _at_least("synthetic.size", self.size, 32)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a user can choose."""

    seed: int = 0
    """Of every random choice: synthetic patients, splits, shuffling, initial weights, resampling."""
    protocol: Literal["patient", "paper", "both"] = "patient"
    """How the grader's slices are split: by patients; by slices as in the paper (leaks); or one after the other."""
    archive: Archive = field(default_factory=Archive)
    """What goes in."""
    cohort: Cohort = field(default_factory=Cohort)
    """Who takes part."""
    slices: Slices = field(default_factory=Slices)
    """How a slice becomes an input of the grader."""
    grader: Grader = field(default_factory=Grader)
    """The ResNet-18 and its training."""
    grade: Grade = field(default_factory=Grade)
    """How the grades of slices become the grade of a patient on a date."""
    roi: Roi = field(default_factory=Roi)
    """The region of interest of a slice, from which its features are computed."""
    features: Features = field(default_factory=Features)
    """The vector of a slice."""
    progression: Progression = field(default_factory=Progression)
    """The bidirectional LSTM and its training."""
    tune: Tune = field(default_factory=Tune)
    """The sweep of `tumorprog tune`."""
    report: Report = field(default_factory=Report)
    """What is printed about the results."""
    cluster: Cluster = field(default_factory=Cluster)
    """Where it runs; changes no result."""
    synthetic: Synthetic = field(default_factory=Synthetic)
    """The size of a synthetic cohort."""

    def __post_init__(self) -> None:
        _at_least("seed", self.seed, 0)


def dotted(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting's value by its dotted name, in the order of their definition."""
    values: dict[str, Any] = {}
    for one in fields(settings):
        value, name = getattr(settings, one.name), prefix + one.name
        values |= dotted(value, f"{name}.") if is_dataclass(value) else {name: value}
    return values


def lookup(settings: Settings, name: str) -> Any:
    """The value of a setting, or the group of them, by its dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with some of them changed, by dotted name; every check runs again.

    Raises:
        SettingsError: if a name is none of a setting, or a value is refused.
    """
    for name, value in values.items():
        check_name(name)
        group, _, leaf = name.rpartition(".")
        changed: dict[str, Any] = {leaf: value}
        if group:
            changed = {group: replace(lookup(settings, group), **changed)}
        settings = replace(settings, **changed)
    return settings


def check_name(name: str) -> None:
    """Refuses what is no setting's dotted name, and offers the nearest.

    Raises:
        SettingsError: says what is meant, if it can tell.
    """
    names = list(dotted(Settings()))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`tumorprog run --help` lists them"
        raise SettingsError(f"{name}: there is no such setting; {hint}")
