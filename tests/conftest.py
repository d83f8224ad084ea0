"""Fixtures shared by several test modules: a small synthetic cohort, written once per session."""

import os
from pathlib import Path

import hypothesis
import pytest

from tumorprog.synthetic.archive import write_cohort
from tumorprog.synthetic.settings import Synthetic

# Must be set before torch is imported: threads that wait for work do not occupy a core that another process needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Must be set before ray is imported: short trainings then end a second sooner, as on the command line.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

# The time of an example says nothing on a machine that runs other things too.
hypothesis.settings.register_profile("tumorprog", deadline=None)
hypothesis.settings.load_profile("tumorprog")

TINY = Synthetic(graded_patients=9, ungraded_patients=1, progression_patients=3, series_slices=3, size=64)


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    """Write a cohort of 9 graded patients, 1 without a grade and 3 with two dates, with 3 slices per series."""
    folder = tmp_path_factory.mktemp("cohort")
    for _ in write_cohort(folder, TINY, seed=0):
        pass
    return folder
