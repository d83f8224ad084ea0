"""Resolve the spellings of patient IDs, and report IDs and studies that several patients share.

Two spellings are one patient if they differ only in case and in `_`, `-` and spaces between their parts, or in leading
zeros of numbers where that is unambiguous: only two forms exist, and one has all the leading zeros of the other.
`P1`, `P01` and `P001` are ambiguous; they remain three patients, and `catalogue --check` reports them.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePath

import pandas as pd

from tumorprog.errors import shorten

OCCURRENCES = (
    *("cohort", "PatientID", "PatientID_stated", "StudyDate", "StudyInstanceUID", "folder"),
    *("files", "renamed", "undated", "torn"),
)
"""Columns of a table of where each patient occurs: the ID in the outputs and in the header, a study and its date, the
folder of its files, the number of `files`, and how many of them received a new SOP instance UID (`renamed`), have a
date other than StudyDate (`undated`) or have dates more than one day apart (`torn`)."""

_PARTS = re.compile(r"[0-9]+|[^\W\d_]+|[^\w\s\-]|[^\W]")
_DASHES = re.compile(r"[‐‑‒–—−_]")

_PLACEHOLDER_ID = re.compile(
    r"(?:ANON(?:YM(?:OUS|IZED|ISED|ISIERT|E|O|)?)?(?:PATIENT|SUBJECT)?|DEIDENTIFIED|DEID|REMOVED|HIDDEN|REDACTED|DUMMY|"
    r"PATIENT(?:ID)?|PAT(?:IENT)?NAME|SUBJECT|UNKNOWN|NONE|NULL|NOID|NOTAVAILABLE|ID|NA|TEST|X+|0+|123456(?:7(?:89?)?)?)0*"
)
"""IDs that anonymisers assign to every patient, compared by letters and digits only."""

_NON_PATIENT_FOLDER = re.compile(
    r"(?:19|20)[0-9]{6}.*|[0-9]{4}[-._][0-9]{1,2}[-._][0-9]{1,2}.*|[0-9]{1,2}[-._][0-9]{1,2}[-._](?:19|20)[0-9]{2}.*|"
    r"[0-9]+(?:\.[0-9]+){3,}|"
    r"(?:[0-9]+[\W_]*)?(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[A-Z]*[\W_]*(?:19|20)[0-9]{2}|"
    r"(?:VISIT|V|STUDY|STU|ST|EXAM|EX|E|SESSION|SES|SCAN|SERIES|SER|SE|S|TIMEPOINT|ZEITPUNKT|TIME|TP|T|DAY|D|WEEK|WK|W|MONTH|MO|M|"
    r"YEAR|YR|Y|DATE|UNTERSUCHUNG|KONTROLLE|CONTROL|BASELINE|BL|FOLLOWUP|FOLLOW|FU|PRE|POST|PREOP|POSTOP|BATCH|PART|DISC|DISK|CD|DVD|VOL|VOLUME|DICOM|"
    r"DICOMDIR|DCM|DIR|IMAGES?|IMG|IM|I|FOLDER|RUN|ECHO|ACQ|DATA|SET|SITE|CENTER|CENTRE|HOSPITAL|SCANNER|GROUP|COHORT|"
    r"MR|MRI|BRAIN|HEAD|AX|AXIAL|COR|CORONAL|SAG|SAGITTAL|FLAIR|DWI|ADC|DTI|PERF|PERFUSION|SWI|PD|MASK|LOC|LOCALIZER|"
    r"TRAIN|TRAINING|TEST|VALIDATION|EXPORT|DOWNLOAD|ARCHIVE|MANIFEST|[0-9]+(?=-))(?:[\W_0-9]|$).*"
)
"""Names of folders for dates, UIDs, visits, series or deliveries, of which one patient may have several."""


def canonical_form(name: str) -> str:
    """Return a patient ID in upper case, with its parts joined by `-`, so that spellings of one ID are equal.

    Parts are runs of letters, runs of digits, and single other characters: `pgbm 001` and `PGBM001` become `PGBM-001`,
    but `P1-2` is not `P12`.
    """
    parts: list[str] = []
    for part in _PARTS.findall(_DASHES.sub("-", unicodedata.normalize("NFKC", name)).upper()):
        if part.isalpha() and parts and parts[-1].isalpha():
            parts[-1] += part
        else:
            parts.append(part)
    return "-".join(parts) or name


def _without_leading_zeros(form: str) -> str:
    return "-".join(part.lstrip("0") or "0" if part.isdigit() else part for part in form.split("-"))


def _group_by_form(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Group the names by their form without leading zeros, and then by their canonical form."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name in names:
        form = canonical_form(name)
        groups.setdefault(_without_leading_zeros(form), {}).setdefault(form, []).append(name)
    return groups


def _are_one_patient(forms: Iterable[str]) -> bool:
    """Return whether forms that differ only in leading zeros unambiguously belong to one patient."""
    by_length = sorted(forms, key=len)
    if len(by_length) > 2:
        return False
    lengths = [[len(part) for part in form.split("-")] for form in by_length]
    return all(short <= long for short, long in zip(lengths[0], lengths[-1], strict=True))


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Map each patient ID to the first spelling of its patient.

    Args:
        names: IDs as given in the headers, in order of priority.
    """
    first: dict[str, str] = {}
    for forms in _group_by_form(names).values():
        patients = (
            [[name for group in forms.values() for name in group]] if _are_one_patient(forms) else list(forms.values())
        )
        first |= {name: group[0] for group in patients for name in group}
    return first


def ambiguous(names: Iterable[str]) -> list[list[str]]:
    """Return groups of IDs that differ only in leading zeros and cannot be resolved to patients."""
    return [
        [group[0] for group in forms.values()]
        for forms in _group_by_form(names).values()
        if not _are_one_patient(forms)
    ]


def match_ids(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Find the patients of another source, such as a table, among the patients of the images.

    Args:
        names: patients of the images, one spelling each.
        others: IDs in the other source.

    Returns:
        The name among `names` of each matched ID: the one with the same form, or else the only one that differs only in
        leading zeros, unless another ID of `others` matches it exactly.
    """
    image_groups, other_groups = _group_by_form(names), _group_by_form(others)
    matched: dict[str, str] = {}
    for key, forms in other_groups.items():
        image_forms = image_groups.get(key, {})
        unmatched = [form for form in forms if form not in image_forms]
        free = [form for form in image_forms if form not in forms]
        pairs = {form: form for form in forms if form in image_forms}
        if len(unmatched) == len(free) == 1 and _are_one_patient({unmatched[0], free[0]}):
            pairs[unmatched[0]] = free[0]
        matched |= {name: image_forms[form][0] for other, form in pairs.items() for name in forms[other]}
    return matched


def to_image_ids(others: pd.Series, names: Iterable[str]) -> pd.Series:
    """Replace the IDs of another source by those of the images where `match_ids` finds a match."""
    matched = match_ids(names, others)
    return others.map(lambda name: matched.get(name, name)).astype(object)


Finding = tuple[str, str, str, str, str]
"""A row of `inventory.FINDINGS`: finding, PatientID, date, series, detail."""


def findings(occurrences: pd.DataFrame) -> Iterator[Finding]:
    """Yield the problems with the identity of patients and studies.

    Args:
        occurrences: columns `OCCURRENCES`, for all folders of a catalogue.

    Yields:
        Patients with several spellings, IDs that may be one patient, studies shared by several patients, IDs shared by
        folders of several patients, SOP instance UIDs shared by several images, missing or inconsistent dates.
    """
    for patient, stated in occurrences.groupby("PatientID")["PatientID_stated"].unique().items():
        if len(stated) > 1:
            yield (
                "patient with several spellings: treated as one",
                str(patient),
                "",
                "",
                shorten(sorted(map(str, stated))),
            )
    for names in ambiguous(sorted(occurrences["PatientID"].unique())):
        yield ("IDs that differ only in leading zeros: treated as distinct", names[0], "", "", shorten(sorted(names)))
    yield from _studies(occurrences)
    for (_, patient), group in occurrences.groupby(["cohort", "PatientID"]):
        names = folders_of_patients(str(patient), group)
        if names:
            yield ("PatientID shared by folders of several patients", str(patient), "", "", shorten(sorted(names)))
    for patient, renamed in occurrences.groupby("PatientID")["renamed"].sum().items():
        if renamed:
            detail = f"{renamed} files received a new UID"
            yield ("SOP instance UID shared by several images", str(patient), "", "", detail)
    yield from _dates(occurrences)


def _dates(occurrences: pd.DataFrame) -> Iterator[Finding]:
    counts = occurrences.groupby(["PatientID", "StudyDate"], as_index=False)[["undated", "torn"]].sum()
    for row in counts.to_dict("records"):
        patient, date = row["PatientID"], row["StudyDate"]
        if row["undated"]:
            detail = f"{row['undated']} files; another date of the header is used"
            yield ("no usable StudyDate", patient, date, "", detail)
        if row["torn"]:
            yield ("header dates more than one day apart", patient, date, "", f"{row['torn']} files")


def _studies(occurrences: pd.DataFrame) -> Iterator[Finding]:
    for study, patients in occurrences.groupby("StudyInstanceUID")["PatientID"].unique().items():
        if len(patients) > 1:
            detail = f"study {study} of {shorten(sorted(patients))}"
            yield ("study shared by several patients: leakage", min(patients), "", "", detail)


def folders_of_patients(patient: str, occurrences: pd.DataFrame) -> list[str]:
    """Return the folders that look like different patients but share one ID, which an anonymiser may have assigned.

    Folder names are compared at the first level where the paths of the ID's files differ. Names of dates, UIDs, visits,
    series and deliveries are not patients, and neither are folders below or above a folder named with the ID. Each
    folder must have its own studies. Names that do not follow one numbered pattern, such as `case 1` and `case 2`,
    count only for an ID that anonymisers are known to assign, such as ANON.

    Args:
        patient: the ID.
        occurrences: columns folder and StudyInstanceUID, for the files of the ID.

    Returns:
        The folder names; empty if there is no problem.
    """
    paths = [PurePath(folder).parts for folder in occurrences["folder"]]
    depth = next((n for n, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), None)
    if depth is None:
        return []
    form, names = canonical_form(patient), {path[depth] for path in paths}
    id_elsewhere = any(_is_named_with(part, form) for path in paths for part in (*path[:depth], *path[depth + 1 :]))
    studies = occurrences["StudyInstanceUID"].groupby([path[depth] for path in paths]).agg(set)
    disjoint = sum(map(len, studies)) == len(set().union(*studies))
    are_visits = all(_is_named_with(name, form) for name in names)
    if (
        id_elsewhere
        or are_visits
        or not disjoint
        or any(_NON_PATIENT_FOLDER.fullmatch(name.strip().upper()) for name in names)
    ):
        return []
    patterns = {re.sub(r"[0-9]+", "0", canonical_form(name)) for name in names}
    numbered = len(patterns) == 1 and re.search("[^0-9-]", next(iter(patterns))) and "0" in next(iter(patterns))
    return sorted(names) if numbered or _PLACEHOLDER_ID.fullmatch(re.sub(r"[\W_]", "", patient.upper())) else []


def _is_named_with(folder: str, form: str) -> bool:
    """Return whether the name of a folder starts with an ID, optionally followed by a date or visit number."""
    return f"{canonical_form(folder)}-".startswith(f"{form}-")
