"""A run that is killed and started again ends as one that was not."""

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
from tumorprog.run import read_record
from tumorprog.synthetic import archive, plan

pytestmark = pytest.mark.long

WORDS = shlex.split(
    "--grader.weights none --grader.workers 0 --grader.epochs 3 --grader.batch_size 16 --report.bootstrap 20 "
    "--cluster.cores 2"
)


def start(command, run, *words):
    """In a process group of its own, so that its Ray can be ended with it."""
    line = [sys.executable, "-m", "tumorprog.cli", command, "--out", str(run), *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def wait_for(condition, process, seconds=200):
    """Polls until the condition holds; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(command, run, *words):
    """Runs a command to its end; what it said."""
    process = start(command, run, *words)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return told


def test_a_run_killed_in_the_middle_of_training_goes_on_from_its_last_epoch(cohort_folder, tmp_path):
    run = tmp_path / "run"
    inputs = ("--grading", str(cohort_folder / plan.GRADING), "--grades", str(cohort_folder / archive.CLINICAL_TABLE))
    first = start("run", run, *inputs, *WORDS)
    wait_for(lambda: list(run.glob(".partial/train_grader-*/grader/history.csv")), first)
    kill(first)
    assert set(read_record(run)["stages"]) == {"catalogue", "slices"}
    (interrupted,) = run.glob(".partial/train_grader-*/grader/history.csv")
    before = pd.read_csv(interrupted)
    second = start("run", run, *inputs, *WORDS)
    told, _ = second.communicate(timeout=250)
    assert second.returncode == 0, told
    assert "catalogue: up to date" in told
    history = pd.read_csv(run / "grader" / "history.csv")
    assert history["Epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(history.head(len(before)), before)
    assert not list((run / ".partial").iterdir())


def training_workers(process):
    """The processes of Ray Train that a command has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            ours = os.getsid(int(place.name)) == process.pid
            named = (place / "cmdline").read_bytes().startswith(b"ray::RayTrainWorker")
        except OSError:  # it has ended meanwhile
            continue
        if ours and named:
            found.append(int(place.name))
    return found


@pytest.fixture(scope="module")
def sliced(cohort_folder, tmp_path_factory):
    """A run directory that is ready for a training, and the words that name its archive."""
    folder = tmp_path_factory.mktemp("sliced") / "run"
    inputs = ("--grading", str(cohort_folder / plan.GRADING), "--grades", str(cohort_folder / archive.CLINICAL_TABLE))
    for command in ("catalogue", "slices"):
        finish(command, folder, *inputs, *WORDS)
    return folder, inputs


@pytest.fixture(scope="module")
def whole(sliced, tmp_path_factory):
    """A training with one worker that nobody disturbed, and what it said."""
    folder, inputs = sliced
    run = shutil.copytree(folder, tmp_path_factory.mktemp("whole") / "run")
    return run, finish("train-grader", run, *inputs, *WORDS, "--grader.workers", "1")


def kinds_of_lines(told):
    """The lines without what differs from run to run: times, figures, the folder; and how far it has come."""
    lines = (re.sub(r"\d+", "N", re.sub(r"\S*/run\b", "RUN", line)) for line in told.splitlines())
    return {line for line in lines if not re.match(r"N:N:N   (training|grading): ", line)}


def test_a_training_with_a_worker_says_no_more_than_one_without(sliced, whole, tmp_path):
    folder, inputs = sliced
    run = shutil.copytree(folder, tmp_path / "run")
    alone = finish("train-grader", run, *inputs, *WORDS, "--grader.workers", "0")
    _, told = whole
    assert "epoch 3 of 3: training accuracy" in told
    assert kinds_of_lines(told) == kinds_of_lines(alone)


def test_a_training_worker_that_is_killed_is_started_again_and_loses_no_epoch(sliced, whole, tmp_path):
    """Not the command is killed but the process that trains; the command brings it back by itself, and says so."""
    folder, inputs = sliced
    shutil.copytree(folder, tmp_path / "killed")
    process = start("train-grader", tmp_path / "killed", *inputs, *WORDS, "--grader.workers", "1")
    wait_for(lambda: list((tmp_path / "killed").glob(".partial/train_grader-*/grader/history.csv")), process)
    (worker,) = training_workers(process)
    os.kill(worker, signal.SIGKILL)
    told, _ = process.communicate(timeout=250)
    assert process.returncode == 0, told
    assert "worker died or was killed" in told
    one, other = (pd.read_csv(run / "grader" / "history.csv") for run in (whole[0], tmp_path / "killed"))
    assert one["Epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(other, one, rtol=1e-4)


def result(run):
    """All that catalogue and slices leave, but for the paths of temporary folders."""
    found = {
        name: tables.read_shards(run / name, schema).to_pandas()
        for name, schema in (("catalogue", tables.CATALOGUE), ("slices", tables.SLICES))
    }
    return {**found, "quarantine": pd.read_csv(run / "quarantine.csv")}


def test_ingest_killed_at_any_moment_ends_as_if_it_had_not_been(cohort_folder, tmp_path):
    """SIGKILL at random times, again and again; then the archive changes, and again."""
    tree = tmp_path / "tree"
    shutil.copytree(cohort_folder / plan.GRADING, tree)
    inputs = ("--grading", str(tree), "--grades", str(cohort_folder / archive.CLINICAL_TABLE), "--cluster.cores", "2")
    began = time.monotonic()
    finish("catalogue", tmp_path / "whole", *inputs)
    usual = time.monotonic() - began
    finish("slices", tmp_path / "whole")
    expected = result(tmp_path / "whole")

    moments = np.random.default_rng(0)
    for command in ("catalogue", "slices"):
        for _ in range(3):
            process = start(command, tmp_path / "killed", *inputs)
            time.sleep(moments.uniform(0.3, 1.0) * usual)
            kill(process)
        finish(command, tmp_path / "killed", *inputs)
    assert not list((tmp_path / "killed" / ".partial").iterdir())
    for name, table in result(tmp_path / "killed").items():
        pd.testing.assert_frame_equal(table, expected[name])


def test_a_kill_while_results_are_moved_into_place_loses_nothing(cohort_folder, tmp_path, monkeypatch):
    """The moment at which the old catalogue is gone and the new one is not there yet."""
    tree = tmp_path / "tree"
    shutil.copytree(next((cohort_folder / plan.PROGRESSION).glob("PGBM*")), tree / "PGBM-001")
    words = ["catalogue", "--progression", str(tree), "--out", str(tmp_path / "run"), "--cluster.cores", "2"]
    assert cli.main(words) == 0
    before = tables.read_shards(tmp_path / "run" / "catalogue", tables.CATALOGUE)
    (tree / "new.txt").write_text("no image")

    def dies(source, target):
        storage.remove(target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "move", dies)
        assert cli.main(words) == 130
    assert not (tmp_path / "run" / "catalogue").exists()
    assert cli.main(words) == 0
    ray.shutdown()
    after = tables.read_shards(tmp_path / "run" / "catalogue", tables.CATALOGUE)
    pd.testing.assert_frame_equal(after.to_pandas(), before.to_pandas())  # NaN equals NaN
    assert pd.read_csv(tmp_path / "run" / "quarantine.csv")["reason"].tolist() == ["not_dicom"]
