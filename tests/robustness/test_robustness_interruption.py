"""A run that is killed and started again ends as one that was not."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tumorprog.run import read_record
from tumorprog.synthetic import archive, plan

pytestmark = pytest.mark.slow

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
    assert "catalogue: nothing changed" in told
    history = pd.read_csv(run / "grader" / "history.csv")
    assert history["Epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(history.head(len(before)), before)
    assert not list((run / ".partial").iterdir())
