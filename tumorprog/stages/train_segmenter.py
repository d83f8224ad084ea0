"""train-segmenter: catalogue -> segmenter/ (U-Nets that find the tumour, cross-fitted by patient).

Each patient's region will come from the model of the fold that was trained without the patient; a final model is
trained on all patients, for others.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tumorprog import storage, tables
from tumorprog.cohort import splits
from tumorprog.distributed import session, shards
from tumorprog.distributed.segmenter_training import SegmenterPlan, Training, build_plan
from tumorprog.distributed.training import concurrency, read_history, remove_ray_state, train_all
from tumorprog.formats.columns import QUARANTINE
from tumorprog.segmenters import samples
from tumorprog.segmenters.apply import FINAL, model_folder
from tumorprog.segmenters.columns import SAMPLES, SEGMENTER_FOLDS
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

_MIN_PATIENTS = 3
_METADATA = [name for name in SAMPLES.names if name not in {"image", "mask"}]
_ORDER = """md5(concat_ws(' ', $seed, study)), study, SeriesInstanceUID, "order\""""
_PLAN = f"""
WITH wanted AS (
    SELECT *, StudyDate AS date, {shards.STUDY_KEY} AS study FROM catalogue
    WHERE cohort = 'progression' AND (sequence = 'mask' OR list_contains($sequences, sequence))
), masked AS (
    SELECT study FROM wanted GROUP BY study HAVING bool_or(sequence = 'mask') AND bool_or(sequence = $sequences[1])
)
SELECT *, row_number() OVER (ORDER BY {_ORDER}) - 1 AS slice FROM wanted SEMI JOIN masked USING (study)
ORDER BY {_ORDER}
"""  # noqa: S608


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Train a model for each fold of patients and a final one, on all stacks that have a mask on the same grid.

    With fewer than three patients with masks nothing is trained, and `segmenter/_summary.json` says so.

    Raises:
        LeakError: if a study, series or image belongs to patients of a training and of a test set.
        TumorprogError: if the loss is not finite.
    """
    target = out / "segmenter"
    target.mkdir(parents=True, exist_ok=True)
    slices = _read_slices(folder, out, settings)
    patients = slices["PatientID"].nunique()
    counts = {"patients": patients, "slices": len(slices), "trained": patients >= _MIN_PATIENTS}
    tables.write_json(target / tables.SUMMARY, counts)
    if not counts["trained"]:
        return (
            f"nothing trained, because masks on the grid of {settings.segmenter.sequences[0]} exist of {patients} "
            f"patients; cross-fitting requires {_MIN_PATIENTS}"
        )
    folds = assign_folds(slices, folds=settings.segmenter.folds, seed=settings.seed)
    leaks = audit(slices, folds, settings)
    tables.write_csv(target / "folds.csv", folds, SEGMENTER_FOLDS)
    tables.write_csv(target / "leaks.csv", leaks, splits.LEAKS)
    dice = _train(plan_trainings(slices, folds, out, settings), settings)
    number, tumour = folds["fold"].nunique(), int((slices["mask_pixels"] > 0).sum())
    return (
        f"{number} folds of {patients} patients and a final model, {len(slices):,} slices ({tumour:,} with tumour), "
        f"{settings.segmenter.epochs} epochs; mean training Dice {dice:.2f}"
    )


def _read_slices(folder: Path, out: Path, settings: Settings) -> pd.DataFrame:
    """Write the shards of `SAMPLES` and return their rows without images."""
    work = plan(tables.shards(folder / "catalogue"), settings, out / "work")
    rejected: list[dict[str, str]] = []
    if work:
        session.connect(settings.cluster, gpu=settings.segmenter.gpu, train_workers=settings.segmenter.workers)
        transform = partial(samples.of_studies, settings=settings.segmenter, labels=settings.roi.labels)
        notes = shards.write_noted_shards(work, transform, out / "samples", SAMPLES, items="studies", batch_rows=1)
        rejected = notes.get("rejected", [])
    tables.write_csv(out / "segmenter" / "_rejected.csv", pd.DataFrame(rejected, columns=list(QUARANTINE)), QUARANTINE)
    if not work:
        return SAMPLES.empty_table().select(_METADATA).to_pandas()
    return tables.read_shards(out / "samples", SAMPLES, _METADATA).to_pandas()


def plan(catalogue: list[Path], settings: Settings, folder: Path) -> list[Path]:
    """Write the studies that have a mask and the first sequence, in a seeded random order, in files of `samples.WORK`.

    Args:
        catalogue: files of `formats.columns.CATALOGUE`.
        settings: `segmenter.sequences`, `seed`.
        folder: receives the files; a finished call is not repeated.
    """
    values = {"sequences": list(settings.segmenter.sequences), "seed": settings.seed}
    return shards.write_studies(folder, _PLAN, samples.WORK, values, catalogue=catalogue)


def assign_folds(slices: pd.DataFrame, *, folds: int, seed: int) -> pd.DataFrame:
    """Divide the patients into folds at random; with fewer patients than folds, each is a fold.

    Returns:
        Rows of `SEGMENTER_FOLDS`, sorted by patient; folds are numbered from 1.
    """
    groups = splits.patient_groups(slices["PatientID"].to_numpy(), groups=folds, seed=seed)
    return pd.DataFrame({"PatientID": groups.index, "fold": groups.astype(int).to_numpy()})


def with_sides(slices: pd.DataFrame, folds: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return the slices with their side, train or test, in a fold; all are for training in fold 0, the final model."""
    fold = slices["PatientID"].map(folds.set_index("PatientID")["fold"])
    return slices.assign(side=np.where(fold == number, "test", "train"))


def _numbers(folds: pd.DataFrame) -> list[int]:
    return [int(number) for number in sorted(folds["fold"].unique())]


def audit(slices: pd.DataFrame, folds: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Check each fold for patients, studies, series and images that are in its training and its test set.

    Args:
        slices: rows of `SAMPLES` without images.
        folds: rows of `SEGMENTER_FOLDS`.
        settings: `cohort.allow_shared`.

    Returns:
        What is shared because the settings permit it, columns `splits.LEAKS`.

    Raises:
        LeakError: if something else is shared.
    """
    found = [
        splits.audit(
            with_sides(slices, folds, number),
            protocol="patient",
            allowed=settings.cohort.allow_shared,
            remedy="give them one PatientID",
        )
        for number in _numbers(folds)
    ]
    return pd.concat(found).drop_duplicates(ignore_index=True)


def plan_trainings(slices: pd.DataFrame, folds: pd.DataFrame, out: Path, settings: Settings) -> list[SegmenterPlan]:
    """Return the plans of the model of each fold, trained on the patients of the others, and of the final model.

    Args:
        slices: rows of `SAMPLES` without images.
        folds: rows of `SEGMENTER_FOLDS`.
        out: contains the shards, `samples/`; parent of `segmenter/`.
        settings: `segmenter`, `seed`.
    """
    models = {**{number: f"fold-{number}" for number in _numbers(folds)}, 0: FINAL}
    trainings = [
        Training(fold=number, slices=with_sides(slices, folds, number), target=model_folder(out / "segmenter", model))
        for number, model in models.items()
    ]
    _, cores = concurrency(settings.segmenter, num_trainings=len(trainings))
    paths = tables.shards(out / "samples")
    return [build_plan(training, paths, settings, cores=cores) for training in trainings]


def _train(plans: list[SegmenterPlan], settings: Settings) -> float:
    """Run the trainings and return the mean training Dice of their last epochs."""
    max_concurrent, _ = concurrency(settings.segmenter, num_trainings=len(plans))
    for plan in plans:
        plan.target.mkdir(parents=True, exist_ok=True)
    train_all(plans, max_concurrent=max_concurrent)
    dice = [read_history(plan)["Train Dice"].iloc[-1] for plan in plans]
    for plan in plans:
        remove_ray_state(plan)
        storage.remove(plan.checkpoint)
    return float(np.mean(dice))
