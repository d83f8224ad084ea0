"""Random plan of the patients, studies, series and pixel grids of a synthetic cohort, without any pixels.

A patient depends only on the seed, the kind and the number of the patient, so that adding patients does not change the
earlier ones. The conventions of the two collections (IDs, dates, descriptions, scanners) follow the SPEC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np

from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.sequences.decision import BTP
from tumorprog.synthetic import anatomy, fields, tumours
from tumorprog.synthetic.settings import Synthetic

GRADING, PROGRESSION = "REMBRANDT", "Brain-Tumor-Progression"
HENRY_FORD, JEFFERSON = "Henry Ford Hospital", "Thomas Jefferson University"

Kind = Literal["graded", "ungraded", "progression"]
_KINDS: tuple[Kind, ...] = ("graded", "ungraded", "progression")

PROGRESSION_SERIES = BTP
"""The ten series of a date: SeriesDescription to canonical sequence."""

_REAL_DATES = {
    1: date(1991, 11, 19),
    2: date(1996, 8, 13),
    3: date(1995, 10, 17),
    10: date(1992, 6, 18),
    11: date(1989, 6, 29),
    16: date(1991, 8, 20),
    18: date(1993, 2, 18),
}
_STUDY_DESCRIPTIONS = (
    "MR-BRAIN W-WO CONTRAST",
    "Mr Brain Wo-W Contrast",
    "MR RCBV SEQUENCE",
    "MRI HEAD - RCBV sequence",
    "HEADBrain Protocols",
)
_GRADING_DESCRIPTIONS = {"T1post": "T1 POST GD", "T2": "T2 FSE", "FLAIR": "FLAIR", "T1pre": "T1", "localizer": "LOC"}
_DISEASES = ("ASTROCYTOMA", "OLIGODENDROGLIOMA", "MIXED")

_AXES = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
"""Directions along a row and along a column, in patient coordinates."""

_HEAD_MM = 132.0
"""Extent of a stack that covers the head, around `_HEAD_CENTRE_MM`."""
_HEAD_CENTRE_MM = 11.0
_SLAB_MM = {GRADING: 40.0, PROGRESSION: _HEAD_MM}
"""Extent of a stack with sufficient slices, independent of tumour size. In grading trees most slices intersect the
tumour; in progression trees the stack covers the head, as in patients."""
_MAX_SPACING_MM = 10.0
"""A stack of fewer slices is around the tumour instead."""


@dataclass(frozen=True)
class Scanner:
    """The scanner of a study."""

    manufacturer: str
    model: str

    @property
    def siemens(self) -> bool:
        """Whether the manufacturer is Siemens, otherwise GE."""
        return self.manufacturer == "SIEMENS"


GE, SIEMENS = Scanner("GE MEDICAL SYSTEMS", "GENESIS_SIGNA"), Scanner("SIEMENS", "MAGNETOM Symphony")


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series; `slope` and `intercept` convert stored values to the units of the sequence."""

    sequence: str
    description: str
    number: int
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Planes and the series acquired on them."""

    planes: tuple[fields.Plane, ...]
    spacing_mm: float
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """The study of a patient on one date."""

    day: date
    study_id: str
    description: str
    scanner: Scanner
    tumour: tumours.Tumour
    stacks: tuple[Stack, ...]


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A patient with clinical data and all studies.

    Attributes:
        key: random seed of everything about the patient.
        grade: simulated grade of the tumour, also if the clinical table does not state it.
        in_table: whether the clinical table has a row for the patient.
        grade_known: whether that row has a grade.
        old_names: whether folders and files are named as in older downloads.
        inverted: whether the images are MONOCHROME1.
        size: `size` of the shape; part of the UIDs, because images of another size are different images.
        series_slices: `series_slices` of the shape; part of the UIDs.
    """

    key: tuple[int, ...]
    collection: str
    patient_id: str
    institution: str
    grade: int
    disease: str
    sex: str
    age: int
    in_table: bool
    grade_known: bool
    old_names: bool
    inverted: bool
    size: int
    series_slices: int
    head: anatomy.Head
    studies: tuple[Study, ...]


def list_patients(shape: Synthetic) -> list[tuple[Kind, int]]:
    """Return kind and number (from 0) of all patients of a cohort, in the order of writing."""
    counts = (shape.graded_patients, shape.ungraded_patients, shape.progression_patients)
    return [(kind, number) for kind, count in zip(_KINDS, counts, strict=True) for number in range(count)]


def plan_patient(kind: Kind, number: int, *, shape: Synthetic, seed: int) -> Patient:
    """Plan one patient: everything except the pixels.

    Args:
        kind: kind of patient.
        number: index of the patient within its kind, from 0.
        shape: shape of the cohort; only `size` and `series_slices` are used, not the numbers of patients.
        seed: random seed of the cohort.
    """
    key = (seed, _KINDS.index(kind), number)
    rng = np.random.default_rng(key)
    if kind == "progression":
        return _progression_patient(key, number, shape=shape, rng=rng)
    return _grading_patient(key, number, shape=shape, rng=rng)


def _grading_patient(key: tuple[int, ...], number: int, *, shape: Synthetic, rng: np.random.Generator) -> Patient:
    graded = key[1] == 0
    at_jefferson = number % 2 == 1
    grade = (2, 3, 4)[number % 3] if graded else (3, 4, 2)[number % 3]
    head, tumour = anatomy.random_head(rng), tumours.tumour_of_grade(grade, rng)
    # even numbers for patients with a grade and odd numbers for those without, so that IDs are never equal
    id_number = 100 + 2 * (number // 2) + (0 if graded else 1)
    start = date(2004, 6, 1) if at_jefferson else date(1992, 3, 1)
    study = Study(
        day=start + timedelta(days=int(rng.integers(600 if at_jefferson else 2500))),
        study_id="",
        description="" if at_jefferson else str(rng.choice(["MRI BRAIN", "BRAIN-W-WO CONTRAST", "MR Head"])),
        scanner=SIEMENS if at_jefferson else GE,
        tumour=tumour,
        stacks=_grading_stacks(number, tumour, shape=shape, at_jefferson=at_jefferson, rng=rng),
    )
    return Patient(
        key=key,
        collection=GRADING,
        patient_id=f"900-00-{1800 + id_number}" if at_jefferson else f"HF{id_number:04d}",
        institution=JEFFERSON if at_jefferson else HENRY_FORD,
        grade=grade,
        disease="GBM" if grade == 4 else str(rng.choice(_DISEASES)),
        sex=str(rng.choice(["F", "M"])),
        age=int(rng.integers(22, 80)),
        in_table=graded or number != 0,
        grade_known=graded,
        old_names=number % 4 == 2,
        inverted=graded and number == 4,
        size=shape.size,
        series_slices=shape.series_slices,
        head=head,
        studies=(study,),
    )


def _grading_stacks(
    number: int,
    tumour: tumours.Tumour,
    *,
    shape: Synthetic,
    at_jefferson: bool,
    rng: np.random.Generator,
) -> tuple[Stack, ...]:
    sequences = ("T1pre", "T1post", "FLAIR") if number % 4 == 3 else ("T1post", "T2", "FLAIR")
    wide, narrow = shape.size, shape.size * 3 // 4
    spacing_mm = min(_SLAB_MM[GRADING] / shape.series_slices, _MAX_SPACING_MM)
    stacks = []
    if number % 5 == 2:
        localizer = _series("localizer", "3-PLANE", number=1, at_jefferson=at_jefferson)
        views = [_plane(name, np.zeros(3), rows=narrow, columns=narrow, pixel_mm=260 / narrow) for name in _AXES]
        stacks.append(Stack(planes=tuple(views), spacing_mm=10.0, series=(localizer,)))
    for index, sequence in enumerate(sequences):
        view = str(rng.choice(list(_AXES), p=(0.8, 0.1, 0.1)))
        rows, columns = ((wide, wide), (narrow, narrow), (wide, narrow))[rng.integers(3)]
        planes = _planes(
            view, tumour, spacing_mm=spacing_mm, count=shape.series_slices, matrix=(rows, columns), rng=rng
        )
        slope = 1.0 if rng.random() < 0.7 else 0.5
        series = _series(
            sequence,
            {"axial": "AX", "coronal": "COR", "sagittal": "SAG"}[view],
            number=index + 2,
            at_jefferson=at_jefferson,
            slope=slope,
        )
        stacks.append(Stack(planes=planes, spacing_mm=spacing_mm, series=(series,)))
    return tuple(stacks)


def _series(sequence: str, view: str, *, number: int, at_jefferson: bool, slope: float = 1.0) -> Series:
    description = "" if at_jefferson else f"{view} {_GRADING_DESCRIPTIONS[sequence]}"
    intercept = 0.0 if slope == 1 else -20.0
    return Series(sequence=sequence, description=description, number=number, slope=slope, intercept=intercept)


def _progression_patient(key: tuple[int, ...], number: int, *, shape: Synthetic, rng: np.random.Generator) -> Patient:
    days = days_to_progression(number, rng)
    drawn = date(1989, 1, 1) + timedelta(days=int(rng.integers(2800)))
    first = _REAL_DATES.get(number + 1, drawn)
    before = tumours.tumour_of_days(days, rng)
    after = tumours.grow(before, days, rng)
    scanners = [SIEMENS if number % 3 == 1 else GE] * 2
    if number % 7 == 2:
        scanners[1] = GE if scanners[0].siemens else SIEMENS
    old_names = number % 2 == 0
    studies = tuple(
        Study(
            day=day,
            study_id="" if old_names else "FH",
            description=_STUDY_DESCRIPTIONS[(number + index) % len(_STUDY_DESCRIPTIONS)],
            scanner=scanners[index],
            tumour=tumour,
            stacks=(_progression_stack(tumour, scanner=scanners[index], shape=shape, rng=rng),),
        )
        for index, (day, tumour) in enumerate(((first, before), (first + timedelta(days=days), after)))
    )
    return Patient(
        key=key,
        collection=PROGRESSION,
        patient_id=f"PGBM-{number + 1:03d}",
        institution="",
        grade=4,
        disease="GBM",
        sex=str(rng.choice(["F", "M"])),
        age=int(rng.integers(35, 80)),
        in_table=False,
        grade_known=False,
        old_names=old_names,
        inverted=False,
        size=shape.size,
        series_slices=shape.series_slices,
        head=anatomy.random_head(rng),
        studies=studies,
    )


def days_to_progression(number: int, rng: np.random.Generator) -> int:
    """Return the days between the two dates of a patient: published values for the first 20 patients, then random ones.

    The random values have the log-normal distribution of the published ones: mean 4.64 and standard deviation 0.96 of
    the logarithm.
    """
    if number < len(PUBLISHED_DAYS):
        return PUBLISHED_DAYS[number]
    return int(np.clip(rng.lognormal(4.64, 0.96), 21, 1500))


def _progression_stack(
    tumour: tumours.Tumour, *, scanner: Scanner, shape: Synthetic, rng: np.random.Generator
) -> Stack:
    rows = shape.size * 5 // 8 if scanner.siemens else shape.size
    columns = round(rows * 260 / 320) if scanner.siemens else rows
    spacing_mm = min(_SLAB_MM[PROGRESSION] / shape.series_slices, _MAX_SPACING_MM)
    planes = _planes("axial", tumour, spacing_mm=spacing_mm, count=shape.series_slices, matrix=(rows, columns), rng=rng)
    start = int(rng.integers(1000, 40000))
    slopes = {"nCBF": 0.25, "nRCBV": 0.25, "sRCBV": 4.0}
    series = [
        Series(sequence=sequence, description=description, number=start + index, slope=slopes.get(sequence, 1.0))
        for index, (description, sequence) in enumerate(PROGRESSION_SERIES.items())
    ]
    return Stack(planes=planes, spacing_mm=spacing_mm, series=tuple(series))


def _planes(
    view: str,
    tumour: tumours.Tumour,
    *,
    spacing_mm: float,
    count: int,
    matrix: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[fields.Plane, ...]:
    """Return the planes of a stack around the tumour that does not extend beyond the head, each 240 mm high."""
    normal = np.cross(*_AXES[view])
    rows, columns = matrix
    shift = _HEAD_CENTRE_MM if view == "axial" else 0.0
    middle = np.array([0.0, 0.0, 0.0 if view == "axial" else -15.0]) + rng.uniform(-2, 2, 3)
    reach = (_HEAD_MM - count * spacing_mm) / 2
    towards = np.clip(normal @ (tumour.centre_mm - middle) - shift, -reach, reach)
    middle += normal * (shift + towards + rng.uniform(-2, 2))
    if rng.random() < 0.5:
        normal = -normal  # scanners number slices from either end
    offsets = (np.arange(count) - (count - 1) / 2) * spacing_mm
    return tuple(
        _plane(view, middle + normal * offset, rows=rows, columns=columns, pixel_mm=240 / rows) for offset in offsets
    )


def _plane(
    view: str, middle: Sequence[float] | np.ndarray, *, rows: int, columns: int, pixel_mm: float
) -> fields.Plane:
    across, down = (np.array(axis) * pixel_mm for axis in _AXES[view])
    origin = np.asarray(middle) - down * (rows - 1) / 2 - across * (columns - 1) / 2
    return fields.Plane(np.round(origin, 4), down, across, rows, columns)


SYNTHETIC = "synthetic.json"
"""File next to the archives of a synthetic cohort."""
