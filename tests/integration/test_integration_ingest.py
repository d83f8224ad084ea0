"""catalogue with real Ray: added, changed and removed files; repeated files; names of any bytes.

The catalogue of a run must not depend on what was catalogued there before.
"""

import json
import os
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from tumorprog import cli
from tumorprog.stages import catalogue as stage
from tumorprog.synthetic import plan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def tree(cohort_folder, tmp_path):
    """One patient of the progression tree, copied so that tests can change it."""
    patient = min((cohort_folder / plan.PROGRESSION).glob("PGBM*"))
    shutil.copytree(patient, tmp_path / "tree" / patient.name)
    return tmp_path / "tree"


def catalogue(tree, run, *arguments):
    assert cli.main(["catalogue", "--progression", str(tree), "--out", str(run), *arguments]) == 0
    quarantine = pd.read_csv(run / "quarantine.csv")
    return pd.read_parquet(run / "catalogue"), quarantine, json.loads((run / "catalogue" / "_summary.json").read_text())


def files(tree):
    return sorted(tree.rglob("*.dcm"))


def to_be_read(caplog):
    """Return how many files the last catalogue was to read, according to its log."""
    messages = [record.getMessage() for record in caplog.records if "of them to be read" in record.getMessage()]
    return int(messages[-1].split(" files found, ")[1].split()[0].replace(",", ""))


def test_only_new_and_changed_files_are_read_and_deleted_ones_disappear(tree, tmp_path, caplog):
    everything = files(tree)
    run = tmp_path / "run"
    moved = tmp_path / "away.dcm"
    everything[0].rename(moved)
    before, _, _ = catalogue(tree, run)
    assert to_be_read(caplog) == len(everything) - 1
    moved.rename(everything[0])  # one is added,
    changed = pydicom.dcmread(everything[1])
    changed.SeriesDescription = "another"
    changed.save_as(everything[1])  # one is changed,
    everything[2].unlink()  # one is deleted
    after, quarantine, summary = catalogue(tree, run)
    assert to_be_read(caplog) == 2
    assert len(before) == len(after) == len(everything) - 1
    assert after.set_index("path").loc[str(everything[1]), "SeriesDescription"] == "another"
    assert str(everything[2]) not in set(after["path"])
    assert summary["found"] == summary["used"] + summary["quarantined"] == len(everything) - 1
    fresh = catalogue(tree, tmp_path / "fresh")
    pd.testing.assert_frame_equal(after, fresh[0])
    pd.testing.assert_frame_equal(quarantine, fresh[1])
    assert summary == fresh[2]


def test_a_catalogue_of_another_version_is_read_again(tree, tmp_path, caplog, monkeypatch):
    run = tmp_path / "run"
    catalogue(tree, run)
    files(tree)[0].touch()
    monkeypatch.setattr(stage, "HEADERS", stage.HEADERS.with_metadata({"tumorprog": "another"}))
    catalogue(tree, run)
    assert to_be_read(caplog) == len(files(tree))


def test_a_copy_is_a_duplicate_and_other_pixels_under_one_uid_are_a_conflict(tree, tmp_path):
    first, second, *_ = files(tree)
    shutil.copy(first, first.with_name("zz copy.dcm"))
    anonymised = pydicom.dcmread(first)
    anonymised.PatientName = "none"
    anonymised.save_as(first.with_name("zz other header.dcm"))
    impostor = pydicom.dcmread(second)
    impostor.SOPInstanceUID = anonymised.SOPInstanceUID
    impostor.save_as(first.with_name("zz other pixels.dcm"))
    found, quarantine, summary = catalogue(tree, tmp_path / "run")
    reasons = {Path(path).name: reason for path, reason in zip(quarantine["path"], quarantine["reason"], strict=True)}
    assert reasons == {
        "zz copy.dcm": "duplicate",
        "zz other header.dcm": "duplicate",
        "zz other pixels.dcm": "conflict",
    }
    assert quarantine["detail"].str.contains(str(first), regex=False).all()
    assert summary["found"] == len(found) + 3


def test_files_with_one_uid_are_all_used_and_two_spellings_are_one_patient(tree, tmp_path):
    everything = files(tree)
    for number, path in enumerate(everything):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        dataset.PatientID = dataset.PatientID if number % 2 else dataset.PatientID.lower().replace("-", "_")
        dataset.save_as(path)
    shutil.copy(everything[0], everything[0].with_name("zz copy.dcm"))
    found, quarantine, _ = catalogue(tree, tmp_path / "run", "--check")
    assert quarantine["reason"].tolist() == ["duplicate"]
    assert len(found) == found["SOPInstanceUID"].nunique() == len(everything)
    assert found["PatientID"].nunique() == 1
    assert found["PatientID_stated"].nunique() == 2
    findings = set(pd.read_csv(tmp_path / "run" / "check.csv")["finding"])
    assert findings >= {"patient with several spellings: treated as one", "SOP instance UID shared by several images"}


def test_files_with_unusual_names_are_read_and_broken_links_and_pipes_are_quarantined(tree, tmp_path):
    renamed = files(tree)[:4]
    renamed[0].rename(os.fsdecode(os.fsencode(renamed[0].parent) + b"/M\xfcller .dcm"))
    renamed[1].rename(renamed[1].with_name('a b\tc,d"e.dcm'))
    renamed[2].rename(renamed[2].with_name("名前.dcm"))
    (tree / "round").symlink_to(tree)
    (tree / "lost").symlink_to(tree / "nowhere")
    (tree / ".hidden").write_text("text")
    os.mkfifo(tree / "pipe")
    found, quarantine, summary = catalogue(tree, tmp_path / "run")
    assert len(found) == len(files(tree)) == summary["used"]
    assert dict(zip(quarantine["path"].map(lambda path: Path(path).name), quarantine["reason"], strict=True)) == {
        ".hidden": "not_dicom",
        "lost": "unreadable",
        "pipe": "unreadable",
    }


def test_unreadable_files_are_tried_again(tree, tmp_path, caplog):
    link = tree / "late.dcm"
    link.symlink_to(tmp_path / "late")
    _, quarantine, _ = catalogue(tree, tmp_path / "run")
    assert quarantine["reason"].tolist() == ["unreadable"]
    files(tree)[0].rename(tmp_path / "late")
    found, quarantine, _ = catalogue(tree, tmp_path / "run")
    assert quarantine.empty
    assert str(link) in set(found["path"])


def test_check_reports_what_is_wrong(tmp_path, capsys):
    small = shlex.split(
        "--synthetic.progression_patients 1 --synthetic.graded_patients 0 --synthetic.ungraded_patients 0"
    )
    small += shlex.split("--synthetic.series_slices 6 --synthetic.size 32")
    assert cli.main(["synthesize", "--out", str(tmp_path), *small]) == 0
    tree = tmp_path / plan.PROGRESSION
    later = max(next(tree.glob("PGBM*")).iterdir())
    shutil.rmtree(later)
    middle = [path for path in files(tree) if "T1post" in str(path)][2]
    middle.unlink()
    catalogue(tree, tmp_path / "run", "--check")
    shown = capsys.readouterr().out
    assert "patient with one date" in shown
    assert "series with missing slices: 1" in shown
    findings = pd.read_csv(tmp_path / "run" / "check.csv")
    assert set(findings["finding"].str.partition(":")[0]) == {"patient with one date", "series with missing slices"}


def test_an_empty_folder_is_reported(tmp_path, capsys):
    (tmp_path / "tree").mkdir()
    arguments = shlex.split(f"catalogue --progression {tmp_path / 'tree'} --out {tmp_path / 'run'}")
    assert cli.main(arguments) == 2
    assert "no MR slice among its files (the folder is empty)" in capsys.readouterr().err
