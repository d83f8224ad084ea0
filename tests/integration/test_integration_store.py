"""The archive and the run directory in an object store: an S3 server on this machine's loopback."""

import json
import shlex
import shutil

import pandas as pd
import pyarrow.fs
import pytest

from tumorprog import cli, storage, tables
from tumorprog.errors import InputError
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders.columns import SLICES
from tumorprog.synthetic import archive, plan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def upload(folder, address):
    fs, name = storage.file_system(storage.as_path(address))
    for path in folder.rglob("*"):
        if path.is_file():
            fs.put_file(str(path), f"{name}/{path.relative_to(folder)}")


@pytest.fixture(scope="module")
def small_cohort(cohort_folder, tmp_path_factory):
    """Three patients of the grading archive, and the table of grades."""
    folder = tmp_path_factory.mktemp("small")
    for patient in sorted((cohort_folder / plan.GRADING).iterdir())[:3]:
        shutil.copytree(patient, folder / plan.GRADING / patient.name)
    shutil.copy(cohort_folder / archive.CLINICAL_TABLE, folder)
    return folder


@pytest.fixture(scope="module")
def finished(store, small_cohort):
    """The address of a run directory with catalogue and slices, read from and written to the store."""
    upload(small_cohort, f"{store}/cohort")
    arguments = shlex.split(f"--grading {store}/cohort/{plan.GRADING} --grades {store}/cohort/{archive.CLINICAL_TABLE}")
    for command in ("catalogue", "slices"):
        assert cli.main([command, *arguments, "--out", f"{store}/run"]) == 0
    return f"{store}/run"


def without_paths(table):
    return table.to_pandas().drop(columns=["path"], errors="ignore")


def test_the_store_gives_the_same_catalogue_and_images_as_the_disk(finished, small_cohort, tmp_path):
    grading, grades = small_cohort / plan.GRADING, small_cohort / archive.CLINICAL_TABLE
    arguments = ["--grading", str(grading), "--grades", str(grades), "--out", str(tmp_path)]
    for command in ("catalogue", "slices"):
        assert cli.main([command, *arguments]) == 0
    for name, schema in (("catalogue", CATALOGUE), ("slices", SLICES)):
        remote = tables.read_shards(storage.as_path(finished) / name, schema)
        pd.testing.assert_frame_equal(
            *(without_paths(table) for table in (remote, tables.read_shards(tmp_path / name, schema)))
        )


def test_only_the_results_remain_in_the_store(finished):
    names = {file.path.removeprefix(finished + "/").split("/")[0] for file in storage.walk(storage.as_path(finished))}
    assert names == {"catalogue", "slices", "quarantine.csv", "config.yaml", "run.json"}


def test_a_second_run_does_nothing_and_a_new_object_is_the_only_one_read(finished, store, caplog):
    assert cli.main(["catalogue", "--out", finished]) == 0
    assert "up to date" in caplog.text
    fs, tree = storage.file_system(storage.as_path(f"{store}/cohort/{plan.GRADING}"))
    fs.pipe_file(f"{tree}/new file.txt", b"no image")
    assert cli.main(["catalogue", "--out", finished]) == 0
    assert "1 of them to be read" in caplog.text
    summary = json.loads((storage.as_path(finished) / "catalogue" / "_summary.json").read_text())
    assert summary["found"] == summary["used"] + summary["quarantined"]


def test_a_second_command_on_an_address_is_refused_until_the_lease_expires(store, monkeypatch):
    folder = storage.as_path(f"{store}/locked")
    with (
        storage.locked(folder),
        pytest.raises(InputError, match=r"another tumorprog command is using this folder \(.*process"),
    ):
        storage.locked(folder).__enter__()
    with storage.locked(folder):
        pass  # the lock was released
    held = storage.locked(folder)
    held.__enter__()
    monkeypatch.setattr(storage, "_LEASE_S", 0.0)  # as if a minute had passed without a renewal
    with storage.locked(folder):
        pass


def test_a_file_in_a_store_is_written_atomically(store):
    path = storage.as_path(f"{store}/file")

    def fails():
        with storage.atomic_write(path) as file:
            file.write(b"half")
            raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        fails()
    assert not path.exists()


def test_objects_that_mark_folders_are_not_listed_as_files(store):
    """Arrow creates them for Ray Train, and so do the web consoles of stores."""
    folder = storage.as_path(f"{store}/marked")
    arrow, name = pyarrow.fs.FileSystem.from_uri(str(folder))
    arrow.create_dir(f"{name}/some/empty", recursive=True)
    storage.write_text(folder / "some" / "file", "1")
    assert [file.path for file in storage.walk(folder)] == [f"{folder}/some/file"]
    storage.move(folder / "some", folder / "other")
    assert [file.path for file in storage.walk(folder)] == [f"{folder}/other/file"]
