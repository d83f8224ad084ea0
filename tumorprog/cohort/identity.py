"""Who is who: spellings of a patient's id, ids and studies that several patients share -> one patient, or a finding.

Two spellings are one patient where they differ in nothing but case and in `_`, `-`, spaces between their parts; also in
the zeros before a number where that is unambiguous: just two forms are there, and one has all the zeros of the other.
Of `P1`, `P01` and `P001` nobody can tell which two are one; they stay three, and `catalogue --check` names them.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePath

import pandas as pd

from tumorprog.errors import some

WHO = (
    *("cohort", "PatientID", "PatientID_stated", "StudyDate", "StudyInstanceUID", "folder"),
    *("files", "renamed", "undated", "torn"),
)
"""Columns of a table of who lies where: the id as the outputs have it and as the header does, a study and its date, the
folder of its files, how many `files` these are, how many of them were given a SOP instance UID of their own
(`renamed`), have a date that is not StudyDate (`undated`) or dates more than a day apart (`torn`)."""

_PARTS = re.compile(r"[0-9]+|[^\W\d_]+|[^\w\s\-]|[^\W]")
_DASHES = re.compile(r"[‐‑‒–—−_]")

_CONSTANT = re.compile(
    r"(?:ANON(?:YM(?:OUS|IZED|ISED|ISIERT|E|O|)?)?(?:PATIENT|SUBJECT)?|DEIDENTIFIED|DEID|REMOVED|HIDDEN|REDACTED|DUMMY|"
    r"PATIENT(?:ID)?|PAT(?:IENT)?NAME|SUBJECT|UNKNOWN|NONE|NULL|NOID|NOTAVAILABLE|ID|NA|TEST|X+|0+|123456(?:7(?:89?)?)?)0*"
)
"""What anonymisers write for everyone, without what is no letter or digit."""

_NO_PATIENT = re.compile(
    r"(?:19|20)[0-9]{6}.*|[0-9]{4}[-._][0-9]{1,2}[-._][0-9]{1,2}.*|[0-9]{1,2}[-._][0-9]{1,2}[-._](?:19|20)[0-9]{2}.*|"
    r"[0-9]+(?:\.[0-9]+){3,}|"
    r"(?:[0-9]+[\W_]*)?(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[A-Z]*[\W_]*(?:19|20)[0-9]{2}|"
    r"(?:VISIT|V|STUDY|STU|ST|EXAM|EX|E|SESSION|SES|SCAN|SERIES|SER|SE|S|TIMEPOINT|ZEITPUNKT|TIME|TP|T|DAY|D|WEEK|WK|W|MONTH|MO|M|"
    r"YEAR|YR|Y|DATE|UNTERSUCHUNG|KONTROLLE|CONTROL|BASELINE|BL|FOLLOWUP|FOLLOW|FU|PRE|POST|PREOP|POSTOP|BATCH|PART|DISC|DISK|CD|DVD|VOL|VOLUME|DICOM|"
    r"DICOMDIR|DCM|DIR|IMAGES?|IMG|IM|I|FOLDER|RUN|ECHO|ACQ|DATA|SET|SITE|CENTER|CENTRE|HOSPITAL|SCANNER|GROUP|COHORT|"
    r"MR|MRI|BRAIN|HEAD|AX|AXIAL|COR|CORONAL|SAG|SAGITTAL|FLAIR|DWI|ADC|DTI|PERF|PERFUSION|SWI|PD|MASK|LOC|LOCALIZER|"
    r"TRAIN|TRAINING|TEST|VALIDATION|EXPORT|DOWNLOAD|ARCHIVE|MANIFEST|[0-9]+(?=-))(?:[\W_0-9]|$).*"
)
"""Folders of dates, UIDs, series and deliveries, which one patient may have several of."""


def form(name: str) -> str:
    """A patient's id without what differs between the spellings of one: case, and `_`, `-`, spaces between its parts.

    Parts are letters, numbers, and other characters each: `pgbm 001` and `PGBM001` are `PGBM-001`, but `P1-2` is not
    `P12`.
    """
    parts: list[str] = []
    for part in _PARTS.findall(_DASHES.sub("-", unicodedata.normalize("NFKC", name)).upper()):
        if part.isalpha() and parts and parts[-1].isalpha():
            parts[-1] += part
        else:
            parts.append(part)
    return "-".join(parts) or name


def _without_zeros(told: str) -> str:
    """A form without the zeros before its numbers."""
    return "-".join(part.lstrip("0") or "0" if part.isdigit() else part for part in told.split("-"))


def _by_form(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """The names by their form without zeros, and then by their form."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        told = form(name)
        found.setdefault(_without_zeros(told), {}).setdefault(told, []).append(name)
    return found


def _are_one(forms: Iterable[str]) -> bool:
    """Whether forms that differ in zeros alone are surely one patient's."""
    several = sorted(forms, key=len)
    if len(several) > 2:
        return False
    lengths = [[len(part) for part in told.split("-")] for told in several]
    return all(short <= long for short, long in zip(lengths[0], lengths[-1], strict=True))


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Which patient each id means.

    Args:
        names: ids as they stand in headers, the first one first.

    Returns:
        For each id the first spelling of its patient.
    """
    first: dict[str, str] = {}
    for forms in _by_form(names).values():
        together = [[name for group in forms.values() for name in group]] if _are_one(forms) else list(forms.values())
        first |= {name: group[0] for group in together for name in group}
    return first


def unclear(names: Iterable[str]) -> list[list[str]]:
    """Ids that differ in zeros alone, of which nobody can tell which are one patient: a list for each number."""
    return [[group[0] for group in forms.values()] for forms in _by_form(names).values() if not _are_one(forms)]


def matched(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Finds the patients of one source in another, such as those of a table among the images'.

    Args:
        names: of the images, a spelling for each patient.
        others: in the other source.

    Returns:
        For each of the others that is there its name among `names`: the one of the same form, or else the only one
        that differs in zeros alone, where no other one of the others is nearer.
    """
    ours, theirs = _by_form(names), _by_form(others)
    found: dict[str, str] = {}
    for key, forms in theirs.items():
        mine = ours.get(key, {})
        left = [told for told in forms if told not in mine]
        free = [told for told in mine if told not in forms]
        pairs = {told: told for told in forms if told in mine}
        if len(left) == len(free) == 1 and _are_one({left[0], free[0]}):
            pairs[left[0]] = free[0]
        found |= {name: mine[told][0] for other, told in pairs.items() for name in forms[other]}
    return found


def renamed(others: pd.Series, names: Iterable[str]) -> pd.Series:
    """The ids of another source as the images have them; who is not among the images keeps his own. See `matched`."""
    known = matched(names, others)
    return others.map(lambda name: known.get(name, name)).astype(object)


Finding = tuple[str, str, str, str, str]
"""Of `inventory.FINDINGS`: what, PatientID, date, series, detail."""


def findings(who: pd.DataFrame) -> Iterator[Finding]:
    """What is odd about who is who.

    Args:
        who: columns `WHO`, for all folders of a catalogue.

    Yields:
        Patients with several spellings, ids that may be one, studies of several patients, ids over the folders of
        several patients, SOP instance UIDs that several images share, dates that are lost or disagree.
    """
    for patient, stated in who.groupby("PatientID")["PatientID_stated"].unique().items():
        if len(stated) > 1:
            yield ("patient with several spellings: read as one", str(patient), "", "", some(sorted(map(str, stated))))
    for names in unclear(sorted(who["PatientID"].unique())):
        yield ("ids that differ in zeros alone: read as several patients", names[0], "", "", some(sorted(names)))
    yield from _studies(who)
    for (_, patient), group in who.groupby(["cohort", "PatientID"]):
        names = folders_of_patients(str(patient), group)
        if names:
            yield ("one PatientID over folders of several patients", str(patient), "", "", some(sorted(names)))
    for patient, renamed in who.groupby("PatientID")["renamed"].sum().items():
        if renamed:
            told = f"{renamed} files were given a UID of their own"
            yield ("SOP instance UID of several images", str(patient), "", "", told)
    yield from _dates(who)


def _dates(who: pd.DataFrame) -> Iterator[Finding]:
    counts = who.groupby(["PatientID", "StudyDate"], as_index=False)[["undated", "torn"]].sum()
    for row in counts.to_dict("records"):
        patient, date = row["PatientID"], row["StudyDate"]
        if row["undated"]:
            told = f"{row['undated']} files; another date of the header is used"
            yield ("no usable StudyDate", patient, date, "", told)
        if row["torn"]:
            yield ("dates of the header more than a day apart", patient, date, "", f"{row['torn']} files")


def _studies(who: pd.DataFrame) -> Iterator[Finding]:
    for study, patients in who.groupby("StudyInstanceUID")["PatientID"].unique().items():
        if len(patients) > 1:
            told = f"study {study} of {some(sorted(patients))}"
            yield ("one study under several patients: a leak", min(patients), "", "", told)


def folders_of_patients(patient: str, who: pd.DataFrame) -> list[str]:
    """The folders named like patients that one id lies in, if there are several: an anonymiser's constant.

    Folders are compared where the id's files part for the first time. Dates, UIDs, visits, series and deliveries are
    no patients; nor is anything below a folder that bears the id, or above several that do. Each must have studies of
    its own. Names that are not all of one make, such as `case 1` and `case 2`, count only under an id that is known
    as an anonymiser's, such as ANON.

    Args:
        patient: the id.
        who: columns folder and StudyInstanceUID, of the id's files.

    Returns:
        Their names; none if nothing is wrong.
    """
    paths = [PurePath(folder).parts for folder in who["folder"]]
    depth = next((n for n, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), None)
    if depth is None:
        return []
    owner, names = form(patient), {path[depth] for path in paths}
    bear = any(_bears(part, owner) for path in paths for part in (*path[:depth], *path[depth + 1 :]))
    studies = who["StudyInstanceUID"].groupby([path[depth] for path in paths]).agg(set)
    apart = sum(map(len, studies)) == len(set().union(*studies))
    visits = all(_bears(name, owner) for name in names)
    if bear or visits or not apart or any(_NO_PATIENT.fullmatch(name.strip().upper()) for name in names):
        return []
    makes = {re.sub(r"[0-9]+", "0", form(name)) for name in names}
    numbered = len(makes) == 1 and re.search("[^0-9-]", next(iter(makes))) and "0" in next(iter(makes))
    return sorted(names) if numbered or _CONSTANT.fullmatch(re.sub(r"[\W_]", "", patient.upper())) else []


def _bears(folder: str, owner: str) -> bool:
    """Whether a folder is named by an id, whatever follows it there, such as a date or the number of a visit."""
    return f"{form(folder)}-".startswith(f"{owner}-")
