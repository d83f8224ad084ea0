"""Every setting: its dotted name, type, default, description and validation.

The names are the same everywhere: `--grader.epochs 2` on the command line, `grader: {epochs: 2}` in YAML and
`grader.epochs` in a sweep. An invalid value is rejected here, by its dotted name, before anything starts.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from tumorprog.checks import at_least
from tumorprog.cohort.settings import Archive, Cohort
from tumorprog.distributed.settings import Cluster, Tune
from tumorprog.encoders.settings import Features
from tumorprog.errors import SettingsError
from tumorprog.graders.settings import Grade, Grader, Slices
from tumorprog.heads.settings import Progression
from tumorprog.regions.settings import Roi
from tumorprog.report.settings import Report
from tumorprog.report.study.settings import Study
from tumorprog.segmenters.settings import Segmenter
from tumorprog.synthetic.settings import Synthetic


@dataclass(frozen=True, kw_only=True)
class Settings:
    """General settings."""

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
    """How the grades of slices are combined into the grade of a patient on a date."""
    segmenter: Segmenter = field(default_factory=Segmenter)
    """The U-Net that finds the tumour, and its training."""
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
    study: Study = field(default_factory=Study)
    """Texts about the study for the report; they change no result."""
    cluster: Cluster = field(default_factory=Cluster)
    """Where the computation runs; does not change results."""
    synthetic: Synthetic = field(default_factory=Synthetic)
    """The size of a synthetic cohort."""

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)


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
