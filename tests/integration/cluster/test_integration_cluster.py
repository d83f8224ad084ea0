"""The complete pipeline on a cluster of a head and two nodes, with lost nodes and stopped jobs.

The expected content of the run directories is that of `tests/integration/test_integration_pipeline.py`.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tumorprog import storage, tables
from tumorprog.encoders.columns import FEATURES, vector_array
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders.columns import SLICES
from tumorprog.regions.columns import REGIONS
from tumorprog.run import read_record
from tumorprog.synthetic import archive, plan
from tumorprog.synthetic.settings import Synthetic

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[3]
SMALL = shlex.split(
    "--grader.weights none --grader.workers 1 --grader.epochs 3 --grader.batch_size 16 "
    "--roi.method component "
    "--progression.epochs 3 --progression.hidden 8 --report.bootstrap 200 --report.evidence_slices 8"
)
COHORT = Synthetic(graded_patients=9, ungraded_patients=1, progression_patients=3, series_slices=6, size=64)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The arguments for a cohort of a few hundred slices."""
    folder = tmp_path_factory.mktemp("cohort")
    for _ in archive.write_cohort(folder, COHORT, seed=0):
        pass
    names = {"--grading": plan.GRADING, "--grades": archive.CLINICAL_TABLE, "--progression": plan.PROGRESSION}
    return [argument for option, name in names.items() for argument in (option, str(folder / name))]


@pytest.fixture(scope="module")
def local(inputs, tmp_path_factory):
    """The run directory of a run on one machine with the same number of logical cores."""
    run = tmp_path_factory.mktemp("local")
    line = [sys.executable, "-m", "tumorprog.cli", "run", *inputs, *SMALL, "--cluster.cores", "4", "--out", str(run)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    subprocess.run(line, check=True, env=env)
    return run


def start_submit(cluster, command, *arguments):
    """Start `tumorprog submit` and return its process."""
    line = [sys.executable, "-m", "tumorprog.cli", "submit", command, "--address", cluster.address]
    line += ["--python", cluster.python, *map(str, arguments)]
    return subprocess.Popen(line, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def submit(cluster, command, *arguments):
    """Run `tumorprog submit` and return its output and exit code."""
    process = start_submit(cluster, command, *arguments)
    output, _ = process.communicate(timeout=600)
    return output, process.returncode


def run_client(line, cluster, cwd=None):
    """Run a client of the cluster and return its output and exit code."""
    result = subprocess.run(
        line, check=False, cwd=cwd, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return result.stdout, result.returncode


def assert_same_results(run, other):
    """Compare the tables of two runs: those without floating-point arithmetic exactly, the others within tolerance."""
    for name, schema in (("catalogue", CATALOGUE), ("slices", SLICES)):
        assert_equal(
            *(tables.read_shards(storage.as_path(folder) / name, schema).to_pandas() for folder in (run, other))
        )
    slices = tables.read_shards(storage.as_path(run) / "slices", SLICES, ["slice", "SOPInstanceUID", "frame"])
    assert sorted(slices["slice"].to_pylist()) == list(range(slices.num_rows))  # no slice is lost or duplicated
    one, two = (tables.read_shards(storage.as_path(folder) / "features", FEATURES) for folder in (run, other))
    np.testing.assert_allclose(vector_array(one), vector_array(two), rtol=1e-6)
    assert one.drop_columns(["vector"]).equals(two.drop_columns(["vector"]))
    for name in ("quarantine.csv", "grader/split.csv", "grader/leaks.csv", "progression/folds.csv"):
        assert_equal(*(read(folder, name) for folder in (run, other)))
    for name in ("grader/history.csv", "grader/predictions.parquet", "grades.csv", "reference_sheet.csv"):
        assert_equal(*(read(folder, name) for folder in (run, other)), rtol=1e-3, atol=1e-4)
    for name in ("progression/predictions.csv", "progression/baselines.csv"):
        assert_equal(*(read(folder, name) for folder in (run, other)), rtol=1e-3, atol=1e-4)


def read(run, name):
    with (storage.as_path(run) / name).open("rb") as file:
        return pd.read_parquet(file) if name.endswith(".parquet") else pd.read_csv(file)


def assert_equal(one, two, **tolerance):
    pd.testing.assert_frame_equal(one, two, check_exact=None if tolerance else True, **tolerance)


def wait_for(condition, process, seconds=300):
    """Poll the condition while a process runs, and return its first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def find_worker(cluster, title):
    """Return a node on which a process with this title runs, and the process id."""
    for node in cluster.nodes:
        for pid, name in cluster.processes(node).items():
            if name.startswith(title):
                return node, pid
    return None


def test_a_cluster_gives_the_same_tables_as_one_machine(cluster, inputs, local, tmp_path):
    """The job is started by `ray job submit` with the scripts of jobs/; no node has tumorprog installed."""
    line = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.address]
    line += ["--runtime-env", "jobs/runtime_env.yaml", "--", cluster.python, "jobs/run.py"]
    output, code = run_client([*line, *inputs, *SMALL, "--out", str(tmp_path)], cluster, cwd=ROOT)
    assert code == 0, output
    assert "report: " in output
    assert_same_results(tmp_path, local)


def test_nodes_lost_during_slices_and_training_do_not_change_the_results(cluster, inputs, local, tmp_path):
    output, code = submit(cluster, "catalogue", *inputs, "--out", tmp_path)
    assert code == 0, output
    process = start_submit(cluster, "run", *inputs, *SMALL, "--out", tmp_path)

    wait_for(lambda: "regions" in read_record(tmp_path)["stages"], process)
    node, pid = wait_for(lambda: find_worker(cluster, "ray::MapBatches(_write_task)"), process)
    os.kill(pid, signal.SIGSTOP)  # so that its shard cannot be finished before the node is killed
    assert "slices" not in read_record(tmp_path)["stages"]
    cluster.kill(node)
    cluster.add()

    wait_for(lambda: list(tmp_path.glob(".partial/train_grader-*/grader/history.csv")), process)
    node, _ = find_worker(cluster, "ray::RayTrainWorker")
    cluster.kill(node)
    assert "train_grader" not in read_record(tmp_path)["stages"]
    cluster.add()

    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert_same_results(tmp_path, local)
    assert not list((tmp_path / ".partial").iterdir())


def test_a_stopped_job_leaves_valid_files_and_resumes(cluster, inputs, local, tmp_path):
    """`ray job stop` sends SIGTERM."""
    process = start_submit(cluster, "run", *inputs, *SMALL, "--out", tmp_path)
    wait_for(lambda: list(tmp_path.glob(".partial/train_grader-*/grader/history.csv")), process)
    stop(cluster)
    output, _ = process.communicate(timeout=120)
    assert process.returncode not in (0, 2), output
    assert "STOPPED" in output
    assert set(read_record(tmp_path)["stages"]) == {"catalogue", "regions", "slices"}
    (interrupted,) = tmp_path.glob(".partial/train_grader-*/grader/history.csv")
    epochs = len(pd.read_csv(interrupted))
    output, code = submit(cluster, "train-grader", "--out", tmp_path)
    assert code == 0, output
    assert epochs >= 1
    assert_equal(*(read(run, "grader/history.csv") for run in (tmp_path, local)), rtol=1e-3)


def stop(cluster):
    line = [sys.executable, "-m", "ray.scripts.scripts", "job", "list", "--address", cluster.address]
    jobs, _ = run_client(line, cluster)
    (running,) = {
        part.split("submission_id='")[1].split("'")[0] for part in jobs.split("JobDetails(") if "RUNNING" in part
    }
    output, code = run_client([*line[:4], "stop", running, *line[5:]], cluster)
    assert code == 0, output


def test_a_run_directory_that_the_nodes_do_not_share_is_refused(cluster, inputs):
    """/proc/self/cwd refers to a different folder in every process; the job's folder is local to each node."""
    output, code = submit(cluster, "catalogue", *inputs, "--out", "/proc/self/cwd/run")
    assert code == 2, output
    assert "on node" in output
    assert "not the same folder on node" in output
    assert "headers" not in output  # no work had started


def test_every_node_can_reach_the_store(cluster, inputs, local, store):
    output, code = submit(cluster, "run", *inputs, *SMALL, "--out", f"{store}/run")
    assert code == 0, output
    assert_same_results(f"{store}/run", local)
    small = shlex.split("--segmenter.epochs 1 --segmenter.folds 2 --segmenter.workers 2 --segmenter.batch_size 4")
    for command in (["train-segmenter", *small], ["regions", "--roi.method", "learned"]):
        output, code = submit(cluster, *command, "--out", f"{store}/run")
        assert code == 0, output
    regions = tables.read_shards(storage.as_path(f"{store}/run/regions"), REGIONS, ["PatientID", "method", "model"])
    used = regions.to_pandas().drop_duplicates()
    folds = read(f"{store}/run", "segmenter/folds.csv").set_index("PatientID")["fold"]
    assert set(used["method"]) == {"learned"}
    assert list(used["model"]) == [f"fold-{folds[patient]}" for patient in used["PatientID"]]


def test_a_job_ends_with_the_exit_code_of_its_command(cluster, tmp_path):
    output, code = submit(cluster, "slices", "--out", tmp_path)
    assert code == 2
    assert "run `tumorprog catalogue` first" in output


def test_a_wrong_token_is_reported_in_one_line(cluster, tmp_path):
    cluster_token, cluster.token = cluster.token, "0" * 64
    try:
        output, code = submit(cluster, "report", "--out", tmp_path)
    finally:
        cluster.token = cluster_token
    assert code == 2
    assert output.count("\n") == 1
    assert "rejected the token" in output


def test_a_missing_cluster_is_reported_in_one_line(cluster, tmp_path):
    line = [sys.executable, "-m", "tumorprog.cli", "submit", "report", "--out", str(tmp_path)]
    output, code = run_client([*line, "--address", "http://127.0.0.1:9"], cluster)
    assert code == 2
    assert "no Ray cluster answers there" in output
    assert output.count("\n") == 1
