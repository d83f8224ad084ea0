"""What the authors state about the study."""

from dataclasses import fields

from tumorprog.report.page import Section, Table
from tumorprog.report.study.settings import Study

TITLE = "Glioma grade and time to progression"
"""Title of a report whose authors give none."""
STUDY_SECTION = "study"
"""Id of the section."""


def statement(study: Study) -> Section:
    """Return the section with the texts of the settings `study`, and the names of those that are empty."""
    texts = {one.name: getattr(study, one.name) for one in fields(study)}
    empty = [f"study.{name}" for name, text in texts.items() if not text]
    rows = [{"": label(name), "Stated by the authors": text} for name, text in texts.items() if text]
    return Section(
        id=STUDY_SECTION,
        title="Statements of the authors",
        paragraphs=[
            "What only the authors of a study know; this text is theirs.",
            *([f"Not stated, because these settings are empty: {', '.join(empty)}."] if empty else []),
        ],
        tables=[Table(caption="The study", rows=rows, source="config.yaml")] if rows else [],
    )


def label(name: str) -> str:
    """Return the name of a setting as a heading: `intended_use` is "Intended use"."""
    shown = name.replace("_url", "").replace("deid", "de-id").replace("_", " ")
    return shown.capitalize()
