"""Flow of participants, and who is in which set: demographics and acquisition."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from tumorprog.conventions import GRADES
from tumorprog.evaluation.intervals import count_of
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table
from tumorprog.report.study import figures
from tumorprog.report.study.facts import SIDES, Facts
from tumorprog.report.study.phrases import listed, spread, tallied
from tumorprog.report.study.steps import Step

_UNUSED = ("localizer", "mask")
"""Sequences that are not images of a tumour for the models."""


def flow(facts: Facts) -> Section:
    """Return the section on the flow of participants, from the files to the sets of the splits."""
    flows, table = _flows(facts), flow_table(facts)
    named = [
        f"{name} cohort, {step.label}: {'; '.join(step.included)}" for name, steps in flows.items() for step in steps
    ]
    return Section(
        id="participants",
        title="Flow of participants",
        paragraphs=[
            "From the files of the archive to the sets in which the patients were used. Every exclusion has a reason; "
            "the numbers are those of the tables of the run directory."
        ],
        tables=[
            table,
            *split_tables(facts),
        ],
        pictures=[
            picture(
                "participants",
                figures.flow(flows),
                caption="Flow of participants through the study, with the reasons for exclusion.",
                alt="; ".join(named),
                source=table.source,
            )
        ],
    )


def flow_table(facts: Facts) -> Table:
    """Return the flow of participants as a table."""
    rows = [
        {"Cohort": name, "Step": step.label, "Included": "; ".join(step.included), "Excluded": step.excluded or "none"}
        for name, steps in _flows(facts).items()
        for step in steps
    ]
    return Table(caption="Flow of participants", rows=rows, source="catalogue/, slices/_cohort.csv, timeline.csv")


def _flows(facts: Facts) -> dict[str, list[Step]]:
    flows = {"Grading": _grading(facts), "Progression": _progression(facts)}
    return {name: steps for name, steps in flows.items() if steps}


def _files(facts: Facts, cohort: str) -> list[Step]:
    """Return the files of the archive of a cohort, and what the usable ones contain."""
    own = facts.catalogue[facts.catalogue["cohort"] == cohort]
    root = facts.used("catalogue", f"archive.{cohort}").rstrip("/") + "/"
    quarantined = facts.quarantine[facts.quarantine["path"].str.startswith(root)]
    num_used = own["path"].nunique()
    return [
        Step(
            label="Files found",
            included=(f"{count_of(num_used + len(quarantined), 'file')}, of which {num_used:,} are used",),
            excluded=tallied(quarantined["reason"].str.replace("_", " ")) if len(quarantined) else "",
        ),
        Step(label="Images", included=(_size(own),)),
    ]


def _size(rows: pd.DataFrame) -> str:
    """Return the numbers of patients, series and slices of the rows of a catalogue or of predictions."""
    numbers = (rows["PatientID"].nunique(), "patient"), (rows["SeriesInstanceUID"].nunique(), "series", "series")
    return listed([*(count_of(*one) for one in numbers), count_of(len(rows), "slice")])


def _grading(facts: Facts) -> list[Step]:
    if not (facts.catalogue["cohort"] == "grading").any():
        return []
    steps = _files(facts, "grading")
    if facts.cohort is not None:
        imaged = facts.cohort[facts.cohort["status"] != "no images"]
        graded = imaged[imaged["status"] == "graded"]
        grades = ", ".join(f"{(graded['grade'] == grade).sum()} of grade {grade}" for grade in GRADES)
        others = imaged.loc[imaged["status"] != "graded", "status"]
        steps.append(
            Step(
                label="Patients with a grade",
                included=(f"{count_of(len(graded), 'patient')}: {grades}",),
                excluded=tallied(others) if len(others) else "",
            )
        )
    for protocol, training in facts.graders.items():
        slices = training.slices
        sets = tuple(f"{name}: {_size(slices[slices['side'] == side])}" for side, name in SIDES.items())
        first = protocol == next(iter(facts.graders))
        steps.append(Step(label=f"Sets, {protocol} protocol", included=sets, alternative=not first))
    return steps


def _progression(facts: Facts) -> list[Step]:
    own = facts.catalogue[facts.catalogue["cohort"] == "progression"]
    if own.empty:
        return []
    steps = _files(facts, "progression")
    if facts.timeline is not None:
        status = facts.timeline["status"]
        others = status[status != "two dates or more"]
        steps.append(
            Step(
                label="Patients with two dates or more",
                included=(count_of(int((status == "two dates or more").sum()), "patient"),),
                excluded=tallied(others) if len(others) else "",
            )
        )
    if facts.outcomes is not None:
        status = facts.outcomes["status"]
        others = status[status != "followed"]
        steps.append(
            Step(
                label="Patients with a recorded outcome",
                included=(count_of(int((status == "followed").sum()), "patient"),),
                excluded=tallied(others) if len(others) else "",
            )
        )
    return [*steps, *_fold_steps(facts)]


def _fold_steps(facts: Facts) -> list[Step]:
    if facts.folds is None:
        return []
    held_out = facts.folds[(facts.folds["Protocol"] == "patient") & (facts.folds["side"] == "test")]
    return [
        Step(
            label=f"Leave-one-patient-out, cohort {cohort}",
            alternative=cohort != "all",
            included=(
                f"{count_of(rows['Fold'].nunique(), 'fold')} with {count_of(rows['PatientID'].nunique(), 'patient')} "
                f"and {count_of(len(rows), 'series', 'series')}",
            ),
        )
        for cohort, rows in held_out.groupby("Cohort")
    ]


def split_tables(facts: Facts) -> list[Table]:
    """Return, for each protocol, the patients, series and slices of each grade in each set."""
    found = [
        Table(
            caption=f"Patients, series and slices of each grade in each set, {protocol} protocol"
            + (" (a patient can be in several sets)" if protocol == "paper" else ""),
            rows=[
                {"Set": name, **_by_grade(training.slices[training.slices["side"] == side])}
                for side, name in SIDES.items()
            ],
            source=f"{training.folder}/predictions.parquet",
            leaking=frozenset(range(len(SIDES))) if protocol == "paper" else frozenset(),
        )
        for protocol, training in facts.graders.items()
    ]
    if facts.tested is None:
        return found
    rows = [{"Test set": f"fold {fold}", **_by_grade(part)} for fold, part in facts.tested.groupby("fold")]
    caption = "Patients, series and slices of each grade in the test set of each fold"
    return [*found, Table(caption=caption, rows=rows, source="grader/folds/predictions.parquet")]


def _by_grade(slices: pd.DataFrame) -> dict[str, str]:
    parts = {f"Grade {grade}": slices[slices["grade"] == grade] for grade in GRADES} | {"All": slices}
    return {
        name: f"{part['PatientID'].nunique():,} / {part['SeriesInstanceUID'].nunique():,} / {len(part):,}"
        for name, part in parts.items()
    }


def characteristics(facts: Facts) -> Section:
    """Return the section on demographics and image acquisition, by set and by sequence."""
    parts = _parts(facts)
    return Section(
        id="characteristics",
        title="Patients and image acquisition",
        paragraphs=[
            "Values are numbers, or the median and the range; what the headers do not state is counted as unknown. "
            "Sex and age are those of the first study of a patient, acquisition parameters are those of the series. "
            "Localizers and masks are not counted."
        ],
        tables=[
            _by_part("Patients by set", parts, _PATIENT_ROWS, facts),
            _by_part("Scanners and acquisition by set", parts, _SERIES_ROWS, facts),
            _by_sequence(facts.catalogue),
        ],
    )


def _parts(facts: Facts) -> dict[str, pd.DataFrame]:
    """Return the rows of the catalogue of each set of the patient protocol, and of the progression cohort."""
    used = facts.catalogue[~facts.catalogue["sequence"].isin(_UNUSED)]
    training = facts.graders.get("patient")
    parts = {}
    if training is not None:
        for side, name in SIDES.items():
            patients = training.slices.loc[training.slices["side"] == side, "PatientID"].unique()
            parts[name] = used[(used["cohort"] == "grading") & used["PatientID"].isin(patients)]
    else:
        parts["Grading cohort"] = used[used["cohort"] == "grading"]
    parts["Progression cohort"] = used[used["cohort"] == "progression"]
    return {name: rows for name, rows in parts.items() if len(rows)}


def first_studies(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each patient of a catalogue: of the first study, preferring rows that state the age."""
    ordered = rows.assign(unknown_age=rows["PatientAge"].isna()).sort_values(
        ["StudyDate", "unknown_age"], kind="stable"
    )
    return ordered.drop_duplicates("PatientID")


def _series(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop_duplicates("SeriesInstanceUID")


_Row = Callable[[pd.DataFrame], Any]
_PATIENT_ROWS: Mapping[str, _Row] = {
    "Patients": lambda rows: rows["PatientID"].nunique(),
    "Studies": lambda rows: rows["StudyInstanceUID"].nunique(),
    "Sex": lambda rows: tallied(first_studies(rows)["PatientSex"]),
    "Age (years)": lambda rows: spread(first_studies(rows)["PatientAge"]),
}
_SERIES_ROWS: Mapping[str, _Row] = {
    "Series": lambda rows: len(_series(rows)),
    "Manufacturer": lambda rows: tallied(_series(rows)["Manufacturer"]),
    "Model": lambda rows: tallied(_series(rows)["ManufacturerModelName"]),
    "Field strength": lambda rows: tallied(_series(rows)["MagneticFieldStrength"].map(_tesla)),
    "Plane": lambda rows: tallied(_series(rows)["plane"]),
    "Slice thickness (mm)": lambda rows: spread(_series(rows)["SliceThickness"]),
    "In-plane spacing (mm)": lambda rows: spread(_series(rows)["row_spacing_mm"], 2),
}


def _tesla(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.2g} T"


def _by_part(caption: str, parts: Mapping[str, pd.DataFrame], shown: Mapping[str, _Row], facts: Facts) -> Table:
    rows = [{"": label, **{name: value(part) for name, part in parts.items()}} for label, value in shown.items()]
    if shown is _PATIENT_ROWS and facts.cohort is not None:
        institutions = facts.cohort.set_index("PatientID")["Institution"].replace("unknown", "")
        shown_by_part = {
            name: tallied(part["PatientID"].drop_duplicates().map(institutions)) for name, part in parts.items()
        }
        rows.append({"": "Institution", **shown_by_part})
    return Table(caption=caption, rows=rows, source="catalogue/*.parquet")


def _by_sequence(catalogue: pd.DataFrame) -> Table:
    used = _series(catalogue[~catalogue["sequence"].isin(_UNUSED)])
    rows = [
        {
            "Sequence": sequence,
            "Series": len(part),
            "TR (ms)": spread(part["RepetitionTime"]),
            "TE (ms)": spread(part["EchoTime"]),
            "Slice thickness (mm)": spread(part["SliceThickness"]),
            "In-plane spacing (mm)": spread(part["row_spacing_mm"], 2),
        }
        for sequence, part in used.groupby("sequence")
    ]
    return Table(
        caption="Acquisition parameters of the series of each sequence", rows=rows, source="catalogue/*.parquet"
    )
