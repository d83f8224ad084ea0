import math

import pandas as pd
import pytest

from tumorprog.errors import InputError
from tumorprog.settings import Archive
from tumorprog.stages import catalogue

AXIAL, CORONAL = "1.00,0.00,0.00,0.00,1.00,0.00", "1.00,0.00,0.00,0.00,0.00,-1.00"


def header(name, **changes):
    row = dict.fromkeys(catalogue.HEADERS.names, "")
    row |= {"path": f"/data/{name}", "frame": 0, "cohort": "grading", "PatientID": "P", "SeriesInstanceUID": "1.2"}
    row |= {"SOPInstanceUID": name, "Rows": 64, "Columns": 64, "EchoNumbers": 1, "InstanceNumber": -1}
    return {**row, "orientation": AXIAL, "position_mm": math.nan, **changes}


def ordered(*rows):
    catalogued, duplicates = catalogue.in_order(pd.DataFrame(rows))
    return catalogued, duplicates


def test_slices_stand_in_the_order_of_their_positions_not_of_their_numbers():
    found, _ = ordered(
        *(header("a", position_mm=20.0, InstanceNumber=1), header("b", position_mm=-5.0, InstanceNumber=2)),
        header("c", position_mm=7.5, InstanceNumber=3),
    )
    assert found["SOPInstanceUID"].tolist() == ["b", "c", "a"]
    assert found["order"].tolist() == [0, 1, 2]


def test_without_positions_the_instance_number_decides():
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


def test_the_order_of_the_files_changes_nothing():
    rows = [header(name, position_mm=float(place)) for place, name in enumerate("dacb")]
    pd.testing.assert_frame_equal(ordered(*rows)[0], ordered(*reversed(rows))[0])


def test_a_second_copy_of_an_instance_is_listed_and_not_used():
    found, duplicates = ordered(header("a"), header("b", SOPInstanceUID="a"), header("c"))
    assert found["path"].tolist() == ["/data/a", "/data/c"]
    assert duplicates[["path", "reason"]].to_numpy().tolist() == [["/data/b", "duplicate"]]


def test_one_image_may_be_in_both_cohorts():
    found, duplicates = ordered(header("a"), header("b", SOPInstanceUID="a", cohort="progression"))
    assert len(found) == 2
    assert duplicates.empty


def test_a_loop_of_links_ends_and_no_file_is_found_twice(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "deep")
    assert catalogue.find_files(Archive(grading=str(tmp_path))).num_rows == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--progression .*no such folder"):
        catalogue.find_files(Archive(progression=str(tmp_path / "none")))
    with pytest.raises(InputError, match="--grading DIR, --progression DIR or both"):
        catalogue.find_files(Archive())
