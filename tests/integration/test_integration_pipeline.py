"""The complete pipeline on a tiny cohort with real Ray. Expected content of the run directory:

config.yaml  run.json  quarantine.csv  grades.csv  timeline.csv  reference_sheet.csv  volumes.csv
metrics.json  report.html
catalogue/*.parquet _summary.json        slices/*.parquet _cohort.csv _rejected.csv
grader/{model.safetensors, model.json, history.csv, split.csv, leaks.csv, predictions.parquet}
segmenter/{model.safetensors, model.json, history.csv, folds.csv, leaks.csv, _rejected.csv, folds/fold-K/...}
regions/*.parquet _scores.csv _lesions.csv _rejected.csv        features/*.parquet _rejected.csv
progression/{model.safetensors, model.json, history.csv, folds.csv, predictions.csv, patient_predictions.csv}
progression/{baselines.csv, null_control.csv, left_out.csv}
figures/*.svg
"""

import html
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from tumorprog import cli, columns, tables
from tumorprog.encoders import spectral
from tumorprog.encoders.columns import FEATURES
from tumorprog.evaluation import metrics
from tumorprog.formats import reading
from tumorprog.heads.settings import Progression
from tumorprog.imaging import intensity
from tumorprog.progression import months
from tumorprog.progression.columns import (
    NEW_PATIENTS,
    PATIENT_SURVIVAL,
    PREDICTIONS,
    REFERENCE_SHEET,
)
from tumorprog.progression.series import read_training_series
from tumorprog.regions.packing import find
from tumorprog.settings import Settings
from tumorprog.stages import predict
from tumorprog.synthetic import archive, plan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

SMALL = shlex.split(
    "--slices.sequences [T1post,FLAIR] --grader.weights none --grader.workers 0 --grader.epochs 2 "
    "--grader.batch_size 16 --segmenter.workers 0 --segmenter.epochs 2 --segmenter.folds 3 --progression.epochs 3 "
    "--progression.hidden 8 --progression.null_draws 2 --report.bootstrap 200 --report.evidence_slices 8"
)


@pytest.fixture(scope="module")
def arguments(cohort_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    inputs = {
        "--grading": cohort_folder / plan.GRADING,
        "--grades": cohort_folder / archive.CLINICAL_TABLE,
        "--progression": cohort_folder / plan.PROGRESSION,
    }
    return [*(str(argument) for pair in inputs.items() for argument in pair), "--out", str(run)]


@pytest.fixture(scope="module")
def finished(arguments):
    assert cli.main(["run", *arguments, *SMALL]) == 0
    return Path(arguments[-1])


def test_every_documented_file_is_written(finished):
    for name in (
        *("config.yaml", "run.json", "quarantine.csv", "grades.csv", "reference_sheet.csv", "metrics.json"),
        *("patient_grades.csv", "report.html", "catalogue/_summary.json", "slices/_cohort.csv", "slices/_rejected.csv"),
        *(f"grader/{name}" for name in ("model.safetensors", "model.json", "history.csv", "split.csv", "leaks.csv")),
        *(f"segmenter/{name}" for name in ("model.safetensors", "model.json", "history.csv", "folds.csv", "leaks.csv")),
        *(f"regions/_{name}.csv" for name in ("scores", "lesions", "rejected")),
        *("grader/predictions.parquet", "features/_rejected.csv"),
        *(f"progression/{name}" for name in ("model.safetensors", "model.json", "history.csv", "folds.csv")),
        *(f"progression/{name}.csv" for name in ("predictions", "patient_predictions", "baselines", "null_control")),
        *("progression/left_out.csv", "timeline.csv", "volumes.csv", "cards/model.md", "cards/data.md"),
    ):
        assert (finished / name).is_file(), name
    for folder in ("catalogue", "regions", "slices", "features"):
        assert list((finished / folder).glob("*.parquet")), folder
    assert list((finished / "figures").glob("*.svg"))
    assert not list((finished / ".partial").iterdir())


def test_the_tables_have_the_documented_columns(finished):
    absent = set()
    for path in columns.FILES:
        if (finished / path).exists():
            read = pd.read_csv if path.endswith(".csv") else pd.read_parquet
            assert list(read(finished / path).columns) == columns.names(path), path
        else:
            absent.add(path)
    assert absent == {
        *("check.csv", "grader/folds/predictions.parquet", "predictions.csv", "patient_predictions.csv"),
        *(f"progression/{name}.csv" for name in ("seeds", "outcomes", "survival_predictions", "patient_survival")),
    }


def test_every_file_found_is_used_or_quarantined(finished, cohort_folder):
    summary = json.loads((finished / "catalogue" / "_summary.json").read_text())
    trees = (cohort_folder / plan.GRADING, cohort_folder / plan.PROGRESSION)
    on_disk = sum(path.is_file() for tree in trees for path in tree.rglob("*"))
    assert summary["found"] == on_disk == summary["used"] + summary["quarantined"]
    assert summary["quarantined"] == len(pd.read_csv(finished / "quarantine.csv"))
    assert summary["used"] == pd.read_parquet(finished / "catalogue")["path"].nunique()


def test_slices_belong_to_the_graded_patients_and_have_the_true_grades(finished, cohort_folder):
    truth = pd.read_csv(cohort_folder / "truth.csv").query("collection == 'REMBRANDT'").set_index("PatientID")["grade"]
    slices = pd.read_parquet(finished / "slices")
    assert slices["PatientID"].nunique() == 9
    assert (slices["grade"] == slices["PatientID"].map(truth)).all()
    assert sorted(slices["slice"]) == list(range(len(slices)))
    assert slices["image"].map(len).eq(224 * 224).all()


def test_feature_vectors_equal_those_computed_from_single_slices(finished):
    vectors = pd.read_parquet(finished / "features")
    slices = pd.read_parquet(finished / "catalogue").merge(vectors, on=["SeriesInstanceUID", "order"])
    assert len(slices) == len(vectors)
    regions = tables.shards(finished / "regions")
    for row in slices.iloc[:: max(1, len(slices) // 40)].itertuples():
        scaled = intensity.prepare(reading.read_frame(row.path, row.frame))
        region = find(regions, row._asdict(), scaled)
        np.testing.assert_array_equal(row.vector, spectral.encode(scaled, region.mask, wavelet="haar"))
        assert row.region == region.method == "mask"  # every date of the synthetic patients has one


def test_a_series_is_drawn_without_rerunning_any_stage(finished, capsys):
    series = pd.read_csv(finished / "grades.csv").iloc[0]
    before = (finished / "run.json").read_bytes()
    arguments = ["--show", series["PatientID"], series["date"], series["Type"]]
    assert cli.main(["features", "--out", str(finished), *arguments]) == 0
    picture = Path(capsys.readouterr().out.split("picture: ")[1].strip())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (finished / "run.json").read_bytes() == before
    assert cli.main(["features", "--out", str(finished), "--show", "nobody", "2000-01-01", "T2"]) == 2
    assert "no PatientID 'nobody'" in capsys.readouterr().err


def test_the_report_states_how_well_each_region_matches_the_tumour(finished):
    dice = json.loads((finished / "metrics.json").read_text())["roi"]
    assert set(dice) == {"brightest", "component", "learned"}
    assert dice["component"]["T1post"]["dice"]["value"] > dice["brightest"]["T1post"]["dice"]["value"] + 0.1
    assert "Dice coefficient" in html.unescape((finished / "report.html").read_text())


def test_no_patient_of_the_grader_is_in_two_sets(finished):
    predictions = pq.read_table(finished / "grader" / "predictions.parquet").to_pandas()
    assert (predictions.groupby("PatientID")["side"].nunique() == 1).all()
    assert set(predictions["side"]) == {"train", "validation", "test"}
    assert pd.read_csv(finished / "grader" / "leaks.csv").empty


def test_the_accuracy_in_the_history_matches_the_predictions_table(finished):
    """The training loop counts in shards and batches, the table slice by slice; they must agree on the best epoch."""
    history = pd.read_csv(finished / "grader" / "history.csv")
    best = history[history["Best Model Saved"]].iloc[-1]
    levels = metrics.grader_levels(pq.read_table(finished / "grader" / "predictions.parquet").to_pandas())
    for side, column in (("validation", "Validation Acc (%)"), ("test", "Test Acc (%)")):
        slices = levels["slice"][levels["slice"]["side"] == side]
        assert 100 * (slices["grade"] == slices["predicted"]).mean() == pytest.approx(best[column], abs=1e-3)


def test_the_reference_sheet_has_first_dates_and_the_true_days(finished, cohort_folder):
    truth = pd.read_csv(cohort_folder / "truth.csv").query("collection == 'Brain-Tumor-Progression'")
    first = truth.dropna(subset="days").set_index("PatientID")
    sheet = pd.read_csv(finished / "reference_sheet.csv")
    assert len(sheet) == 3 * 2  # three patients with nine image series each; the mask series is excluded
    assert (sheet["days"] == sheet["PatientID"].map(first["days"])).all()
    assert (sheet["date"] == sheet["PatientID"].map(first["date"])).all()
    assert "MaskTumor" not in set(sheet["Type"])


def test_volumes_and_their_changes_match_the_truth(finished, cohort_folder):
    truth = pd.read_csv(cohort_folder / "truth.csv").query("collection == 'Brain-Tumor-Progression'")
    both = pd.read_csv(finished / "volumes.csv").merge(truth, on=["PatientID", "date"])
    assert len(both) == 2 * 3
    # three slices of 10 mm sample a phantom only roughly
    np.testing.assert_allclose(both["volume_ml"], both["enhancing_ml"], rtol=0.5)
    later = both.dropna(subset="change_ml")
    assert len(later) == 3
    assert (later["days_since"].to_numpy() == both["days"].dropna().to_numpy()).all()
    assert "Masked volume (ml)" in (finished / "report.html").read_text()


def test_a_patients_prediction_is_the_weighted_mean_over_its_series(finished):
    series = pd.read_csv(finished / "progression" / "predictions.csv").query("Protocol == 'patient'")
    predicted = pd.read_csv(finished / "progression" / "patient_predictions.csv").query("Protocol == 'patient'")
    expected = {
        patient: np.average(rows["Predicted_Progression_Timeline"], weights=rows["Weight"])
        for patient, rows in series.groupby("PatientID")
    }
    assert predicted.set_index("PatientID")["Predicted_Progression_Timeline"].to_dict() == pytest.approx(expected)
    reported = json.loads((finished / "metrics.json").read_text())["progression"]["patient"]["all"]["patient"]
    errors = (predicted["Predicted_Progression_Timeline"] - predicted["days"] / 30.4375).abs()
    assert reported["mae"]["value"] == pytest.approx(errors.mean())
    assert set(reported["baselines"]) == {"mean", "median", "ridge", "volume"}


def test_a_fold_trained_on_ray_equals_the_same_fold_trained_in_this_process(finished):
    """The results are bitwise identical, regardless of the process and of concurrent trainings."""
    series = read_training_series(finished)
    settings = Progression(epochs=3, hidden=8, null_control=False)
    on_ray = pd.read_csv(finished / "progression" / "predictions.csv")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for trial in [trial for trial in months.plan(series, settings, seed=0) if trial.purpose == "result"]:
        local = months.train_fold(series, trial, settings, 0)["predictions"]
        keys = ["PatientID", "date", "Type"]
        same = on_ray[(on_ray["Protocol"] == trial.protocol) & (on_ray["Fold"] == trial.fold.name)]
        both = same[same["Cohort"] == trial.cohort].merge(local, on=keys, suffixes=("", "_local"))
        assert len(both) == len(local)
        for column in ("Predicted_Progression_Timeline", "Weight"):
            assert both[column].tolist() == both[f"{column}_local"].tolist()
    torch.set_num_threads(before)


def test_the_report_contains_the_baseline_and_the_null_control(finished):
    reported = json.loads((finished / "metrics.json").read_text())
    assert reported["published_intervals"]["median"]["mae"]["value"] == pytest.approx(4.35, abs=0.005)
    assert set(reported["null_control"]) == {"patient", "paper"}
    page = html.unescape((finished / "report.html").read_text())
    assert "Brain-Tumor-Progression, 20 published intervals: median of the training patients" in page
    assert (finished / "figures" / "months-null-control-1.svg").is_file()


def test_twenty_figures_are_recomputed_from_the_tables_with_other_libraries(finished):
    script = Path(__file__).parents[1] / "report" / "recompute.py"
    completed = subprocess.run([sys.executable, script, finished], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert completed.stdout.count("ok\t") >= 20


def test_features_are_in_slice_order(finished):
    rows = pd.read_parquet(finished / "features")
    for _, series in rows.groupby("SeriesInstanceUID"):
        assert list(series["order"]) == list(range(3))
    assert np.isfinite(np.stack(rows["vector"])).all()


def test_each_patient_is_predicted_by_a_model_trained_without_it(finished):
    folds = pd.read_csv(finished / "progression" / "folds.csv").query("Protocol == 'patient'")
    for _, fold in folds.groupby(["Cohort", "Fold"]):
        sides = fold.groupby("PatientID")["side"].nunique()
        assert (sides == 1).all()
    predictions = pd.read_csv(finished / "progression" / "predictions.csv").query("Protocol == 'patient'")
    assert (predictions["Fold"] == predictions["PatientID"]).all()


def test_the_reported_metrics_can_be_recomputed_from_the_tables(finished):
    reported = json.loads((finished / "metrics.json").read_text())
    predictions = pd.read_csv(finished / "progression" / "predictions.csv").query("Protocol == 'patient'")
    errors = (predictions["Predicted_Progression_Timeline"] - predictions["days"] / 30.4375).abs()
    assert reported["progression"]["patient"]["all"]["series"]["mae"]["value"] == pytest.approx(errors.mean())
    assert reported["progression"]["patient"]["all"]["series"]["mae"]["n"] == len(predictions)
    slices = pq.read_table(finished / "grader" / "predictions.parquet").to_pandas().query("side == 'test'")
    predicted = slices[["p2", "p3", "p4"]].to_numpy().argmax(axis=1) + 2
    accuracy = reported["grader"]["patient"]["slice"]["accuracy"]
    assert accuracy["value"] == pytest.approx((predicted == slices["grade"]).mean())
    assert set(reported["grader"]["patient"]["patient"]["baselines"]) == {"majority", "institution"}


def test_the_report_states_that_the_patients_are_synthetic(finished):
    assert "These patients do not exist" in (finished / "report.html").read_text()


def test_no_patient_name_appears_in_a_table_or_the_report(finished):
    for path in finished.rglob("*"):
        if path.suffix in {".csv", ".json", ".html", ".yaml", ".parquet"}:
            assert b"Phantom" not in path.read_bytes(), path


def test_neither_the_report_nor_the_metrics_name_a_patient_or_a_date(finished):
    catalogue = pd.read_parquet(finished / "catalogue")
    page = (finished / "report.html").read_text() + (finished / "metrics.json").read_text()
    for column in ("PatientID", "StudyDate", "SeriesInstanceUID", "path"):
        assert not [value for value in catalogue[column].unique() if value and value in page], column


def test_a_second_run_has_nothing_to_do_and_reports_this(finished, arguments, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")}
    assert cli.main(["run", *arguments, *SMALL]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.parquet")} == before


def test_a_changed_setting_reruns_only_the_stages_that_depend_on_it(finished, arguments, caplog):
    before = json.loads((finished / "run.json").read_text())["stages"]
    assert cli.main(["run", "--out", str(finished), "--progression.hidden", "4"]) == 0
    after = json.loads((finished / "run.json").read_text())["stages"]
    rerun = {name for name in before if before[name]["id"] != after[name]["id"]}
    assert rerun == {"train_progression", "report"}


def test_a_finished_run_predicts_for_new_patients(finished, cohort_folder, tmp_path):
    images = cohort_folder / plan.PROGRESSION / "PGBM-001"
    assert cli.main(["predict", "--run", str(finished), "--images", str(images), "--out", str(tmp_path)]) == 0
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert list(predictions.columns) == list(PREDICTIONS)
    assert len(predictions) == 2 * 9
    assert set(predictions["region"]) == {"mask"}
    patients = pd.read_csv(tmp_path / "patient_predictions.csv")
    assert list(patients.columns) == list(NEW_PATIENTS)
    assert patients[["PatientID", "Series"]].to_numpy().tolist() == [["PGBM-001", 9]] * 2
    assert predictions["Predicted_Progression_Timeline"].between(0, 100).all()


def test_too_few_progressed_patients_are_reported(finished, cohort_folder, capsys):
    arguments = ["--outcomes", str(cohort_folder / archive.OUTCOMES_TABLE), "--progression.target", "survival"]
    assert cli.main(["train-progression", "--out", str(finished), *arguments]) == 2
    assert "3 patients are followed, 2 of whom progressed; at least 3 of each are required" in capsys.readouterr().err


@pytest.fixture
def one_date(finished, cohort_folder, tmp_path):
    """A run directory with the features of the first dates only, as for patients without a second date."""
    run = tmp_path / "one-date"
    (run / "features").mkdir(parents=True)
    first = pd.read_csv(cohort_folder / "truth.csv").dropna(subset="days")["date"]
    rows = pq.read_table(finished / "features").to_pandas()
    table = tables.pa.Table.from_pandas(rows[rows["date"].isin(first)], FEATURES, preserve_index=False)
    tables.write_shard(run / "features" / "part-00000.parquet", table, FEATURES)
    for name in (f"features/{tables.SUMMARY}", "grades.csv", "timeline.csv", "volumes.csv", "quarantine.csv"):
        (run / name).write_text((finished / name).read_text())
    (run / "reference_sheet.csv").write_text(",".join(REFERENCE_SHEET) + "\n")  # no patient has two dates
    for folder in ("catalogue", "segmenter", "regions"):
        (run / folder).symlink_to(finished / folder)
    return run


def test_survival_is_trained_on_a_table_of_outcomes_and_one_date(one_date, cohort_folder, tmp_path):
    outcomes = pd.read_csv(cohort_folder / archive.OUTCOMES_TABLE).assign(event=1)
    outcomes.to_csv(tmp_path / "outcomes.csv", index=False)
    arguments = ["--outcomes", str(tmp_path / "outcomes.csv"), "--progression.target", "survival"]
    arguments += shlex.split("--progression.epochs 2 --progression.hidden 4 --report.bootstrap 200")
    arguments += ["--report.evidence_slices", "8"]
    assert cli.main(["train-progression", "--out", str(one_date), *arguments]) == 0
    assert cli.main(["report", "--out", str(one_date)]) == 0
    patients = pd.read_csv(one_date / "progression" / "patient_survival.csv")
    assert list(patients.columns) == list(PATIENT_SURVIVAL)
    assert patients.groupby(["Protocol", "Model"])["PatientID"].nunique()["patient", "model"] == 3
    reported = json.loads((one_date / "metrics.json").read_text())["survival"]["patient"]["all"]["patient"]
    assert set(reported) == {"concordance", "integrated_brier_score", "baselines"}
    assert reported["concordance"]["n"] == 3
    assert "Time to progression, with censoring" in (one_date / "report.html").read_text()
    predict.run(one_date, tmp_path, Settings())
    new = pd.read_csv(tmp_path / "patient_predictions.csv")
    assert new["Predicted_Progression_Timeline"].between(0, patients["months"].max()).all()
    assert new[["Lower", "Upper"]].isna().all(axis=None)
