"""Skip, resume and fingerprint, with stages that only write files."""

import json
import os
import sys
import types
from pathlib import Path

import pytest

from tumorprog import run, storage
from tumorprog.errors import InputError
from tumorprog.settings import Settings, with_values

FIRST = run.Stage(name="first", settings=("seed",), files=("archive.grades",), leaves=("one",))
SECOND = run.Stage(name="second", reads=("one",), settings=("features",), leaves=("two.txt",))


@pytest.fixture
def calls(monkeypatch):
    """Two stages in place of the real ones; what they did."""
    done = []

    def first(folder, out, settings):
        done.append("first")
        (out / "one").mkdir()
        (out / "one" / "part").write_text(str(settings.seed))
        return "did it"

    def second(folder, out, settings):
        done.append("second")
        (out / "two.txt").write_text((folder / "one" / "part").read_text() + settings.features.wavelet)
        return "did it"

    for name, function in (("first", first), ("second", second)):
        module = types.ModuleType(f"tumorprog.stages.{name}")
        module.run = function
        monkeypatch.setitem(sys.modules, f"tumorprog.stages.{name}", module)
    monkeypatch.setattr(run, "STAGES", (FIRST, SECOND))
    return done


def work(folder, **values):
    return run.run_stages(folder, with_values(Settings(), values), (FIRST, SECOND))


def test_a_second_run_with_nothing_changed_does_nothing(tmp_path, calls):
    assert work(tmp_path) == 2
    assert work(tmp_path) == 0
    assert calls == ["first", "second"]


def test_a_changed_setting_redoes_what_depends_on_it_and_no_more(tmp_path, calls):
    work(tmp_path)
    work(tmp_path, **{"features.wavelet": "db2"})
    assert calls == ["first", "second", "second"]
    assert (tmp_path / "two.txt").read_text() == "0db2"
    work(tmp_path, **{"features.wavelet": "db2", "seed": 5})
    assert calls[3:] == ["first", "second"]
    assert (tmp_path / "two.txt").read_text() == "5db2"


def test_a_setting_that_no_stage_names_redoes_nothing(tmp_path, calls):
    work(tmp_path)
    assert work(tmp_path, **{"cluster.cores": 3}) == 0


def test_a_changed_file_from_outside_redoes_its_reader(tmp_path, calls):
    table = tmp_path / "grades.csv"
    table.write_text("a")
    work(tmp_path / "run", **{"archive.grades": str(table)})
    table.write_text("ab")
    assert work(tmp_path / "run", **{"archive.grades": str(table)}) == 2


def test_a_deleted_or_cut_result_is_made_again(tmp_path, calls):
    work(tmp_path)
    (tmp_path / "one" / "part").unlink()
    assert work(tmp_path) == 2
    (tmp_path / "two.txt").write_text("")
    assert work(tmp_path) == 1


def test_what_is_in_place_stays_whole_when_its_next_version_fails(tmp_path, calls, monkeypatch):
    work(tmp_path)

    def dies(folder, out, settings):
        (out / "two.txt").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["tumorprog.stages.second"], "run", dies)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, **{"features.wavelet": "db2"})
    assert (tmp_path / "two.txt").read_text() == "0haar"
    assert "second" in run.read_record(tmp_path)["stages"]


def test_an_interrupted_stage_finds_its_finished_work_again_if_the_settings_are_the_same(tmp_path, calls, monkeypatch):
    work(tmp_path)
    found = []

    def goes_on(folder, out, settings):
        found.append(sorted(path.name for path in out.iterdir()))
        (out / "shard").write_text("")
        if len(found) < 3:
            raise KeyboardInterrupt
        (out / "two.txt").write_text("")
        return "did it"

    monkeypatch.setattr(sys.modules["tumorprog.stages.second"], "run", goes_on)
    for wavelet in ("db2", "db3"):
        with pytest.raises(KeyboardInterrupt):
            work(tmp_path, **{"features.wavelet": wavelet})
    work(tmp_path, **{"features.wavelet": "db2"})
    assert found == [[], [], ["shard"]]
    assert not list((tmp_path / ".partial").glob("second-*"))


def test_a_stage_without_what_it_reads_says_which_command_makes_it(tmp_path, calls):
    with pytest.raises(InputError, match="run `tumorprog first` first"):
        run.run_stages(tmp_path, Settings(), [SECOND])


def test_two_commands_on_one_run_directory_are_refused(tmp_path, calls):
    with storage.locked(tmp_path), pytest.raises(InputError, match="another tumorprog command"):
        work(tmp_path)


def test_a_record_that_is_not_ours_is_refused(tmp_path, calls):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="not a record of a run"):
        work(tmp_path)


def test_stages_without_their_input_are_left_out():
    only_images = with_values(Settings(), {"archive.progression": "somewhere"})
    assert [stage.name for stage in run.with_what_they_need(only_images)] == ["catalogue", "features", "report"]


def test_what_a_stage_reads_is_left_by_an_earlier_one():
    left = set()
    for stage in run.STAGES:
        assert set(stage.reads) <= left, stage.name
        left |= set(stage.leaves)


def test_what_rests_on_a_stage_that_was_done_anew_is_out_of_date(tmp_path):
    done = {name: {"left": {}} for name in ("catalogue", "train_grader", "grade", "train_progression", "report")}
    (tmp_path / "run.json").write_text(json.dumps({"stages": done}))
    behind = run.that_read(tmp_path, [run.stage_named("train-grader")])
    assert [stage.name for stage in behind] == ["grade", "train_progression", "report"]
    assert run.that_read(tmp_path, [run.stage_named("report")]) == []
    everything = run.that_read(tmp_path, run.STAGES)
    assert everything == []


def test_every_setting_and_group_that_a_stage_names_exists():
    for stage in (*run.STAGES, *run.PREDICT, *run.TUNE.values()):
        for name in (*stage.settings, *stage.files, *stage.needs):
            run.lookup(Settings(), name)


def test_nothing_that_a_prediction_has_just_done_is_out_of_date(tmp_path, calls):
    stages = [stage for stage in run.PREDICT if stage.name != "predict"]
    record = {"stages": {stage.name: {} for stage in run.PREDICT}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run.that_read(tmp_path, stages) == []


@pytest.mark.parametrize("out", ["archive", "archive/runs/1", "link/runs"])
def test_a_run_directory_inside_its_archive_is_refused(out, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    settings = with_values(Settings(), {"archive.progression": str(tmp_path / "archive")})
    with pytest.raises(InputError, match="inside the archive"):
        run.check_places(tmp_path / out, settings)
    run.check_places(tmp_path / "archive-2", settings)
    run.check_places(tmp_path, settings)  # as the demonstration has it


@pytest.mark.parametrize("out", ["file", "file/run", "dangling"])
def test_a_run_directory_in_the_place_of_a_file_is_refused(out, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no folder"):
        run.check_places(tmp_path / out, Settings())
    run.check_places(tmp_path / "new" / "run", Settings())


def test_a_folder_that_may_not_be_looked_into_is_refused_by_name(tmp_path, monkeypatch):
    """Simulated, because root may look into everything."""
    exists, closed = Path.exists, tmp_path / "closed"
    closed.mkdir()

    def refused(path):
        if closed in path.parents:
            raise PermissionError
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    monkeypatch.setattr(os, "access", lambda path, how: path != closed)
    with pytest.raises(InputError, match="closed cannot be written"):
        run.check_places(closed / "folder" / "run", Settings())


@pytest.mark.parametrize("name", ["archive.grading", "archive.grades", "archive.progression", "archive.outcomes"])
@pytest.mark.parametrize("place", ["slices", "grader/mine", ".partial/x", "tune"])
def test_an_input_among_the_results_that_replace_it_is_refused(name, place, tmp_path):
    settings = with_values(Settings(), {name: str(tmp_path / "run" / place)})
    with pytest.raises(InputError, match="which a run replaces"):
        run.check_places(tmp_path / "run", settings)
    run.check_places(tmp_path / "other", settings)
    run.check_places(tmp_path / "run", with_values(Settings(), {name: str(tmp_path / "run" / "mine")}))


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    settings = with_values(Settings(), {"archive.progression": str(tmp_path / "archive")})
    with pytest.raises(InputError, match="is no folder"):
        run.check_places(tmp_path / "loop" / "run", settings)
