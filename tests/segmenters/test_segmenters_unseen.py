"""The model by which each patient is segmented has not seen that patient."""

import pandas as pd
import pytest

from tumorprog.errors import LeakError
from tumorprog.segmenters import unseen


def test_each_patient_is_segmented_by_a_model_that_has_not_seen_them(trained_segmenter):
    patients = pd.Series(["p-1", "P3", "new"])
    models = unseen.models(trained_segmenter(), patients)
    assert models == {"p-1": "fold-1", "P3": "fold-2", "new": "final"}


@pytest.mark.parametrize(
    "leak", [{"folds/fold-1": ("P3", "P1")}, {"folds/fold-2": ("P 03",)}, {"final": ("P1", "NEW")}], ids=str
)
def test_a_model_that_has_seen_its_patient_is_refused(trained_segmenter, leak):
    segmenter = trained_segmenter(**leak)
    with pytest.raises(LeakError, match="was trained on"):
        unseen.models(segmenter, pd.Series(["P1", "P2", "P3", "new"]))
