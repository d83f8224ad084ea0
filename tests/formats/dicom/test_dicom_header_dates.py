"""The date of a study and the acquisition time of a slice, from the dates and times of a header."""

import math
from datetime import date

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tumorprog.formats.columns import OTHER_DATE
from tumorprog.formats.dicom import header

STORED = np.arange(30, dtype=np.uint16).reshape(6, 5)


@pytest.mark.parametrize(
    ("stated", "study", "date", "noted"),
    [
        ("20010203", "06-18-1992-FH-HEADBrain Protocols-39987", "2001-02-03", True),
        ("20010203", "06-18-1992-HEADBrain Protocols-39987", "2001-02-03", True),
        ("19920618", "06-18-1992-FH-HEADBrain Protocols-39987", "1992-06-18", False),
        (None, "06-18-1992-HEADBrain Protocols-39987", "1992-06-18", False),
        ("20010203", "another", "2001-02-03", False),
    ],
)
def test_a_folder_date_that_differs_from_the_header_is_noted(save, mr_dataset, stated, study, date, noted):
    for name in ("1-01.dcm", "1-02.dcm"):  # the second is read from the cache filled by the first
        (row,) = header.read_rows(
            save(mr_dataset(STORED, StudyDate=stated), f"PGBM-010/{study}/5341.000000-T2reg-75889/{name}")
        )
        assert row["StudyDate"] == date
        assert (OTHER_DATE in row["warnings"]) == noted
        assert "1992" not in row["warnings"]
        assert "2001" not in row["warnings"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")  # raised when the file is written
@pytest.mark.parametrize(
    ("dates", "day", "used"),
    [
        ({"SeriesDate": "20050621"}, "2005-06-21", "SeriesDate"),
        ({"AcquisitionDate": "20050622", "ContentDate": "20050623"}, "2005-06-22", "AcquisitionDate"),
        ({"AcquisitionDateTime": "20050821101010.00"}, "2005-08-21", "AcquisitionDateTime"),
        ({"AcquisitionDateTime": "20050821235959.999999-0500"}, "2005-08-21", "AcquisitionDateTime"),
        ({"ContentDate": "20050624"}, "2005-06-24", "ContentDate"),
        ({"SeriesDate": "2005.06.21"}, "2005-06-21", "SeriesDate"),
        (
            {"StudyDate": "00000000", "SeriesDate": "20050230", "AcquisitionDate": "20050622"},
            "2005-06-22",
            "Acquisition",
        ),
        ({"StudyDate": "00010101", "ContentDate": "20050622"}, "2005-06-22", "ContentDate"),
        ({"StudyDate": "19000101", "ContentDate": "20050622"}, "2005-06-22", "ContentDate"),
        ({"StudyDate": "19000101", "SeriesDate": "19000101"}, "", ""),
        ({"AcquisitionDateTime": "2005"}, "", ""),
        ({"SeriesDate": "19000230"}, "", ""),
        ({}, "", ""),
    ],
)
def test_without_a_study_date_another_date_of_the_header_is_used_and_noted(row_of, save, mr_dataset, dates, day, used):
    row = row_of(save(mr_dataset(STORED, **{"StudyDate": "", **dates})))
    assert row["StudyDate"] == day
    assert (f"no usable StudyDate, {used}" in row["warnings"]) == bool(used)


def test_the_date_can_come_from_a_frame_of_an_enhanced_object(save, enhanced_dataset):
    dataset = enhanced_dataset()
    dataset.StudyDate = ""
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.FrameContentSequence = [Dataset()]
        group.FrameContentSequence[0].FrameAcquisitionDateTime = "20050821101010"
    rows = header.read_rows(save(dataset))
    assert {row["StudyDate"] for row in rows} == {"2005-08-21"}
    assert "FrameAcquisitionDateTime" in rows[0]["warnings"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")  # raised when the file is written
@pytest.mark.parametrize(
    ("dates", "noted"),
    [
        ({"SeriesDate": "19920619", "ContentDate": "19920617", "AcquisitionDateTime": "19920618235959"}, ""),
        ({"SeriesDate": "19920620"}, "SeriesDate more than a day from StudyDate"),
        ({"AcquisitionDateTime": "19930618"}, "AcquisitionDateTime more than a day from StudyDate"),
        ({"SeriesDate": "19930618", "ContentDate": "19930618"}, "SeriesDate and ContentDate more than a day from"),
        (
            {"StudyDate": "", "SeriesDate": "19920618", "ContentDate": "19920718"},
            "ContentDate more than a day from Series",
        ),
        ({"ContentDate": "00000000"}, ""),
    ],
)
def test_dates_that_disagree_by_more_than_a_day_are_noted(row_of, save, mr_dataset, dates, noted):
    row = row_of(save(mr_dataset(STORED, **dates)))
    assert row["StudyDate"] == "1992-06-18"
    assert noted in row["warnings"]
    assert ("more than a day" in row["warnings"]) == bool(noted)


def test_slices_that_differ_only_in_their_acquisition_time_are_read_from_the_cache(row_of, save, mr_dataset):
    header._common.cache_clear()
    for number, moment in enumerate(["20050821101010.00", "20050821101012.50", "20050822000000"], start=1):
        stated = {"StudyDate": "", "AcquisitionDateTime": moment, "InstanceNumber": number}
        row = row_of(save(mr_dataset(STORED, **stated), f"{number}.dcm"))
        assert row["StudyDate"] == f"2005-08-{moment[6:8]}"
    assert (header._common.cache_info().hits, header._common.cache_info().misses) == (1, 2)


def test_acquisition_times_increase_over_midnight(row_of, mr_dataset, save):
    before, after = (
        row_of(save(mr_dataset(STORED, AcquisitionDate=day, AcquisitionTime=time)))["acquired_s"]
        for day, time in (("20050102", "235950"), ("20050103", "000020"))
    )
    assert after - before == 30


def test_the_numbers_and_times_that_identify_a_volume_are_read_for_each_slice(row_of, mr_dataset, save):
    stated = {"TemporalPositionIdentifier": 3, "AcquisitionNumber": 7, "TriggerTime": "125.5"}
    row = row_of(
        save(mr_dataset(STORED, **stated, AcquisitionTime="101530.250000", EchoTime="30.000001", SeriesNumber=12))
    )
    assert [row[name] for name in ("temporal_position", "AcquisitionNumber", "trigger_ms")] == [3, 7, 125.5]
    assert row["acquired_s"] == 10 * 3600 + 15 * 60 + 30.25
    assert (row["EchoTime"], row["SeriesNumber"]) == (30.000001, 12)
    row = row_of(save(mr_dataset(STORED, AcquisitionDateTime="20050102101530.25+0100")))
    midnight = 24 * 3600 * date(2005, 1, 2).toordinal()
    assert row["acquired_s"] == midnight + 10 * 3600 + 15 * 60 + 30.25
    row = row_of(save(mr_dataset(STORED)))
    assert row["AcquisitionNumber"] == -1
    assert all(math.isnan(row[name]) for name in ("temporal_position", "trigger_ms", "acquired_s", "EchoTime"))
