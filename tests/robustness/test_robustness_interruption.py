"""A killed and restarted run gives the same results as an uninterrupted one."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray

from tumorprog import cli, storage, tables
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders.columns import SLICES
from tumorprog.run import read_record
from tumorprog.synthetic import archive, plan

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

OPTIONS = shlex.split(
    "--grader.weights none --grader.workers 0 --grader.epochs 3 --grader.batch_size 16 --report.bootstrap 200 "
    "--segmenter.workers 0 --segmenter.epochs 1 --segmenter.folds 2 --report.evidence_slices 8 --cluster.cores 2"
)


def start(command, run, *arguments):
    """Start a command in its own process group, so that its Ray processes can be killed with it."""
    line = [sys.executable, "-m", "tumorprog.cli", command, "--out", str(run), *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def wait_for(condition, process, seconds=200):
    """Poll until the condition holds; fail if the process ends first."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(command, run, *arguments):
    """Run a command to its end and return its output."""
    process = start(command, run, *arguments)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_a_run_killed_during_training_resumes_from_its_last_epoch(cohort_folder, tmp_path):
    run = tmp_path / "run"
    inputs = ("--grading", str(cohort_folder / plan.GRADING), "--grades", str(cohort_folder / archive.CLINICAL_TABLE))
    first = start("run", run, *inputs, *OPTIONS)
    wait_for(lambda: list(run.glob(".partial/train_grader-*/grader/history.csv")), first)
    kill(first)
    assert set(read_record(run)["stages"]) == {"catalogue", "slices"}
    (interrupted,) = run.glob(".partial/train_grader-*/grader/history.csv")
    before = pd.read_csv(interrupted)
    second = start("run", run, *inputs, *OPTIONS)
    output, _ = second.communicate(timeout=250)
    assert second.returncode == 0, output
    assert "catalogue: up to date" in output
    history = pd.read_csv(run / "grader" / "history.csv")
    assert history["Epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(history.head(len(before)), before)
    assert not list((run / ".partial").iterdir())


def training_workers(process):
    """Return the process ids of the Ray Train workers that a command has started."""
    workers = []
    for candidate in Path("/proc").glob("[0-9]*"):
        try:
            in_session = os.getsid(int(candidate.name)) == process.pid
            is_worker = (candidate / "cmdline").read_bytes().startswith(b"ray::RayTrainWorker")
        except OSError:  # the process has ended in the meantime
            continue
        if in_session and is_worker:
            workers.append(int(candidate.name))
    return workers


@pytest.fixture(scope="module")
def sliced(cohort_folder, tmp_path_factory):
    """A run directory that is ready for training, and the arguments for its archive."""
    folder = tmp_path_factory.mktemp("sliced") / "run"
    inputs = ("--grading", str(cohort_folder / plan.GRADING), "--grades", str(cohort_folder / archive.CLINICAL_TABLE))
    for command in ("catalogue", "slices"):
        finish(command, folder, *inputs, *OPTIONS)
    return folder, inputs


@pytest.fixture(scope="module")
def uninterrupted(sliced, tmp_path_factory):
    """The run directory of an uninterrupted training with one worker, and its output."""
    folder, inputs = sliced
    run = shutil.copytree(folder, tmp_path_factory.mktemp("uninterrupted") / "run")
    return run, finish("train-grader", run, *inputs, *OPTIONS, "--grader.workers", "1")


def normalised_lines(output):
    """Return the output lines without numbers, times, the run directory and progress, which differ between runs."""
    lines = (re.sub(r"\d+", "N", re.sub(r"\S*/run\b", "RUN", line)) for line in output.splitlines())
    return {line for line in lines if not re.match(r"N:N:N   (training|grading): ", line)}


def test_a_training_with_a_worker_logs_the_same_lines_as_one_without(sliced, uninterrupted, tmp_path):
    folder, inputs = sliced
    run = shutil.copytree(folder, tmp_path / "run")
    without_worker = finish("train-grader", run, *inputs, *OPTIONS, "--grader.workers", "0")
    _, output = uninterrupted
    assert "epoch 3 of 3: training accuracy" in output
    assert normalised_lines(output) == normalised_lines(without_worker)


def test_a_killed_training_worker_is_restarted_without_losing_an_epoch(sliced, uninterrupted, tmp_path):
    """Only the worker process is killed; the command restarts it and reports this."""
    folder, inputs = sliced
    shutil.copytree(folder, tmp_path / "killed")
    process = start("train-grader", tmp_path / "killed", *inputs, *OPTIONS, "--grader.workers", "1")
    wait_for(lambda: list((tmp_path / "killed").glob(".partial/train_grader-*/grader/history.csv")), process)
    (worker,) = training_workers(process)
    os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    assert "worker died or was killed" in output
    expected, actual = (pd.read_csv(run / "grader" / "history.csv") for run in (uninterrupted[0], tmp_path / "killed"))
    assert expected["Epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(actual, expected, rtol=1e-4)


def result(run):
    """Return the tables written by catalogue and slices."""
    shards = {
        name: tables.read_shards(run / name, schema).to_pandas()
        for name, schema in (("catalogue", CATALOGUE), ("slices", SLICES))
    }
    return {**shards, "quarantine": pd.read_csv(run / "quarantine.csv")}


def test_ingest_killed_at_random_times_gives_the_same_result(cohort_folder, tmp_path):
    """Each command is killed repeatedly at random times, and then run to its end."""
    tree = tmp_path / "tree"
    shutil.copytree(cohort_folder / plan.GRADING, tree)
    inputs = ("--grading", str(tree), "--grades", str(cohort_folder / archive.CLINICAL_TABLE), "--cluster.cores", "2")
    started = time.monotonic()
    finish("catalogue", tmp_path / "uninterrupted", *inputs)
    duration = time.monotonic() - started
    finish("slices", tmp_path / "uninterrupted")
    expected = result(tmp_path / "uninterrupted")

    random = np.random.default_rng(0)
    for command in ("catalogue", "slices"):
        for _ in range(3):
            process = start(command, tmp_path / "killed", *inputs)
            time.sleep(random.uniform(0.3, 1.0) * duration)
            kill(process)
        finish(command, tmp_path / "killed", *inputs)
    assert not list((tmp_path / "killed" / ".partial").iterdir())
    for name, table in result(tmp_path / "killed").items():
        pd.testing.assert_frame_equal(table, expected[name])


def test_a_kill_while_results_are_moved_to_their_final_path_loses_nothing(cohort_folder, tmp_path, monkeypatch):
    """The command is killed after the old catalogue was removed and before the new one was moved."""
    tree = tmp_path / "tree"
    shutil.copytree(next((cohort_folder / plan.PROGRESSION).glob("PGBM*")), tree / "PGBM-001")
    command = ["catalogue", "--progression", str(tree), "--out", str(tmp_path / "run"), "--cluster.cores", "2"]
    assert cli.main(command) == 0
    before = tables.read_shards(tmp_path / "run" / "catalogue", CATALOGUE)
    (tree / "new.txt").write_text("no image")

    def interrupted(source, target):
        storage.remove(target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "move", interrupted)
        assert cli.main(command) == 130
    assert not (tmp_path / "run" / "catalogue").exists()
    assert cli.main(command) == 0
    ray.shutdown()
    after = tables.read_shards(tmp_path / "run" / "catalogue", CATALOGUE)
    pd.testing.assert_frame_equal(after.to_pandas(), before.to_pandas())  # NaN equals NaN
    assert pd.read_csv(tmp_path / "run" / "quarantine.csv")["reason"].tolist() == ["not_dicom"]
