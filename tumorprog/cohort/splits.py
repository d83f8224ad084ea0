"""Who stands on which side: splits by patients, the paper's splits, and the audit for what leaks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from tumorprog.cohort import sheets
from tumorprog.errors import InputError, LeakError, some

SIDES = ("train", "validation", "test")

_SIDE = ("side", "split", "set", "subset", "partition", "train test split")
_WORDS = {"training": "train", "val": "validation", "valid": "validation", "testing": "test"}
_SHARE = 0.1
"""Of the validation and of the test side."""

_IDENTITIES = {
    "patient": ["PatientID"],
    "study": ["StudyInstanceUID"],
    "series": ["SeriesInstanceUID"],
    "SOP instance": ["SOPInstanceUID", "frame"],
    "identical image": ["pixel_hash"],
}

_ALLOWED = {"study": "study", "series": "series", "SOP instance": "instance", "identical image": "image"}
"""The word of `settings.SHARABLE` that permits what leaks."""

LEAKS = ("what", "value", "sides", "patients")
"""Columns of leaks.csv."""


@dataclass(frozen=True)
class Fold:
    """One training of the progression model: indices of series.

    Attributes:
        name: the patient left out, or `paper`.
        train: (A,) int64.
        validation: (B,) int64, for early stopping.
        test: (C,) int64.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_patients(patients: pd.Series, *, seed: int) -> pd.Series:
    """Draws 80 % of the patients of each grade for training, 10 % for validation and 10 % for testing.

    Args:
        patients: values are grades, index PatientID; the order does not matter.
        seed: of the draw.

    Returns:
        Values are sides, index PatientID, sorted. Each grade has at least one patient on each side.

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
                "patients, or bring your own with --grader.split FILE"
            )
        shuffled = generator.permutation(np.array(members, dtype=object))
        held = max(1, round(_SHARE * len(members)))
        sides[shuffled[:held]] = "validation"
        sides[shuffled[held : 2 * held]] = "test"
    return sides


def cross_validation(patients: pd.Series, *, folds: int, seed: int) -> pd.DataFrame:
    """Parts the patients of each grade into folds; each fold tests one part, and a tenth of the others watch.

    Args:
        patients: values are grades, index PatientID; the order does not matter.
        folds: how many, 2 or more.
        seed: of the draws.

    Returns:
        Columns fold (from 1), patient and side: in each fold all patients once, in all folds together each patient
        once on the test side. Each grade has at least one patient on each side of each fold.

    Raises:
        InputError: if a grade has too few patients.
    """
    ordered = patients.sort_index()
    for grade, count in ordered.value_counts().sort_index().items():
        if count < folds or count - -(-count // folds) < 2:
            raise InputError(
                f"grade {grade} has {count} patients, too few for {folds} folds: each needs one to test, one to watch "
                f"and one to learn from; take fewer (--grader.folds), or add patients"
            )
    drawn = StratifiedKFold(folds, shuffle=True, random_state=seed).split(ordered, ordered)
    parts = []
    for fold, (others, test) in enumerate(drawn, start=1):
        sides = pd.Series("train", index=ordered.index, dtype=object)
        sides.iloc[test] = "test"
        rest = ordered.iloc[others]
        generator = np.random.default_rng([seed, fold])
        for grade in sorted(ordered.unique()):
            members = rest.index[rest == grade].to_numpy(object)
            watching = max(1, round(_SHARE * int((ordered == grade).sum())))
            sides[generator.permutation(members)[:watching]] = "validation"
        parts.append(pd.DataFrame({"fold": fold, "patient": sides.index, "side": sides.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def left_out(slices: np.ndarray, *, workers: int, seed: int) -> np.ndarray:
    """Which training slices are left out so that every worker gets as many: fewer than there are workers.

    Args:
        slices: (N,) their numbers.
        workers: which take equal parts; 0 and 1 leave none out.
        seed: of the choice.

    Returns:
        (N modulo workers,) numbers.
    """
    return np.random.default_rng(seed).choice(slices, len(slices) % max(1, workers), replace=False)


def split_slices(count: int, *, seed: int) -> np.ndarray:
    """The paper's split: slices at random, 80 / 10 / 10, whoever's they are. It leaks.

    Args:
        count: of the slices.
        seed: of the draw.

    Returns:
        (count,) object, a side for each slice.
    """
    held = round(_SHARE * count)
    sides = np.array(["validation"] * held + ["test"] * held + ["train"] * (count - 2 * held), dtype=object)
    return np.random.default_rng(seed).permutation(sides)


def read_split(path: Path, patients: list[str]) -> pd.Series:
    """A user's own split.

    Args:
        path: of a table as `sheets.tables_of` reads it, with the columns patient and side by their usual names; a
            patient may be spelled in another way than in the images.
        patients: who must be in it; others in it are left out.

    Returns:
        Values are sides, index PatientID, in the order of `patients`.

    Raises:
        InputError: if the file or a column is missing, a patient is missing or on two sides, or a side is none of
            train, validation, test.
    """
    told = _read(path, patients)
    others = sorted(set(told["patient"]) - set(patients))
    told = told[told["patient"].isin(patients)]
    wrong = sorted(set(told["side"]) - set(SIDES))
    twice = sorted(told.loc[told["patient"].duplicated(), "patient"].unique())
    missing = sorted(set(patients) - set(told["patient"]))
    if wrong:
        raise InputError(f"{path}: side {wrong[0]!r}; it must be one of {', '.join(SIDES)}")
    if twice:
        raise InputError(f"{path}: {_named(twice)} more than once; give each patient one side")
    if missing:
        apart = f" ({found})" if (found := sheets.apart(others, missing)) else ""
        raise InputError(f"{path}: {_named(missing)} missing; give every graded patient a side{apart}")
    sides = told.set_index("patient")["side"].loc[patients]
    return sides.rename_axis("PatientID").astype(object)


def _read(path: Path, patients: list[str]) -> pd.DataFrame:
    """The columns patient, as the images have it, and side of a split."""
    if not path.is_file():
        raise InputError(f"{path}: no such split; name it with --grader.split FILE")
    found: list[str] = []
    for table in sheets.tables_of(path, (sheets.PATIENT, _SIDE)):
        who, *same = sheets.patient_columns(table, "", patients)
        side = sheets.column(table, "", _SIDE)
        if same:
            raise InputError(f"{path}: the columns {who!r} and {same[0]!r} may both be the patients'; keep one")
        if who and side:
            words = table[side].str.lower().replace(_WORDS)
            told = pd.DataFrame({"patient": sheets.patients(table, who), "side": words}).query("patient != ''")
            return told.assign(patient=sheets.renamed(told["patient"], patients)).drop_duplicates()
        found += list(table.columns)
    raise InputError(
        f"{path}: no column of patients or of sides; found {', '.join(filter(None, found))}. "
        "Name the columns patient and side"
    )


def _named(patients: list[str]) -> str:
    return f"{some(patients)} {'is' if len(patients) == 1 else 'are'}"


def shuffled_between_patients(patients: pd.Series, targets: pd.Series, *, seed: int) -> np.ndarray:
    """The null control's targets: each patient gets those of another drawn patient, so that nothing can be learned.

    Args:
        patients: (N,) patient of each row.
        targets: (N,) one value for all rows of a patient.
        seed: of the draw.

    Returns:
        (N,) targets, again one for all rows of a patient; as many patients have each value as before.
    """
    by_patient = targets.groupby(patients.to_numpy()).first()
    drawn = pd.Series(np.random.default_rng(seed).permutation(by_patient.to_numpy()), index=by_patient.index)
    return patients.map(drawn).to_numpy()


def leaks(slices: pd.DataFrame) -> pd.DataFrame:
    """Whatever stands on more than one side.

    Args:
        slices: PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, frame, pixel_hash ("" for flat images,
            which are all alike and tell nothing) and side.

    Returns:
        A row for each: what (patient, study, series, SOP instance, identical image), value, sides, patients; none if
        the split is clean.
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


def audit(slices: pd.DataFrame, *, protocol: str, allowed: Sequence[str] = ()) -> pd.DataFrame:
    """Looks for leaks before anything is trained.

    Args:
        slices: as for `leaks`.
        protocol: under `patient` a leak ends the run; under `paper` the leaks are returned to be counted.
        allowed: words of `settings.SHARABLE`: what stands on two sides and ends no run, because it identifies nobody.

    Returns:
        As `leaks`.

    Raises:
        LeakError: names what leaks and whose it is.
    """
    found = leaks(slices)
    refused = found[~found["what"].map(_ALLOWED).isin(list(allowed))]
    if protocol == "patient" and len(refused):
        first = refused.iloc[0]
        raise LeakError(
            f"the split leaks: {len(refused)} identities stand on two sides, the first is {first['what']} "
            f"{first['value']} ({first['sides']}; patients {some(first['patients'].split(' '))}). If they are one "
            "person, give them one side with --grader.split FILE or remove the double from the archive"
            + _way_out(refused["what"], allowed)
        )
    return found


def _way_out(what: Iterable[str], allowed: Sequence[str]) -> str:
    """How to go on if an alarm is false."""
    words = [*allowed, *sorted({_ALLOWED[one] for one in what if one in _ALLOWED})]
    told = "if it identifies nobody (a UID that an anonymiser gave to all, a page that many have), allow it:"
    return f"; {told} --cohort.allow_shared [{','.join(words)}]" if len(words) > len(allowed) else ""


def audit_patients(studies: pd.DataFrame, *, allowed: Sequence[str] = ()) -> None:
    """Looks for studies of several patients, where each patient stands on a side of its own once.

    Args:
        studies: PatientID and StudyInstanceUID of all that is to be learned from; doubles are welcome.
        allowed: words of `settings.SHARABLE`.

    Raises:
        LeakError: names the first such study and its patients.
    """
    patients = studies[studies["StudyInstanceUID"] != ""].groupby("StudyInstanceUID")["PatientID"].unique()
    shared = patients[patients.map(len) > 1]
    if len(shared) and "study" not in allowed:
        raise LeakError(
            f"leaving a patient out leaks: {len(shared)} studies are of several patients, the first is "
            f"{shared.index[0]} (patients {some(sorted(shared.iloc[0]))}). If they are one person, give them one "
            "PatientID or remove the double from the archive" + _way_out(["study"], allowed)
        )


def leave_one_patient_out(patients: np.ndarray, *, seed: int) -> list[Fold]:
    """A fold for each patient, who is the test part; of the others a fifth watch for early stopping.

    Args:
        patients: (N,) patient of each series; three different ones or more.
        seed: of the choice of the watching patients.

    Returns:
        The folds by the patients' names; train, validation and test are whole patients and together all N series.

    Raises:
        InputError: if there are fewer than three patients.
    """
    names = np.unique(patients)
    if len(names) < 3:
        raise InputError(
            f"{len(names)} patients; leaving one out needs 3 or more: one to test, one to watch, one to learn"
        )
    folds = []
    for number, name in enumerate(names):
        others = np.flatnonzero(patients != name)
        train, validation = inner_split(patients[others], seed=seed + number)
        test = np.flatnonzero(patients == name)
        folds.append(Fold(name=str(name), train=others[train], validation=others[validation], test=test))
    return folds


def random_series(count: int, *, seed: int) -> list[Fold]:
    """The paper's split: a fifth of the series for testing, whoever's they are (48 / 12 of 60). It leaks.

    Args:
        count: of the series, five or more.
        seed: of the draw.

    Returns:
        One fold, `paper`. A fifth of its training series watch for early stopping.
    """
    shuffled = np.random.default_rng(seed).permutation(count)
    test, rest = np.split(shuffled, [max(1, count // 5)])
    validation, train = np.split(rest, [max(1, len(rest) // 5)])
    return [Fold(name="paper", train=np.sort(train), validation=np.sort(validation), test=np.sort(test))]


def inner_split(patients: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation part by patients, without a test part.

    Args:
        patients: (N,) patient of each series; two different ones or more.
        seed: of the draw.

    Returns:
        (train, validation): indices; a fifth of the patients, at least one, are in validation.
    """
    names = np.unique(patients)
    watching = np.random.default_rng(seed).permutation(names)[: max(1, len(names) // 5)]
    held = np.isin(patients, watching)
    return np.flatnonzero(~held), np.flatnonzero(held)
