"""What is recorded of a computation, and what is left out of it."""

import os
import shutil
import subprocess
import sys

import pytest

from tumorprog import provenance


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["/home/jane/.venv/bin/tumorprog", "run", "--out", "/home/jane/runs/x"], "tumorprog run --out x"),
        (["/x/tumorprog/cli.py", "report", "--grades=/home/jane/t.csv"], "tumorprog report --grades=t.csv"),
        (["tumorprog", "run", "--grading", "s3://bucket/jane/A/"], "tumorprog run --grading A"),
        (["tumorprog", "run", "--grading", "jane/A"], "tumorprog run --grading A"),
        (["tumorprog", "run", "--out", "../jane doe/A b"], "tumorprog run --out 'A b'"),
        (
            ["tumorprog", "report", "--study.ethics", "approved 12/2020"],
            "tumorprog report --study.ethics 'approved 12/2020'",
        ),
        (["tumorprog", "run", "--slices.sequences", "[T1post, T2]"], "tumorprog run --slices.sequences '[T1post, T2]'"),
    ],
)
def test_a_command_line_is_recorded_without_folders(arguments, shown):
    assert provenance.command_line(arguments) == shown


def test_the_machine_is_described_without_its_user():
    machine = provenance.machine()
    assert set(machine) == {"python", "system", "cpu", "cores", "memory_gib", "gpus"}
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["python"] == ".".join(map(str, sys.version_info[:3]))
    assert os.uname().nodename not in str(machine)


def test_gpus_are_read_from_the_driver(tmp_path, monkeypatch):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H100\nIRQ: 1\n")
    monkeypatch.setattr(provenance, "_GPUS", tmp_path)
    assert provenance.machine()["gpus"] == ["NVIDIA H100"]


def test_the_commit_is_that_of_the_checkout_with_a_remark_on_changes(tmp_path):
    assert provenance.commit(tmp_path) == ""
    (tmp_path / "tumorprog").mkdir()
    (tmp_path / "tumorprog" / "a.py").write_text("")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run([shutil.which("git"), "-C", str(tmp_path), *command], check=True)
    commit = provenance.commit(tmp_path)
    assert len(commit) == 40
    (tmp_path / "tumorprog" / "a.py").write_text("changed")
    assert provenance.commit(tmp_path) == f"{commit} with uncommitted changes"


def test_only_installed_packages_have_versions():
    assert list(provenance.package_versions(["numpy", "no-such-package"])) == ["numpy"]


def test_a_folder_without_a_record_has_no_stages(tmp_path):
    assert provenance.read_stages(tmp_path) == {}
