"""Kind of image of each frame of a complete file; test_dicom_sequence.py tests the decision itself."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from tumorprog.formats.dicom import header

STORED = np.arange(30, dtype=np.uint16).reshape(6, 5)


@pytest.mark.parametrize(
    ("stated", "times", "contrast", "expected"),
    [
        ({"EchoPulseSequence": "SPIN"}, (500, 12, 90, None), "", "T1pre"),
        ({"EchoPulseSequence": "SPIN"}, (4000, 100, 90, None), "UNKNOWN", "T2"),
        ({"EchoPulseSequence": "SPIN"}, (9000, 120, 90, 2500.0), "", "FLAIR"),
        ({"EchoPulseSequence": "SPIN", "SeriesDescription": "AX T2"}, (9000, 120, 90, 2500.0), "", "FLAIR"),
        ({"EchoPulseSequence": "SPIN"}, (4800, 300, 90, 0), "", "FLAIR"),
        ({"EchoPulseSequence": "GRADIENT", "MRAcquisitionType": "3D"}, (2300, 3, 9, 900.0), "", "T1pre"),
        ({"EchoPulseSequence": "GRADIENT", "MRAcquisitionType": "2D"}, (600, 25, 20, None), "", "other"),
        ({"EchoPulseSequence": "SPIN", "EchoPlanarPulseSequence": "YES"}, (4000, 90, 90, None), "", "other"),
        ({"EchoPulseSequence": "SPIN"}, (1500, 50, 90, None), "T2", "T2"),
        ({"EchoPulseSequence": "SPIN"}, (1500, 50, 90, None), "FLUID_ATTENUATED", "FLAIR"),
        ({"EchoPulseSequence": "SPIN"}, (1500, 50, 90, None), "PROTON_DENSITY", "other"),
        ({"EchoPulseSequence": "SPIN", "SeriesDescription": "AX POST"}, (1500, 50, 90, None), "T2", "T2"),
        ({"EchoPulseSequence": "SPIN", "SeriesDescription": "AX T1 POST"}, (500, 12, 90, None), "T1", "T1post"),
        ({"EchoPulseSequence": "SPIN", "ProtocolName": "T1 KM"}, (500, 12, 90, None), "T1", "T1post"),
    ],
)
def test_an_enhanced_object_is_recognised_by_the_acquisition_parameters_of_its_frames(
    save, enhanced_dataset, stated, times, contrast, expected
):
    dataset = enhanced_dataset()
    dataset.update(stated)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    repetition, echo, flip, inversion = times
    timing = shared.MRTimingAndRelatedParametersSequence[0]
    timing.RepetitionTime, timing.FlipAngle = repetition, flip
    modifier, kind = Dataset(), Dataset()
    modifier.InversionRecovery = "NO" if inversion is None else "YES"
    if inversion:
        modifier.InversionTimes = [inversion]
    shared.MRModifierSequence = [modifier]
    kind.FrameType, kind.AcquisitionContrast = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], contrast
    shared.MRImageFrameTypeSequence = [kind]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.MREchoSequence[0].EffectiveEchoTime = echo
    assert {row["sequence"] for row in header.read_rows(save(dataset))} == {expected}


def test_an_enhanced_diffusion_object_can_contain_adc_and_weighted_frames(save, enhanced_dataset):
    dataset = enhanced_dataset()
    dataset.SeriesDescription = "DWI"
    for frame, kind in zip(dataset.PerFrameFunctionalGroupsSequence, ["NONE", "NONE", "ADC", "NONE"], strict=True):
        item = Dataset()
        item.FrameType = ["DERIVED" if kind == "ADC" else "ORIGINAL", "PRIMARY", "DIFFUSION", kind]
        frame.MRImageFrameTypeSequence = [item]
    assert [row["sequence"] for row in header.read_rows(save(dataset))] == ["other", "other", "ADC", "other"]


def test_frames_of_an_enhanced_object_are_recognised_by_their_own_echo_and_component(save, enhanced_dataset):
    dataset = enhanced_dataset()
    dataset.SeriesDescription = "AX T2"
    assert [row["sequence"] for row in header.read_rows(save(dataset))] == ["other", "T2", "other", "T2"]
    for group, kind in zip(
        dataset.PerFrameFunctionalGroupsSequence, ["MAGNITUDE", "MAGNITUDE", "PHASE", "PHASE"], strict=True
    ):
        group.MRImageFrameTypeSequence = [Dataset()]
        group.MRImageFrameTypeSequence[0].ComplexImageComponent = kind
    assert [row["sequence"] for row in header.read_rows(save(dataset))] == ["other", "T2", "other", "other"]


def test_magnitude_and_phase_of_one_series_are_distinguished(row_of, save, mr_dataset):
    kinds = [["ORIGINAL", "PRIMARY", kind, "ND"] for kind in "MP"]
    rows = [row_of(save(mr_dataset(STORED, SeriesDescription="T1 SPGR", ImageType=kind))) for kind in kinds]
    assert [row["sequence"] for row in rows] == ["T1pre", "other"]


def test_a_screen_capture_with_modality_mr_is_of_sequence_other(row_of, save, mr_dataset):
    dataset = mr_dataset(STORED, SeriesDescription="AX T1 POST", SOPClassUID=pydicom.uid.SecondaryCaptureImageStorage)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    assert row_of(save(dataset))["sequence"] == "other"
    dataset.SeriesDescription = "MaskTumor"
    assert row_of(save(dataset))["sequence"] == "mask"


@pytest.mark.parametrize(("meaning", "expected"), [("Gadolinium", "T1post"), ("", "T1post"), ("No contrast", "T1pre")])
def test_the_agent_sequence_is_read_and_may_state_that_none_was_given(row_of, meaning, expected, save, mr_dataset):
    agent = Dataset()
    agent.CodeMeaning = meaning
    dataset = mr_dataset(STORED, SeriesDescription="AX T1", ContrastBolusAgentSequence=[agent])
    assert row_of(save(dataset))["sequence"] == expected


def test_a_row_lists_agreeing_and_contradicting_evidence(row_of, save, mr_dataset):
    odd = {"SeriesDescription": "AX T2", "ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 14}
    row = row_of(save(mr_dataset(STORED, **odd)))
    evidence = [row[name] for name in ("sequence", "sequence_witnesses", "sequence_contradiction")]
    assert evidence == ["T1pre", "physics", "texts say T2, physics says T1"]


@pytest.mark.parametrize(
    ("stated", "component"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}, "magnitude"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}, "phase"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]}, "magnitude"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REAL"]}, "real"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"], "ComplexImageComponent": "IMAGINARY"}, "imaginary"),
        ({"ImageType": ["P", "M"]}, ""),
        ({}, ""),
    ],
)
def test_the_complex_component_is_a_column(row_of, stated, component, mr_dataset, save):
    assert row_of(save(mr_dataset(STORED, **stated)))["component"] == component
