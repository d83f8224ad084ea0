"""predict: apply the models of a finished run to new patients."""

import argparse
from pathlib import Path

from tumorprog import storage
from tumorprog.commands.stage import run_stages
from tumorprog.errors import InputError
from tumorprog.options import Command
from tumorprog.settings import Settings, with_values

_MODEL = ("model.safetensors", "model.json")


def copy_models(folder: Path, out: Path) -> None:
    """Copy the grader, the progression model and the segmenter, if there is one, of a run.

    The models of the segmenter's folds are copied too: patients of the run are segmented by the one that has not seen
    them, and new patients by the final one.

    Args:
        folder: the run directory.
        out: the folder of the predictions.
    """
    folds = [f"segmenter/folds/{path.name}" for path in (folder / "segmenter" / "folds").glob("fold-*")]
    models = [f"{name}/{file}" for name in ("grader", "progression", "segmenter", *folds) for file in _MODEL]
    if not (folder / "segmenter").exists():
        storage.remove(out / "segmenter")  # of an earlier call
    for name in (*models, "segmenter/_summary.json", "segmenter/folds.csv"):
        if (folder / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            storage.copy(folder / name, out / name)


def _predict(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder, out = storage.as_path(parsed.run), storage.as_path(parsed.out)
    if storage.absolute(parsed.out) == storage.absolute(parsed.run):
        raise InputError(f"--out {out}: is the run itself; choose another folder for the predictions")
    if not storage.as_path(parsed.images).is_dir():
        raise InputError(f"--images {parsed.images}: no such folder; set it to the folder of the new patients' files")
    archive = {"archive.grading": "", "archive.grades": "", "archive.progression": storage.absolute(parsed.images)}
    images = with_values(settings, archive)
    run.check_paths(out, images)
    for file in [f"{name}/{part}" for name in ("grader", "progression") for part in _MODEL]:
        if not (folder / file).is_file():
            raise InputError(f"{folder / file}: missing; --run takes a finished run with both models")
    copy_models(folder, out)
    return "\n".join([run_stages(out, images, run.PREDICT), f"predictions: {out / 'predictions.csv'}"])


COMMAND = Command(
    summary="Apply the models of a finished run to new patients: grades and months to progression.",
    run=_predict,
    groups=("cluster",),
    arguments=(
        ("--run", {"required": True, "metavar": "DIR", "help": "a finished run directory"}),
        ("--images", {"required": True, "metavar": "DIR", "help": "DICOM files of the new patients"}),
        ("--out", {"required": True, "metavar": "DIR", "help": "folder of the predictions"}),
    ),
    examples=("tumorprog predict --run runs/tcia --images new_patients --out runs/new",),
)
