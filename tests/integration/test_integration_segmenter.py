"""Training of the segmenter with real Ray. Expected content of segmenter/ with three folds:

_rejected.csv  _summary.json  folds.csv  history.csv  leaks.csv  model.json  model.safetensors
folds/fold-1/{history.csv, model.json, model.safetensors} ...
"""

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from tumorprog import cli, tables
from tumorprog.distributed import training
from tumorprog.distributed.segmenter_training import SegmenterPlan
from tumorprog.formats import reading
from tumorprog.formats.columns import CATALOGUE
from tumorprog.segmenters import apply, samples, stacks
from tumorprog.settings import Settings, with_values
from tumorprog.stages import train_segmenter
from tumorprog.synthetic import plan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

SMALL = shlex.split("--segmenter.workers 0 --segmenter.epochs 2 --segmenter.folds 3 --segmenter.batch_size 4")
MODEL = {"history.csv", "model.json", "model.safetensors"}
FOLDERS = ("folds/fold-1", "folds/fold-2", "folds/fold-3", ".")


@pytest.fixture(scope="module")
def catalogued(cohort_folder, tmp_path_factory):
    """A run directory with the catalogue of three patients with masks; each test trains in a copy of it."""
    folder = tmp_path_factory.mktemp("run") / "catalogued"
    progression = cohort_folder / plan.PROGRESSION
    assert cli.main(["catalogue", "--progression", str(progression), "--out", str(folder)]) == 0
    return folder


def train(run, *arguments):
    assert cli.main(["train-segmenter", "--out", str(run), *SMALL, *arguments]) == 0
    return run / "segmenter"


def train_until_interrupted(run):
    """Train one model after the other in this process, until the second epoch of the second one; return the epochs."""
    run_epoch, epochs = SegmenterPlan.run_epoch, []

    def failing(self, *arguments):
        if len(epochs) == 3:
            raise RuntimeError("power cut")
        epochs.append(self.name)
        return run_epoch(self, *arguments)

    def one_after_the_other(plans, **_):
        for one in plans:
            training.train(one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmenterPlan, "run_epoch", failing)
        patch.setattr(train_segmenter, "train_all", one_after_the_other)
        with pytest.raises(Exception, match="power cut"):
            train(run)
    return epochs


def test_an_interrupted_training_resumes_and_equals_an_uninterrupted_one(catalogued, tmp_path):
    expected = train(shutil.copytree(catalogued, tmp_path / "uninterrupted"))
    run = shutil.copytree(catalogued, tmp_path / "interrupted")
    assert train_until_interrupted(run) == ["fold 1", "fold 1", "fold 2"]
    (finished,) = run.glob(".partial/train_segmenter-*/segmenter/folds/fold-1/model.safetensors")
    before = finished.stat().st_mtime_ns
    resumed = train(run)
    assert (resumed / "folds" / "fold-1" / "model.safetensors").stat().st_mtime_ns == before
    for name in FOLDERS:
        first, second = (load_file(folder / name / "model.safetensors") for folder in (expected, resumed))
        for tensor in first:
            np.testing.assert_allclose(first[tensor], second[tensor], rtol=1e-4, atol=1e-5)
        histories = [pd.read_csv(folder / name / "history.csv") for folder in (expected, resumed)]
        assert histories[0]["Epoch"].tolist() == [1, 2]
        pd.testing.assert_frame_equal(*histories, rtol=1e-4)
    check_content(resumed)


def check_content(segmenter):
    """The patients of a fold are exactly those that its model was not trained on."""
    others = {"_rejected.csv", "_summary.json", "folds", "folds.csv", "leaks.csv"}
    assert {path.name for path in segmenter.iterdir()} == MODEL | others
    assert json.loads((segmenter / "_summary.json").read_text()) == {"patients": 3, "slices": 18, "trained": True}
    assert pd.read_csv(segmenter / "leaks.csv").empty
    folds = tables.read_csv(segmenter / "folds.csv", ["PatientID", "fold"])
    patients = set(folds["PatientID"])
    assert len(patients) == folds["fold"].nunique() == 3
    for patient in patients:
        folder = apply.model_folder(segmenter, apply.model_of(patient, folds))
        assert {path.name for path in folder.iterdir()} == MODEL
        description = json.loads((folder / "model.json").read_text())
        assert set(description["training_patients"]) == patients - {patient}
        assert (description["training_slices"], description["epoch"]) == (12, 2)
    assert set(json.loads((segmenter / "model.json").read_text())["training_patients"]) == patients


def test_two_patients_are_too_few(cohort_folder, tmp_path, caplog):
    first, second, *_ = sorted(path for path in (cohort_folder / plan.PROGRESSION).iterdir() if path.is_dir())
    for folder in (first, second):
        shutil.copytree(folder, tmp_path / "archive" / folder.name)
    run = tmp_path / "run"
    assert cli.main(["catalogue", "--progression", str(tmp_path / "archive"), "--out", str(run)]) == 0
    segmenter = train(run)
    assert "nothing trained, because masks on the grid of T1post exist of 2 patients" in caplog.text
    assert {path.name for path in segmenter.iterdir()} == {"_rejected.csv", "_summary.json"}
    assert json.loads((segmenter / "_summary.json").read_text()) == {"patients": 2, "slices": 12, "trained": False}


def test_samples_are_the_prepared_slices_with_the_mask_of_the_same_position(catalogued, tmp_path):
    """Compared with slices and masks that are read from the files and matched by their positions."""
    catalogue = tables.read_shards(catalogued / "catalogue", CATALOGUE).to_pandas()
    settings = with_values(Settings(), {"segmenter.sequences": ("T1post", "FLAIR")})
    work = train_segmenter.plan(tables.shards(catalogued / "catalogue"), settings, tmp_path / "work")
    studies = pa.concat_tables([pq.read_table(path) for path in work])
    rows, notes = samples.of_studies(studies, settings=settings.segmenter, labels=())
    assert notes == {"rejected": []}
    images, masks = samples.arrays(rows)
    table = rows.to_pandas()
    assert table["slice"].is_unique
    assert set(table["SOPInstanceUID"]) == set(catalogue.loc[catalogue["sequence"] == "T1post", "SOPInstanceUID"])
    mask_slices = catalogue[catalogue["sequence"] == "mask"].set_index(["PatientID", "StudyDate", "position_mm"])
    for _, stack in table.groupby("SeriesInstanceUID"):
        known = stack.merge(catalogue[["SOPInstanceUID", "path", "position_mm"]], on="SOPInstanceUID", how="left")
        known = known.set_axis(stack.index).sort_values("position_mm")
        spacing = 2 * (catalogue.loc[catalogue["path"] == known["path"].iloc[0], "row_spacing_mm"].item(),)
        expected = stacks.prepare([reading.read_frame(path) for path in known["path"]], spacing)
        np.testing.assert_array_equal(images[known.index, 1], expected)
        np.testing.assert_array_equal(images[known.index, 0], expected[[0, 0, 1]])
        np.testing.assert_array_equal(images[known.index, 2], expected[[1, 2, 2]])
        keys = zip(known["PatientID"], known["date"], known["position_mm"], strict=True)
        truth = np.stack([reading.read_frame(mask_slices.loc[key, "path"]) > 0 for key in keys])
        np.testing.assert_array_equal(masks[known.index], stacks.mask_on_input(truth, spacing))
        assert known["mask_pixels"].tolist() == masks[known.index].sum((1, 2)).tolist()
    assert masks.any(axis=(1, 2)).mean() > 0.5
