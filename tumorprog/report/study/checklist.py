"""Where the items of CLAIM and TRIPOD+AI stand in a report, from the sections and settings that it has."""

from collections.abc import Mapping, Sequence

from tumorprog.report.page import Section, Table
from tumorprog.report.study.checklist_items import CLAIM, GRADER_RESULTS, RESULTS, TRIPOD_AI, Item
from tumorprog.report.study.settings import Study
from tumorprog.report.study.statement import STUDY_SECTION

GRADER_SECTIONS = ("grader-patient", "grader-folds")
"""Ids of the sections on results of the grader for new patients."""
RESULT_SECTIONS = (*GRADER_SECTIONS, "progression", "survival")
"""Ids of the sections on results for new patients; results with leakage do not answer an item."""
_GROUPS = {RESULTS: RESULT_SECTIONS, GRADER_RESULTS: GRADER_SECTIONS}
_GUIDELINES = {
    "CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 6:e240300)": CLAIM,
    "TRIPOD+AI (Collins et al., BMJ 385:e078378)": TRIPOD_AI,
}


def checklists(sections: Sequence[Section], study: Study) -> Section:
    """Return the section on the reporting guidelines.

    Args:
        sections: the other sections of the report.
        study: the settings `study`.
    """
    titles = {section.id: section.title for section in sections}
    return Section(
        id="checklists",
        title="Reporting guidelines",
        paragraphs=[
            "Where each item of two reporting guidelines stands. The items are summarised in our own words; the "
            "official checklists have precedence. What the data do not contain, authors can state in the settings "
            "study.*, which are printed in this report. A reference to a section means that the section contains what "
            "software can derive from the data, not that the item is answered completely."
        ],
        tables=[
            Table(
                caption=f"{name}: {_summary(items, titles, study)}",
                rows=[
                    {"Item": item.number, "To be reported": item.text, "Status": status(item, titles, study)}
                    for item in items
                ],
                source="this report and the settings study.*",
            )
            for name, items in _GUIDELINES.items()
        ],
    )


def status(item: Item, titles: Mapping[str, str], study: Study) -> str:
    """Return where an item is answered, and what only the authors can add.

    Args:
        item: of a guideline.
        titles: of the sections of the report, by id.
        study: the settings `study`.
    """
    names = [name for one in item.sections for name in _GROUPS.get(one, (one,))]
    found = list(dict.fromkeys(titles[name] for name in names if name in titles))
    stated = [f"study.{name}" for name in item.settings if getattr(study, name)]
    missing = [f"study.{name}" for name in item.settings if not getattr(study, name)]
    if stated:
        found.append(f"{titles.get(STUDY_SECTION, STUDY_SECTION)} ({', '.join(stated)})")
    parts = [f"in this report: {'; '.join(found)}"] if found else []
    if item.sections and not found and not missing:
        parts.append("not in this report, because these results do not exist")
    if missing:
        parts.append(f"only the authors can fill: set {', '.join(missing)}")
    explained = item.remark and (found or not item.sections)
    return "; ".join([*parts, *([item.remark] if explained else [])])


def _summary(items: Sequence[Item], titles: Mapping[str, str], study: Study) -> str:
    statuses = [status(item, titles, study) for item in items]
    in_report = sum(text.startswith("in this report") for text in statuses)
    waiting = sum("only the authors" in text for text in statuses)
    total = f"{in_report} of {len(items)} items or sub-items are in this report"
    return f"{total}; for {waiting}, authors have to add something"
