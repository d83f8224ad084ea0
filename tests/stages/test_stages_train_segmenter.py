"""Which trainings train-segmenter plans, without running them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tumorprog.errors import LeakError
from tumorprog.settings import Settings, with_values
from tumorprog.stages import train_segmenter


@pytest.fixture
def slices():
    """Five slices each of 11 patients."""
    patient = np.arange(11).repeat(5)
    names = [f"P{number:02}" for number in patient]
    own = [f"1.{number}" for number in range(len(patient))]
    return pd.DataFrame(
        {
            **{"slice": np.arange(len(patient)) * 3, "PatientID": names, "frame": 0, "mask_pixels": patient},
            **{"StudyInstanceUID": [f"1.{name}" for name in names], "SeriesInstanceUID": own, "SOPInstanceUID": own},
            **{"pixel_hash": own},
        }
    )


@pytest.mark.parametrize(("folds", "expected"), [(5, [3, 2, 2, 2, 2]), (50, [1] * 11)])
def test_every_patient_is_in_one_fold_of_about_equal_size(slices, folds, expected):
    assigned = train_segmenter.assign_folds(slices, folds=folds, seed=3)
    assert assigned["PatientID"].tolist() == sorted(slices["PatientID"].unique())
    assert assigned["fold"].value_counts().sort_index().tolist() == expected


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_slices(slices):
    first, shuffled, other = (
        train_segmenter.assign_folds(rows, folds=3, seed=seed)
        for rows, seed in ((slices, 0), (slices.sample(frac=1, random_state=1), 0), (slices, 1))
    )
    pd.testing.assert_frame_equal(first, shuffled)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("column", "allowed"), [("pixel_hash", "image"), ("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series")]
)
def test_what_patients_of_two_folds_share_stops_the_training_unless_it_is_permitted(slices, column, allowed):
    folds = train_segmenter.assign_folds(slices, folds=11, seed=0)
    assert train_segmenter.audit(slices, folds, Settings()).empty
    slices.loc[slices["slice"] == 0, column] = slices.loc[slices["slice"] == 30, column].item()
    with pytest.raises(LeakError, match=r"patients P00, P02.*give them one PatientID"):
        train_segmenter.audit(slices, folds, Settings())
    permitted = with_values(Settings(), {"cohort.allow_shared": (allowed,)})
    leaks = train_segmenter.audit(slices, folds, permitted)
    assert leaks["patients"].tolist() == ["P00 P02"]


def test_what_patients_of_one_fold_share_is_not_leakage(slices):
    folds = pd.DataFrame({"PatientID": sorted(slices["PatientID"].unique()), "fold": [1] * 5 + [2] * 6})
    slices.loc[slices["PatientID"] == "P00", "StudyInstanceUID"] = "1.P01"
    assert train_segmenter.audit(slices, folds, Settings()).empty


@pytest.fixture
def plans(slices, tmp_path, monkeypatch):
    def build(**values):
        monkeypatch.setattr(train_segmenter, "concurrency", lambda *_, **__: (1, 1))
        (tmp_path / "samples").mkdir(exist_ok=True)
        pq.write_table(pa.table({"slice": slices["slice"]}), tmp_path / "samples" / "part-00000.parquet")
        settings = with_values(Settings(), {f"segmenter.{name}": value for name, value in values.items()})
        folds = train_segmenter.assign_folds(slices, folds=settings.segmenter.folds, seed=0)
        return folds, train_segmenter.plan_trainings(slices, folds, tmp_path, settings)

    return build


def test_each_fold_is_trained_on_the_slices_of_all_other_patients_and_the_final_model_on_all(slices, plans, tmp_path):
    folds, planned = plans(folds=4)
    folder = tmp_path / "segmenter"
    assert [plan.target for plan in planned] == [*(folder / "folds" / f"fold-{n}" for n in (1, 2, 3, 4)), folder]
    for plan in planned:
        held_out = set(folds.loc[folds["fold"] == plan.description["fold"], "PatientID"])
        others = slices[~slices["PatientID"].isin(held_out)]
        assert np.flatnonzero(plan.wanted).tolist() == others["slice"].tolist()
        assert len(plan.wanted) == slices["slice"].max() + 1
        assert plan.description["training_patients"] == sorted(others["PatientID"].unique())
    fingerprints = {plan.description["data_fingerprint"] for plan in planned}
    assert len(fingerprints) == len(planned)


@pytest.mark.parametrize(
    ("workers", "batch_size", "steps"), [(0, 16, 4), (1, 16, 4), (2, 16, 4), (3, 6, 9), (4, 4, 13)]
)
def test_the_schedule_has_the_steps_of_a_worker_in_all_epochs(plans, workers, batch_size, steps):
    """Of 55 slices each worker gets the same number, in batches of its share of the batch size."""
    _, planned = plans(batch_size=batch_size, workers=workers, epochs=7)
    plan = planned[-1]
    assert plan.total_steps == 7 * steps
    assert plan.wanted.sum() == 55 - 55 % max(1, workers)
    assert plan.description["training_slices_left_out"] == 55 % max(1, workers)
