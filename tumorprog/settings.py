"""Every setting: its dotted name, type, default, description and validation.

The names are the same everywhere: `--grader.epochs 2` on the command line, `grader: {epochs: 2}` in YAML and
`grader.epochs` in a sweep. An invalid value is rejected here, by its dotted name, before anything starts.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from tumorprog.errors import SettingsError

SEQUENCES = ("T1pre", "T1post", "dT1", "FLAIR", "T2", "ADC", "nCBF", "nRCBV", "sRCBV", "other")
"""Canonical names of image series of the head (not of masks or localizers)."""


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise SettingsError(f"{name} is {value}; it must be {least} or more")


def _above(name: str, value: float, bound: float) -> None:
    if not value > bound:
        raise SettingsError(f"{name} is {value}; it must be greater than {bound}")


SHARABLE = ("study", "series", "instance", "image")
"""What patients in different sets of a split may be allowed to share, where it does not identify a patient."""


def _some_sequences(name: str, sequences: tuple[str, ...]) -> None:
    if not sequences or set(sequences) - set(SEQUENCES):
        raise SettingsError(f"{name} is {list(sequences)}; choose from {', '.join(SEQUENCES)}")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The inputs."""

    grading: str = ""
    """Folder of DICOM files of patients with known grades (REMBRANDT or another). Short form: --grading DIR."""
    grades: str = ""
    """Table of patients and grades: xlsx, csv or tab-separated text. Short form: --grades TABLE."""
    progression: str = ""
    """Folder of DICOM files of patients with two or more dates (BTP or another). Short form: --progression DIR."""
    outcomes: str = ""
    """Table of PatientID, date and event (1 progressed, 0 censored), for survival. Short form: --outcomes TABLE."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Which patients and studies are used."""

    patient_column: str = ""
    """Column of patient ids in the table of grades; if empty, found by its usual names."""
    grade_column: str = ""
    """Column of grades in the table of grades; if empty, found by its usual names."""
    gbm_is_grade_4: bool = False
    """Whether a glioblastoma without a stated grade counts as grade 4, which it is by definition."""
    min_gap_days: int = 14
    """Studies of a patient that are fewer days apart than this are one time point."""
    allow_shared: tuple[str, ...] = ()
    """What two sets of a split may share: study, series, instance (UIDs that are constants), image (a form)."""

    def __post_init__(self) -> None:
        _at_least("cohort.min_gap_days", self.min_gap_days, 1)
        if set(self.allow_shared) - set(SHARABLE):
            raise SettingsError(
                f"cohort.allow_shared is {list(self.allow_shared)}; choose from {', '.join(SHARABLE)} or none"
            )


@dataclass(frozen=True, kw_only=True)
class Slices:
    """How slices are prepared for the grader."""

    scaling: Literal["robust", "minmax"] = "robust"
    """How intensities are scaled to [0, 1]: by the 0.5th and 99.5th percentiles, or by minimum and maximum (paper)."""
    sequences: tuple[str, ...] = SEQUENCES
    """Sequences that the grader is trained on and applied to, by canonical name."""

    def __post_init__(self) -> None:
        _some_sequences("slices.sequences", self.sequences)


@dataclass(frozen=True, kw_only=True)
class Grader:
    """The ResNet-18 and its training."""

    weights: str = "imagenet"
    """Initial weights: `imagenet` (torchvision's, downloaded once), `none` (random), or a file of ResNet-18 weights."""
    epochs: int = 10
    """Passes over the training slices."""
    batch_size: int = 64
    """Slices per optimiser step, over all workers."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Weight decay of Adam."""
    step_epochs: int = 5
    """Number of epochs after which the learning rate is multiplied by step_factor."""
    step_factor: float = 0.1
    """Factor of the learning rate after each step_epochs."""
    augment: bool = False
    """Whether training slices are randomly flipped, rotated and changed in brightness; the paper does not."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of training; bfloat16 is about twice as fast on a GPU with tensor cores."""
    compile: bool = False
    """Whether to compile the network with torch.compile: minutes at the start, faster epochs on a GPU."""
    split: str = ""
    """A CSV with columns patient and side (train, validation, test), to use instead of a random split."""
    folds: int = 0
    """Folds of an additional cross-validation by patient; 0 for none. Short form: --folds K."""
    null_control: bool = False
    """Whether to add a null control: a training with grades permuted between patients, which reveals leakage."""
    workers: int = 1
    """Ray Train workers; 0 trains in the calling process (Ray Train's local mode), faster for small runs."""
    gpu: bool = False
    """Whether each training worker and each grading actor gets a GPU."""

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
    """How the grades of slices are combined to the grade of a patient on a date."""

    sequences: tuple[str, ...] = ("T1post", "FLAIR")
    """Sequences whose slices vote, by canonical name; on a date without any of them, all slices vote."""

    def __post_init__(self) -> None:
        _some_sequences("grade.sequences", self.sequences)


@dataclass(frozen=True, kw_only=True)
class Roi:
    """The region of interest (ROI) from which the features of a slice are computed."""

    method: Literal["brightest", "component"] = "brightest"
    """The brightest of three clusters (paper), or the largest unusually bright connected component inside the skull."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """The feature vector of a slice."""

    wavelet: str = "haar"
    """Any discrete wavelet of PyWavelets."""


@dataclass(frozen=True, kw_only=True)
class Progression:
    """The bidirectional LSTM and its training."""

    target: Literal["months", "survival"] = "months"
    """Predict the months to the next date, or, from archive.outcomes, the hazard over time with censored patients."""
    hidden: int = 128
    """Hidden units in each direction."""
    epochs: int = 30
    """Maximum number of passes over the training series."""
    patience: int = 5
    """Number of epochs without improvement of the validation loss after which training stops."""
    min_improvement: float = 0.01
    """Smallest improvement of the validation loss that counts (mean squared error of standardised months)."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    batch_size: int = 16
    """Series per optimiser step."""
    null_control: bool = True
    """Whether to add a null control: a training with months permuted between patients, which reveals leakage."""

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
    """The model whose settings are varied."""
    sweep: str = ""
    """A YAML file with the settings to vary, their values and the search; tune_configs/ has examples."""
    mlflow: str = ""
    """Tracking URI of an MLflow server that also records every trial; requires the extra `mlflow`."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The evaluation and its report."""

    bootstrap: int = 1000
    """Bootstrap resamples of the patients for each 95 % confidence interval."""

    def __post_init__(self) -> None:
        _at_least("report.bootstrap", self.bootstrap, 10)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the computation runs; does not change results."""

    address: str = "local"
    """`local` starts Ray on this machine; `auto` or host:port joins a running cluster."""
    cores: int = 0
    """CPU cores of a local Ray; 0 for all."""

    def __post_init__(self) -> None:
        _at_least("cluster.cores", self.cores, 0)


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The size of a synthetic cohort."""

    graded_patients: int = 24
    """Patients with a grade in the grading archive, spread evenly over grades 2, 3 and 4."""
    ungraded_patients: int = 2
    """Patients without a grade in the grading archive."""
    progression_patients: int = 6
    """Patients with two dates in the progression archive."""
    series_slices: int = 10
    """Slices per series in both archives."""
    size: int = 128
    """Rows of the slices of the progression archive, in pixels; the grading archive also has smaller and wider ones."""

    def __post_init__(self) -> None:
        _at_least("synthetic.graded_patients", self.graded_patients, 0)
        _at_least("synthetic.ungraded_patients", self.ungraded_patients, 0)
        _at_least("synthetic.progression_patients", self.progression_patients, 0)
        _at_least("synthetic.series_slices", self.series_slices, 1)
        _at_least("synthetic.size", self.size, 32)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings."""

    seed: int = 0
    """Seed of everything random: synthetic patients, splits, shuffling, initial weights, resampling."""
    protocol: Literal["patient", "paper", "both"] = "patient"
    """How slices are split for the grader: by patient; by slice, as in the paper (leaks); or both in turn."""
    archive: Archive = field(default_factory=Archive)
    """The inputs."""
    cohort: Cohort = field(default_factory=Cohort)
    """Which patients and studies are used."""
    slices: Slices = field(default_factory=Slices)
    """How slices are prepared for the grader."""
    grader: Grader = field(default_factory=Grader)
    """The ResNet-18 and its training."""
    grade: Grade = field(default_factory=Grade)
    """How the grades of slices are combined to the grade of a patient on a date."""
    roi: Roi = field(default_factory=Roi)
    """The region of interest (ROI) from which the features of a slice are computed."""
    features: Features = field(default_factory=Features)
    """The feature vector of a slice."""
    progression: Progression = field(default_factory=Progression)
    """The bidirectional LSTM and its training."""
    tune: Tune = field(default_factory=Tune)
    """The sweep of `tumorprog tune`."""
    report: Report = field(default_factory=Report)
    """The evaluation and its report."""
    cluster: Cluster = field(default_factory=Cluster)
    """Where the computation runs; does not change results."""
    synthetic: Synthetic = field(default_factory=Synthetic)
    """The size of a synthetic cohort."""

    def __post_init__(self) -> None:
        _at_least("seed", self.seed, 0)


def dotted(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return the value of every setting by its dotted name, in the order of definition."""
    values: dict[str, Any] = {}
    for one in fields(settings):
        value, name = getattr(settings, one.name), prefix + one.name
        values |= dotted(value, f"{name}.") if is_dataclass(value) else {name: value}
    return values


def lookup(settings: Settings, name: str) -> Any:
    """Return a setting, or a group of settings, by its dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with some of them changed, by dotted name; all values are validated again.

    Raises:
        SettingsError: if a name is unknown or a value is invalid.
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
    """Check that a dotted name is that of a setting.

    Raises:
        SettingsError: if not; it suggests the nearest name.
    """
    names = list(dotted(Settings()))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`tumorprog run --help` lists them"
        raise SettingsError(f"unknown setting {name}; {hint}")
