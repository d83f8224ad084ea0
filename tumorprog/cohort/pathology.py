"""Histology, molecular markers and edition of the WHO classification from a table of patients, where it has them."""

import re

import pandas as pd

from tumorprog.cohort import sheets
from tumorprog.cohort.columns import PATHOLOGY

_COLUMNS = {
    "Histology": (
        *("histology", "disease", "disease type", "histological type", "histologic type", "histological diagnosis"),
        *("final pathologic diagnosis", "pathologic diagnosis", "pathological diagnosis", "integrated diagnosis"),
        *("diagnosis", "primary diagnosis", "cancer type detailed", "glioma type", "tumor type", "tumour type"),
    ),
    "IDH": (
        *("idh", "idh status", "idh mutation", "idh mutation status", "idh mutated", "idh1", "idh1 mutation"),
        *("idh1 status", "idh 1/2", "idh1/2", "idh1/2 status", "idh specific"),
    ),
    "Codeletion": (
        *("1p/19q", "1p/19q codeletion", "1p/19q co-deletion", "1p/19q status", "1p/19q codeletion status"),
        *("1p19q codeletion status", "codeletion", "codel", "1p 19q"),
    ),
    "MGMT": (
        *("mgmt", "mgmt status", "mgmt methylation", "mgmt methylation status", "mgmt promoter status"),
        *("mgmt promoter methylation", "mgmt promoter methylation status", "mgmt qualitative"),
    ),
    "Edition": (
        *("who edition", "who classification", "who cns edition", "cns who edition", "edition", "grading edition"),
        "classification edition",
    ),
}
"""Common names of each column, as in REMBRANDT, TCGA (cBioPortal), UCSF-PDGM, UPENN-GBM, UTSW-Glioma, MU-Glioma-Post
and EGD; case, spaces and punctuation are ignored."""

_NO, _YES = r"(?:no|neg|negative|absent|false|0)", r"(?:yes|pos|positive|present|true|1)"
"""Whole values."""
_UNTESTED = re.compile(r"not (?:tested|done|performed|assessed|determined|reported)|untested|pending|inconclusive")
_VALUES = {
    "IDH": (
        (rf"^{_NO}$|wild|(?<![a-z])wt(?![a-z])|(?:not?|non|un)[ -]*mutat|not detected", "wildtype"),
        (rf"^{_YES}$|muta|p\.|r132|r172", "mutant"),
    ),
    "Codeletion": (
        (rf"^{_NO}$|intact|retained|(?:not?|non|un)[ -]*(?:co-?)?del|not detected", "not codeleted"),
        (rf"^{_YES}$|^(?:1p/?19q )?co-?del|(?:1p/?19q)[ -]*del", "codeleted"),
    ),
    "MGMT": (
        (rf"^{_NO}$|(?:not?|non|un)[ -]*meth", "not methylated"),
        (r"indeterminate|equivocal|borderline", "indeterminate"),
        (rf"^{_YES}$|meth", "methylated"),
    ),
}
"""Patterns of the values of each marker, the first that matches decides; every other value is unknown."""
_YEAR = re.compile(r"(?<!\d)(2000|2007|2016|2021)(?!\d)")
_FIFTH = re.compile(r"cns ?5|5th|fifth|(?<!\d)5(?!\d)", re.IGNORECASE)


def read_pathology(table: pd.DataFrame, *, edition: str) -> pd.DataFrame:
    """Return the histology, markers and edition of each row of a table of patients.

    Args:
        table: from `cohort.sheets.read_tables`.
        edition: the setting `cohort.grade_edition`, for all patients; "" to look for a column.

    Returns:
        Columns `cohort.columns.PATHOLOGY` with the index of the table; "" where a value is not known. IDH is
        wildtype or mutant, Codeletion codeleted or not codeleted, MGMT methylated, not methylated or indeterminate.
        Codes other than 0 and 1 are not known, because their meaning differs between tables.
    """
    columns = {name: sheets.column(table, "", aliases) for name, aliases in _COLUMNS.items()}
    values = {
        name: [_normalise(name, text) for text in table[column]] if column else [""] * len(table)
        for name, column in columns.items()
    }
    if edition:
        values["Edition"] = [edition] * len(table)
    return pd.DataFrame(values, index=table.index, columns=list(PATHOLOGY), dtype=object)


def _normalise(name: str, text: str) -> str:
    if sheets.is_missing(text):
        return ""
    if name == "Edition":
        return _edition(text)
    if name not in _VALUES:
        return text
    lowered = re.sub(r"[.,]0+$", "", text.lower())
    if _UNTESTED.search(lowered):
        return ""
    return next((value for pattern, value in _VALUES[name] if re.search(pattern, lowered)), "")


def _edition(text: str) -> str:
    year = _YEAR.search(text)
    return f"WHO {year[1]}" if year else "WHO 2021" if _FIFTH.search(text) else text
