import pandas as pd
import pyarrow as pa
import pytest

from tumorprog import queries
from tumorprog.catalogue import instances
from tumorprog.catalogue.columns import HEADERS
from tumorprog.formats.columns import CATALOGUE
from tumorprog.stages import catalogue


def classified(*files, only_uid=False):
    """Classify files of one UID, given as (path, location, digest): reasons by path, and the paths with a new UID."""
    (first, _, digest), *others = files
    compared = pd.DataFrame(
        [("grading", path, first, "1.2", other == digest, other) for path, _, other in others],
        columns=["cohort", "path", "first", "SOPInstanceUID", "same", "digest"],
    ).astype({"same": bool})
    locations = pd.DataFrame(
        [("grading", path, location, only_uid) for path, location, _ in files],
        columns=["cohort", "path", "location", "only_uid"],
    )
    excluded, new_uids = instances.classify(compared, locations)
    assert len(excluded) + len(new_uids) == len(others)
    assert new_uids["uid"].is_unique
    return dict(zip(excluded["path"], excluded["reason"], strict=True)), new_uids["path"].tolist()


def test_a_copy_is_a_duplicate_at_any_location():
    assert classified(("a", "1", "x"), ("b", "1", "x"), ("c", "2", "x")) == ({"b": "duplicate", "c": "duplicate"}, [])


def test_other_pixels_at_the_same_location_are_a_conflict():
    assert classified(("a", "1", "x"), ("b", "1", "y"), ("c", "1", "z"))[0] == {"b": "conflict", "c": "conflict"}


def test_an_image_with_the_uid_of_another_is_a_conflict_if_its_series_has_other_uids():
    assert classified(("a", "1", "x"), ("b", "2", "y")) == ({"b": "conflict"}, [])
    assert classified(("a", "1", "x"), ("b", "2", "y"), only_uid=True) == ({}, ["b"])


def test_images_at_different_locations_under_one_uid_are_all_used():
    files = [(name, name, name) for name in "abcde"]
    assert classified(*files) == ({}, ["b", "c", "d", "e"])


def test_under_a_constant_uid_copies_and_conflicts_are_found_by_location():
    files = [("a", "1", "x"), ("b", "2", "y"), ("c", "3", "z"), ("d", "2", "y"), ("e", "3", "w"), ("f", "1", "x")]
    files += [("g", "4", "x"), ("h", "1", "v")]  # g: a black slice with the same pixels at another location
    reasons, new_uids = classified(*files)
    assert reasons == {"d": "duplicate", "e": "conflict", "f": "duplicate", "h": "conflict"}
    assert new_uids == ["b", "c", "g"]


def test_new_uids_do_not_depend_on_the_paths_of_the_files():
    compared = pd.DataFrame({"cohort": "grading", "path": ["b", "c"], "first": "a", "SOPInstanceUID": "1.2"})
    compared = compared.assign(same=False, digest=["y", "z"])
    locations = pd.DataFrame({"cohort": "grading", "path": ["a", "b", "c"], "location": ["1", "2", "3"]})
    locations = locations.assign(only_uid=False)
    _, original = instances.classify(compared, locations)
    moved = {"a": "/a", "b": "/b", "c": "/c"}
    compared = compared.replace({"path": moved, "first": moved})
    _, relocated = instances.classify(compared, locations.replace({"path": moved}))
    assert original["uid"].tolist() == relocated["uid"].tolist()
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in original["uid"])


def test_only_the_rows_of_files_with_a_new_uid_change_and_have_the_warning():
    part = pa.table(
        {
            "cohort": ["grading", "progression", "grading"],
            "path": ["a", "a", "b"],
            "SOPInstanceUID": ["1", "1", "1"],
            "warnings": ["odd", "", ""],
        }
    )
    new_uids = pd.DataFrame({"cohort": ["grading"], "path": ["a"], "uid": ["2.25.7"]})
    found = instances.replace_uids(part, new_uids)
    assert found["SOPInstanceUID"].to_pylist() == ["2.25.7", "1", "1"]
    assert found["warnings"].to_pylist() == [f"odd; {instances.REPLACED_UID}, replaced by a new one", "", ""]
    assert instances.replace_uids(part, new_uids.iloc[:0]) is part


@pytest.mark.parametrize("changed", ["InstanceNumber", "PatientID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_locations_differ_if_the_headers_differ(changed):
    row = {field.name: {"string": "", "double": 0.0}.get(str(field.type), 1) for field in HEADERS}
    row |= {"SOPInstanceUID": "1.2", "frame": 0, "cohort": "grading"}
    other = {**row, changed: 2 if isinstance(row[changed], int) else "2"}
    rows = [{**row, "path": "a"}, {**row, "path": "b"}, {**other, "path": "c"}]
    headers = pa.Table.from_pylist(rows, HEADERS)
    repeated = catalogue.repeated_files(headers)
    found = queries.fetch(instances._LOCATIONS, headers=headers, repeated=repeated)
    locations = found.set_index("path")["location"]
    assert locations["a"] == locations["b"] != locations["c"]
    assert CATALOGUE.field(changed)
