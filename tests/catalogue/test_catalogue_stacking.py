import math

import numpy as np
import pandas as pd
import pytest

from tumorprog.catalogue import stacking

AXIAL, CORONAL = "1,0,0,0,1,0", "1,0,0,0,0,-1"
DEFAULTS = {
    **{"cohort": "progression", "frame": 0, "PatientID": "P", "StudyInstanceUID": "1.1", "StudyDate": "2005-01-02"},
    **{"SeriesInstanceUID": "1.2.3", "orientation": AXIAL, "Rows": 64, "Columns": 64, "EchoNumbers": -1},
    **{"component": "", "EchoTime": 10.0, "row_spacing_mm": 1.0, "column_spacing_mm": 1.0, "ImageType": "ORIGINAL"},
    **{"temporal_position": math.nan, "b_value": math.nan, "AcquisitionNumber": 1, "acquired_s": math.nan},
    **{"trigger_ms": math.nan, "SeriesNumber": 4, "SeriesDescription": "T1", "SliceThickness": 5.0},
}


def volume(num=5, *, spacing=5.0, start=0.0, number=1, **changes):
    """Return the slices of one volume."""
    slices = [{"position_mm": start + spacing * k, "InstanceNumber": number + k} for k in range(num)]
    return [{**DEFAULTS, **slice_, **changes} for slice_ in slices]


def stacks(*volumes, **each):
    """Return the stack of every slice, in the order given; `each` contains columns with a value for each slice."""
    rows = [row for slices in volumes for row in slices]
    headers = pd.DataFrame(rows).assign(path=[f"/{n}" for n in range(len(rows))], **each)
    shuffled = headers.sample(frac=1, random_state=1)
    found = stacking.assign_stacks(shuffled[list(stacking.COLUMNS)])
    return headers.merge(found, on=["cohort", "path", "frame"], validate="1:1")


def parts(found):
    """Return the stack of each volume of five slices; all slices of a volume must be in one stack."""
    grouped = found["stack"].to_numpy().reshape(-1, 5)
    assert (grouped == grouped[:, :1]).all(), grouped
    return grouped[:, 0].tolist()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("temporal_position", (1, 2, 3)),
        ("AcquisitionNumber", (4, 5, 6)),
        ("acquired_s", (36000.0, 36004.5, 36009.0)),
        ("trigger_ms", (0.0, 90.0, 180.0)),
        ("b_value", (0.0, 500.0, 1000.0)),
        ("EchoTime", (4.9, 9.8, 14.7)),
        ("ImageType", ("A\\FAT", "A\\IN_PHASE", "A\\WATER")),
    ],
)
def test_volumes_at_the_same_positions_are_stacks_in_the_order_of_their_time(column, values):
    assert parts(stacks(*(volume(**{column: value}) for value in values))) == [0, 1, 2]


def test_times_and_echoes_together_separate_volumes():
    volumes = [volume(temporal_position=time, EchoTime=echo) for echo in (10.0, 20.0) for time in (1, 2)]
    assert parts(stacks(*volumes)) == [0, 1, 2, 3]


def test_without_other_labels_the_instance_number_separates_complete_volumes():
    assert parts(stacks(volume(number=1), volume(number=6), volume(number=11))) == [0, 1, 2]


def test_with_interleaved_numbers_volumes_are_separated_by_the_order_at_each_position():
    found = stacks(volume(), volume(), InstanceNumber=[1, 3, 5, 7, 9, 2, 4, 6, 8, 10])
    assert parts(found) == [0, 1]


def test_an_incomplete_last_volume_is_a_separate_stack():
    found = stacks(volume(number=1), volume(number=6), volume(3, number=11))
    assert found.groupby("stack").size().tolist() == [5, 5, 3]


def test_an_incomplete_first_volume_is_not_filled_with_slices_of_the_second():
    found = stacks(volume(3, number=1), volume(number=6), volume(number=11))
    assert found["stack"].tolist() == [0] * 3 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("column", ["acquired_s", "trigger_ms"])
def test_slices_with_individual_times_are_separated_by_time_when_the_numbers_start_again(column):
    times = [100.0 * time + k for time in (2, 0, 1) for k in (0, 3, 1, 4, 2)]
    assert parts(stacks(volume(), volume(), volume(), **{column: times})) == [2, 0, 1]


def test_without_other_information_frames_of_one_file_are_in_temporal_order():
    found = stacks(volume(), volume(), volume(), InstanceNumber=1, frame=range(15))
    assert parts(found) == [0, 1, 2]


def test_a_single_slice_of_a_third_time_is_a_separate_stack():
    found = stacks(
        volume(temporal_position=1), volume(number=6, temporal_position=2), volume(1, number=11, temporal_position=3)
    )
    assert found["stack"].tolist() == [0] * 5 + [1] * 5 + [2]


def test_a_repeated_slice_does_not_turn_two_passes_into_two_volumes():
    found = stacks(volume(6), volume(1, number=9), AcquisitionNumber=[1, 2, 1, 2, 1, 2, 2])
    assert found["stack"].eq(0).all()


def test_a_slice_that_was_sent_twice_is_not_a_second_volume():
    found = stacks(volume(), volume(1, number=9))
    assert found["stack"].eq(0).all()


@pytest.mark.parametrize("column", ["AcquisitionNumber", "acquired_s", "trigger_ms", "temporal_position"])
def test_individual_numbers_or_times_of_slices_do_not_separate_a_volume(column):
    found = stacks(volume(), **{column: [1.0, 4.0, 2.0, 5.0, 3.0]})
    assert found["stack"].eq(0).all()


def test_two_interleaved_passes_are_one_volume():
    found = stacks(volume(6), AcquisitionNumber=[1, 2, 1, 2, 1, 2])
    assert found["stack"].eq(0).all()


def test_each_repetition_of_a_single_position_is_a_stack():
    found = stacks(*(volume(1, temporal_position=time, number=time) for time in (1, 2, 3)))
    assert found["stack"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "change", [{"orientation": CORONAL}, {"Rows": 128}, {"EchoNumbers": 2}, {"component": "phase"}]
)
def test_another_orientation_size_echo_or_kind_of_value_is_another_stack(change):
    assert sorted(parts(stacks(volume(), volume(start=2.5, **change)))) == [0, 1]


def test_another_pixel_spacing_is_another_stack():
    assert parts(stacks(volume(), volume(start=2.5, row_spacing_mm=2.0))) == [0, 1]
    assert parts(stacks(volume(), volume(start=25.0, row_spacing_mm=1.00001))) == [0, 0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (AXIAL, "0.999999999,0.000000001,0,0,1,0"),
        ("0.9951,0.1,0,-0.1,0.9949,0", "0.9949,0.1,0,-0.1,0.9951,0"),  # on both sides of a rounding boundary
        ("1,0,0,0,0.995001,0.099", "1,0,0,0,0.994999,0.101"),
    ],
)
def test_cosines_that_differ_in_the_last_digits_are_one_orientation(first, second):
    assert stacks(volume(), orientation=[first, second, first, second, first])["stack"].eq(0).all()


def test_echo_times_that_differ_in_the_last_bit_are_one():
    found = stacks(volume(), EchoTime=[30.0, 30.000001, 30.0, 30.0, 29.999999])
    assert found["stack"].eq(0).all()
    assert parts(stacks(volume(EchoTime=30.0), volume(EchoTime=30.000001, number=6))) == [0, 1]  # two volumes, one echo


def test_another_echo_time_is_another_stack_at_any_position():
    assert parts(stacks(volume(EchoTime=17.0), volume(start=2.5, EchoTime=95.0))) == [0, 1]
    assert stacks(volume(EchoTime=17.0), volume(1, EchoTime=95.0))["stack"].tolist() == [0] * 5 + [1]


def test_slices_with_missing_values_belong_to_the_stack_of_the_others():
    assert stacks(volume(), component=["", "magnitude", "", "magnitude", ""])["stack"].eq(0).all()
    assert stacks(volume(), EchoTime=[30.0, math.nan, 30.0, math.nan, 30.0])["stack"].eq(0).all()


def test_positions_that_vary_by_less_than_a_tenth_of_the_thickness_are_equal():
    jitter = np.random.default_rng(0).uniform(-0.1, 0.1, 5)
    found = stacks(volume(temporal_position=1), volume(temporal_position=2))
    jittered = stacks(
        *(volume(temporal_position=1), volume(temporal_position=2)),
        position_mm=np.r_[found["position_mm"][:5], found["position_mm"][5:] + jitter],
    )
    assert parts(jittered) == [0, 1]


def test_slices_without_a_position_are_one_stack_unless_their_echoes_differ():
    assert parts(stacks(volume(), position_mm=math.nan)) == [0]
    assert parts(stacks(volume(EchoTime=17.0), volume(EchoTime=95.0), position_mm=math.nan)) == [0, 1]


@pytest.mark.parametrize("column", ["acquired_s", "AcquisitionNumber", "trigger_ms", "temporal_position"])
def test_slices_without_a_position_are_one_stack_even_if_numbers_or_times_differ(column):
    assert stacks(volume(6), position_mm=math.nan, **{column: range(6)})["stack"].eq(0).all()
    assert stacks(volume(6), position_mm=math.nan, **{column: [1, 2] * 3})["stack"].eq(0).all()


def test_each_rotated_reformat_is_a_stack():
    orientations = [f"{math.cos(a):.6f},{math.sin(a):.6f},0,0,0,-1" for a in np.linspace(0, 3, 10)]
    found = stacks(volume(10, spacing=0.0), orientation=orientations)
    assert found["stack"].nunique() == 10


def one_slice_series(uids, **changes):
    rows = volume(len(uids), **changes)
    return stacks(rows, SeriesInstanceUID=uids)


def test_one_slice_series_are_joined_under_the_numerically_first_uid():
    found = one_slice_series([f"1.2.{n}" for n in (12, 11, 10, 9, 8)])
    assert found["series"].eq("1.2.8").all()
    assert found["joined"].eq(5).all()
    assert found["stack"].eq(0).all()
    assert one_slice_series(["1.2.10", "1.2.9"])["series"].eq("1.2.9").all()


def test_one_slice_series_are_joined_across_a_rounding_boundary_of_their_orientations():
    orientations = ["0.998752,0.0499,0,-0.0499,0.998752,0", "0.998752,0.0501,0,-0.0501,0.998752,0"]
    assert one_slice_series(["1.2.8", "1.2.9"], orientation=AXIAL)["joined"].eq(2).all()
    found = stacks(volume(2), SeriesInstanceUID=["1.2.8", "1.2.9"], orientation=orientations)
    assert found["joined"].eq(2).all()


@pytest.mark.parametrize("end", ["", ".0.0.0"])
def test_the_differing_number_of_a_uid_may_be_zero_or_precede_zeros(end):
    assert one_slice_series([f"1.3.12.2.{n}{end}" for n in range(3)])["joined"].eq(3).all()


@pytest.mark.parametrize(
    "columns", [{"EchoTime": [17.0] * 5 + [95.0] * 5}, {"temporal_position": [1.0] * 5 + [2.0] * 5}]
)
def test_joined_one_slice_series_are_separated_by_echo_and_time(columns):
    found = stacks(volume(), volume(number=6), SeriesInstanceUID=[f"1.2.{n}" for n in range(10)], **columns)
    assert found["series"].eq("1.2.0").all()
    assert parts(found) == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"SeriesNumber": [4, 5]},
        {"SeriesNumber": [-1, -1]},
        {"SeriesDescription": ["T1", "T2"]},
        {"StudyInstanceUID": ["1.1", "1.5"]},
        {"PatientID": ["P", "Q"]},
        {"orientation": [AXIAL, CORONAL]},
        {"position_mm": [5.0, 5.0]},
        {"position_mm": [5.0, math.nan]},
        {"SeriesInstanceUID": ["1.2.1", "1.7.1"]},
    ],
)
def test_one_slice_series_that_differ_otherwise_are_not_joined(change):
    found = stacks(volume(2), **{"SeriesInstanceUID": ["1.2.8", "1.2.9"], **change})
    assert found["series"].nunique() == 2
    assert found["joined"].eq(0).all()


def test_series_of_several_slices_are_never_joined():
    found = stacks(volume(SeriesInstanceUID="1.2.1"), volume(start=25.0, SeriesInstanceUID="1.2.2"))
    assert found["series"].tolist() == ["1.2.1"] * 5 + ["1.2.2"] * 5


def test_uids_are_sorted_numerically():
    assert sorted(["1.2.10", "1.2.9", "1.10.1", "odd.1"], key=stacking.uid_sort_key)[1:] == [
        "1.2.9",
        "1.2.10",
        "1.10.1",
    ]
