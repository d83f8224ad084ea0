import math

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorprog import queries, tables
from tumorprog.catalogue import instances, ordering, overview
from tumorprog.catalogue.columns import HEADERS, REPEATED_FILES
from tumorprog.cohort.settings import Archive
from tumorprog.errors import InputError
from tumorprog.formats.columns import CATALOGUE, DATES_APART, NO_STUDY_DATE, OTHER_DATE
from tumorprog.settings import Settings
from tumorprog.stages import catalogue

NOTHING_EXCLUDED = REPEATED_FILES.empty_table().to_pandas()
AXIAL, CORONAL = "1.00,0.00,0.00,0.00,1.00,0.00", "1.00,0.00,0.00,0.00,0.00,-1.00"


def header(name, **changes):
    row = {field.name: {"string": "", "double": math.nan}.get(str(field.type), -1) for field in HEADERS}
    row |= {"path": f"/data/{name}", "frame": 0, "cohort": "grading", "PatientID": "P", "SeriesInstanceUID": "1.2"}
    row |= {"SOPInstanceUID": name, "Rows": 64, "Columns": 64, "EchoNumbers": 1}
    return {**row, "orientation": AXIAL, **changes}


def ordered(*rows):
    """Return the rows of the catalogue, and the files excluded because an earlier file has the same instance."""
    headers = pa.Table.from_pylist(list(rows), HEADERS)
    repeated = catalogue.repeated_files(headers).to_pandas()
    return pa.concat_tables(ordering.order_slices(headers, repeated)).to_pandas(), repeated


def test_slices_are_ordered_by_position_not_by_instance_number():
    found, _ = ordered(
        *(header("a", position_mm=20.0, InstanceNumber=1), header("b", position_mm=-5.0, InstanceNumber=2)),
        header("c", position_mm=7.5, InstanceNumber=3),
    )
    assert found["SOPInstanceUID"].tolist() == ["b", "c", "a"]
    assert found["order"].tolist() == [0, 1, 2]


def test_without_positions_slices_are_ordered_by_instance_number():
    found, _ = ordered(*(header(name, InstanceNumber=number) for name, number in (("a", 10), ("b", 9), ("c", 2))))
    assert found["SOPInstanceUID"].tolist() == ["c", "b", "a"]


@pytest.mark.parametrize("change", [{"orientation": CORONAL}, {"EchoNumbers": 2}, {"Rows": 128}])
def test_another_orientation_echo_or_size_is_another_stack(change):
    found, _ = ordered(
        *(header("a", position_mm=1.0), header("b", position_mm=2.0, **change)),
        *(header("c", position_mm=3.0), header("d", position_mm=4.0, **change)),
    )
    stacks = found.groupby("stack")["SOPInstanceUID"].apply(list).tolist()
    assert sorted(stacks) == [["a", "c"], ["b", "d"]]
    assert found["order"].tolist() == [0, 1, 2, 3]


def test_a_series_uid_of_two_studies_is_ordered_separately_in_each_study():
    rows = [
        header(f"{date}{k}", position_mm=5.0 * k, StudyInstanceUID=date, StudyDate=date)
        for date in ("2005-01-02", "2005-06-02")
        for k in range(3)
    ]
    found, _ = ordered(*rows)
    assert found["StudyDate"].tolist() == ["2005-01-02"] * 3 + ["2005-06-02"] * 3
    assert found["order"].tolist() == [0, 1, 2, 0, 1, 2]
    assert found["slice_spacing_mm"].eq(5.0).all()
    assert found["repeats"].eq(0).all()


def test_the_catalogue_does_not_depend_on_the_order_of_the_files():
    rows = [header(name, position_mm=float(position)) for position, name in enumerate("dacb")]
    pd.testing.assert_frame_equal(ordered(*rows)[0], ordered(*reversed(rows))[0])


def test_a_second_copy_of_an_instance_is_listed_and_not_used():
    found, repeated = ordered(header("b", SOPInstanceUID="a"), header("a"), header("c"))
    assert found["path"].tolist() == ["/data/a", "/data/c"]
    assert repeated[["path", "first"]].to_numpy().tolist() == [["/data/b", "/data/a"]]


def test_the_frames_of_one_file_are_not_copies_of_each_other():
    found, repeated = ordered(header("a"), header("a", frame=1), header("b", SOPInstanceUID="a"))
    assert found["frame"].tolist() == [0, 1]
    assert repeated["path"].tolist() == ["/data/b"]


def test_header_files_give_the_same_catalogue_as_one_table_and_only_matching_files_are_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(ordering, "SHARD_ROWS", 2)  # one or two patients per batch
    patients = [
        "A",
        "A",
        "B",
        "C",
        "C",
        "D" * 5000,
        None,
    ]  # an id so long that Parquet stores no bounds for it; a file without a patient
    rows = [
        header(f"{index}", PatientID=patient, position_mm=float(-index), reason="" if patient else "empty")
        for index, patient in enumerate(patients)
    ]
    parts = []
    for number, part_rows in enumerate([*([row] for row in rows[:4]), rows[4:6], rows[6:]]):
        parts.append(tmp_path / f"part-{number}.parquet")
        with tables.shard(parts[-1], HEADERS) as shard:
            for row in part_rows:  # a row group each
                shard.add(pa.Table.from_pylist([row], HEADERS))
    expected, repeated = ordered(*rows)
    opened = []
    stream = queries.stream

    def recorded(sql, schema, values, **sources):
        opened.append((values["first"], len(sources["headers"])))
        return stream(sql, schema, values, **sources)

    monkeypatch.setattr(queries, "stream", recorded)
    found = pa.concat_tables(ordering.order_slices(parts, repeated)).to_pandas()
    pd.testing.assert_frame_equal(found, expected)
    # A and B, then C, then D; each time also the two files without bounds, which may contain any patient
    assert [(first[:1], number) for first, number in opened] == [("A", 3 + 2), ("C", 1 + 2), ("D", 2)]


def test_a_file_with_a_reason_is_not_catalogued():
    found, _ = ordered(header("a"), header("b", reason="empty"))
    assert found["path"].tolist() == ["/data/a"]


def at_positions(*positions, **changes):
    rows = (header(f"{n:02d}", position_mm=position, **changes) for n, position in enumerate(positions))
    return ordered(*rows)[0]


def test_the_spacing_is_the_median_step_and_a_wider_step_means_missing_slices():
    found = at_positions(0.0, 5.0, 10.0, 25.0, 30.0, 35.1)
    assert found["slice_spacing_mm"].unique().tolist() == [5.0]
    assert found["missing_before"].tolist() == [0, 0, 0, 2, 0, 0]
    assert found["repeats"].eq(0).all()


def test_slices_at_one_position_count_as_repeats_and_do_not_affect_the_spacing():
    found = at_positions(0.0, 0.0, 0.004, 3.0, 3.0, 6.0)
    assert found["repeats"].tolist() == [0, 1, 2, 0, 1, 0]
    assert found["slice_spacing_mm"].unique().tolist() == pytest.approx([3.0], abs=0.01)
    assert found["missing_before"].eq(0).all()


def test_without_positions_the_spacing_is_unknown_and_no_gaps_or_repeats_are_counted():
    found = at_positions(math.nan, math.nan, math.nan)
    assert found["slice_spacing_mm"].isna().all()
    assert found["missing_before"].eq(0).all()
    assert found["repeats"].eq(0).all()
    assert math.isnan(at_positions(4.0)["slice_spacing_mm"].item())


@pytest.mark.no_cover
@settings(max_examples=10)
@given(st.permutations(range(12)), st.sets(st.integers(1, 10), max_size=3))
def test_gaps_add_up_to_the_number_of_removed_slices(order, removed):
    """Slices are a millimetre apart; none is removed at either end."""
    remaining = [position for position in order if position not in removed]
    assert at_positions(*map(float, remaining))["missing_before"].sum() == len(removed)


def test_one_image_may_be_in_both_cohorts():
    found, repeated = ordered(header("a"), header("b", SOPInstanceUID="a", cohort="progression"))
    assert len(found) == 2
    assert repeated.empty


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"--progression .*no such folder"):
        catalogue.find_files(Archive(progression=str(tmp_path / "none")), tmp_path / "found")
    with pytest.raises(InputError, match="--grading DIR, --progression DIR or both"):
        catalogue.find_files(Archive(), tmp_path / "found")


def test_slices_in_a_folder_of_another_date_are_counted_for_each_series(tmp_path):
    warned = {"warnings": f"an odd VR; {OTHER_DATE}"}
    rows = [header("a", **warned), header("b", **warned), header("c", warnings="an odd VR")]
    rows = [*rows, header("d", SeriesInstanceUID="1.3")]
    for number, part in enumerate(ordering.order_slices(pa.Table.from_pylist(rows, HEADERS), NOTHING_EXCLUDED)):
        tables.write_shard(tmp_path / f"part-{number:05}.parquet", part, CATALOGUE)
    found = overview.series_of(tmp_path).set_index("SeriesInstanceUID")
    assert found[["warned", "redated"]].to_dict("index") == {
        "1.2": {"warned": 3, "redated": 2},
        "1.3": {"warned": 0, "redated": 0},
    }


def gathered(folder, *rows):
    """Return the gathered headers of these files, and their catalogue."""
    with tables.shard(folder / "read.parquet", HEADERS) as shard:
        shard.add(pa.Table.from_pylist([{**row, "PatientID_stated": row["PatientID"]} for row in rows], HEADERS))
    headers = catalogue._gather([folder / "read.parquet"], folder / "_headers")
    return headers, pa.concat_tables(ordering.order_slices(headers, NOTHING_EXCLUDED)).to_pandas()


def test_a_patient_with_several_spellings_is_one_patient_with_the_first_spelling(tmp_path):
    spellings = ["PGBM-001", "pgbm_1", "PGBM 001", "PGBM-002"]
    rows = [header(f"{n}", PatientID=name, SOPInstanceUID=f"{n}") for n, name in enumerate(spellings)]
    rows[2]["cohort"] = "progression"
    _, found = gathered(tmp_path, *rows[::-1])
    assert found.set_index("SOPInstanceUID")["PatientID"].to_dict() == {
        **dict.fromkeys("012", "PGBM-001"),
        "3": "PGBM-002",
    }
    assert found.set_index("SOPInstanceUID").sort_index()["PatientID_stated"].tolist() == spellings
    series = found.groupby("cohort")[["PatientID", "SeriesInstanceUID"]].nunique()
    assert series.to_numpy().tolist() == [[2, 1], [1, 1]]


def test_the_next_catalogue_uses_the_spelling_of_the_header_again(tmp_path):
    headers, _ = gathered(tmp_path, header("a", PatientID="P1"), header("b", PatientID="P-01"))
    remaining = tables.read_shards(headers[0].parent, HEADERS).to_pandas().query("path != '/data/a'")
    with tables.shard(tmp_path / "kept.parquet", HEADERS) as shard:
        shard.add(pa.Table.from_pandas(remaining, HEADERS, preserve_index=False))
    following = catalogue._gather([tmp_path / "kept.parquet"], tmp_path / "next")
    assert tables.read_shards(following[0].parent, HEADERS)["PatientID"].to_pylist() == ["P-01"]


def test_a_file_without_a_patient_is_gathered_too(tmp_path):
    headers, found = gathered(tmp_path, header("a"), header("b", PatientID=None, reason="empty"))
    assert found["path"].tolist() == ["/data/a"]
    assert tables.read_shards(headers[0].parent, HEADERS)["path"].to_pylist() == ["/data/a", "/data/b"]


def test_a_study_over_midnight_has_one_date_and_one_stack(tmp_path):
    changes = {"warnings": f"{NO_STUDY_DATE}, AcquisitionDate used", "StudyInstanceUID": "1"}
    days = ["2005-01-31", "2005-01-31", "2005-02-01", "2005-02-01"]
    rows = [header(f"{n}", position_mm=5.0 * n, StudyDate=day, **changes) for n, day in enumerate(days)]
    rows += [header("4", position_mm=20.0, StudyInstanceUID="1"), header("5", StudyInstanceUID="2")]
    headers, found = gathered(tmp_path, *rows)
    assert found.groupby("StudyInstanceUID")["StudyDate"].unique().map(list).to_dict() == {
        "1": ["2005-01-31"],
        "2": [""],
    }
    assert found["order"].tolist() == [0, 0, 1, 2, 3, 4]
    assert found["slice_spacing_mm"].dropna().unique().tolist() == [5.0]
    assert found.set_index("SOPInstanceUID")["warnings"]["4"] == f"{NO_STUDY_DATE}, the date of its study used"
    stored = tables.read_shards(headers[0].parent, HEADERS).to_pandas()  # unchanged for the next catalogue
    assert sorted(stored["StudyDate"]) == ["", "", *days]


def test_a_different_patient_id_changes_the_fingerprint(tmp_path):
    rows = pa.Table.from_pylist([header("a", PatientID_stated="P")], HEADERS)
    one = pa.concat_tables(ordering.order_slices(rows, NOTHING_EXCLUDED))
    other = one.set_column(one.schema.get_field_index("PatientID"), "PatientID", pa.array(["P-1"]))
    assert catalogue._fingerprint(one) != catalogue._fingerprint(other)


def test_patient_identities_are_checked_over_the_whole_catalogue(tmp_path):
    warnings = [instances.REPLACED_UID, f"{NO_STUDY_DATE}, SeriesDate used", f"ContentDate {DATES_APART} StudyDate"]
    rows = [header(f"x/{n}", PatientID_stated="p", warnings=text) for n, text in enumerate(["", *warnings])]
    rows += [header("y/1", PatientID="Q", PatientID_stated="Q"), header("y/1", frame=1, PatientID="Q")]
    (tmp_path / "catalogue").mkdir()
    for number, part in enumerate(ordering.order_slices(pa.Table.from_pylist(rows, HEADERS), NOTHING_EXCLUDED)):
        tables.write_shard(tmp_path / "catalogue" / f"part-{number:05}.parquet", part, CATALOGUE)
    found = overview.check(tmp_path, Settings())
    assert set(found["finding"]) >= {
        "study shared by several patients: leakage",
        "SOP instance UID shared by several images",
        "no usable StudyDate",
        "header dates more than one day apart",
    }


def test_a_series_states_which_sources_agree_and_what_contradicts(tmp_path):
    contradictory = {"sequence_witnesses": "physics", "sequence_contradiction": "texts say T2, physics says T1"}
    rows = [header("a", sequence_witnesses="texts"), header("b", SeriesInstanceUID="1.3", **contradictory)]
    for number, part in enumerate(ordering.order_slices(pa.Table.from_pylist(rows, HEADERS), NOTHING_EXCLUDED)):
        tables.write_shard(tmp_path / f"part-{number:05}.parquet", part, CATALOGUE)
    found = overview.series_of(tmp_path).set_index("SeriesInstanceUID")[["witnesses", "contradiction"]]
    assert found.loc["1.2"].tolist() == ["texts", ""]
    assert found.loc["1.3"].tolist() == list(contradictory.values())


def test_without_positions_and_instance_numbers_uids_are_sorted_numerically():
    found, _ = ordered(*(header(name) for name in ("1.2.10.1", "1.2.9.100", "1.2.9.20")))
    assert found["SOPInstanceUID"].tolist() == ["1.2.9.20", "1.2.9.100", "1.2.10.1"]


def test_only_series_that_may_hold_several_stacks_are_passed_to_the_stacking(monkeypatch):
    passed = []
    assign = ordering.stacking.assign_stacks
    monkeypatch.setattr(ordering.stacking, "assign_stacks", lambda rows: passed.extend(rows["path"]) or assign(rows))
    regular = [header(f"{n}", position_mm=5.0 * n, EchoTime=10.0, SliceThickness=5.0) for n in range(4)]
    assert ordered(*regular)[0]["stack"].eq(0).all()
    assert passed == []
    for change in ({"EchoTime": 20.0}, {"component": "phase"}, {"position_mm": 15.4}, {"orientation": CORONAL}):
        ordered(*regular, header("4", **{"position_mm": 20.0, "EchoTime": 10.0, "SliceThickness": 5.0, **change}))
        assert len(passed) == 5
        passed.clear()
