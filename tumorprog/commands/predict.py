"""predict: apply the models of a finished run to new patients."""

import argparse

from tumorprog import storage
from tumorprog.commands.stage import run_stages
from tumorprog.errors import InputError
from tumorprog.options import Command
from tumorprog.settings import Settings, with_values


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
    for name in ("grader", "progression"):
        (out / name).mkdir(parents=True, exist_ok=True)
        for file in ("model.safetensors", "model.json"):
            if not (folder / name / file).is_file():
                raise InputError(f"{folder / name / file}: missing; --run takes a finished run with both models")
            storage.copy(folder / name / file, out / name / file)
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
