"""The sections on the study, around those on its data and results."""

from collections.abc import Sequence

from tumorprog.report.page import Section
from tumorprog.report.study.checklist import checklists
from tumorprog.report.study.environment import environment
from tumorprog.report.study.facts import Facts
from tumorprog.report.study.limitations import limitations
from tumorprog.report.study.methods import methods
from tumorprog.report.study.participants import characteristics, flow
from tumorprog.report.study.statement import statement


def arranged(data: Sequence[Section], results: Sequence[Section], facts: Facts) -> list[Section]:
    """Return all sections in their order: data, participants, methods, results, limitations, guidelines, provenance.

    Args:
        data: sections on the input data.
        results: sections on the results.
        facts: of the run.
    """
    before = [*data, flow(facts), characteristics(facts), statement(facts.settings.study), methods(facts)]
    after = [limitations(facts), environment(facts)]
    guidelines = checklists([*before, *results, *after], facts.settings.study)
    return [*before, *results, after[0], guidelines, after[1]]
