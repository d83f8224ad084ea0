"""The whole pipeline on a head and two nodes: as on one machine, with nodes that are lost, with jobs that are stopped.

The run directories must hold what `tests/integration/test_integration_pipeline.py` draws.
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
from tumorprog.run import read_record
from tumorprog.settings import Synthetic
from tumorprog.synthetic import archive, plan

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
SMALL = shlex.split(
    "--grader.weights none --grader.workers 1 --grader.epochs 3 --grader.batch_size 16 "
    "--progression.epochs 3 --progression.hidden 8 --report.bootstrap 20"
)
COHORT = Synthetic(graded_patients=9, ungraded_patients=1, progression_patients=3, series_slices=6, size=64)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The words that name a cohort of a few hundred slices."""
    folder = tmp_path_factory.mktemp("cohort")
    for _ in archive.write_cohort(folder, COHORT, seed=0):
        pass
    places = {"--grading": plan.GRADING, "--grades": archive.CLINICAL_TABLE, "--progression": plan.PROGRESSION}
    return [word for option, name in places.items() for word in (option, str(folder / name))]


@pytest.fixture(scope="module")
def local(inputs, tmp_path_factory):
    """The run directory of one machine with as many logical cores."""
    run = tmp_path_factory.mktemp("local")
    line = [sys.executable, "-m", "tumorprog.cli", "run", *inputs, *SMALL, "--cluster.cores", "4", "--out", str(run)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    subprocess.run(line, check=True, env=env)
    return run


def submission(cluster, command, *words):
    """`tumorprog submit`, in a process of its own."""
    line = [sys.executable, "-m", "tumorprog.cli", "submit", command, "--address", cluster.address]
    line += ["--python", cluster.python, *map(str, words)]
    return subprocess.Popen(line, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def submit(cluster, command, *words):
    """What it says and its exit code."""
    process = submission(cluster, command, *words)
    told, _ = process.communicate(timeout=600)
    return told, process.returncode


def said(line, cluster, cwd=None):
    """What a client of the cluster says and its exit code."""
    done = subprocess.run(
        line, check=False, cwd=cwd, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout, done.returncode


def assert_same_results(run, other):
    """The tables of two runs: those without arithmetic to the letter, the others up to float noise."""
    for name, schema in (("catalogue", tables.CATALOGUE), ("slices", tables.SLICES)):
        assert_equal(*(tables.read_shards(storage.place(one) / name, schema).to_pandas() for one in (run, other)))
    slices = tables.read_shards(storage.place(run) / "slices", tables.SLICES, ["slice", "SOPInstanceUID", "frame"])
    assert sorted(slices["slice"].to_pylist()) == list(range(slices.num_rows))  # none lost, none twice
    one, two = (tables.read_shards(storage.place(one) / "features", tables.FEATURES) for one in (run, other))
    np.testing.assert_allclose(tables.vectors(one), tables.vectors(two), rtol=1e-6)
    assert one.drop_columns(["vector"]).equals(two.drop_columns(["vector"]))
    for name in ("quarantine.csv", "grader/split.csv", "grader/leaks.csv", "progression/folds.csv"):
        assert_equal(*(read(place, name) for place in (run, other)))
    for name in ("grader/history.csv", "grader/predictions.parquet", "grades.csv", "reference_sheet.csv"):
        assert_equal(*(read(place, name) for place in (run, other)), rtol=1e-3, atol=1e-4)
    for name in ("progression/predictions.csv", "progression/baselines.csv"):
        assert_equal(*(read(place, name) for place in (run, other)), rtol=1e-3, atol=1e-4)


def read(run, name):
    with (storage.place(run) / name).open("rb") as file:
        return pd.read_parquet(file) if name.endswith(".parquet") else pd.read_csv(file)


def assert_equal(one, two, **tolerance):
    pd.testing.assert_frame_equal(one, two, check_exact=None if tolerance else True, **tolerance)


def wait_for(found, process, seconds=300):
    """The first true answer of a question that is asked while a process lives."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


def working(cluster, title):
    """A node on which a process with this title runs, and the process."""
    for node in cluster.nodes:
        for pid, name in cluster.processes(node).items():
            if name.startswith(title):
                return node, pid
    return None


def test_three_nodes_give_the_tables_of_one_machine(cluster, inputs, local, tmp_path):
    """By `ray job submit` and the scripts of jobs/, whose package none of the nodes has installed."""
    line = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.address]
    line += ["--runtime-env", "jobs/runtime_env.yaml", "--", cluster.python, "jobs/run.py"]
    told, code = said([*line, *inputs, *SMALL, "--out", str(tmp_path)], cluster, cwd=ROOT)
    assert code == 0, told
    assert "report: " in told
    assert_same_results(tmp_path, local)


def test_nodes_lost_in_slices_and_in_training_cost_nothing(cluster, inputs, local, tmp_path):
    told, code = submit(cluster, "catalogue", *inputs, "--out", tmp_path)
    assert code == 0, told
    process = submission(cluster, "run", *inputs, *SMALL, "--out", tmp_path)

    node, pid = wait_for(lambda: working(cluster, "ray::MapBatches(_write_some)"), process)
    os.kill(pid, signal.SIGSTOP)  # so that its shard cannot be finished before the node is gone
    assert "slices" not in read_record(tmp_path)["stages"]
    cluster.kill(node)
    cluster.add()

    wait_for(lambda: list(tmp_path.glob(".partial/train_grader-*/grader/history.csv")), process)
    node, _ = working(cluster, "ray::RayTrainWorker")
    cluster.kill(node)
    assert "train_grader" not in read_record(tmp_path)["stages"]
    cluster.add()

    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told
    assert_same_results(tmp_path, local)
    assert not list((tmp_path / ".partial").iterdir())


def test_a_job_that_is_stopped_leaves_valid_files_and_goes_on(cluster, inputs, local, tmp_path):
    """`ray job stop` sends SIGTERM."""
    process = submission(cluster, "run", *inputs, *SMALL, "--out", tmp_path)
    wait_for(lambda: list(tmp_path.glob(".partial/train_grader-*/grader/history.csv")), process)
    stop(cluster)
    told, _ = process.communicate(timeout=120)
    assert process.returncode not in (0, 2), told
    assert "STOPPED" in told
    assert set(read_record(tmp_path)["stages"]) == {"catalogue", "slices"}
    (interrupted,) = tmp_path.glob(".partial/train_grader-*/grader/history.csv")
    epochs = len(pd.read_csv(interrupted))
    told, code = submit(cluster, "train-grader", "--out", tmp_path)
    assert code == 0, told
    assert epochs >= 1
    assert_equal(*(read(run, "grader/history.csv") for run in (tmp_path, local)), rtol=1e-3)


def stop(cluster):
    line = [sys.executable, "-m", "ray.scripts.scripts", "job", "list", "--address", cluster.address]
    jobs, _ = said(line, cluster)
    (running,) = {
        part.split("submission_id='")[1].split("'")[0] for part in jobs.split("JobDetails(") if "RUNNING" in part
    }
    told, code = said([*line[:4], "stop", running, *line[5:]], cluster)
    assert code == 0, told


def test_a_run_directory_that_the_nodes_do_not_share_is_refused(cluster, inputs):
    """Every process has its own folder behind /proc/self/cwd: that of the job lies with each node."""
    told, code = submit(cluster, "catalogue", *inputs, "--out", "/proc/self/cwd/run")
    assert code == 2, told
    assert "on node" in told
    assert "this is not the folder that it is here" in told
    assert "headers" not in told  # nothing had begun


def test_a_store_is_reached_from_every_node(cluster, inputs, local, store):
    told, code = submit(cluster, "run", *inputs, *SMALL, "--out", f"{store}/run")
    assert code == 0, told
    assert_same_results(f"{store}/run", local)


def test_a_job_ends_with_the_exit_code_of_its_command(cluster, tmp_path):
    told, code = submit(cluster, "slices", "--out", tmp_path)
    assert code == 2
    assert "run `tumorprog catalogue` first" in told


def test_a_wrong_token_is_told_in_one_line(cluster, tmp_path):
    cluster_token, cluster.token = cluster.token, "0" * 64
    try:
        told, code = submit(cluster, "report", "--out", tmp_path)
    finally:
        cluster.token = cluster_token
    assert code == 2
    assert told.count("\n") == 1
    assert "refuses the token" in told


def test_no_cluster_is_told_in_one_line(cluster, tmp_path):
    line = [sys.executable, "-m", "tumorprog.cli", "submit", "report", "--out", str(tmp_path)]
    told, code = said([*line, "--address", "http://127.0.0.1:9"], cluster)
    assert code == 2
    assert "no Ray cluster answers there" in told
    assert told.count("\n") == 1
