"""report: the predictions of whatever a run directory holds -> metrics.json, report.html, figures/."""

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog import __version__, storage, tables
from tumorprog.evaluation import baselines, combination, metrics, overlap, survival, sweeps
from tumorprog.models import grader, weights
from tumorprog.report import (
    grader_sections,
    headline,
    page,
    progression_sections,
    sections,
    survival_sections,
    sweep_sections,
)
from tumorprog.settings import Settings
from tumorprog.stages import regions

_ROI_EXAMPLES, _EVIDENCE_EXAMPLES = 6, 6
_VERSIONS = ("ray", "torch", "pydicom")


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Judges every predictions table that there is; a part that is missing is left out of the report."""
    summary = tables.read_summary(folder / "catalogue")
    catalogue = tables.read_shards(folder / "catalogue", tables.CATALOGUE).to_pandas()
    quarantine = tables.read_csv(folder / "quarantine.csv", tables.QUARANTINE)
    judged: dict[str, Any] = {}
    content = [sections.archive(summary, catalogue, quarantine, synthetic=_synthetic(settings))]
    if (folder / "slices" / "_cohort.csv").exists():
        content.append(sections.cohort(tables.read_csv(folder / "slices" / "_cohort.csv", tables.COHORT)))
    if (folder / "grader" / "predictions.parquet").exists():
        judged["grader"], evidence = _judge_grader(folder, settings)
        content += grader_sections.sections(judged["grader"], evidence)
    slices = regions.slices_of(tables.shards(folder / "catalogue"))
    examples = regions.examples(slices, settings, most=_ROI_EXAMPLES)
    if examples:
        chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
        judged["roi"] = overlap.dice_by_sequence(regions.overlaps(slices), **chance)
        content.append(sections.rois(examples, judged["roi"], method=settings.roi.method))
    if (folder / "progression" / "predictions.csv").exists():
        parts, section = _progression(folder, settings)
        judged |= parts
        content.append(section)
    if (folder / "progression" / "patient_survival.csv").exists():
        judged["survival"], section = _survival(folder / "progression", settings)
        content.append(section)
    if judged.keys() & {"grader", "progression"}:
        content.append(sections.paper(judged))
    if (folder / "tune" / "test.json").exists():
        content.append(_sweep(folder / "tune", settings))
    _write(out, judged, content, _footer(summary, settings))
    return f"{len(content)} sections, {sum(len(section.pictures) for section in content)} figures"


def _synthetic(settings: Settings) -> bool:
    """Whether one of the archives is a tree of `tumorprog synthesize`, which leaves a note beside its trees."""
    roots = [root for root in (settings.archive.grading, settings.archive.progression) if root]
    return any((storage.place(root).parent / tables.SYNTHETIC).exists() for root in roots)


def _judge_grader(folder: Path, settings: Settings) -> tuple[dict[str, Any], dict[str, grader_sections.Evidence]]:
    judged, evidence = {}, {}
    for place in ("grader", "grader/folds", "grader/paper"):
        if (folder / place / "predictions.parquet").exists():
            found = _judge_folds if place == "grader/folds" else _judge_protocol
            protocol, judged_one, shown = found(folder, place, settings)
            judged[protocol], evidence[protocol] = judged_one, shown
    return judged, evidence


def _judge_protocol(
    folder: Path, place: str, settings: Settings
) -> tuple[str, dict[str, Any], grader_sections.Evidence]:
    """The test part of the training in a place, under its protocol."""
    description = weights.load_description(folder / place)
    predictions = tables.read_shards(folder / place, tables.GRADER_PREDICTIONS).to_pandas()
    train, test = (predictions[predictions["side"] == side] for side in ("train", "test"))
    beside = {"majority": baselines.majority(train, test), "institution": baselines.institution(train, test)}
    if (folder / place / "null" / "predictions.parquet").exists():
        null = tables.read_shards(folder / place / "null", tables.GRADER_PREDICTIONS).to_pandas()
        beside[grader_sections.NULL_CONTROL] = null[null["side"] == "test"]
    shown = _shown(test, description, place, settings, by=("Institution", "Manufacturer"))
    images = folder / "slices"
    shown = replace(
        shown,
        history=tables.read_csv(folder / place / "history.csv", tables.HISTORY),
        leaks=tables.read_csv(folder / place / "leaks.csv", ("what",)),
        examples=_evidence(folder / place, images, test) if images.exists() else [],
    )
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    return description["protocol"], metrics.grader_beside(shown.levels, beside, **chance), shown


def _judge_folds(folder: Path, place: str, settings: Settings) -> tuple[str, dict[str, Any], grader_sections.Evidence]:
    """The test parts of all folds together: every patient once."""
    description = weights.load_description(folder / place / "fold-1")
    tested = tables.read_shards(folder / place, tables.FOLD_PREDICTIONS).to_pandas()
    split = tables.read_csv(folder / place / "split.csv", ("fold", "patient", "side"))
    beside = {}
    for name, baseline in (("majority", baselines.majority), ("institution", baselines.institution)):
        told = []
        for fold, test in tested.groupby("fold"):
            learned = split.loc[(split["fold"] == fold) & (split["side"] == "train"), "patient"]
            told.append(baseline(tested[tested["PatientID"].isin(learned)], test))
        beside[name] = pd.concat(told)
    shown = _shown(tested, description, place, settings, by=("Institution", "Manufacturer", "fold"))
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    return "folds", metrics.grader_beside(shown.levels, beside, **chance), shown


def _shown(
    test: pd.DataFrame, description: dict[str, Any], place: str, settings: Settings, *, by: tuple[str, ...]
) -> grader_sections.Evidence:
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    levels = metrics.grader_levels(test)
    slices = levels["slice"].assign(**{name: test[name].to_numpy() for name in by})
    return grader_sections.Evidence(
        folder=place,
        levels=levels,
        bins={name: metrics.reliability_bins(level) for name, level in levels.items()},
        groups={column: metrics.by_group(slices, column, **chance) for column in by},
        initial_weights=description["initial_weights"],
        history=pd.DataFrame(),
        leaks=pd.DataFrame(),
        examples=[],
    )


def _evidence(place: Path, slices: Path, test: pd.DataFrame) -> list[dict[str, Any]]:
    """Where the grader found the grades of some test slices, for `grader_figures.evidence_panel`."""
    chosen = metrics.surest(test, most=_EVIDENCE_EXAMPLES)
    model = grader.build("none", seed=0)
    weights.load_into(place, model, expected={"classes": list(tables.GRADES)})
    images = tables.images_of(slices, chosen["slice"].tolist())
    classes = (chosen["predicted"] - tables.GRADES[0]).to_numpy()
    found = grader.evidence(model, images, classes, device="cpu")
    return [
        {
            "title": f"grade {row['grade']}, told {row['predicted']} ({row['confidence']:.0%})",
            "image": image,
            "evidence": evidence,
        }
        for row, image, evidence in zip(chosen.to_dict("records"), images, found, strict=True)
    ]


def _progression(folder: Path, settings: Settings) -> tuple[dict[str, Any], page.Section]:
    """The parts of metrics.json on the months to progression, and their section of the page."""
    place = folder / "progression"
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    bar = {
        name: metrics.progression_metrics(rows, **chance) for name, rows in baselines.on_published_intervals().items()
    }
    judged = {"progression": _judge_progression(place, settings), "published_intervals": bar}
    if (place / "null_control.csv").exists():
        judged["null_control"] = _judge_null_control(place / "null_control.csv", settings)
    evidence = progression_sections.Evidence(
        predictions=tables.read_csv(place / "predictions.csv", tables.PROGRESSION_PREDICTIONS),
        patients=tables.read_csv(place / "patient_predictions.csv", tables.PATIENT_PREDICTIONS),
        history=tables.read_csv(place / "history.csv", tables.PROGRESSION_HISTORY),
        sheet=tables.read_csv(folder / "reference_sheet.csv", tables.REFERENCE_SHEET),
        timeline=tables.read_csv(folder / "timeline.csv", tables.TIMELINE),
        volumes=tables.read_csv(folder / "volumes.csv", tables.VOLUMES),
    )
    return judged, progression_sections.section(judged, evidence)


def _judge_progression(folder: Path, settings: Settings) -> dict[str, Any]:
    """Protocol -> cohort -> level -> metric; a cohort with too few patients is an empty object there."""
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    series = tables.read_csv(folder / "predictions.csv", tables.PROGRESSION_PREDICTIONS)
    patients = tables.read_csv(folder / "patient_predictions.csv", tables.PATIENT_PREDICTIONS)
    beside = tables.read_csv(folder / "baselines.csv", tables.BASELINES)
    judged: dict[str, Any] = {
        protocol: {cohort: {} for cohort in ("all", "grade_rise")} for protocol in ("patient", "paper")
    }
    for protocol, cohort in series[["Protocol", "Cohort"]].drop_duplicates().itertuples(index=False):
        own, combined, others = (
            table[(table["Protocol"] == protocol) & (table["Cohort"] == cohort)] for table in (series, patients, beside)
        )
        baselines = {str(name): _months_levels(rows, **chance) for name, rows in others.groupby("Baseline")}
        judged[protocol][cohort] = {
            level: {
                **metrics.progression_metrics(rows, **chance),
                "baselines": {name: levels[level] for name, levels in baselines.items()},
            }
            for level, rows in (("series", own), ("patient", combined))
        }
    return judged


def _months_levels(series: pd.DataFrame, **chance: int) -> dict[str, dict[str, metrics.Metric]]:
    levels = {"series": series, "patient": combination.patients(series)}
    return {name: metrics.progression_metrics(rows, **chance) for name, rows in levels.items()}


def _judge_null_control(path: Path, settings: Settings) -> dict[str, Any]:
    """Protocol -> level -> metric of what was trained on shuffled months, beside the mean of the others' months."""
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    judged: dict[str, Any] = {}
    for protocol, rows in tables.read_csv(path, tables.NULL_CONTROL).groupby("Protocol"):
        model, mean = (_months_levels(rows[rows["Model"] == name], **chance) for name in ("model", "mean"))
        judged[str(protocol)] = {name: {**level, "baselines": {"mean": mean[name]}} for name, level in model.items()}
    return judged


def _survival(place: Path, settings: Settings) -> tuple[dict[str, Any], page.Section]:
    """Protocol -> cohort -> patient -> metric, with the life table as baseline, and their section of the page."""
    chance = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    patients = tables.read_csv(place / "patient_survival.csv", tables.PATIENT_SURVIVAL)
    judged: dict[str, Any] = {}
    measured = {}
    model, bar = (patients[patients["Model"] == name] for name in tables.SURVIVAL_MODELS)
    for name, rows in model.groupby("Protocol"):
        protocol, months, event = str(name), rows["months"].to_numpy(), rows["event"].to_numpy() == 1
        table = survival.survival_metrics(bar[bar["Protocol"] == protocol], **chance)
        told = {**survival.survival_metrics(rows, **chance), "baselines": {tables.SURVIVAL_MODELS[1]: table}}
        judged[protocol] = {"all": {"patient": told}}
        measured[protocol] = survival.kaplan_meier(months, event)
    who = tables.read_csv(place / "outcomes.csv", tables.OUTCOMES)
    return judged, survival_sections.section(judged, model, measured, who)


def _sweep(folder: Path, settings: Settings) -> page.Section:
    told = json.loads((folder / "test.json").read_text())
    trials = tables.read_csv(folder / "trials.csv", ("trial", *told["best"], told["metric"]))
    curves = tables.read_csv(folder / "curves.csv", ("trial", "epoch", told["metric"]))
    importance = sweeps.importance(trials, list(told["best"]), told["metric"], seed=settings.seed)
    return sweep_sections.section(trials, curves, told, importance)


def _footer(summary: dict[str, Any], settings: Settings) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
    told = {"tumorprog": __version__, **versions, "seed": str(settings.seed), "data": summary["fingerprint"][:16]}
    return {**told, "settings": "config.yaml", "licence": "Apache-2.0"}


def _write(out: Path, judged: dict[str, Any], content: list[page.Section], footer: dict[str, str]) -> None:
    (out / "figures").mkdir(exist_ok=True)
    for section in content:
        for picture in section.pictures:
            (out / picture.name).write_bytes(picture.png)
    tables.write_json(out / "metrics.json", judged)
    made = page.Page(
        title="Grades and months to progression",
        summary="A run of tumorprog. Every number can be traced to the file named beside it, in the run directory.",
        headlines=headline.tiles(judged),
        sections=content,
        footer=footer,
    )
    storage.write_text(out / "report.html", page.render(made))
