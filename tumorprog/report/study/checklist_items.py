"""The items of two reporting guidelines, in our own words, and where a report of tumorprog answers them.

Sources: Tejani et al. 2024, Radiology: Artificial Intelligence 6:e240300 (CLAIM, 44 items); Collins et al. 2024, BMJ
385:e078378 (TRIPOD+AI, 27 items with sub-items). The official texts have precedence over these summaries.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a reporting guideline.

    Attributes:
        number: as in the guideline, "12a" for a sub-item.
        text: what has to be reported, in our own words.
        sections: ids of the sections of the report that answer it, or a part of it; `results` and
            `results of the grader` stand for the sections on these results that exist.
        settings: names of `report.study.settings.Study` that answer it, or a part of it.
        remark: what else has to be said; without sections and settings, why the report does not answer it.
            It is not shown where none of the sections exists, and must be true where only one of them does.
    """

    number: str
    text: str
    sections: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    remark: str = ""


_MANUSCRIPT = "only the authors can write this, in the manuscript"
_NOT_APPLICABLE = "not applicable: "
RESULTS, GRADER_RESULTS = "results", "results of the grader"
_FLOW, _WHO, _METHODS, _LIMITS, _SOFTWARE = "participants", "characteristics", "methods", "limitations", "provenance"


def _items(*rows: tuple[str, str, tuple[str, ...], tuple[str, ...], str]) -> tuple[Item, ...]:
    return tuple(
        Item(number=number, text=text, sections=sections, settings=settings, remark=remark)
        for number, text, sections, settings, remark in rows
    )


CLAIM = _items(
    ("1", "Title names the use of AI and its kind", (), ("title",), ""),
    ("2", "Structured abstract", (), (), _MANUSCRIPT),
    ("3", "Background, and intended use and clinical role of the AI", (), ("intended_use",), ""),
    ("4", "Aims and hypotheses", (), ("objectives",), ""),
    ("5", "Prospective or retrospective study", (), ("setting_and_dates",), ""),
    ("6", "Goal of the study", (), ("objectives",), ""),
    ("7", "Data sources", ("archive", _METHODS), ("data_availability",), ""),
    ("8", "Inclusion and exclusion criteria, selection of data", (_FLOW, _METHODS), ("eligibility",), ""),
    ("9", "Preprocessing", (_METHODS,), (), ""),
    ("10", "Selection of subsets of the data", (_FLOW, _METHODS), (), ""),
    ("11", "De-identification", (), ("deidentification",), ""),
    ("12", "Missing data", (_METHODS, _FLOW, _LIMITS), (), ""),
    ("13", "Image acquisition", (_WHO,), (), ""),
    ("14", "How the reference standard was obtained", (), ("reference_standard",), ""),
    ("15", "Why this reference standard was chosen", (), ("reference_standard",), ""),
    ("16", "Who provided the reference standard, with qualifications", (), ("reference_standard",), ""),
    ("17", "How the test set was annotated", (), ("reference_standard",), ""),
    ("18", "Variability of raters, and how disagreements were resolved", (), ("reference_standard",), ""),
    ("19", "How data were assigned to the sets", (_METHODS, _FLOW), (), ""),
    ("20", "Level at which the sets are disjoint", (_METHODS, RESULTS), (), ""),
    ("21", "Intended size of the test set", (_FLOW,), ("sample_size",), ""),
    ("22", "Model: inputs, outputs, layers", (_METHODS,), (), ""),
    ("23", "Software and versions", (_METHODS, _SOFTWARE), (), ""),
    ("24", "Initial parameters of the models", (_METHODS,), (), ""),
    ("25", "Training, augmentation and hyperparameters", (_METHODS, RESULTS), (), ""),
    ("26", "How the final model was selected", (_METHODS,), (), ""),
    ("27", "Ensembles", (_METHODS,), (), "slices and series of a patient are combined; models are not"),
    ("28", "Metrics of performance", (RESULTS, _METHODS), (), ""),
    ("29", "Uncertainty and statistical significance", (RESULTS, _METHODS), (), ""),
    (
        "30",
        "Robustness and sensitivity",
        (GRADER_RESULTS, "progression"),
        (),
        "null controls where they were run; the grader, where it is tested, by institution and manufacturer",
    ),
    ("31", "Explainability", ("grader-patient",), (), "maps of the grader's evidence, where drawn"),
    ("32", "Internal testing", (RESULTS,), (), ""),
    ("33", "External testing", (_LIMITS,), (), "no external data were tested"),
    ("34", "Registration of a clinical trial", (), ("registration",), ""),
    ("35", "Numbers included and excluded, with a flow chart", (_FLOW,), (), ""),
    ("36", "Demographic and clinical characteristics of each set", (_WHO, "cohort"), (), ""),
    ("37", "Performance on each set and in subgroups", (RESULTS,), (), ""),
    ("38", "Estimates with 95% confidence intervals", (RESULTS,), (), ""),
    (
        "39",
        "Analysis of failures",
        (GRADER_RESULTS, "progression"),
        (),
        "their clinical meaning: only the authors can write this",
    ),
    ("40", "Limitations", (_LIMITS,), (), ""),
    ("41", "Implications for practice", (), ("intended_use",), ""),
    ("42", "Full protocol", (), ("protocol_url",), ""),
    ("43", "Availability of software, models and data", (_SOFTWARE,), ("data_availability",), ""),
    ("44", "Funding and the role of the funders", (), ("funding",), ""),
)
"""CLAIM, update of 2024."""

TRIPOD_AI = _items(
    ("1", "Title: prediction model, population and outcome", (), ("title",), ""),
    ("2", "Abstract", (), (), _MANUSCRIPT),
    ("3a", "Clinical context, and why the model is needed", (), ("intended_use",), ""),
    ("3b", "Target population, purpose and users", (), ("intended_use",), ""),
    ("3c", "Known inequalities between groups", (), (), _MANUSCRIPT),
    ("4", "Objectives: development, evaluation or both", (), ("objectives",), ""),
    ("5a", "Sources of the data and their representativeness", ("archive", _METHODS), ("data_availability",), ""),
    ("5b", "Dates of enrolment and follow-up", (), ("setting_and_dates",), ""),
    ("6a", "Setting, number and location of the centres", ("cohort",), ("setting_and_dates",), ""),
    ("6b", "Eligibility", (_FLOW, _METHODS), ("eligibility",), ""),
    ("6c", "Treatments", (), ("eligibility",), ""),
    ("7", "Preparation and quality checks of the data", (_METHODS, "archive"), (), ""),
    ("8a", "Outcome: definition, time horizon, assessment", (_METHODS,), ("reference_standard",), ""),
    ("8b", "Qualifications of who assessed the outcome", (), ("reference_standard",), ""),
    ("8c", "Blinding of the assessment of the outcome", (), ("reference_standard",), ""),
    ("9a", "Choice of predictors", (_METHODS,), (), "images only"),
    ("9b", "Definition of the predictors and when they were measured", (_METHODS, _WHO), (), ""),
    ("9c", "Assessors of predictors", (), (), _NOT_APPLICABLE + "predictors are computed from images"),
    ("10", "Sample size and its justification", (_FLOW,), ("sample_size",), ""),
    ("11", "Missing data", (_METHODS, _FLOW, _LIMITS), (), ""),
    ("12a", "How the data were used and partitioned", (_METHODS, _FLOW), (), ""),
    ("12b", "Transformation of the predictors", (_METHODS,), (), ""),
    ("12c", "Model, its building and internal validation", (_METHODS,), (), ""),
    ("12d", "Differences between clusters such as hospitals", (GRADER_RESULTS,), (), "by institution"),
    ("12e", "Measures and plots of performance", (_METHODS, RESULTS), (), ""),
    ("12f", "Updating of the model", (), (), _NOT_APPLICABLE + "models are not updated or recalibrated"),
    ("12g", "How predictions were computed", (_METHODS,), (), "tumorprog predict applies the models"),
    ("13", "Class imbalance", (_METHODS,), (), "weights of the loss of a grader"),
    ("14", "Fairness", (_LIMITS,), (), "no method addresses it"),
    (
        "15",
        "Output of the model and thresholds",
        (_METHODS, GRADER_RESULTS),
        (),
        "a grader outputs the most probable grade; the decisions 3 or 4 against 2, and 4 against 2 or 3, have the "
        "threshold of one half; months and curves have none",
    ),
    ("16", "Differences between development and evaluation data", (_WHO, _FLOW), (), ""),
    ("17", "Ethical approval and consent", (), ("ethics", "consent"), ""),
    ("18a", "Funding and the role of the funders", (), ("funding",), ""),
    ("18b", "Conflicts of interest", (), ("conflicts",), ""),
    ("18c", "Protocol", (), ("protocol_url",), ""),
    ("18d", "Registration", (), ("registration",), ""),
    ("18e", "Availability of the data", (), ("data_availability",), ""),
    ("18f", "Availability of the code", (_SOFTWARE,), (), "tumorprog, Apache-2.0"),
    ("19", "Involvement of patients and the public", (), ("patient_involvement",), ""),
    ("20a", "Flow of participants, and numbers with the outcome", (_FLOW, "cohort"), (), ""),
    ("20b", "Characteristics of the participants", (_WHO, "cohort"), (), ""),
    ("20c", "Comparison of evaluation and development data", (_WHO,), (), ""),
    ("21", "Participants and outcome events in each analysis", (_FLOW, RESULTS), (), ""),
    (
        "22",
        "The full model, for use by others",
        (_METHODS, _SOFTWARE),
        (),
        "model files and cards/ in the run directory",
    ),
    ("23a", "Performance with confidence intervals, also in subgroups", (RESULTS,), (), ""),
    ("23b", "Differences of performance between clusters", (GRADER_RESULTS,), (), "by institution"),
    ("24", "Results of model updating", (), (), _NOT_APPLICABLE + "models are not updated"),
    ("25", "Interpretation, with fairness and earlier studies", ("paper",), (), _MANUSCRIPT),
    ("26", "Limitations", (_LIMITS,), (), ""),
    ("27a", "Poor or missing input when the model is used", ("archive",), ("intended_use",), ""),
    ("27b", "Interaction and expertise required of users", (), ("intended_use",), ""),
    ("27c", "Next steps for research", (), (), _MANUSCRIPT),
)
"""TRIPOD+AI, 2024."""
