"""The tables of a run directory that have fixed columns, gathered from the parts that define them."""

import pyarrow as pa

from tumorprog.cohort.columns import COHORT, OUTCOMES, TIMELINE, VOLUMES
from tumorprog.cohort.inventory import FINDINGS
from tumorprog.encoders.columns import FEATURES
from tumorprog.formats.columns import CATALOGUE, QUARANTINE
from tumorprog.graders.columns import (
    FOLD_PREDICTIONS,
    GRADER_PREDICTIONS,
    HISTORY,
    PATIENT_GRADES,
    SERIES_GRADES,
    SLICES,
)
from tumorprog.progression.columns import (
    BASELINES,
    FOLDS,
    LEFT_OUT,
    NEW_PATIENTS,
    NULL_CONTROL,
    PATIENT_PREDICTIONS,
    PATIENT_SURVIVAL,
    PREDICTIONS,
    PROGRESSION_HISTORY,
    PROGRESSION_PREDICTIONS,
    REFERENCE_SHEET,
    SEEDS,
    SURVIVAL_PREDICTIONS,
)
from tumorprog.regions.columns import LESIONS, REGIONS, SCORES
from tumorprog.segmenters.columns import SEGMENTER_FOLDS, SEGMENTER_HISTORY

FILES: dict[str, pa.Schema | tuple[str, ...]] = {
    "catalogue": CATALOGUE,
    "quarantine.csv": QUARANTINE,
    "check.csv": FINDINGS,
    "segmenter/history.csv": SEGMENTER_HISTORY,
    "segmenter/folds.csv": SEGMENTER_FOLDS,
    "segmenter/_rejected.csv": QUARANTINE,
    "regions": REGIONS,
    "regions/_scores.csv": SCORES,
    "regions/_lesions.csv": LESIONS,
    "regions/_rejected.csv": QUARANTINE,
    "volumes.csv": VOLUMES,
    "slices": SLICES,
    "slices/_cohort.csv": COHORT,
    "slices/_rejected.csv": QUARANTINE,
    "grader/history.csv": HISTORY,
    "grader/predictions.parquet": GRADER_PREDICTIONS,
    "grader/folds/predictions.parquet": FOLD_PREDICTIONS,
    "grades.csv": SERIES_GRADES,
    "patient_grades.csv": PATIENT_GRADES,
    "timeline.csv": TIMELINE,
    "reference_sheet.csv": REFERENCE_SHEET,
    "features": FEATURES,
    "features/_rejected.csv": QUARANTINE,
    "progression/history.csv": PROGRESSION_HISTORY,
    "progression/folds.csv": FOLDS,
    "progression/predictions.csv": PROGRESSION_PREDICTIONS,
    "progression/patient_predictions.csv": PATIENT_PREDICTIONS,
    "progression/baselines.csv": BASELINES,
    "progression/left_out.csv": LEFT_OUT,
    "progression/seeds.csv": SEEDS,
    "progression/null_control.csv": NULL_CONTROL,
    "progression/outcomes.csv": OUTCOMES,
    "progression/survival_predictions.csv": SURVIVAL_PREDICTIONS,
    "progression/patient_survival.csv": PATIENT_SURVIVAL,
    "predictions.csv": PREDICTIONS,
    "patient_predictions.csv": NEW_PATIENTS,
}
"""The columns of each table by its path in a run directory; a folder holds Parquet files of one schema.

The columns of split.csv, leaks.csv and the tables of a sweep depend on the protocol and on the sweep.
"""


def names(path: str) -> list[str]:
    """Return the names of the columns of the table at a path of `FILES`, in their order."""
    columns = FILES[path]
    return list(columns.names if isinstance(columns, pa.Schema) else columns)
