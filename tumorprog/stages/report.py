"""Stage report: evaluate the predictions in a run directory; write metrics.json, report.html, figures/ and cards/."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog import __version__, storage, tables
from tumorprog.cohort.columns import OUTCOMES, TIMELINE, VOLUMES
from tumorprog.conventions import GRADES
from tumorprog.encoders import spectral
from tumorprog.evaluation import combination, metrics, progression, repetitions, survival, sweeps
from tumorprog.evaluation.baselines import on_published_intervals
from tumorprog.formats.columns import CATALOGUE, QUARANTINE
from tumorprog.graders import resnet18
from tumorprog.graders.images import read_images
from tumorprog.progression.columns import (
    BASELINES,
    NULL_CONTROL,
    PATIENT_PREDICTIONS,
    PATIENT_SURVIVAL,
    PROGRESSION_HISTORY,
    PROGRESSION_PREDICTIONS,
    REFERENCE_SHEET,
    SEEDS,
    SURVIVAL_MODELS,
)
from tumorprog.report import headline, page, paper, theme, verdicts
from tumorprog.report.data import sections as data_sections
from tumorprog.report.geometry import geometry
from tumorprog.report.grading import examples as grading_examples
from tumorprog.report.grading import results as grading_results
from tumorprog.report.grading import sections as grading_sections
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.patients import courses, images
from tumorprog.report.patients import sections as patients_sections
from tumorprog.report.progression import sections as progression_sections
from tumorprog.report.regions import agreement
from tumorprog.report.regions import examples as feature_examples
from tumorprog.report.regions import sections as regions_sections
from tumorprog.report.regions.level import level
from tumorprog.report.study import cards
from tumorprog.report.study import facts as study_facts
from tumorprog.report.study import sections as study_sections
from tumorprog.report.study.statement import TITLE
from tumorprog.report.survival import sections as survival_sections
from tumorprog.report.sweep import sections as sweep_sections
from tumorprog.settings import Settings
from tumorprog.synthetic import plan

_NUM_FEATURE_EXAMPLES, _NUM_GRAD_CAM_EXAMPLES = 3, 6
_NUM_LARGEST_ERRORS, _NUM_TWO_DATES = 3, 2


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Evaluate all available predictions and write the report; missing parts are omitted.

    Returns:
        A line on the content of the report.
    """
    archive = _read_archive(folder, settings)
    catalogue = archive["catalogue"]
    evaluated: dict[str, Any] = {}
    content: list[page.Section] = []
    slices = feature_examples.slices_of(tables.shards(folder / "catalogue"))
    if (folder / "grader" / "predictions.parquet").exists():
        evaluated["grader"], results = _evaluate_grader(folder, slices, settings)
        content += grading_sections.sections(evaluated["grader"], results)
    identifiers = _identifiers(catalogue, settings)
    if (folder / "regions").exists():
        scores, sections = _regions(folder, slices, settings, identifiers)
        evaluated |= scores
        content += sections
    if (folder / "progression" / "predictions.csv").exists():
        scores, sections = _progression(folder, settings, catalogue, identifiers)
        evaluated |= scores
        content += sections
    if (folder / "progression" / "patient_survival.csv").exists():
        scores, sections = _survival(folder, settings, catalogue, identifiers)
        evaluated |= scores
        content += sections
    if evaluated.keys() & {"grader", "progression"}:
        content.append(paper.paper(evaluated))
    if (folder / "tune" / "test.json").exists():
        content.append(_sweep(folder / "tune", settings))
    facts = study_facts.read(folder, settings, archive=archive, metrics=evaluated)
    content = study_sections.arranged(data_sections.sections(archive, facts.cohort), content, facts)
    _write_cards(out / "cards", facts)
    _write(out, evaluated, content, archive, settings)
    return f"{len(content)} sections, {sum(len(section.pictures) for section in content)} figures"


def _read_archive(folder: Path, settings: Settings) -> dict[str, Any]:
    return {
        "summary": tables.read_summary(folder / "catalogue"),
        "catalogue": tables.read_shards(folder / "catalogue", CATALOGUE).to_pandas(),
        "quarantine": tables.read_csv(folder / "quarantine.csv", QUARANTINE),
        "synthetic": _is_synthetic(settings),
    }


def _regions(
    folder: Path, slices: pd.DataFrame, settings: Settings, identifiers: Identifiers
) -> tuple[dict[str, Any], list[page.Section]]:
    """Return the part of metrics.json on the regions of interest and its section; both empty without examples."""
    regions = tables.shards(folder / "regions")
    examples = feature_examples.examples(
        slices, regions, spectral.options(settings.features), max_examples=_NUM_FEATURE_EXAMPLES
    )
    if not examples:
        return {}, []
    counts = agreement.used(regions)
    known = agreement.read(folder, identifiers, settings)
    by_method = {str(name): int(number) for name, number in zip(counts["method"], counts["slices"], strict=True)}
    evaluated = {"roi": known.metrics, "roi_slices": by_method} if known else {}
    shown = level(slices, identifiers, regions=regions)
    return evaluated, [regions_sections.rois(examples, shown, counts, known, method=settings.roi.method)]


def _is_synthetic(settings: Settings) -> bool:
    """Return whether an archive was written by `tumorprog synthesize`, which puts a marker file next to it."""
    roots = [root for root in (settings.archive.grading, settings.archive.progression) if root]
    return any((storage.as_path(root).parent / plan.SYNTHETIC).exists() for root in roots)


def _evaluate_grader(
    folder: Path, masked: pd.DataFrame, settings: Settings
) -> tuple[dict[str, Any], dict[str, grading_results.GraderResults]]:
    evaluated, results = {}, {}
    for subfolder in grading_results.SUBFOLDERS:
        if (folder / subfolder / "predictions.parquet").exists():
            protocol, evaluated[protocol], shown = grading_results.evaluate(folder, subfolder, masked, settings)
            if subfolder != grading_results.FOLDS and (folder / "slices").exists():
                examples = _grad_cam_examples(folder / subfolder, folder / "slices", folder / "catalogue", shown.test)
                shown = replace(shown, examples=examples)
            results[protocol] = shown
    return evaluated, results


def _grad_cam_examples(model_folder: Path, slices: Path, catalogue: Path, test: pd.DataFrame) -> list[dict[str, Any]]:
    """Return Grad-CAM heat maps of confident test predictions, for `report.grading.figures.grad_cam_panel`."""
    chosen = metrics.most_confident(test, count=_NUM_GRAD_CAM_EXAMPLES)
    model = resnet18.load(model_folder)
    images = read_images(slices, chosen["slice"].tolist())
    classes = (chosen["predicted"] - GRADES[0]).to_numpy()
    heat_maps = resnet18.grad_cam(model, images, classes, device="cpu")
    acquired = grading_examples.acquired(chosen["slice"].tolist(), tables.shards(slices), tables.shards(catalogue))
    return [
        {
            "title": f"grade {row['grade']}, predicted {row['predicted']} ({row['confidence']:.0%})\n"
            + grading_examples.place(acquired.loc[row["slice"]]),
            "image": image,
            "heat_map": heat_map,
            "geometry": geometry(acquired.loc[row["slice"]]),
        }
        for row, image, heat_map in zip(chosen.to_dict("records"), images, heat_maps, strict=True)
    ]


def _identifiers(catalogue: pd.DataFrame, settings: Settings) -> Identifiers:
    """Return what the report calls the patients of the catalogue and their dates."""
    dated = catalogue[catalogue["StudyDate"] != ""]
    first_dates = {str(patient): str(date) for patient, date in dated.groupby("PatientID")["StudyDate"].min().items()}
    return Identifiers(catalogue["PatientID"], first_dates, shown=settings.report.identifiers, seed=settings.seed)


def _progression(
    folder: Path, settings: Settings, catalogue: pd.DataFrame, identifiers: Identifiers
) -> tuple[dict[str, Any], list[page.Section]]:
    """Return the parts of metrics.json on the months to progression, and the sections on patients and predictions."""
    subfolder = folder / "progression"
    bootstrap = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    published = {
        name: progression.progression_metrics(rows, **bootstrap) for name, rows in on_published_intervals().items()
    }
    evaluated = {
        "progression": _evaluate_progression(subfolder, settings),
        "published_intervals": published,
        **_evaluate_repetitions(subfolder),
    }
    patients = tables.read_csv(subfolder / "patient_predictions.csv", PATIENT_PREDICTIONS)
    held_out = patients[(patients["Protocol"] == "patient") & (patients["Cohort"] == "all")]
    slices = catalogue[catalogue["cohort"] == "progression"]
    results = progression_sections.ProgressionResults(
        predictions=tables.read_csv(subfolder / "predictions.csv", PROGRESSION_PREDICTIONS),
        patients=patients,
        history=tables.read_csv(subfolder / "history.csv", PROGRESSION_HISTORY),
        sheet=tables.read_csv(folder / "reference_sheet.csv", REFERENCE_SHEET),
        timeline=tables.read_csv(folder / "timeline.csv", TIMELINE),
        volumes=tables.read_csv(folder / "volumes.csv", VOLUMES),
        identifiers=identifiers,
        largest_errors=patients_sections.largest_errors(
            images.largest_errors(
                slices,
                held_out,
                identifiers,
                regions=tables.shards(folder / "regions"),
                max_patients=_NUM_LARGEST_ERRORS,
            )
        ),
    )
    known = courses.Tables(
        timeline=results.timeline,
        volumes=results.volumes,
        intervals=results.sheet[["PatientID", "date", "days"]].drop_duplicates(),
        outcomes=None,
        identifiers=identifiers,
    )
    evaluated["patients"], shown = _patients(known, slices)
    return evaluated, [shown, progression_sections.section(evaluated, results)]


def _patients(known: courses.Tables, slices: pd.DataFrame) -> tuple[dict[str, Any], page.Section]:
    """Return the part `patients` of metrics.json and its section."""
    evaluated = courses.metrics(known)
    two_dates = images.first_and_second(slices, known.intervals, known.identifiers, max_patients=_NUM_TWO_DATES)
    return evaluated, patients_sections.section(evaluated, known, two_dates)


def _evaluate_progression(folder: Path, settings: Settings) -> dict[str, Any]:
    """Return protocol -> cohort -> level -> metric; a cohort with too few patients is an empty mapping."""
    bootstrap = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    series = tables.read_csv(folder / "predictions.csv", PROGRESSION_PREDICTIONS)
    patients = tables.read_csv(folder / "patient_predictions.csv", PATIENT_PREDICTIONS)
    compared = tables.read_csv(folder / "baselines.csv", BASELINES)
    evaluated: dict[str, Any] = {
        protocol: {cohort: {} for cohort in ("all", "grade_rise")} for protocol in ("patient", "paper")
    }
    for protocol, cohort in series[["Protocol", "Cohort"]].drop_duplicates().itertuples(index=False):
        own, combined, others = (
            table[(table["Protocol"] == protocol) & (table["Cohort"] == cohort)]
            for table in (series, patients, compared)
        )
        baselines = {str(name): rows for name, rows in others.groupby("Baseline")}
        by_patient = {name: combination.combine_by_patient(rows) for name, rows in baselines.items()}
        evaluated[protocol][cohort] = {
            "series": progression.with_baselines(own, baselines, **bootstrap),
            "patient": progression.with_baselines(combined, by_patient, **bootstrap),
        }
    return evaluated


def _evaluate_repetitions(folder: Path) -> dict[str, Any]:
    """Return the parts of metrics.json on other seeds and on the null control, if they were trained."""
    evaluated: dict[str, Any] = {}
    if (folder / "seeds.csv").exists():
        seeds = tables.read_csv(folder / "seeds.csv", SEEDS)
        result = tables.read_csv(folder / "predictions.csv", PROGRESSION_PREDICTIONS)
        held_out = result[(result["Protocol"] == "patient") & (result["Cohort"] == "all")]
        evaluated["progression_seeds"] = {"mae": repetitions.error_by_seed(held_out, seeds)}
    if (folder / "null_control.csv").exists():
        null = tables.read_csv(folder / "null_control.csv", NULL_CONTROL)
        evaluated["null_control"] = {
            str(protocol): repetitions.null_control(rows) for protocol, rows in null.groupby("Protocol")
        }
    return evaluated


def _survival(
    folder: Path, settings: Settings, catalogue: pd.DataFrame, identifiers: Identifiers
) -> tuple[dict[str, Any], list[page.Section]]:
    """Return the parts of metrics.json on survival and on patients, and their sections."""
    subfolder = folder / "progression"
    bootstrap = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    patients = tables.read_csv(subfolder / "patient_survival.csv", PATIENT_SURVIVAL)
    evaluated: dict[str, Any] = {}
    measured = {}
    model, life_table = (patients[patients["Model"] == name] for name in SURVIVAL_MODELS)
    for name, rows in model.groupby("Protocol"):
        protocol, months, event = str(name), rows["months"].to_numpy(), rows["event"].to_numpy() == 1
        baselines = {SURVIVAL_MODELS[1]: life_table[life_table["Protocol"] == protocol]}
        scores = survival.survival_metrics(rows, baselines, **bootstrap)
        evaluated[protocol] = {"all": {"patient": scores}}
        measured[protocol] = survival.kaplan_meier(months, event)
    outcomes = tables.read_csv(subfolder / "outcomes.csv", OUTCOMES)
    intervals = tables.read_csv(folder / "reference_sheet.csv", REFERENCE_SHEET)
    known = courses.Tables(
        timeline=tables.read_csv(folder / "timeline.csv", TIMELINE),
        volumes=tables.read_csv(folder / "volumes.csv", VOLUMES),
        intervals=intervals[["PatientID", "date", "days"]].drop_duplicates(),
        outcomes=outcomes,
        identifiers=identifiers,
    )
    over_time, shown = _patients(known, catalogue[catalogue["cohort"] == "progression"])
    section = survival_sections.section(evaluated, model, measured, outcomes, known.volumes)
    return {"survival": evaluated, "patients": over_time}, [shown, section]


def _sweep(folder: Path, settings: Settings) -> page.Section:
    summary = json.loads((folder / "test.json").read_text())
    trials = tables.read_csv(folder / "trials.csv", ("trial", *summary["best"], summary["metric"]))
    curves = tables.read_csv(folder / "curves.csv", ("trial", "epoch", summary["metric"]))
    importance = sweeps.importance(trials, list(summary["best"]), summary["metric"], seed=settings.seed)
    return sweep_sections.section(trials, curves, summary, importance)


def _footer(summary: dict[str, Any], settings: Settings) -> dict[str, str]:
    provenance = {
        "tumorprog": __version__,
        "seed": str(settings.seed),
        "data fingerprint": summary["fingerprint"][:16],
    }
    return {**provenance, "settings": "config.yaml", "licence": "Apache-2.0"}


def _write_cards(folder: Path, facts: study_facts.Facts) -> None:
    folder.mkdir(exist_ok=True)
    storage.write_text(folder / "model.md", cards.model_card(facts))
    storage.write_text(folder / "data.md", cards.data_card(facts))


def _alerts(evaluated: dict[str, Any], *, synthetic: bool) -> list[str]:
    """Return the warnings at the top of the report."""
    notice = ["These patients do not exist: their images were generated by tumorprog synthesize."] if synthetic else []
    return [*notice, *verdicts.alerts(evaluated)]


def _write(
    out: Path, evaluated: dict[str, Any], content: list[page.Section], archive: dict[str, Any], settings: Settings
) -> None:
    (out / "figures").mkdir(exist_ok=True)
    for section in content:
        for picture in section.pictures:
            for name, svg in page.files(picture).items():
                storage.write_text(out / name, theme.standalone(svg))
    tables.write_json(out / "metrics.json", evaluated)
    report = page.Page(
        title=settings.study.title or TITLE,
        summary="Results of a tumorprog run. The source files named in the captions are in the run directory.",
        verdicts=verdicts.summary(evaluated),
        alerts=_alerts(evaluated, synthetic=archive["synthetic"]),
        headlines=headline.tiles(evaluated),
        sections=content,
        footer=_footer(archive["summary"], settings),
    )
    storage.write_text(out / "report.html", page.render(report))
