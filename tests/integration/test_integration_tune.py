"""Sweeps with real Ray on two cores, from the YAML files of tune_configs. Expected content of tune/:

trials.csv  curves.csv  best.yaml  test.json  tensorboard/trial-N/events.out.tfevents.*
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import ray
import yaml

import tumorprog
from tumorprog import cli
from tumorprog.synthetic import archive, plan
from tumorprog.synthetic.archive import write_cohort
from tumorprog.synthetic.settings import Synthetic

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CONFIGS = Path(tumorprog.__file__).parents[1] / "tune_configs"
SMALL = shlex.split(
    "--grader.weights none --grader.workers 0 --grader.epochs 1 --grader.batch_size 16 --slices.sequences [T1post] "
    "--progression.epochs 2 --progression.hidden 8 --progression.null_control false --report.bootstrap 200 "
    "--roi.method component --report.evidence_slices 8"
)
RANDOM = """
samples: 8
concurrent: 1
scheduler: {asha: {grace_period: 2, reduction_factor: 2}}
space:
  progression.learning_rate: {loguniform: [1.0e-4, 1.0e-2]}
  progression.hidden: {quniform: [8, 64, 8]}
  progression.epochs: {choice: [12]}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a cohort with six patients with two dates; Ray is shut down after it."""
    cohort, run = tmp_path_factory.mktemp("cohort"), tmp_path_factory.mktemp("run")
    size = Synthetic(graded_patients=9, ungraded_patients=0, progression_patients=6, series_slices=3, size=64)
    for _ in write_cohort(cohort, size, seed=0):
        pass
    arguments = (
        *("--grading", str(cohort / plan.GRADING), "--grades", str(cohort / archive.CLINICAL_TABLE)),
        *("--progression", str(cohort / plan.PROGRESSION), "--out", str(run)),
    )
    ray.shutdown()  # of the Ray that other modules share
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    assert cli.main(["run", *arguments, *SMALL]) == 0
    ray.shutdown()
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def local_ray():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def read_outputs(run):
    tune = run / "tune"
    return (
        pd.read_csv(tune / "trials.csv"),
        json.loads((tune / "test.json").read_text()),
        yaml.safe_load((tune / "best.yaml").read_text()),
    )


def test_both_smoke_sweeps_finish_on_two_cores_and_appear_in_the_report(run, local_ray, tmp_path):
    command = ["tune", "grader", str(CONFIGS / "smoke_grader.yaml"), "--out", str(run)]
    assert cli.main(command) == 0
    trials, result, best = read_outputs(run)
    assert len(trials) == sum(result["trials"].values()) == 2
    assert trials["validation_accuracy"].max() == result["validation"]
    assert set(result["test"]) == {"slice", "series", "patient"}
    tested = pd.read_csv(run / "grader" / "split.csv").query("side == 'test'")
    assert result["test"]["patient"]["accuracy"]["n"] == len(tested)

    command = ["tune", "progression", str(CONFIGS / "smoke_progression.yaml"), "--out", str(run)]
    assert cli.main(command) == 0
    trials, result, best = read_outputs(run)
    assert trials["status"].tolist() == ["finished"] * 4
    assert trials["validation_mae_months"].min() == result["validation"]
    winner = trials.loc[trials["validation_mae_months"].idxmin()]
    assert best["progression"] == {"learning_rate": winner.iloc[2], "hidden": winner.iloc[3], "epochs": winner.iloc[4]}
    curves = pd.read_csv(run / "tune" / "curves.csv")
    assert curves.groupby("trial").size().tolist() == trials["epochs"].tolist()
    assert len(list((run / "tune" / "tensorboard").glob("trial-*/events.out.tfevents.*"))) == 4
    assert not list((run / ".partial").iterdir())

    assert cli.main(["report", "--out", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "Hyperparameter sweep: progression" in page
    assert "4 trials were run (4 finished)" in page

    arguments = ["--config", str(run / "tune" / "best.yaml"), "--out", str(run)]
    assert cli.main(["train-progression", *arguments]) == 0
    description = json.loads((run / "progression" / "model.json").read_text())
    assert {name: description["progression"][name] for name in best["progression"]} == best["progression"]


def test_a_killed_sweep_resumes_and_keeps_the_finished_trials(run, tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(RANDOM)
    line = [sys.executable, "-m", "tumorprog.cli", "tune", "progression", str(sweep), "--out", str(run)]
    line += ["--cluster.cores", "2"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.Popen(line, start_new_session=True, **piped)
    deadline = time.monotonic() + 200
    while not (finished_trials := [path for path in results(run) if '"ended": true' in path.read_text()]):
        assert first.poll() is None, first.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    before = finished_trials[0].read_text()
    assert not (run / "tune").exists()
    second = subprocess.run(line, check=False, timeout=250, **piped)
    assert second.returncode == 0, second.stdout
    assert "resuming the interrupted sweep" in second.stdout
    trials, _, _ = read_outputs(run)
    assert len(trials) == 8
    assert set(trials["status"]) <= {"finished", "stopped"}
    reported = [json.loads(row) for row in before.splitlines()]
    kept = trials[trials["id"] == reported[-1]["trial_id"]]
    assert kept["seconds"].tolist() == [pytest.approx(reported[-1]["time_total_s"])]
    assert kept["epochs"].tolist() == [len(reported)]


def results(run):
    return list(run.glob(".partial/tune-*/.ray/trials/*/result.json"))


@pytest.mark.filterwarnings("ignore:.*noload.*")  # raised by mlflow's use of sqlalchemy (3.17)
def test_a_sweep_with_optuna_records_every_trial_in_mlflow(run, local_ray, tmp_path):
    pytest.importorskip("optuna")
    mlflow = pytest.importorskip("mlflow")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(RANDOM.replace("samples: 8", "samples: 3\nsearch: optuna"))
    server = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert cli.main(["tune", "progression", str(sweep), "--out", str(run), "--tune.mlflow", server]) == 0
    trials, _, _ = read_outputs(run)
    assert len(trials) == 3
    client = mlflow.MlflowClient(server)
    (experiment,) = (entry for entry in client.search_experiments() if entry.name == "tumorprog progression")
    runs = client.search_runs([experiment.experiment_id])
    rates = sorted(float(entry.data.params["progression.learning_rate"]) for entry in runs)
    assert rates == pytest.approx(sorted(trials["progression.learning_rate"]))
