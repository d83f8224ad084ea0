"""Which models of a run its predictions for new patients get."""

from pathlib import Path

from tumorprog import storage
from tumorprog.commands.predict import copy_models


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def models(*folders):
    return [f"{folder}/{file}" for folder in folders for file in ("model.json", "model.safetensors")]


def test_all_models_and_the_folds_of_the_segmenter_are_copied_and_nothing_else(tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    kept = models("grader", "progression", "segmenter", "segmenter/folds/fold-1", "segmenter/folds/fold-2")
    kept += ["segmenter/_summary.json", "segmenter/folds.csv"]
    write(run, *kept, "grader/predictions.parquet", "segmenter/history.csv", "segmenter/folds/fold-1/history.csv")
    copy_models(storage.as_path(run), storage.as_path(out))
    assert names_in(out) == set(kept)
    assert (out / "segmenter/folds/fold-2/model.json").read_text() == "segmenter/folds/fold-2/model.json"


def test_a_run_without_a_segmenter_removes_that_of_an_earlier_one(tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    write(run, *models("grader", "progression"))
    write(out, *models("segmenter"), "segmenter/folds.csv")
    copy_models(storage.as_path(run), storage.as_path(out))
    assert names_in(out) == set(models("grader", "progression"))
