"""What pydicom has to say of a file reaches its row, in words that quote nothing."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement

from tumorprog.dicom import elements, header
from tumorprog.errors import DicomError

STORED = np.arange(30, dtype=np.uint16).reshape(6, 5)

NAME = "Zebulon^Quux"
ODD_PLACES = {
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
"""Where a name has no business, and whether pydicom warns of it there: it quotes it."""


@pytest.mark.parametrize("keyword", ODD_PLACES)
def test_what_pydicom_warns_of_reaches_the_row_without_the_name_that_it_quotes(keyword, save, mr_dataset, capfd):
    vr, value, warns = ODD_PLACES[keyword]
    dataset, text = mr_dataset(STORED), value.encode()
    dataset.add(RawDataElement(elements.tag_of(keyword), vr, len(text), text, 0, False, True))
    with elements.quiet_pydicom():
        path = save(dataset)
    try:
        (row,) = header.read_rows(path)
        told = row["warnings"]
        assert bool(told) == warns
    except DicomError as error:
        told = str(error)
    assert not [name for name in ("Zebulon", "Quux", "zebulon", "quux") if name in told]
    assert capfd.readouterr() == ("", "")


def test_what_pydicom_only_logs_reaches_the_row_too(row_of, save, mr_dataset):
    path = Path(save(mr_dataset(STORED, SequenceName=f"{NAME}{NAME[:2]}")))
    whole = path.read_bytes()
    assert whole.count(b"SH\x0e\0Zeb") == 1
    path.write_bytes(whole.replace(b"SH\x0e\0Zeb", b"AT\x0e\0Zeb"))
    assert row_of(path)["warnings"] == "a value of a length that its VR does not allow (AT)"


def test_warnings_are_the_same_whatever_was_read_before(row_of, save, mr_dataset):
    path, sound = Path(save(mr_dataset(STORED, InstanceNumber=17))), save(mr_dataset(STORED), "sound.dcm")
    path.write_bytes(path.read_bytes().replace(b"IS\2\x0017", b"IS\2\x001x"))
    expected = "a value that its VR does not allow (IS)"
    assert [row_of(one)["warnings"] for one in (path, sound, path, path)] == [expected, "", expected, expected]


def test_several_warnings_stand_once_each_and_are_short(row_of, save, mr_dataset):
    with elements.quiet_pydicom():
        long = {"Manufacturer": "x" * 99, "SeriesDescription": "y" * 99}
        path = Path(save(mr_dataset(STORED, InstanceNumber=17, EchoNumbers=18, **long)))
    path.write_bytes(path.read_bytes().replace(b"IS\2\x001", b"IS\2\x00x"))
    told = row_of(path)["warnings"]
    assert told == "a value longer than its VR allows (LO); a value that its VR does not allow (IS)"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Expected implicit VR, but found explicit VR", "explicit VR where implicit was stated, or the reverse"),
        ("Invalid value for VR UI: 'Zebulon'.", "a value that its VR does not allow (UI)"),
        ("The length (99) exceeds the maximum of 16 allowed for VR CS.", "a value longer than its VR allows (CS)"),
        ("Unknown encoding 'Zebulon' - using default encoding instead", "text not in its character set"),
        ("Zebulon^Quux", "another warning of pydicom"),
        ("", "another warning of pydicom"),
    ],
)
def test_messages_are_told_in_our_words(message, told):
    assert elements.in_our_words(message) == told
