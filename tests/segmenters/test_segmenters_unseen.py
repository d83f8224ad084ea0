"""The model by which each patient is segmented has not seen that patient."""

import json

import pandas as pd
import pytest

from tumorprog.errors import LeakError
from tumorprog.segmenters import unseen


def trained(folder, *, final=("P1", "P2", "P3", "P4"), **models):
    """Write the descriptions of a segmenter of two folds; the first leaves out P1 and P2, the second P3 and P4."""
    for name, patients in {".": final, "folds/fold-1": ("P3", "P4"), "folds/fold-2": ("P1", "P2"), **models}.items():
        (folder / "segmenter" / name).mkdir(parents=True, exist_ok=True)
        description = {"training_patients": list(patients), "sequences": ["FLAIR"]}
        (folder / "segmenter" / name / "model.json").write_text(json.dumps(description))
    folds = pd.DataFrame({"PatientID": ["P1", "P2", "P3", "P4"], "fold": [1, 1, 2, 2]})
    folds.to_csv(folder / "segmenter" / "folds.csv", index=False)
    return folder / "segmenter"


def test_each_patient_is_segmented_by_a_model_that_has_not_seen_them(tmp_path):
    patients = pd.Series(["p-1", "P3", "new"])
    models = unseen.models(trained(tmp_path), patients)
    assert models == {"p-1": "fold-1", "P3": "fold-2", "new": "final"}


@pytest.mark.parametrize(
    "leak", [{"folds/fold-1": ("P3", "P1")}, {"folds/fold-2": ("P 03",)}, {"final": ("P1", "NEW")}], ids=str
)
def test_a_model_that_has_seen_its_patient_is_refused(tmp_path, leak):
    segmenter = trained(tmp_path, **leak)
    with pytest.raises(LeakError, match="was trained on"):
        unseen.models(segmenter, pd.Series(["P1", "P2", "P3", "new"]))
