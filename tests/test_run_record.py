"""How each stage was computed is recorded with it, and records without that remain valid."""

import datetime
import json
import sys
import types

import pytest

from tumorprog import run
from tumorprog.settings import Settings

ONLY = run.Stage(name="only", settings=("seed",), writes=("one.txt",))


@pytest.fixture
def finished(tmp_path, monkeypatch):
    module = types.ModuleType("tumorprog.stages.only")
    module.run = lambda folder, out, settings: (out / "one.txt").write_text("1") and "done"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tumorprog", "run", "--out", str(tmp_path)])
    assert run.run_stages(tmp_path, Settings(), [ONLY]) == 1
    return tmp_path


def test_a_finished_stage_records_when_and_how_it_was_computed(finished):
    entry = run.read_record(finished)["stages"]["only"]
    started = datetime.datetime.fromisoformat(entry["started"])
    age = datetime.datetime.now(datetime.UTC) - started
    assert datetime.timedelta(0) <= age + datetime.timedelta(seconds=1) < datetime.timedelta(minutes=5)
    assert entry["seconds"] >= 0
    assert entry["command"] == f"tumorprog run --out {finished.name}"
    assert str(finished.parent) not in json.dumps(entry)
    assert entry["machine"]["cores"] >= 1


def test_a_record_of_an_earlier_version_is_still_up_to_date(finished):
    record = run.read_record(finished)
    for name in ("started", "seconds", "command", "machine", "commit", "versions"):
        del record["stages"]["only"][name]
    (finished / "run.json").write_text(json.dumps(record))
    assert run.run_stages(finished, Settings(), [ONLY]) == 0
    assert "started" not in run.read_record(finished)["stages"]["only"]


def test_texts_about_the_study_concern_only_the_report():
    assert [stage.name for stage in run.STAGES if "study" in stage.settings] == ["report"]
