"""Model card and data card in the format of the Hugging Face Hub: YAML front matter and Markdown, without patient ids.

The texts are those of the report. Format: https://huggingface.co/docs/hub/model-cards and .../datasets-cards.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml

from tumorprog.conventions import GRADES
from tumorprog.report import names
from tumorprog.report.page import Table, shown, table_rows
from tumorprog.report.study import limitations, methods
from tumorprog.report.study.facts import Facts
from tumorprog.report.study.participants import characteristics, flow_table, split_tables
from tumorprog.report.study.statement import TITLE, label

_RESEARCH = "For research use only. Not a medical device: do not use it to diagnose, treat or inform patients."
_NOT_STATED = "Not stated by the authors: the setting study.{} is empty."
_MODEL_STATEMENTS = ("ethics", "funding", "conflicts", "contact")
_DATA_STATEMENTS = (
    *("eligibility", "setting_and_dates", "reference_standard", "deidentification", "ethics", "consent"),
    *("data_availability", "contact"),
)
_GRADER_METRICS = ("balanced_accuracy", "accuracy", "macro_auc")
_MONTHS_METRICS = ("mae", "concordance")
_SURVIVAL_METRICS = ("concordance", "integrated_brier_score")
_UNITS = {"mae": "months"}
_INTERVALS = "Each value is followed by its 95% confidence interval, or by the reason why there is none."
_SIZES = (
    (1000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LARGEST = "n>10M"


def model_card(facts: Facts) -> str:
    """Return the model card of the grader and of the progression model of a run."""
    results = list(_results(facts))
    defined = [result for result in results if result["metric"]["value"] is not None]
    front = {
        "license": "apache-2.0",
        "library_name": "tumorprog",
        "pipeline_tag": "image-classification",
        "tags": ["medical", "mri", "glioma", *(["synthetic-data"] if facts.synthetic else [])],
        "metrics": sorted({result["type"] for result in defined}),
        "model-index": [{"name": facts.settings.study.title or TITLE, "results": _model_index(facts, defined)}],
    }
    if not defined:  # the Hub refuses an index without results
        del front["model-index"]
    body = [
        *_title(facts, "Model card"),
        *_chapter("Intended use", [facts.settings.study.intended_use or _NOT_STATED.format("intended_use")]),
        *_chapter("Limitations", [f"- {one}" for one in limitations.sentences(facts)], separator="\n"),
        *_chapter("Training data", [f"Sources: {methods.sources(facts)}. See the data card (data.md)."]),
        *_chapter("Training and evaluation procedure", list(methods.paragraphs(facts))),
        *_chapter("Results on held-out patients", [_INTERVALS, "\n".join(_result_lines(results))]),
        *_statements(facts, _MODEL_STATEMENTS),
    ]
    return _card(front, body)


def data_card(facts: Facts) -> str:
    """Return the data card of the images and labels of a run."""
    summary = facts.summary
    front = {
        "pretty_name": f"{facts.settings.study.title or TITLE}: data",
        "task_categories": ["image-classification"],
        "tags": ["medical", "mri", "glioma", "dicom", *(["synthetic"] if facts.synthetic else [])],
        "size_categories": [next((name for limit, name in _SIZES if summary["slices"] < limit), _LARGEST)],
        "dataset_info": {
            "features": [{"name": "image", "dtype": "image"}, {"name": "grade", "dtype": _grades()}],
            "splits": _split_sizes(facts),
        },
    }
    body = [
        *_title(facts, "Data card"),
        *_chapter("Sources", [methods.sources(facts) + "."]),
        *_chapter("Flow of participants", _markdown(flow_table(facts))),
        *(line for table in split_tables(facts) for line in _markdown(table)),
        *_chapter("Patients and image acquisition", []),
        *(line for table in characteristics(facts).tables for line in _markdown(table)),
        *_chapter("Limitations", [f"- {one}" for one in limitations.sentences(facts)], separator="\n"),
        *_statements(facts, _DATA_STATEMENTS),
    ]
    return _card(front, body)


def _card(front: Mapping[str, Any], body: Sequence[str]) -> str:
    text = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n\n" + "\n\n".join(body) + "\n"


def _title(facts: Facts, kind: str) -> list[str]:
    return [f"# {kind}: {facts.settings.study.title or TITLE}", f"**{_RESEARCH}**"]


def _chapter(title: str, texts: Sequence[str], *, separator: str = "\n\n") -> list[str]:
    return [f"## {title}", *([separator.join(texts)] if texts else [])]


def _statements(facts: Facts, names: Sequence[str]) -> list[str]:
    study = facts.settings.study
    known = [one.name for one in fields(study) if one.name in names]
    return [
        line for name in known for line in _chapter(label(name), [getattr(study, name) or _NOT_STATED.format(name)])
    ]


def _grades() -> dict[str, Any]:
    return {"class_label": {"names": {str(index): str(grade) for index, grade in enumerate(GRADES)}}}


def _split_sizes(facts: Facts) -> list[dict[str, Any]]:
    training = facts.graders.get("patient")
    if training is None:
        return []
    sizes = training.slices["side"].value_counts()
    return [{"name": side, "num_examples": int(sizes.get(side, 0))} for side in ("train", "validation", "test")]


def _results(facts: Facts) -> Iterator[dict[str, Any]]:
    """Yield each result on held-out patients: task, type, name, metric."""
    evaluated = facts.metrics
    evaluations = (
        ("grade of the tumour", evaluated.get("grader", {}).get("patient", {}).get("patient"), _GRADER_METRICS),
        ("grade, cross-validation", evaluated.get("grader", {}).get("folds", {}).get("patient"), _GRADER_METRICS),
        ("months to progression", _level(evaluated.get("progression", {})), _MONTHS_METRICS),
        ("time to progression", _level(evaluated.get("survival", {})), _SURVIVAL_METRICS),
    )
    for task, scores, keys in evaluations:
        for metric in keys:
            if scores and metric in scores:
                yield {"task": task, "type": metric, "name": _name(metric), "metric": scores[metric]}


def _name(metric: str) -> str:
    """Return the name of a metric, with its unit if it has one."""
    return names.metric(metric) + (f" ({_UNITS[metric]})" if metric in _UNITS else "")


def _level(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return part.get("patient", {}).get("all", {}).get("patient")


def _model_index(facts: Facts, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return results in the form of the Hub's model index; the interval is in the metric's `args`."""
    tasks = list(dict.fromkeys(result["task"] for result in results))
    return [
        {
            "task": {"type": "image-classification" if task.startswith("grade") else "other", "name": task},
            "dataset": {"type": "private", "name": methods.sources(facts), "split": "held-out patients"},
            "metrics": [_indexed(result) for result in results if result["task"] == task],
        }
        for task in tasks
    ]


def _indexed(result: Mapping[str, Any]) -> dict[str, Any]:
    metric = result["metric"]
    indexed = {"type": result["type"], "name": result["name"], "value": float(metric["value"])}
    if metric["lower"] is None or metric["upper"] is None:
        return indexed
    return {
        **indexed,
        "args": {"lower_95": float(metric["lower"]), "upper_95": float(metric["upper"]), "n": metric["n"]},
    }


def _result_lines(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"- {result['task']}, {result['name']}: {shown(result['metric'])}, n = {result['metric']['n']}"
        for result in results
    ] or ["No model has been evaluated."]


def _markdown(table: Table) -> list[str]:
    """Return a table with its caption as Markdown."""
    names, rows = table_rows(table)
    cells = [names, ["---"] * len(names), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return [f"{table.caption}:", "\n".join(f"| {' | '.join(row)} |" for row in cells)]
