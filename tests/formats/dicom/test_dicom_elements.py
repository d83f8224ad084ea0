"""Values parsed without pydicom equal those that pydicom parses."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import Tag

from tumorprog.formats.dicom import elements

UIDS = st.lists(st.integers(0, 10**12), min_size=1, max_size=12).map(lambda parts: ".".join(map(str, parts)))
DECIMALS = st.lists(
    st.one_of(st.floats(-1e9, 1e9).map(lambda number: f"{number:.9g}"), st.integers(-999, 999).map(str)),
    min_size=1,
    max_size=6,
).map("\\".join)
NEARLY = st.text(st.sampled_from("0123456789.+-eE \\\0"), max_size=70)


def both_ways(keyword, vr, text):
    """Return a value as tumorprog and as pydicom read it, each with pydicom's messages."""
    value = text.encode()
    raw = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
    results = []
    for read in (
        lambda: elements.Elements({elements.tag_as_int(keyword): (vr, value)}).value(keyword),
        lambda: convert_raw_data_element(raw).value,
    ):
        with elements.quiet_pydicom() as messages:
            try:
                found = read()
            except elements.DAMAGE as error:
                found = type(error)
        results.append((found, messages))
    return results


@given(st.one_of(UIDS, NEARLY))
@example("1.02")
@example("1.2\0")
@example("1.2\n")
@example("1." * 32 + "1")
@example("1.2\\1.3")
def test_a_uid_is_read_as_by_pydicom(text):
    (actual, messages), (expected, expected_messages) = both_ways("SOPInstanceUID", "UI", text)
    assert actual == expected
    assert messages == expected_messages


@given(st.one_of(DECIMALS, NEARLY))
@example("1.5 ")
@example(" -1.5\\+.5\\1.e3")
@example("1.23456789012345678")
@example("1\n")
@example("1\0")
@example("1e999")
@example("")
def test_decimals_are_read_as_by_pydicom(text):
    (actual, messages), (expected, expected_messages) = both_ways("ImagePositionPatient", "DS", text)
    assert messages == expected_messages
    for count in (1, 2, 3, 6):
        assert elements.as_numbers(actual, count) == elements.as_numbers(expected, count)
    assert elements.as_number(actual) == pytest.approx(elements.as_number(expected), nan_ok=True, rel=0, abs=0)


def test_elements_are_equal_if_values_and_encoding_are_equal():
    raw = {elements.tag_as_int("EchoTime"): ("DS", b"14"), elements.tag_as_int("SOPInstanceUID"): ("UI", b"1.2")}
    others = elements.Elements(raw).without(["SOPInstanceUID"])
    assert others == elements.Elements({elements.tag_as_int("EchoTime"): ("DS", b"14")})
    assert hash(others) == hash(elements.Elements({elements.tag_as_int("EchoTime"): ("DS", b"14")}))
    assert others != elements.Elements(raw)
    assert others != elements.Elements({elements.tag_as_int("EchoTime"): ("DS", b"14")}, little_endian=False)
    assert others.value("EchoTime") == 14
    assert math.isnan(elements.frame_number(elements.Elements({}), [], "EchoTime"))


def test_only_elements_with_short_values_are_cached():
    assert elements.Elements({1: ("LO", b"a" * 256), 2: ("LO", None)}).is_small
    assert not elements.Elements({1: ("LO", b"a" * 257)}).is_small
    assert not elements.Elements({1: ("SQ", ["an item"])}).is_small
