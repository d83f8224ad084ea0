"""pydicom's messages about a file appear in its row, without any quoted value."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement

from tumorprog.errors import DicomError
from tumorprog.formats.dicom import elements, header

STORED = np.arange(30, dtype=np.uint16).reshape(6, 5)

NAME = "Zebulon^Quux"
INVALID_ELEMENTS = {
    "SpecificCharacterSet": ("CS", NAME, True),
    "SOPInstanceUID": ("UI", NAME, True),
    "StudyInstanceUID": ("UI", f"1.2.{NAME}", True),
    "StudyDate": ("DA", NAME, False),
    "SliceThickness": ("DS", NAME, False),
    "EchoTime": ("DS", f"{NAME}\\1", False),
    "InstanceNumber": ("IS", NAME, True),
    "ImagePositionPatient": ("DS", "\\".join([NAME] * 3), False),
    "FlipAngle": ("DS", NAME * 3, True),
    "Manufacturer": ("LO", f"\x1b$)C{NAME}", True),
    "MRAcquisitionType": ("CS", NAME * 5, False),
    "ScanningSequence": ("CS", NAME.lower(), False),
    "NumberOfFrames": ("IS", NAME, True),
}
"""Elements in which a name is invalid: VR, value, and whether pydicom warns of it, quoting the name."""


@pytest.mark.parametrize("keyword", INVALID_ELEMENTS)
def test_pydicoms_warnings_appear_in_the_row_without_the_quoted_name(keyword, save, mr_dataset, capfd):
    vr, value, warns = INVALID_ELEMENTS[keyword]
    dataset, text = mr_dataset(STORED), value.encode()
    dataset.add(RawDataElement(elements.tag_of(keyword), vr, len(text), text, 0, False, True))
    with elements.quiet_pydicom():
        path = save(dataset)
    try:
        (row,) = header.read_rows(path)
        message = row["warnings"]
        assert bool(message) == warns
    except DicomError as error:
        message = str(error)
    assert not [name for name in ("Zebulon", "Quux", "zebulon", "quux") if name in message]
    assert capfd.readouterr() == ("", "")


def test_messages_that_pydicom_only_logs_appear_in_the_row(row_of, save, mr_dataset):
    path = Path(save(mr_dataset(STORED, SequenceName=f"{NAME}{NAME[:2]}")))
    content = path.read_bytes()
    assert content.count(b"SH\x0e\0Zeb") == 1
    path.write_bytes(content.replace(b"SH\x0e\0Zeb", b"AT\x0e\0Zeb"))
    assert row_of(path)["warnings"] == "a value of a length that its VR does not allow (AT)"


def test_warnings_do_not_depend_on_files_read_before(row_of, save, mr_dataset):
    path, valid = Path(save(mr_dataset(STORED, InstanceNumber=17))), save(mr_dataset(STORED), "valid.dcm")
    path.write_bytes(path.read_bytes().replace(b"IS\2\x0017", b"IS\2\x001x"))
    expected = "a value that its VR does not allow (IS)"
    assert [row_of(file)["warnings"] for file in (path, valid, path, path)] == [expected, "", expected, expected]


def test_each_warning_is_listed_once(row_of, save, mr_dataset):
    with elements.quiet_pydicom():
        long = {"Manufacturer": "x" * 99, "SeriesDescription": "y" * 99}
        path = Path(save(mr_dataset(STORED, InstanceNumber=17, EchoNumbers=18, **long)))
    path.write_bytes(path.read_bytes().replace(b"IS\2\x001", b"IS\2\x00x"))
    warnings = row_of(path)["warnings"]
    assert warnings == "a value longer than its VR allows (LO); a value that its VR does not allow (IS)"


@pytest.mark.parametrize(
    ("message", "sanitised"),
    [
        ("Expected implicit VR, but found explicit VR", "explicit VR where implicit was stated, or the reverse"),
        ("Invalid value for VR UI: 'Zebulon'.", "a value that its VR does not allow (UI)"),
        ("The length (99) exceeds the maximum of 16 allowed for VR CS.", "a value longer than its VR allows (CS)"),
        ("Unknown encoding 'Zebulon' - using default encoding instead", "text not in its character set"),
        ("Zebulon^Quux", "another warning of pydicom"),
        ("", "another warning of pydicom"),
    ],
)
def test_messages_are_sanitised(message, sanitised):
    assert elements.sanitise_message(message) == sanitised
