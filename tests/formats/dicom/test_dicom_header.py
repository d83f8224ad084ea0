import io
import logging
import math
import os
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRSpectroscopyStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from tumorprog import storage
from tumorprog.errors import DicomError
from tumorprog.formats.columns import CATALOGUE, REASONS
from tumorprog.formats.dicom import header, pixels
from tumorprog.sequences import decision as sequence

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
ADDED_LATER = {
    "cohort",
    "series_joined",
    "stack",
    "order",
    "slice_spacing_mm",
    "missing_before",
    "repeats",
    "file_bytes",
}
SCHEMA = pa.schema([field for field in CATALOGUE if field.name not in ADDED_LATER])
TIMING = {"temporal_position", "AcquisitionNumber", "acquired_s", "trigger_ms"}
STACK_COLUMNS = TIMING | {"SeriesNumber", "ImageType", "b_value"}
INDEX_COLUMNS = ("pixel_offset", "pixel_bytes", "pixel_dtype")
STORED = np.arange(30, dtype=np.uint16).reshape(6, 5)


def reason_of(path):
    with pytest.raises(DicomError) as caught:
        header.read_rows(str(path))
    assert caught.value.reason in REASONS
    assert caught.value.detail
    return caught.value.reason


def reason_or_rows(path):
    rows, outcome = [], "rows"
    try:
        rows = header.read_rows(str(path))
    except DicomError as error:
        outcome = error.reason
    pa.Table.from_pylist(rows, SCHEMA)
    assert bool(rows) == (outcome not in REASONS)
    assert all(set(row) == {*SCHEMA.names, *STACK_COLUMNS} for row in rows)
    return outcome


def test_a_row_has_the_values_read_by_pydicom(row_of):
    path = BUNDLED / "MR_small.dcm"
    row, dataset = row_of(path), pydicom.dcmread(path)
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows"):
        assert row[keyword] == dataset[keyword].value
    assert row["StudyDate"].replace("-", "") == dataset.StudyDate
    assert [row["row_spacing_mm"], row["column_spacing_mm"]] == dataset.PixelSpacing
    assert row["TransferSyntaxUID"] == dataset.file_meta.TransferSyntaxUID
    assert (row["SliceThickness"], row["InstanceNumber"]) == (dataset.SliceThickness, dataset.InstanceNumber)
    across, down = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(across, down)
    assert math.isclose(abs(row["position_mm"]), abs(normal @ np.array(dataset.ImagePositionPatient, float)))


def test_the_transfer_syntax_affects_no_other_column(row_of):
    rows = [row_of(path) for path in sorted(BUNDLED.glob("MR_small*.dcm"))]
    assert len({row["TransferSyntaxUID"] for row in rows}) >= 5
    different = {"path", "TransferSyntaxUID", *INDEX_COLUMNS}
    others = [{key: row[key] for key in row if key not in different} for row in rows]
    assert len(others) >= 8
    assert all(other == others[0] for other in others)


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"]
)
def test_a_file_truncated_anywhere_gives_rows_or_a_reason(name, tmp_path):
    content, path = (BUNDLED / name).read_bytes(), tmp_path / "cut.dcm"
    start = content.index(b"\xe0\x7f\x10\x00" if "big" not in name else b"\x7f\xe0\x00\x10")
    ends = [*range(0, start, start // 40), *range(start, len(content), len(content) // 10)]
    outcomes = {}
    for end in ends:
        path.write_bytes(content[:end])
        outcomes[end] = reason_or_rows(path)
    assert outcomes[0] == "empty"
    assert all(outcome != "rows" for end, outcome in outcomes.items() if end < start)
    if "RLE" not in name:
        assert {outcomes[end] for end in ends if start + 12 <= end < start + 12 + 64 * 64 * 2} == {"truncated_pixels"}


@pytest.mark.no_cover
def test_damaged_bytes_give_rows_or_a_reason(tmp_path, save, enhanced_dataset):
    rng, path = np.random.default_rng(0), tmp_path / "damaged.dcm"
    deflated = enhanced_dataset()
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    sources = [BUNDLED / "MR_small.dcm", BUNDLED / "MR_small_implicit.dcm", BUNDLED / "MR_small_RLE.dcm"]
    sources += [save(enhanced_dataset(), "enhanced.dcm"), save(deflated, "deflated.dcm")]
    words = [b"\xff\xff\xff\xff", b"SQ", b"UN", b"DS", b"UI", b"AT", b"\xfe\xff\x0d\xe0"]
    outcomes = set()
    for source in sources:
        content = Path(source).read_bytes()
        for _ in range(200):
            damaged = bytearray(content)
            for _ in range(rng.choice([1, 3, 20])):
                at = int(rng.integers(128, min(len(content), 2000)))
                new = rng.bytes(1) if rng.random() < 0.5 else words[rng.integers(len(words))]
                damaged[at : at + int(rng.choice([0, len(new), 9]))] = new
            path.write_bytes(damaged)
            outcomes.add(reason_or_rows(path))
    assert {"rows", "damaged_header"} < outcomes


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_without_preamble_and_meta_information_is_read_the_same(row_of, syntax, tmp_path, save, mr_dataset):
    dataset = mr_dataset(STORED)
    expected = row_of(save(dataset))
    bare, stream = tmp_path / "bare.dcm", io.BytesIO()
    implicit, little_endian = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    plain = Dataset(dataset)
    pydicom.dcmwrite(stream, plain, implicit_vr=implicit, little_endian=little_endian, force_encoding=True)
    bare.write_bytes(stream.getvalue())
    assert stream.getvalue()[128:132] != b"DICM"
    row = row_of(bare)
    different = {"path": str(bare), "TransferSyntaxUID": syntax, **{name: row[name] for name in INDEX_COLUMNS}}
    assert row == pytest.approx({**expected, **different}, nan_ok=True)


def test_an_enhanced_object_gives_one_row_per_frame(save, enhanced_dataset):
    rows = header.read_rows(save(enhanced_dataset()))
    assert [row["frame"] for row in rows] == [0, 1, 2, 3]
    assert [row["EchoNumbers"] for row in rows] == [1, 2, 1, 2]
    assert [row["position_mm"] for row in rows] == [0, 0, 7, 7]
    assert [row["sequence"] for row in rows] == ["other", "T2", "other", "T2"]
    assert {row["plane"] for row in rows} == {"coronal"}
    assert {(row["row_spacing_mm"], row["column_spacing_mm"], row["SliceThickness"]) for row in rows} == {
        (0.5, 0.75, 5)
    }
    assert {row["orientation"] for row in rows} == {"1,0,0,0,0,-1"}
    assert len({row["SOPInstanceUID"] for row in rows}) == 1


def test_a_plain_multi_frame_object_gives_one_row_per_frame(save, mr_dataset):
    rows = header.read_rows(save(mr_dataset(np.zeros((3, 6, 5), np.uint8))))
    assert [row["frame"] for row in rows] == [0, 1, 2]


@pytest.mark.parametrize(
    ("cosines", "corner", "position", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], [5, 6, 7], 7, "axial"),
        ([0, 1, 0, 1, 0, 0], [5, 6, 7], 7, "axial"),
        ([1, 0, 0, 0, 0, -1], [5, 6, 7], 6, "coronal"),
        ([0, 1, 0, 0, 0, -1], [5, 6, 7], 5, "sagittal"),
        ([0, -1, 0, 0, 0, -1], [5, 6, 7], 5, "sagittal"),
    ],
)
def test_positions_increase_along_the_patients_axes(cosines, corner, position, plane, save, mr_dataset):
    (row,) = header.read_rows(save(mr_dataset(STORED, ImageOrientationPatient=cosines, ImagePositionPatient=corner)))
    assert (row["position_mm"], row["plane"]) == (position, plane)


def test_the_first_pixel_and_the_frame_of_reference_are_those_of_the_header(row_of, save, mr_dataset):
    where = {"ImagePositionPatient": ["-119.53125", "-1.20E+2", "-0.0"], "FrameOfReferenceUID": "1.2.3.4"}
    row = row_of(save(mr_dataset(STORED, **where)))
    assert row["ImagePositionPatient"] == "-119.53125,-120,0"
    assert row["FrameOfReferenceUID"] == "1.2.3.4"
    row = row_of(save(mr_dataset(STORED, ImagePositionPatient=[1, 2])))
    assert (row["ImagePositionPatient"], row["FrameOfReferenceUID"]) == ("", "")


def test_each_frame_of_an_enhanced_object_has_its_own_first_pixel(save, enhanced_dataset):
    dataset = enhanced_dataset()
    dataset.FrameOfReferenceUID = "1.2.3"
    rows = header.read_rows(save(dataset))
    stated = [group.PlanePositionSequence[0].ImagePositionPatient for group in dataset.PerFrameFunctionalGroupsSequence]
    assert [[float(mm) for mm in row["ImagePositionPatient"].split(",")] for row in rows] == stated
    assert {row["FrameOfReferenceUID"] for row in rows} == {"1.2.3"}


def test_without_an_orientation_the_slice_location_is_the_position(row_of, save, mr_dataset):
    row = row_of(save(mr_dataset(STORED, ImagePositionPatient=[5, 6, 7], SliceLocation=-3.5)))
    assert (row["position_mm"], row["orientation"], row["plane"]) == (-3.5, "", "")
    assert math.isnan(row_of(save(mr_dataset(STORED)))["position_mm"])


def test_missing_elements_have_the_documented_values(row_of, save, mr_dataset):
    row = row_of(save(mr_dataset(STORED, StudyDate=None)))
    assert (row["InstanceNumber"], row["EchoNumbers"]) == (-1, -1)
    assert (row["StudyDate"], row["Manufacturer"], row["SeriesDescription"], row["sequence_source"]) == ("",) * 4
    assert all(math.isnan(row[key]) for key in ("SliceThickness", "row_spacing_mm", "column_spacing_mm"))
    assert (row["sequence"], row["Type"]) == ("other", "other")


def test_invalid_values_do_not_exclude_the_file(row_of, tmp_path, save, mr_dataset):
    dataset = mr_dataset(STORED, SliceThickness="1.25", InstanceNumber=7, EchoNumbers=[2, 3], PixelSpacing=[0, 1])
    dataset.Manufacturer, dataset.SeriesDescription = "ACME \t", "AX T1"
    path = Path(save(dataset))
    content = path.read_bytes()
    for old, new in ((b"1.25", b"none"), (b"AX T1 ", b"T1 \xff\x01\xfe"), (b"IS\x02\x007 ", b"IS\x02\x00\xe9*")):
        assert content.count(old) == 1
        content = content.replace(old, new)
    path.write_bytes(content)
    row = row_of(path)
    assert math.isnan(row["SliceThickness"])
    assert math.isnan(row["row_spacing_mm"])
    assert (row["InstanceNumber"], row["EchoNumbers"], row["Manufacturer"]) == (-1, 2, "ACME")
    assert row["SeriesDescription"].isprintable()
    assert row["sequence"] == "T1pre"
    pa.Table.from_pylist([row], SCHEMA)


def test_integers_beyond_32_bits_are_missing(row_of, save, mr_dataset):
    row = row_of(save(mr_dataset(STORED, InstanceNumber=2**31 - 1)))
    assert row["InstanceNumber"] == 2**31 - 1
    dataset = mr_dataset(STORED)
    dataset.add_new("InstanceNumber", "LO", str(2**31))
    assert row_of(save(dataset))["InstanceNumber"] == -1


def test_btp_masks_are_kept_for_any_modality_and_other_captures_are_rejected(row_of, save, mr_dataset):
    def captured(modality, description, kind=SecondaryCaptureImageStorage):
        return save(mr_dataset(STORED, SOPClassUID=kind, Modality=modality, SeriesDescription=description))

    for path in (captured("MR", "MaskTumor"), captured("OT", "MaskTumor"), captured("SEG", "MaskTumor")):
        assert row_of(path)["sequence"] == "mask"
    words = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    assert row_of(captured("OT", "MaskTumor", words))["sequence"] == "mask"
    assert reason_of(captured("OT", "AX T1")) == "not_mr"
    assert reason_of(save(mr_dataset(STORED, SOPClassUID=CTImageStorage, Modality="CT"))) == "not_mr"


def test_localizers_are_recognised_and_kept(row_of, save, mr_dataset):
    assert row_of(save(mr_dataset(STORED, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])))["sequence"] == "localizer"


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelData": None}, "no_pixels"),
        ({"PixelData": b""}, "no_pixels"),
        ({"PixelData": None, "SOPClassUID": MRSpectroscopyStorage}, "no_pixels"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"Rows": 0}, "bad_geometry"),
        ({"Rows": None}, "bad_geometry"),
        ({"Columns": 32769}, "bad_geometry"),
        ({"Rows": 32768, "Columns": 32768}, "bad_geometry"),
        ({"BitsAllocated": 1}, "bad_geometry"),
        ({"BitsAllocated": None}, "bad_geometry"),
        ({"NumberOfFrames": -2}, "bad_geometry"),
        ({"NumberOfFrames": 10**9}, "bad_geometry"),
        ({"NumberOfFrames": 2}, "truncated_pixels"),
        ({"Rows": 7}, "truncated_pixels"),
        ({"PatientID": None}, "no_identity"),
        ({"PatientID": "  "}, "no_identity"),
    ],
)
def test_an_unusable_image_is_rejected_with_its_reason(elements, reason, save, mr_dataset):
    assert reason_of(save(mr_dataset(STORED, **elements))) == reason


def test_a_damaged_number_of_compressed_frames_is_rejected(save, mr_dataset):
    dataset = mr_dataset(STORED)
    dataset.compress(RLELossless)
    dataset.NumberOfFrames = 100_000
    assert reason_of(save(dataset)) == "truncated_pixels"


def test_missing_and_invalid_files_are_rejected_with_their_reason(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "empty").touch()
    (tmp_path / "zeros").write_bytes(bytes(10_000))
    (tmp_path / "noise").write_bytes(rng.bytes(10_000))
    (tmp_path / "preamble").write_bytes(bytes(128) + b"DICM" + bytes(5000))
    (tmp_path / "plausible").write_bytes(b"\x08\x00" + rng.bytes(10_000))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    names = ("empty", "zeros", "noise", "preamble", "plausible", "pipe", "link", ".", "a" * 300, "nul\0byte")
    reasons = [reason_of(tmp_path / name) for name in names]
    assert reasons == ["empty", "not_dicom", "not_dicom", "damaged_header", "not_dicom", *["unreadable"] * 5]


def test_the_path_gives_identity_missing_in_the_header(row_of, save, mr_dataset):
    incomplete = mr_dataset(STORED, PatientID=None, StudyDate=None)
    row = row_of(save(incomplete, "PGBM-010/06-18-1992-FH-HEADBrain Protocols-39987/5341.000000-T2reg-75889/1-01.dcm"))
    assert (row["PatientID"], row["StudyDate"], row["SeriesDescription"]) == ("PGBM-010", "1992-06-18", "T2reg")
    assert (row["sequence"], row["Type"]) == ("T2", "T2reg")


def test_the_header_takes_precedence_over_the_path(row_of, save, mr_dataset):
    complete = mr_dataset(STORED, SeriesDescription="FLAIRreg", StudyDate="20010203")
    row = row_of(save(complete, "PGBM-010/06-18-1992-FH-HEADBrain Protocols-39987/5341.000000-T2reg-75889/1-01.dcm"))
    assert (row["PatientID"], row["StudyDate"], row["SeriesDescription"]) == ("P1", "2001-02-03", "FLAIRreg")


def test_the_patient_id_is_also_kept_as_stated_in_the_header(row_of, save, mr_dataset):
    assert row_of(save(mr_dataset(STORED, PatientID="pgbm_1")))["PatientID_stated"] == "pgbm_1"


def test_generated_uids_are_shared_within_a_folder_and_differ_between_files(row_of, save, mr_dataset):
    incomplete = mr_dataset(STORED, StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)
    del incomplete.file_meta.MediaStorageSOPInstanceUID
    paths = []
    for name in ("study/a/1.dcm", "study/a/2.dcm", "study/b/1.dcm"):
        paths.append(Path(save(mr_dataset(STORED), name)))
        incomplete.save_as(paths[-1], enforce_file_format=False)
    rows = [row_of(path) for path in paths]
    first, second, other = rows
    assert first["SeriesInstanceUID"] == second["SeriesInstanceUID"] != other["SeriesInstanceUID"]
    assert len({row["StudyInstanceUID"] for row in rows}) == 1
    assert len({row["SOPInstanceUID"] for row in rows}) == 3
    assert [row["SOPInstanceUID"] for row in rows] == [row_of(path)["SOPInstanceUID"] for path in paths]
    assert all(pydicom.uid.UID(row["SOPInstanceUID"]).is_valid for row in rows)


@pytest.mark.no_cover
def test_no_patient_name_appears_in_a_row_message_or_log(tmp_path, save, enhanced_dataset, caplog):
    content, path = Path(save(enhanced_dataset())).read_bytes(), tmp_path / "damaged.dcm"
    rng, outputs = np.random.default_rng(3), []
    with caplog.at_level(logging.DEBUG):
        for _ in range(300):
            damaged = bytearray(content)
            damaged[rng.integers(128, 1500)] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                outputs.append(str(header.read_rows(str(path))))
            except DicomError as error:
                outputs.append(str(error))
    assert not [line for line in [*outputs, caplog.text] if "Zebulon" in line or "Quux" in line]
    assert not [record for record in caplog.records if record.name.startswith("pydicom")]


def deflated_file(save, dataset, name="deflated.dcm"):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return Path(save(dataset, name))


def with_data_set(path, data_set):
    """Replace the data set of a deflated file, and return its path."""
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")  # of the file meta information, after its own element
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[: 144 + length] + deflater.compress(data_set) + deflater.flush())
    return path


def test_a_small_deflated_file_that_would_exhaust_memory_is_rejected(save, mr_dataset):
    bomb = with_data_set(deflated_file(save, mr_dataset(STORED)), bytes(2**27))
    assert bomb.stat().st_size < 2**18
    tracemalloc.start()
    with pytest.raises(DicomError, match=r"undecodable: .* deflated bytes that inflate to more than 67,108,864"):
        header.read_rows(str(bomb))
    with pytest.raises(DicomError, match=r"undecodable: .* deflated bytes that inflate"):
        pixels.read_frame(str(bomb))
    assert tracemalloc.get_traced_memory()[1] < 3 * 2**26
    tracemalloc.stop()


def test_a_highly_compressible_deflated_mask_is_read(save, mr_dataset):
    mask = np.zeros((24, 512, 512), np.uint16)
    path = deflated_file(save, mr_dataset(mask, SeriesDescription="MaskTumor"))
    assert path.stat().st_size < mask.nbytes / 500
    assert len(header.read_rows(str(path))) == 24
    assert not pixels.read_frame(str(path), 23).any()


def test_a_truncated_deflated_stream_is_damaged_and_one_with_missing_pixels_is_truncated(row_of, save, mr_dataset):
    path = deflated_file(save, mr_dataset(STORED))
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    assert reason_of(path) == "damaged_header"
    inflated = zlib.decompress(content[144 + int.from_bytes(content[140:144], "little") :], -zlib.MAX_WBITS)
    assert reason_of(with_data_set(path, inflated[:-2])) == "truncated_pixels"
    assert row_of(with_data_set(path, inflated))["PatientID"] == "P1"


def test_a_long_header_is_read_like_a_short_one(row_of, save, mr_dataset):
    short, long = mr_dataset(STORED), mr_dataset(STORED)
    for number in range(3):  # before, across and after the end of the read window
        long.private_block(0x0009 + 0x10 * number, "long", create=True).add_new(1, "OB", bytes(40_000))
    long.PatientComments = "x" * 9000
    expected, row = row_of(save(short)), row_of(save(long))
    assert row.pop("pixel_offset") > expected.pop("pixel_offset") + 120_000
    assert row == pytest.approx(expected, nan_ok=True)


def test_a_file_in_an_object_store_is_read_like_one_on_disk(save, enhanced_dataset):
    path, address = save(enhanced_dataset()), "memory://bucket/patient/1.dcm"
    fs, name = storage.file_system(storage.as_path(address))
    fs.pipe_file(name, Path(path).read_bytes())
    rows = header.read_rows(address)
    assert rows == [{**row, "path": address} for row in header.read_rows(path)]
    np.testing.assert_array_equal(pixels.read_frame(address, 2), pixels.read_frame(path, 2))
    fs.pipe_file(name, b"")
    assert [reason_of(address), reason_of(f"{address}.not")] == ["empty", "unreadable"]


def test_a_file_name_that_is_not_valid_text_is_read_in_both_spellings(row_of, tmp_path, save, mr_dataset):
    incomplete = mr_dataset(STORED, SeriesInstanceUID=None)
    Path(save(incomplete)).rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.dcm"))
    as_python, as_catalogue = f"{tmp_path}/caf\udce9.dcm", f"{tmp_path}/caf\\xe9.dcm"
    assert [file.path for file in storage.walk(tmp_path)] == [as_catalogue]
    assert [row_of(path)["path"] for path in (as_python, as_catalogue)] == [as_python, as_catalogue]


def test_frames_that_the_file_does_not_contain_are_not_processed(save, mr_dataset, monkeypatch):
    path = save(mr_dataset(np.ones((4, 4), np.uint16), NumberOfFrames=2**17))
    monkeypatch.setattr(sequence, "canonical_sequence", lambda _: pytest.fail("processed"))
    with pytest.raises(DicomError, match=r"32 bytes of pixels, 4,194,304 expected") as refused:
        header.read_rows(path)
    assert refused.value.reason == "truncated_pixels"
