"""Which model segments each patient: one that was trained without this patient."""

from pathlib import Path

import pandas as pd

from tumorprog import model_files, tables
from tumorprog.cohort import identity
from tumorprog.errors import LeakError, shorten
from tumorprog.segmenters import apply
from tumorprog.segmenters.columns import SEGMENTER_FOLDS


def models(segmenter: Path, patients: pd.Series) -> dict[str, str]:
    """Return the model by which each patient is segmented, after checking that it was trained on others.

    Args:
        segmenter: folder of a trained segmenter.
        patients: PatientIDs of the catalogue; those of the segmenter may be spelled differently.

    Raises:
        LeakError: if a model was trained on a patient that it would segment.
    """
    folds = tables.read_csv(segmenter / "folds.csv", SEGMENTER_FOLDS)
    folds = folds.assign(PatientID=identity.to_image_ids(folds["PatientID"], patients))
    chosen = {patient: apply.model_of(patient, folds) for patient in patients}
    for model in sorted(set(chosen.values())):
        description = model_files.load_description(apply.model_folder(segmenter, model))
        seen = set(identity.to_image_ids(pd.Series(description["training_patients"], dtype=object), patients))
        leaked = sorted(patient for patient, name in chosen.items() if name == model and patient in seen)
        if leaked:
            raise LeakError(
                f"{segmenter}: the model {model} was trained on {shorten(leaked)}, whom it would segment; run "
                "`tumorprog train-segmenter` again"
            )
    return chosen
