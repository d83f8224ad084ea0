"""What several test modules share: a small synthetic cohort, written once a session."""

import os
from pathlib import Path

import pytest

from tumorprog.settings import Synthetic
from tumorprog.synthetic.archive import write_cohort

# Before ray is imported, which reads it: trainings of a second end a second sooner, as they do from the command line.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

TINY = Synthetic(graded_patients=9, ungraded_patients=1, progression_patients=3, series_slices=3, size=64)


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    """9 graded patients, 1 without a grade, 3 with two dates; 3 slices a series."""
    folder = tmp_path_factory.mktemp("cohort")
    for _ in write_cohort(folder, TINY, seed=0):
        pass
    return folder
