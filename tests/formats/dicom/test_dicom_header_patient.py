"""Sex, age, scanner and repetition time in the rows of a file, also from headers that are wrong about them."""

import math

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement

from tumorprog.formats import naming
from tumorprog.formats.dicom import elements, header

STORED = np.arange(30, dtype=np.uint16).reshape(6, 5)
KEYWORDS = {
    "PatientSex": ("CS", ""),
    "PatientAge": ("AS", math.nan),
    "PatientBirthDate": ("DA", None),
    "MagneticFieldStrength": ("DS", math.nan),
    "RepetitionTime": ("DS", math.nan),
    "ManufacturerModelName": ("LO", None),
}


@pytest.fixture
def row_with(save, mr_dataset, row_of):
    """Function that returns the row of a file with raw values of elements, whether or not they are valid."""

    def read(**values):
        dataset = mr_dataset(STORED)
        for keyword, value in values.items():
            vr, _ = KEYWORDS[keyword]
            dataset.add(RawDataElement(elements.tag_of(keyword), vr, len(value), value, 0, False, True))
        with elements.quiet_pydicom():
            path = save(dataset)
        return row_of(path)

    return read


def test_the_values_of_a_usual_header(row_with):
    row = row_with(
        PatientSex=b"F ",
        PatientAge=b"045Y",
        MagneticFieldStrength=b"1.5 ",
        RepetitionTime=b"520 ",
        ManufacturerModelName=b"GENESIS_SIGNA ",
    )
    assert (row["PatientSex"], row["PatientAge"], row["MagneticFieldStrength"]) == ("F", 45, 1.5)
    assert (row["RepetitionTime"], row["ManufacturerModelName"]) == (520, "GENESIS_SIGNA")


def test_missing_elements_are_unknown(row_of, save, mr_dataset):
    row = row_of(save(mr_dataset(STORED)))
    assert (row["PatientSex"], row["ManufacturerModelName"]) == ("", "")
    assert all(math.isnan(row[name]) for name in ("PatientAge", "MagneticFieldStrength", "RepetitionTime"))


@pytest.mark.parametrize("value", [b"", b"  ", b"Quux", b"Quux\\Quux", b"\xff\xfe\x00\x01", b"-1", b"0 ", b"NaN "])
def test_no_invalid_value_excludes_a_file(row_with, value):
    row = row_with(**dict.fromkeys(KEYWORDS, value))
    assert row["PatientSex"] == ""
    assert all(math.isnan(row[name]) for name in ("PatientAge", "MagneticFieldStrength", "RepetitionTime"))


def test_the_first_of_several_values_counts(row_with):
    row = row_with(PatientSex=b"M\\F ", PatientAge=b"045Y\\046Y ", RepetitionTime=b"500\\600 ")
    assert (row["PatientSex"], row["PatientAge"], row["RepetitionTime"]) == ("M", 45, 500)


def test_without_an_age_the_date_of_birth_is_used(row_with):
    assert row_with(PatientBirthDate=b"19420618")["PatientAge"] == 50.0  # the study is of 1992-06-18
    assert row_with(PatientBirthDate=b"19420618", PatientAge=b"047Y")["PatientAge"] == 47.0


def test_repetition_time_and_field_strength_of_an_enhanced_object(save, enhanced_dataset):
    dataset = enhanced_dataset()
    dataset.MagneticFieldStrength, dataset.PatientSex, dataset.PatientAge = 2.8936, "O", "018M"
    rows = header.read_rows(save(dataset))
    assert [row["RepetitionTime"] for row in rows] == [3000] * 4
    assert {(row["MagneticFieldStrength"], row["PatientSex"], row["PatientAge"]) for row in rows} == {
        (2.8936, "O", 1.5)
    }


@pytest.mark.parametrize(
    ("stated", "years"),
    [
        *[("045Y", 45), ("018M", 1.5), ("003D", 3 / 365.25), ("090Y", 90), ("45", 45), ("045y", 45)],
        *[("045 Y", 45), ("120Y", 120), ("121Y", math.nan), ("000Y", math.nan), ("", math.nan), ("adult", math.nan)],
    ],
)
def test_an_age_in_years(stated, years):
    assert naming.parse_age(stated, "", "") == pytest.approx(years, nan_ok=True)


def test_ten_weeks_are_seventy_days():
    assert naming.parse_age("010W", "", "") == pytest.approx(naming.parse_age("070D", "", ""))


@pytest.mark.parametrize(
    ("birth", "study"),
    [("19000101", "1992-06-18"), ("19420618", ""), ("20010101", "1992-06-18"), ("19420631", "1992-06-18")],
)
def test_a_placeholder_a_missing_or_an_impossible_date_gives_no_age(birth, study):
    assert math.isnan(naming.parse_age("", birth, study))


@pytest.mark.parametrize(
    ("stated", "tesla"),
    [
        *[(1.5, 1.5), (15000, 1.5), (30000, 3.0), (0.064, 0.064), (640, 0.064), (11.7, 11.7)],
        *[(0, math.nan), (-3, math.nan), (50, math.nan), (1e9, math.nan), (math.nan, math.nan)],
    ],
)
def test_a_field_strength_in_tesla_or_gauss(stated, tesla):
    assert naming.field_strength(stated) == pytest.approx(tesla, nan_ok=True)


@pytest.mark.parametrize(("stated", "sex"), [("f", "F"), ("Male", "M"), ("O", "O"), ("U", ""), ("", ""), ("MF", "")])
def test_a_sex(stated, sex):
    assert naming.parse_sex(stated) == sex
