"""Splits into training, validation and test sets: by patients, as in the paper, and the audit for leakage."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from tumorprog.cohort import sheets
from tumorprog.errors import InputError, LeakError, shorten

SIDES = ("train", "validation", "test")

_SIDE = ("side", "split", "set", "subset", "partition", "train test split")
_SIDE_ALIASES = {"training": "train", "val": "validation", "valid": "validation", "testing": "test"}
_SHARE = 0.1
"""Share of the validation set, and of the test set."""

_IDENTITIES = {
    "patient": ["PatientID"],
    "study": ["StudyInstanceUID"],
    "series": ["SeriesInstanceUID"],
    "SOP instance": ["SOPInstanceUID", "frame"],
    "identical image": ["pixel_hash"],
}

_ALLOWED = {"study": "study", "series": "series", "SOP instance": "instance", "identical image": "image"}
"""The value of `cohort.settings.SHARABLE` that permits each kind of leak."""

LEAKS = ("what", "value", "sides", "patients")
"""Columns of leaks.csv."""


@dataclass(frozen=True)
class Fold:
    """One cross-validation fold of the progression model, as indices of series.

    Attributes:
        name: the held-out patient, or `paper`.
        train: (A,) int64.
        validation: (B,) int64, for early stopping.
        test: (C,) int64.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_patients(patients: pd.Series, *, seed: int) -> pd.Series:
    """Split the patients of each grade at random: 80 % for training, 10 % for validation and 10 % for testing.

    Args:
        patients: values are grades, index PatientID; the order does not matter.
        seed: of the random generator.

    Returns:
        Values are sides, index PatientID, sorted. Each grade has at least one patient in each set.

    Raises:
        InputError: if a grade has fewer than three patients.
    """
    sides = pd.Series("train", index=pd.Index(sorted(patients.index), name="PatientID"), dtype=object)
    generator = np.random.default_rng(seed)
    for grade in sorted(patients.unique()):
        members = sorted(patients.index[patients == grade])
        if len(members) < 3:
            raise InputError(
                f"grade {grade} has {len(members)} patients; a split by patients needs 3 or more of each grade: add "
                "patients, or provide a split with --grader.split FILE"
            )
        shuffled = generator.permutation(np.array(members, dtype=object))
        held = max(1, round(_SHARE * len(members)))
        sides[shuffled[:held]] = "validation"
        sides[shuffled[held : 2 * held]] = "test"
    return sides


def cross_validation(patients: pd.Series, *, folds: int, seed: int) -> pd.DataFrame:
    """Assign the patients to stratified cross-validation folds, with a tenth of them as validation set in each fold.

    Args:
        patients: values are grades, index PatientID; the order does not matter.
        folds: number of folds, 2 or more.
        seed: of the random generator.

    Returns:
        Columns fold (from 1), patient and side: each fold contains all patients once, and each patient is in the test
        set of exactly one fold. In each fold, each grade has at least one patient in each set.

    Raises:
        InputError: if a grade has too few patients.
    """
    ordered = patients.sort_index()
    for grade, count in ordered.value_counts().sort_index().items():
        if count < folds or count - -(-count // folds) < 2:
            raise InputError(
                f"grade {grade} has {count} patients, too few for {folds} folds: each fold needs one for training, one "
                f"for validation and one for testing; use fewer folds (--grader.folds) or add patients"
            )
    stratified = StratifiedKFold(folds, shuffle=True, random_state=seed).split(ordered, ordered)
    tables = []
    for fold, (others, test) in enumerate(stratified, start=1):
        sides = pd.Series("train", index=ordered.index, dtype=object)
        sides.iloc[test] = "test"
        rest = ordered.iloc[others]
        generator = np.random.default_rng([seed, fold])
        for grade in sorted(ordered.unique()):
            members = rest.index[rest == grade].to_numpy(object)
            num_validation = max(1, round(_SHARE * int((ordered == grade).sum())))
            sides[generator.permutation(members)[:num_validation]] = "validation"
        tables.append(pd.DataFrame({"fold": fold, "patient": sides.index, "side": sides.to_numpy()}))
    return pd.concat(tables, ignore_index=True)


def surplus_slices(slices: np.ndarray, *, workers: int, seed: int) -> np.ndarray:
    """Choose the training slices to exclude so that all workers get the same number of slices.

    Args:
        slices: (N,) slice numbers.
        workers: number of workers; with 0 or 1, no slice is excluded.
        seed: of the random generator.

    Returns:
        (N modulo workers,) slice numbers.
    """
    return np.random.default_rng(seed).choice(slices, len(slices) % max(1, workers), replace=False)


def split_slices(count: int, *, seed: int) -> np.ndarray:
    """Split slices at random, 80 / 10 / 10, regardless of the patient, as in the paper; this causes leakage.

    Args:
        count: number of slices.
        seed: of the random generator.

    Returns:
        (count,) object, the side of each slice.
    """
    held = round(_SHARE * count)
    sides = np.array(["validation"] * held + ["test"] * held + ["train"] * (count - 2 * held), dtype=object)
    return np.random.default_rng(seed).permutation(sides)


def read_split(path: Path, patients: list[str]) -> pd.Series:
    """Read a split provided by the user.

    Args:
        path: a table that `sheets.read_tables` can read, with the columns patient and side under common names; patients
            may be spelled differently from the images.
        patients: the patients it must contain; other patients are ignored.

    Returns:
        Values are sides, index PatientID, in the order of `patients`.

    Raises:
        InputError: if the file or a column is missing, a patient is missing or in two sets, or a side is not one of
            train, validation, test.
    """
    table = _read(path, patients)
    others = sorted(set(table["patient"]) - set(patients))
    table = table[table["patient"].isin(patients)]
    invalid = sorted(set(table["side"]) - set(SIDES))
    duplicated = sorted(table.loc[table["patient"].duplicated(), "patient"].unique())
    missing = sorted(set(patients) - set(table["patient"]))
    if invalid:
        raise InputError(f"{path}: side {invalid[0]!r}; it must be one of {', '.join(SIDES)}")
    if duplicated:
        raise InputError(f"{path}: {_with_verb(duplicated)} listed more than once; assign one side to each patient")
    if missing:
        examples = f" ({found})" if (found := sheets.describe_unmatched(others, missing)) else ""
        raise InputError(f"{path}: {_with_verb(missing)} missing; assign a side to every graded patient{examples}")
    sides = table.set_index("patient")["side"].loc[patients]
    return sides.rename_axis("PatientID").astype(object)


def _read(path: Path, patients: list[str]) -> pd.DataFrame:
    """Read the columns patient, with the IDs of the images, and side of a split."""
    if not path.is_file():
        raise InputError(f"{path}: split not found; specify an existing file with --grader.split FILE")
    found: list[str] = []
    for table in sheets.read_tables(path, (sheets.PATIENT, _SIDE)):
        patient, *others = sheets.patient_columns(table, "", patients)
        side = sheets.column(table, "", _SIDE)
        if others:
            raise InputError(
                f"{path}: the columns {patient!r} and {others[0]!r} may both be the patient column; keep one of them"
            )
        if patient and side:
            sides = table[side].str.lower().replace(_SIDE_ALIASES)
            split = pd.DataFrame({"patient": sheets.patients(table, patient), "side": sides}).query("patient != ''")
            return split.assign(patient=sheets.to_image_ids(split["patient"], patients)).drop_duplicates()
        found += list(table.columns)
    raise InputError(
        f"{path}: no patient or side column; found {', '.join(filter(None, found))}. Name the columns patient and side"
    )


def _with_verb(patients: list[str]) -> str:
    return f"{shorten(patients)} {'is' if len(patients) == 1 else 'are'}"


def shuffled_between_patients(patients: pd.Series, targets: pd.Series, within: pd.Series, *, seed: int) -> np.ndarray:
    """Permute the targets between patients for the permutation control (null control).

    Args:
        patients: (N,) patient of each row.
        targets: (N,) one value for all rows of a patient.
        within: (N,) one value for all rows of a patient: patients with the same value exchange their targets.
        seed: of the random generator.

    Returns:
        (N,) targets, again one value per patient; within each group, each value is assigned to the same number of
        patients as before.
    """
    by_patient = pd.DataFrame({"target": targets, "within": within}).groupby(patients.to_numpy()).first()
    generator = np.random.default_rng(seed)
    drawn = by_patient.groupby("within")["target"].transform(lambda values: generator.permutation(values.to_numpy()))
    return patients.map(drawn).to_numpy()


def find_leaks(slices: pd.DataFrame) -> pd.DataFrame:
    """Find the patients, studies, series, SOP instances and identical images that are in more than one set.

    Args:
        slices: PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, frame, pixel_hash ("" for uniform
            images, which are all identical and are ignored) and side.

    Returns:
        A row for each: what (patient, study, series, SOP instance, identical image), value, sides, patients; no rows if
        there is no leakage.
    """
    rows = []
    for what, columns in _IDENTITIES.items():
        known = slices[(slices[columns[0]] != "")]
        value = known[columns].astype(str).agg(" ".join, axis=1) if len(columns) > 1 else known[columns[0]]
        several = known.groupby(value)["side"].transform("nunique") > 1
        for name, group in known[several].groupby(value[several]):
            sides, patients = (sorted(group[column].unique()) for column in ("side", "PatientID"))
            rows.append((what, name, " ".join(sides), " ".join(patients)))
    return pd.DataFrame(rows, columns=list(LEAKS))


def audit(
    slices: pd.DataFrame,
    *,
    protocol: str,
    allowed: Sequence[str] = (),
    remedy: str = "assign them to one set with --grader.split FILE",
) -> pd.DataFrame:
    """Check a split for leakage before training.

    Args:
        slices: as for `find_leaks`.
        protocol: with `patient`, leakage stops the run; with `paper`, the leaks are only returned.
        allowed: values of `cohort.settings.SHARABLE`: what two sets may share because it does not identify a patient.
        remedy: what to do if patients that share something are one person, for the error message.

    Returns:
        As `find_leaks`.

    Raises:
        LeakError: names the first leak and its patients.
    """
    found = find_leaks(slices)
    refused = found[~found["what"].map(_ALLOWED).isin(list(allowed))]
    if protocol == "patient" and len(refused):
        first = refused.iloc[0]
        raise LeakError(
            f"the split has leakage: {len(refused)} identifiers are in more than one set, the first is {first['what']} "
            f"{first['value']} ({first['sides']}; patients {shorten(first['patients'].split(' '))}). If they are one "
            f"person, {remedy}, or remove the duplicate from the archive" + _allow_hint(refused["what"], allowed)
        )
    return found


def _allow_hint(leaked: Iterable[str], allowed: Sequence[str]) -> str:
    """Return advice on how to allow leaks that are false alarms."""
    values = [*allowed, *sorted({_ALLOWED[kind] for kind in leaked if kind in _ALLOWED})]
    hint = (
        "if it does not identify a patient (a UID that an anonymiser assigned to all, a page that is in many series), "
        "allow it with"
    )
    return f"; {hint} --cohort.allow_shared [{','.join(values)}]" if len(values) > len(allowed) else ""


def audit_patients(studies: pd.DataFrame, *, allowed: Sequence[str] = ()) -> None:
    """Check for studies shared by several patients, before a leave-one-patient-out cross-validation.

    Args:
        studies: PatientID and StudyInstanceUID of all training data; duplicate rows are allowed.
        allowed: values of `cohort.settings.SHARABLE`.

    Raises:
        LeakError: names the first such study and its patients.
    """
    patients = studies[studies["StudyInstanceUID"] != ""].groupby("StudyInstanceUID")["PatientID"].unique()
    shared = patients[patients.map(len) > 1]
    if len(shared) and "study" not in allowed:
        raise LeakError(
            f"leave-one-patient-out has leakage: {len(shared)} studies are shared by several patients, the first is "
            f"{shared.index[0]} (patients {shorten(sorted(shared.iloc[0]))}). If they are the same person, give them "
            "one PatientID, or remove the duplicate from the archive" + _allow_hint(["study"], allowed)
        )


def leave_one_patient_out(patients: np.ndarray, *, seed: int) -> list[Fold]:
    """Return a fold for each patient as the test set; a fifth of the others form the validation set.

    Args:
        patients: (N,) patient of each series; at least three different ones.
        seed: of the choice of the validation patients.

    Returns:
        The folds, sorted by the name of the test patient; a patient's series are all in one set, and the three sets of
        a fold contain all N series.

    Raises:
        InputError: if there are fewer than three patients.
    """
    names = np.unique(patients)
    if len(names) < 3:
        raise InputError(
            f"{len(names)} patients; leave-one-patient-out needs 3 or more: one each to train, validate and test"
        )
    return [
        leave_out(patients, names[[number]], name=str(name), seed=seed + number) for number, name in enumerate(names)
    ]


def patient_groups(patients: np.ndarray, *, groups: int, seed: int) -> pd.Series:
    """Divide patients into groups at random, of equal size except for one patient.

    Args:
        patients: (N,) patient of each series.
        groups: number of groups; with fewer patients, each is a group.
        seed: of the random generator.

    Returns:
        Values are names of groups ("01", "02", ...), index PatientID, sorted.
    """
    names = np.unique(patients)
    numbers = np.arange(len(names)) % min(groups, len(names))
    shuffled = np.random.default_rng(seed).permutation(numbers)
    return pd.Series([f"{number + 1:02}" for number in shuffled], index=pd.Index(names, name="PatientID"))


def leave_out(patients: np.ndarray, held_out: np.ndarray, *, name: str, seed: int) -> Fold:
    """Return the fold that tests on some patients; a fifth of the others form the validation set.

    Args:
        patients: (N,) patient of each series; at least two others than those held out.
        held_out: the patients of the test set.
        name: name of the fold.
        seed: of the choice of the validation patients.
    """
    tested = np.isin(patients, held_out)
    others = np.flatnonzero(~tested)
    train, validation = inner_split(patients[others], seed=seed)
    return Fold(name=name, train=others[train], validation=others[validation], test=np.flatnonzero(tested))


def random_series(count: int, *, seed: int) -> list[Fold]:
    """Hold out a fifth of the series for testing, regardless of the patient, as in the paper; this causes leakage.

    Args:
        count: number of series, five or more; 60 are split 48 / 12.
        seed: of the random generator.

    Returns:
        One fold, `paper`. A fifth of the series not held out form the validation set for early stopping.
    """
    shuffled = np.random.default_rng(seed).permutation(count)
    test, rest = np.split(shuffled, [max(1, count // 5)])
    validation, train = np.split(rest, [max(1, len(rest) // 5)])
    return [Fold(name="paper", train=np.sort(train), validation=np.sort(validation), test=np.sort(test))]


def inner_split(patients: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split series into a training and a validation set by patients.

    Args:
        patients: (N,) patient of each series; at least two different ones.
        seed: of the random generator.

    Returns:
        (train, validation): indices; a fifth of the patients, at least one, are in the validation set.
    """
    names = np.unique(patients)
    validation = np.random.default_rng(seed).permutation(names)[: max(1, len(names) // 5)]
    in_validation = np.isin(patients, validation)
    return np.flatnonzero(~in_validation), np.flatnonzero(in_validation)
