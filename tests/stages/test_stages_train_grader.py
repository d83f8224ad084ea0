"""Which trainings train-grader plans, without running them."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.settings import Settings, with_values
from tumorprog.stages import train_grader


@pytest.fixture
def slices():
    """Three slices each of 30 patients, ten of each grade."""
    patient = np.arange(30).repeat(3)
    names = [f"P{number:02}" for number in patient]
    own = [f"1.{number}" for number in range(len(patient))]
    return pd.DataFrame(
        {
            **{"slice": np.arange(len(patient)), "PatientID": names, "grade": 2 + patient % 3, "frame": 0},
            **{"StudyInstanceUID": [f"1.{name}" for name in names], "SeriesInstanceUID": own, "SOPInstanceUID": own},
            **{"pixel_hash": own},
        }
    )


def planned(slices, out, **values):
    settings = with_values(Settings(), {f"grader.{name}": value for name, value in values.items()})
    settings = with_values(settings, {"protocol": "both", "seed": 7})
    return {training.folder: training for training in train_grader._by_protocol(slices, out, settings)}


def test_by_default_each_protocol_is_trained_once(slices, tmp_path):
    trainings = planned(slices, tmp_path)
    assert list(trainings) == ["grader", "grader/paper"]
    assert not any(training.is_repetition for training in trainings.values())


def test_further_seeds_repeat_the_patient_protocol_on_the_same_split(slices, tmp_path):
    trainings = planned(slices, tmp_path, seeds=3)
    assert list(trainings) == ["grader", "grader/seeds/seed-8", "grader/seeds/seed-9", "grader/paper"]
    first = trainings["grader"]
    for seed in (8, 9):
        training = trainings[f"grader/seeds/seed-{seed}"]
        assert training.seed == seed
        assert training.is_repetition
        pd.testing.assert_frame_equal(training.slices, first.slices)


def test_each_draw_of_the_null_control_permutes_the_grades_between_patients_in_its_own_way(slices, tmp_path):
    trainings = planned(slices, tmp_path, null_control=True, null_draws=4)
    for folder in ("grader", "grader/paper"):
        real = trainings[folder]
        draws = [trainings[f"{folder}/null/draw-{number}"] for number in (1, 2, 3, 4)]
        grades = {tuple(draw.slices["grade"]) for draw in draws} | {tuple(real.slices["grade"])}
        assert len(grades) == 5
        for draw in draws:
            assert draw.seed == real.seed
            assert draw.is_repetition
            pd.testing.assert_series_equal(draw.slices["side"], real.slices["side"])
            if folder == "grader":
                counts = [table.groupby("side")["grade"].value_counts() for table in (draw.slices, real.slices)]
                pd.testing.assert_series_equal(counts[0].sort_index(), counts[1].sort_index())
            by_patient = draw.slices.groupby("PatientID")["grade"]
            assert (by_patient.nunique() == 1).all()
            assert by_patient.first().value_counts().to_dict() == {2: 10, 3: 10, 4: 10}
