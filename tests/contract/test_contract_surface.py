"""The public interface that users' scripts and configurations rely on: a change here must be deliberate."""

from pathlib import Path

from tumorprog import cli, run
from tumorprog.cohort.columns import OUTCOMES, TIMELINE, VOLUMES
from tumorprog.encoders.columns import FEATURES
from tumorprog.formats.columns import CATALOGUE, QUARANTINE
from tumorprog.graders.columns import HISTORY, PATIENT_GRADES, SERIES_GRADES
from tumorprog.progression.columns import PATIENT_PREDICTIONS, PROGRESSION_PREDICTIONS, REFERENCE_SHEET
from tumorprog.regions.columns import REGIONS, SCORES
from tumorprog.regions.columns import REGIONS
from tumorprog.settings import Settings, dotted

SETTINGS = [
    "seed",
    "protocol",
    "archive.grading",
    "archive.grades",
    "archive.progression",
    "archive.outcomes",
    "cohort.patient_column",
    "cohort.grade_column",
    "cohort.grade_edition",
    "cohort.gbm_is_grade_4",
    "cohort.min_gap_days",
    "cohort.allow_shared",
    "slices.scaling",
    "slices.sequences",
    "slices.only",
    "slices.min_tumour_mm2",
    "grader.weights",
    "grader.epochs",
    "grader.batch_size",
    "grader.learning_rate",
    "grader.weight_decay",
    "grader.step_epochs",
    "grader.step_factor",
    "grader.augment",
    "grader.precision",
    "grader.compile",
    "grader.split",
    "grader.folds",
    "grader.seeds",
    "grader.null_control",
    "grader.null_draws",
    "grader.workers",
    "grader.gpu",
    "grade.sequences",
    "segmenter.sequences",
    "segmenter.neighbours",
    "segmenter.folds",
    "segmenter.epochs",
    "segmenter.batch_size",
    "segmenter.learning_rate",
    "segmenter.precision",
    "segmenter.compile",
    "segmenter.workers",
    "segmenter.gpu",
    "roi.method",
    "roi.fallback",
    "roi.labels",
    "roi.margin_mm",
    "features.wavelet",
    "progression.target",
    "progression.hidden",
    "progression.epochs",
    "progression.patience",
    "progression.min_improvement",
    "progression.learning_rate",
    "progression.batch_size",
    "progression.null_control",
    "progression.null_draws",
    "progression.seeds",
    "tune.model",
    "tune.sweep",
    "tune.mlflow",
    "report.bootstrap",
    "report.identifiers",
    "report.evidence_slices",
    "study.title",
    "study.objectives",
    "study.intended_use",
    "study.eligibility",
    "study.setting_and_dates",
    "study.reference_standard",
    "study.deidentification",
    "study.sample_size",
    "study.ethics",
    "study.consent",
    "study.registration",
    "study.protocol_url",
    "study.funding",
    "study.conflicts",
    "study.patient_involvement",
    "study.data_availability",
    "study.contact",
    "cluster.address",
    "cluster.cores",
    "synthetic.graded_patients",
    "synthetic.ungraded_patients",
    "synthetic.progression_patients",
    "synthetic.series_slices",
    "synthetic.size",
]


def test_the_dotted_names_of_the_settings_are_these():
    assert list(dotted(Settings())) == SETTINGS


def test_the_number_of_settings_stays_small():
    results = [name for name in SETTINGS if not name.startswith("study.")]  # texts for the report change none
    assert len(results) < 80


def test_no_setting_has_a_name_that_yaml_reads_as_a_boolean():
    assert not {name.rpartition(".")[2] for name in SETTINGS} & {"on", "off", "yes", "no", "y", "n", "true", "false"}


def test_the_commands_are_these():
    stages = ["catalogue", "train-segmenter", "regions", "slices", "train-grader", "grade", "features"]
    stages += ["train-progression", "report"]
    assert [stage.command for stage in run.STAGES] == stages
    assert set(cli.COMMANDS) == {*stages, "run", "demo", "synthesize", "predict", "tune", "submit"}


def test_every_stage_has_a_command_a_module_and_a_job_of_the_same_name():
    root = Path(cli.__file__).parent
    for stage in (*run.STAGES, *run.TUNE.values()):
        assert stage.command in cli.COMMANDS
        assert (root / "stages" / f"{stage.name}.py").is_file()
        assert (root.parent / "jobs" / f"{stage.name}.py").is_file()


def test_the_columns_of_the_tables_are_these():
    assert {
        "path",
        "frame",
        "PatientID",
        "StudyDate",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
    } <= set(CATALOGUE.names)
    assert {"SeriesDescription", "sequence", "plane", "Rows", "Columns", "order"} <= set(CATALOGUE.names)
    assert {"PatientSex", "PatientAge", "orientation", "RepetitionTime", "EchoTime"} <= set(CATALOGUE.names)
    assert {"ImagePositionPatient", "FrameOfReferenceUID"} <= set(CATALOGUE.names)
    assert {"Manufacturer", "ManufacturerModelName", "MagneticFieldStrength"} <= set(CATALOGUE.names)
    assert QUARANTINE == ("path", "reason", "detail")
    assert (
        *("PatientID", "date", "Type", "PredictedGrade", "Slices", "Votes2", "Votes3", "Votes4", "Confidence"),
    ) == SERIES_GRADES
    assert (
        *("PatientID", "date", "PredictedGrade", "Slices", "Votes2", "Votes3", "Votes4", "Confidence"),
    ) == PATIENT_GRADES
    assert REFERENCE_SHEET[:5] == ("PatientID", "date", "Type", "PredictedGrade", "MonthDif")
    assert PROGRESSION_PREDICTIONS[:11] == (
        *("PatientID", "date", "Type", "PredictedGrade", "MonthDif", "Predicted_Progression_Timeline"),
        *("Fold", "Protocol", "Cohort", "Lower", "Upper"),
    )
    assert PROGRESSION_PREDICTIONS[11:] == ("days", "Weight", "SeriesInstanceUID", "stack")
    assert (
        *("PatientID", "date", "MonthDif", "Predicted_Progression_Timeline", "Fold", "Protocol", "Cohort"),
        *("Lower", "Upper", "days", "Series"),
    ) == PATIENT_PREDICTIONS
    assert TIMELINE == ("PatientID", "studies", "dates", "time_points", "status")
    assert (
        *("PatientID", "date", "method", "volume_ml", "label_1_ml", "label_2_ml", "label_3_ml", "label_4_ml"),
        *("other_labels_ml", "masks", "days_since", "change_ml", "change_percent"),
    ) == VOLUMES
    assert {"path", "frame", "PatientID", "date", "Type", "method", "model", "area_mm2", "region"} <= set(REGIONS.names)
    assert {"method", "model", "both", "region", "mask", "hd95_mm"} <= set(SCORES)
    assert OUTCOMES == ("PatientID", "date", "outcome_date", "months", "event", "status")
    assert {"path", "frame", "cohort", "PatientID", "date", "method", "area_mm2", "region"} <= set(REGIONS.names)
    assert {"PatientID", "date", "Type", "SeriesInstanceUID", "order", "region", "vector"} <= set(FEATURES.names)
    assert (
        *("Epoch", "Train Loss", "Training Acc (%)", "Validation Loss", "Validation Acc (%)", "Test Loss"),
        *("Test Acc (%)", "Best Model Saved"),
    ) == HISTORY
