"""Fixtures shared by several test modules: a small synthetic cohort, written once per session; single files."""

import json
import os
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset

from tumorprog import tables
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


@pytest.fixture
def write_dicom():
    """Write an image, (H, W), as uint16 in a DICOM file with few elements, and return its path."""

    def write(path, pixels, **elements):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.3.{abs(hash(path.name))}"
        dataset.Modality, dataset.PatientID, dataset.StudyDate = "MR", "P", "20000101"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = pixels.astype(np.uint16).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(path, implicit_vr=False, little_endian=True)
        return str(path)

    return write


@pytest.fixture
def trained_segmenter(tmp_path):
    """Write the descriptions of a segmenter of two folds; the first leaves out P1 and P2, the second P3 and P4."""

    def write(*, final=("P1", "P2", "P3", "P4"), **models):
        folder = tmp_path / "segmenter"
        for name, patients in {
            ".": final,
            "folds/fold-1": ("P3", "P4"),
            "folds/fold-2": ("P1", "P2"),
            **models,
        }.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            description = {"training_patients": list(patients), "sequences": ["FLAIR"]}
            (folder / name / "model.json").write_text(json.dumps(description))
        folds = pd.DataFrame({"PatientID": ["P1", "P2", "P3", "P4"], "fold": [1, 1, 2, 2]})
        folds.to_csv(folder / "folds.csv", index=False)
        tables.write_json(folder / tables.SUMMARY, {"trained": True})
        return folder

    return write
