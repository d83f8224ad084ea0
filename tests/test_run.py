"""Skip, resume and fingerprint, with stages that only write files."""

import json
import os
import sys
import types
from pathlib import Path

import pytest

from tumorprog import run, storage
from tumorprog.errors import InputError
from tumorprog.settings import Settings, dotted, with_values

_PROGRESSION = "archive.progression"
FIRST = run.Stage(name="first", settings=("seed",), files=("archive.grades",), writes=("one",))
SECOND = run.Stage(name="second", reads=("one",), settings=("features",), writes=("two.txt",))


@pytest.fixture
def calls(monkeypatch):
    """Two stages instead of the real ones; the list of their calls."""
    done = []

    def first(folder, out, settings):
        done.append("first")
        (out / "one").mkdir()
        (out / "one" / "part").write_text(str(settings.seed))
        return "done"

    def second(folder, out, settings):
        done.append("second")
        (out / "two.txt").write_text((folder / "one" / "part").read_text() + settings.features.wavelet)
        return "done"

    for name, function in (("first", first), ("second", second)):
        module = types.ModuleType(f"tumorprog.stages.{name}")
        module.run = function
        monkeypatch.setitem(sys.modules, f"tumorprog.stages.{name}", module)
    monkeypatch.setattr(run, "STAGES", (FIRST, SECOND))
    return done


def work(folder, **values):
    return run.run_stages(folder, with_values(Settings(), values), (FIRST, SECOND))


def test_a_second_run_without_changes_does_nothing(tmp_path, calls):
    assert work(tmp_path) == 2
    assert work(tmp_path) == 0
    assert calls == ["first", "second"]


def test_a_changed_setting_reruns_only_the_stages_that_depend_on_it(tmp_path, calls):
    work(tmp_path)
    work(tmp_path, **{"features.wavelet": "db2"})
    assert calls == ["first", "second", "second"]
    assert (tmp_path / "two.txt").read_text() == "0db2"
    work(tmp_path, **{"features.wavelet": "db2", "seed": 5})
    assert calls[3:] == ["first", "second"]
    assert (tmp_path / "two.txt").read_text() == "5db2"


def test_a_setting_that_no_stage_depends_on_reruns_nothing(tmp_path, calls):
    work(tmp_path)
    assert work(tmp_path, **{"cluster.cores": 3}) == 0


def test_a_changed_external_file_reruns_the_stage_that_reads_it(tmp_path, calls):
    table = tmp_path / "grades.csv"
    table.write_text("a")
    work(tmp_path / "run", **{"archive.grades": str(table)})
    table.write_text("ab")
    assert work(tmp_path / "run", **{"archive.grades": str(table)}) == 2


def test_a_deleted_or_truncated_output_is_written_again(tmp_path, calls):
    work(tmp_path)
    (tmp_path / "one" / "part").unlink()
    assert work(tmp_path) == 2
    (tmp_path / "two.txt").write_text("")
    assert work(tmp_path) == 1


def test_outputs_stay_complete_when_their_replacement_fails(tmp_path, calls, monkeypatch):
    work(tmp_path)

    def dies(folder, out, settings):
        (out / "two.txt").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["tumorprog.stages.second"], "run", dies)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, **{"features.wavelet": "db2"})
    assert (tmp_path / "two.txt").read_text() == "0haar"
    assert "second" in run.read_record(tmp_path)["stages"]


def test_an_interrupted_stage_resumes_if_its_settings_are_the_same(tmp_path, calls, monkeypatch):
    work(tmp_path)
    found = []

    def resumes(folder, out, settings):
        found.append(sorted(path.name for path in out.iterdir()))
        (out / "shard").write_text("")
        if len(found) < 3:
            raise KeyboardInterrupt
        (out / "two.txt").write_text("")
        return "done"

    monkeypatch.setattr(sys.modules["tumorprog.stages.second"], "run", resumes)
    for wavelet in ("db2", "db3"):
        with pytest.raises(KeyboardInterrupt):
            work(tmp_path, **{"features.wavelet": wavelet})
    work(tmp_path, **{"features.wavelet": "db2"})
    assert found == [[], [], ["shard"]]
    assert not list((tmp_path / ".partial").glob("second-*"))


def test_a_missing_input_names_the_command_that_writes_it(tmp_path, calls):
    with pytest.raises(InputError, match="run `tumorprog first` first"):
        run.run_stages(tmp_path, Settings(), [SECOND])


def test_two_commands_on_one_run_directory_are_refused(tmp_path, calls):
    with storage.locked(tmp_path), pytest.raises(InputError, match="another tumorprog command"):
        work(tmp_path)


def test_a_foreign_record_is_refused(tmp_path, calls):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="not a record of a run"):
        work(tmp_path)


def test_stages_without_their_input_are_skipped():
    only_images = with_values(Settings(), {"archive.progression": "somewhere"})
    expected = ["catalogue", "train_segmenter", "regions", "features", "report"]
    assert [stage.name for stage in run.applicable_stages(only_images)] == expected


@pytest.mark.parametrize(
    ("values", "trained"),
    [
        ({"roi.method": "auto"}, True),
        ({"roi.method": "learned"}, True),
        ({"roi.method": "mask"}, False),
        ({"roi.method": "brightest"}, False),
        ({"roi.method": "brightest", "slices.only": "tumour"}, True),
    ],
)
def test_a_segmenter_is_trained_only_if_a_region_may_come_from_it(values, trained):
    names = [stage.name for stage in run.applicable_stages(with_values(Settings(), {_PROGRESSION: "images", **values}))]
    assert ("train_segmenter" in names) == trained
    assert "regions" in names


@pytest.mark.parametrize(("only", "expected"), [("all", set()), ("tumour", {"slices", "grade"})])
def test_the_grader_depends_on_regions_only_if_slices_with_tumour_are_wanted(only, expected, tmp_path):
    settings = with_values(Settings(), {"slices.only": only})
    names = {stage.name for stage in run.STAGES if "regions" in stage.required(settings)}
    assert names - {"features"} == expected
    done = {name: {"left": {}} for name in ("catalogue", "regions", "slices", "train_grader", "grade", "features")}
    (tmp_path / "run.json").write_text(json.dumps({"stages": done}))
    behind = run.outdated_after(tmp_path, settings, [run.stage_named("regions")])
    assert [stage.name for stage in behind] == [
        name for name in ("slices", "train_grader", "grade", "features") if name == "features" or expected
    ]


def test_an_input_that_a_setting_requires_must_exist(tmp_path, calls):
    stage = run.Stage(name="third", reads_if=(("one", "slices.only", "tumour"),), writes=("two.txt",))
    wanted = with_values(Settings(), {"slices.only": "tumour"})
    with pytest.raises(InputError, match="run `tumorprog first` first"):
        run.run_stages(tmp_path, wanted, [stage])
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "part").write_text("a")
    before = run._fingerprint(tmp_path, wanted, stage)
    unwanted = run._fingerprint(tmp_path, Settings(), stage)
    (tmp_path / "one" / "part").write_text("changed")
    assert run._fingerprint(tmp_path, wanted, stage) != before
    assert run._fingerprint(tmp_path, Settings(), stage) == unwanted


def test_every_input_of_a_stage_is_written_by_an_earlier_one():
    left = set()
    for stage in run.STAGES:
        assert set(stage.reads) <= left, stage.name
        left |= set(stage.writes)


def test_stages_that_depend_on_a_rerun_stage_are_outdated(tmp_path):
    done = {name: {"left": {}} for name in ("catalogue", "train_grader", "grade", "train_progression", "report")}
    (tmp_path / "run.json").write_text(json.dumps({"stages": done}))
    behind = run.outdated_after(tmp_path, Settings(), [run.stage_named("train-grader")])
    assert [stage.name for stage in behind] == ["grade", "train_progression", "report"]
    assert run.outdated_after(tmp_path, Settings(), [run.stage_named("report")]) == []
    everything = run.outdated_after(tmp_path, Settings(), run.STAGES)
    assert everything == []


def test_every_setting_and_group_that_a_stage_names_exists():
    for stage in (*run.STAGES, *run.PREDICT, *run.TUNE.values()):
        for name in (*stage.settings, *stage.files, *stage.requires):
            run.lookup(Settings(), name)


def test_every_setting_belongs_to_a_stage_or_changes_no_result():
    without = {"cluster.address", "cluster.cores"}
    before_any_stage = {name for name in dotted(Settings()) if name.startswith("synthetic.")}
    stages = (*run.STAGES, *run.TUNE.values())
    named = {name for stage in stages for name in (*stage.settings, *stage.files)}
    covered = {name for name in dotted(Settings()) if name in named or name.split(".")[0] in named}
    assert set(dotted(Settings())) - covered == without | before_any_stage


def test_the_stages_of_a_prediction_are_not_outdated_by_it(tmp_path, calls):
    stages = [stage for stage in run.PREDICT if stage.name != "predict"]
    record = {"stages": {stage.name: {} for stage in run.PREDICT}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run.outdated_after(tmp_path, Settings(), stages) == []


@pytest.mark.parametrize("out", ["archive", "archive/runs/1", "link/runs"])
def test_a_run_directory_inside_its_archive_is_refused(out, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    settings = with_values(Settings(), {"archive.progression": str(tmp_path / "archive")})
    with pytest.raises(InputError, match="inside the archive"):
        run.check_paths(tmp_path / out, settings)
    run.check_paths(tmp_path / "archive-2", settings)
    run.check_paths(tmp_path, settings)  # as in the demonstration


@pytest.mark.parametrize("out", ["file", "file/run", "dangling"])
def test_a_run_directory_whose_path_is_a_file_is_refused(out, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not a folder"):
        run.check_paths(tmp_path / out, Settings())
    run.check_paths(tmp_path / "new" / "run", Settings())


def test_an_inaccessible_folder_is_refused_by_name(tmp_path, monkeypatch):
    """Simulated, because root may access everything."""
    exists, closed = Path.exists, tmp_path / "closed"
    closed.mkdir()

    def refused(path):
        if closed in path.parents:
            raise PermissionError
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    monkeypatch.setattr(os, "access", lambda path, how: path != closed)
    with pytest.raises(InputError, match="closed cannot be written"):
        run.check_paths(closed / "folder" / "run", Settings())


@pytest.mark.parametrize("name", ["archive.grading", "archive.grades", "archive.progression", "archive.outcomes"])
@pytest.mark.parametrize("path", ["slices", "grader/mine", ".partial/x", "tune"])
def test_an_input_among_the_outputs_is_refused(name, path, tmp_path):
    settings = with_values(Settings(), {name: str(tmp_path / "run" / path)})
    with pytest.raises(InputError, match="which a run replaces"):
        run.check_paths(tmp_path / "run", settings)
    run.check_paths(tmp_path / "other", settings)
    run.check_paths(tmp_path / "run", with_values(Settings(), {name: str(tmp_path / "run" / "mine")}))


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    settings = with_values(Settings(), {"archive.progression": str(tmp_path / "archive")})
    with pytest.raises(InputError, match="is not a folder"):
        run.check_paths(tmp_path / "loop" / "run", settings)
