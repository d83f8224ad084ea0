import pandas as pd
import pyarrow as pa
import pytest

from tumorprog import tables
from tumorprog.stages import catalogue, instances, queries


def judged(*files, alone=False):
    """Files of one UID as (path, place, digest), the first one used: reasons by path, and who gets a UID of its own."""
    (first, _, digest), *others = files
    compared = pd.DataFrame(
        [("grading", path, first, "1.2", mine == digest, mine) for path, _, mine in others],
        columns=["cohort", "path", "first", "SOPInstanceUID", "same", "digest"],
    ).astype({"same": bool})
    places = pd.DataFrame(
        [("grading", path, place, alone) for path, place, _ in files], columns=["cohort", "path", "place", "alone"]
    )
    again, own = instances.judge(compared, places)
    assert len(again) + len(own) == len(others)
    assert own["uid"].is_unique
    return dict(zip(again["path"], again["reason"], strict=True)), own["path"].tolist()


def test_a_copy_is_a_duplicate_wherever_it_says_it_belongs():
    assert judged(("a", "1", "x"), ("b", "1", "x"), ("c", "2", "x")) == ({"b": "duplicate", "c": "duplicate"}, [])


def test_other_pixels_in_the_same_place_are_a_conflict():
    assert judged(("a", "1", "x"), ("b", "1", "y"), ("c", "1", "z"))[0] == {"b": "conflict", "c": "conflict"}


def test_one_image_that_bears_anothers_uid_is_a_conflict_where_its_series_has_uids_of_its_own():
    assert judged(("a", "1", "x"), ("b", "2", "y")) == ({"b": "conflict"}, [])
    assert judged(("a", "1", "x"), ("b", "2", "y"), alone=True) == ({}, ["b"])


def test_images_in_places_of_their_own_under_one_uid_are_all_used():
    files = [(name, name, name) for name in "abcde"]
    assert judged(*files) == ({}, ["b", "c", "d", "e"])


def test_under_a_constant_uid_copies_and_conflicts_are_found_by_their_places():
    files = [("a", "1", "x"), ("b", "2", "y"), ("c", "3", "z"), ("d", "2", "y"), ("e", "3", "w"), ("f", "1", "x")]
    files += [("g", "4", "x"), ("h", "1", "v")]  # g: a black slice like another, elsewhere
    reasons, own = judged(*files)
    assert reasons == {"d": "duplicate", "e": "conflict", "f": "duplicate", "h": "conflict"}
    assert own == ["b", "c", "g"]


def test_uids_of_their_own_do_not_depend_on_where_the_files_lie():
    compared = pd.DataFrame({"cohort": "grading", "path": ["b", "c"], "first": "a", "SOPInstanceUID": "1.2"})
    compared = compared.assign(same=False, digest=["y", "z"])
    places = pd.DataFrame({"cohort": "grading", "path": ["a", "b", "c"], "place": ["1", "2", "3"], "alone": False})
    _, here = instances.judge(compared, places)
    moved = {"a": "/a", "b": "/b", "c": "/c"}
    _, there = instances.judge(compared.replace({"path": moved, "first": moved}), places.replace({"path": moved}))
    assert here["uid"].tolist() == there["uid"].tolist()
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in here["uid"])


def test_only_the_rows_of_such_files_change_and_say_so():
    part = pa.table(
        {
            "cohort": ["grading", "progression", "grading"],
            "path": ["a", "a", "b"],
            "SOPInstanceUID": ["1", "1", "1"],
            "warnings": ["odd", "", ""],
        }
    )
    own = pd.DataFrame({"cohort": ["grading"], "path": ["a"], "uid": ["2.25.7"]})
    found = instances.with_own_uids(part, own)
    assert found["SOPInstanceUID"].to_pylist() == ["2.25.7", "1", "1"]
    assert found["warnings"].to_pylist() == [f"odd; {instances.OWN_UID}", "", ""]
    assert instances.with_own_uids(part, own.iloc[:0]) is part


@pytest.mark.parametrize("changed", ["InstanceNumber", "PatientID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_places_are_told_by_what_the_headers_say(changed):
    row = {field.name: {"string": "", "double": 0.0}.get(str(field.type), 1) for field in catalogue.HEADERS}
    row |= {"SOPInstanceUID": "1.2", "frame": 0, "cohort": "grading"}
    other = {**row, changed: 2 if isinstance(row[changed], int) else "2"}
    rows = [{**row, "path": "a"}, {**row, "path": "b"}, {**other, "path": "c"}]
    headers = pa.Table.from_pylist(rows, catalogue.HEADERS)
    again = catalogue.repeated(headers)
    places = queries.ask(instances._PLACES, headers=headers, again=again).set_index("path")["place"]
    assert places["a"] == places["b"] != places["c"]
    assert tables.CATALOGUE.field(changed)
