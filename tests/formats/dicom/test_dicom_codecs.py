import io
import struct
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pydicom.uid import JPEG2000 as JPEG2000Lossy  # noqa: N811

from tumorprog.errors import DicomError
from tumorprog.formats.dicom import elements, pixels

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
RNG = np.random.default_rng(0)

LOSSLESS = [
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000Lossy,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
]
SYNTAXES = [*LOSSLESS, JPEGBaseline8Bit, JPEGExtended12Bit]
SIZED = [syntax for syntax in SYNTAXES if syntax != RLELossless]
"""Transfer syntaxes whose codestreams state a size."""


def name_of(syntax):
    return syntax.keyword


def smooth(bits, shape=(24, 17)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    top = 2**bits - 1
    return ((np.sin(rows / 5) + np.cos(columns / 7) + 2) / 4 * top).astype(np.uint8 if bits <= 8 else np.uint16)


def full_range(bits, *, signed, allocated, shape=(11, 9)):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = RNG.integers(low, high, shape, endpoint=True)
    stored[0, :2] = low, high
    return stored.astype(f"{'ui'[signed]}{allocated // 8}")


def detail_of(path, frame=0):
    with pytest.raises(DicomError) as caught:
        pixels.read_frame(path, frame)
    assert caught.value.reason == "undecodable"
    return caught.value.detail


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=name_of)
def test_lossless_compression_preserves_the_stored_values_exactly(syntax, bits, signed, save_compressed, encode):
    stored = full_range(bits, signed=signed, allocated=8 if bits == 8 else 16)
    path = save_compressed(stored, syntax, encode(stored, syntax, bits=bits), BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(pixels.read_frame(path), stored)


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_and_bit_depth_of_lossless_jpeg_is_read(predictor, bits, save_compressed, encode):
    stored = full_range(bits, signed=False, allocated=8 if bits == 8 else 16)
    path = save_compressed(
        stored,
        JPEGLossless,
        encode(stored, JPEGLossless, bits=bits, predictor=predictor),
        BitsStored=bits,
        HighBit=bits - 1,
    )
    np.testing.assert_array_equal(pixels.read_frame(path), stored)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != RLELossless], ids=name_of)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_eight_stored_bits_of_sixteen_allocated_are_read(syntax, signed, save_compressed, encode):
    stored = full_range(8, signed=signed, allocated=8)
    path = save_compressed(stored.astype(f"{'ui'[signed]}2"), syntax, encode(stored, syntax), BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(pixels.read_frame(path), stored)


@pytest.mark.parametrize(
    ("codestream_signed", "signed"), [(True, False), (False, True)], ids=["as unsigned", "as signed"]
)
def test_jpeg_2000_with_the_wrong_signedness_is_read_as_the_header_states(
    codestream_signed, signed, save_compressed, encode
):
    stored = full_range(12, signed=signed, allocated=16)
    as_encoded = (stored.astype(np.int32) & 0xFFF).astype(np.uint16)
    if codestream_signed:
        as_encoded = (as_encoded << 4).view(np.int16) >> 4
    path = save_compressed(
        stored, JPEG2000Lossless, encode(as_encoded, JPEG2000Lossless, bits=12), BitsStored=12, HighBit=11
    )
    np.testing.assert_array_equal(pixels.read_frame(path), stored)


@pytest.mark.parametrize(
    ("syntax", "bits", "tolerance", "options"),
    [
        (JPEGBaseline8Bit, 8, 3, {}),
        (JPEGExtended12Bit, 12, 40, {}),
        (JPEGLSNearLossless, 16, 3, {"level": 3}),
        (JPEG2000Lossy, 16, 400, {"level": 60, "reversible": False}),
        (HTJ2K, 16, 200, {"level": 0.001, "reversible": False}),
    ],
    ids=str,
)
def test_lossy_compression_stays_near_the_stored_values(syntax, bits, tolerance, options, save_compressed, encode):
    stored = smooth(bits)
    path = save_compressed(
        stored, syntax, encode(stored, syntax, bits=bits, **options), BitsStored=bits, HighBit=bits - 1
    )
    image = pixels.read_frame(path)
    assert 0 < np.abs(image - stored).max() <= tolerance


@pytest.mark.parametrize("syntax", SYNTAXES, ids=name_of)
def test_each_of_several_frames_is_found_even_in_fragments(syntax, save, mr_dataset, encode, compress):
    stored = np.stack([smooth(8), np.flipud(smooth(8)), np.fliplr(smooth(8))])
    frames = [encode(frame, syntax) for frame in stored]
    singly = [
        pixels.read_frame(save(compress(mr_dataset(frame), [codes], syntax)))
        for frame, codes in zip(stored, frames, strict=True)
    ]
    dataset = compress(mr_dataset(stored), frames, syntax)
    path = save(dataset, "frames.dcm")
    dataset.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=True)
    fragmented = save(dataset, "fragments.dcm")
    for frame, alone in enumerate(singly):
        np.testing.assert_allclose(alone, stored[frame], atol=8)
        np.testing.assert_array_equal(pixels.read_frame(path, frame), alone)
        np.testing.assert_array_equal(pixels.read_frame(fragmented, frame), alone)


def greyscale():
    """Yield pydicom's compressed test files with one sample per pixel that pydicom's own plug-ins decode."""
    for path in sorted(BUNDLED.glob("*.dcm")):
        with elements.quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        grey = dataset.get("SamplesPerPixel") == 1 and "delimiter" not in path.name  # its width is deliberately wrong
        if grey and syntax and syntax.is_encapsulated and syntax != JPEGExtended12Bit:  # pillow decodes only 8 bits
            plugin = "pydicom" if syntax == RLELossless else "pillow"
            if plugin in get_decoder(syntax).available_plugins:
                yield pytest.param(path, plugin, id=path.stem)


@pytest.mark.parametrize(("path", "plugin"), list(greyscale()))
def test_pydicoms_test_files_are_decoded_as_by_pydicoms_own_decoders(path, plugin):
    dataset = pydicom.dcmread(path)
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    stored, _ = decoder.as_array(dataset, index=0, raw=True, decoding_plugin=plugin)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    expected = (stored * slope + intercept).astype(np.float32)
    if "PixelPaddingValue" in dataset:
        expected[stored == dataset.PixelPaddingValue] = np.nan
    np.testing.assert_array_equal(pixels.read_frame(str(path)), expected)


def test_twelve_bit_jpeg_has_the_values_of_pydicoms_tests():
    for name in ("JPGExtended.dcm", "JPEG-lossy.dcm"):
        image = pixels.read_frame(str(BUNDLED / name))
        assert (image[420, 140], image[230, 120]) == (244, 95)  # from pydicom 3.0.1, tests/pixels/pixels_reference.py


@pytest.mark.parametrize("syntax", SIZED, ids=name_of)
def test_a_codestream_whose_size_differs_from_the_header_is_rejected(syntax, save_compressed, encode):
    stored = smooth(8)
    for other in (stored.T, stored[:-1], np.tile(stored, (2, 1)), stored.repeat(2, axis=1)):
        path = save_compressed(stored, syntax, encode(np.ascontiguousarray(other), syntax))
        rows, columns = other.shape
        assert detail_of(path).startswith(
            f"the codestream is {rows} x {columns} with 1 components, but the header states 24 x"
        )


@pytest.mark.parametrize("syntax", SIZED, ids=name_of)
def test_a_codestream_that_overstates_its_size_uses_no_memory(syntax, save_compressed, encode):
    """The codestream states the largest allowed image, but contains almost no data."""
    codestream = encode(smooth(8, (24, 17)), syntax)
    if codestream[2:4] == b"\xff\x51":
        lying = codestream.replace(struct.pack(">II", 17, 24), struct.pack(">II", 30000, 8000))
    else:
        lying = codestream.replace(struct.pack(">HH", 24, 17), struct.pack(">HH", 8000, 30000), 1)
    assert lying != codestream
    path = save_compressed(smooth(8), syntax, lying)
    assert "the codestream is 8000 x 30000" in detail_of(path)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless], ids=name_of)
def test_a_colour_codestream_with_a_greyscale_header_is_rejected(syntax, save_compressed, encode):
    colour = np.stack([smooth(8)] * 3, axis=-1)
    encoders = {
        JPEGBaseline8Bit: imagecodecs.jpeg8_encode,
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEG2000Lossless: lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k"),
        HTJ2KLossless: lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    }
    path = save_compressed(smooth(8), syntax, encoders[syntax](colour))
    assert "with 3 components" in detail_of(path)


@pytest.mark.parametrize("syntax", [s for s in SIZED if s != JPEGBaseline8Bit], ids=name_of)
def test_more_bits_than_the_header_allocates_are_rejected(syntax, save_compressed, encode):
    path = save_compressed(smooth(8), syntax, encode(smooth(12), syntax, bits=12))
    assert "bits per pixel, the header 8" in detail_of(path)


def test_an_excessive_number_of_tiles_is_rejected(save_compressed, encode):
    stored = smooth(8, (256, 256))
    codestream = bytearray(encode(stored, JPEG2000Lossless))
    codestream[24:32] = struct.pack(">II", 1, 1)
    path = save_compressed(stored, JPEG2000Lossless, bytes(codestream))
    assert detail_of(path) == "the codestream has 65,536 tiles, more than the maximum of 4,096"


def test_tiles_of_a_usual_size_are_read(save_compressed, encode):
    stored, stream = smooth(8, (64, 48)), io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG2000", no_jp2=True, irreversible=False, tile_size=(32, 32))
    tiled = {
        JPEG2000Lossless: stream.getvalue(),
        HTJ2KLossless: encode(stored, HTJ2KLossless, tile=(32, 32)),
    }
    for syntax, codestream in tiled.items():
        assert struct.unpack_from(">II", codestream, 24) == (32, 32)
        path = save_compressed(stored, syntax, codestream)
        np.testing.assert_array_equal(pixels.read_frame(path), stored)


def test_a_jp2_file_in_place_of_a_bare_codestream_is_read(save_compressed, encode):
    stored = smooth(12)
    boxed = encode(stored, JPEG2000Lossless, bits=12, codecformat="jp2")
    assert boxed[4:8] == b"jP  "
    at = boxed.index(b"jp2c")
    until_the_end = boxed[: at - 4] + bytes(4) + boxed[at:]
    for codes in (boxed, until_the_end):
        path = save_compressed(stored, JPEG2000Lossless, codes, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(pixels.read_frame(path), stored)


def test_rle_segments_of_the_wrong_length_are_rejected(save_compressed, encode):
    """`imagecodecs.dicomrle_decode` alone would shift the bytes without an error."""
    stored = smooth(16)
    sound = encode(stored, RLELossless)
    starts = struct.unpack("<3L", sound[:12])
    segments = [sound[starts[1] : starts[2]], sound[starts[2] :]]

    def frame(*parts, count=2):
        offsets = [64, 64 + len(parts[0]), 0]
        return struct.pack("<16L", count, *offsets[: len(parts)], *[0] * (15 - len(parts))) + b"".join(parts)

    def path_of(codes):
        return save_compressed(stored, RLELossless, codes)

    np.testing.assert_array_equal(pixels.read_frame(path_of(frame(*segments))), stored)
    longer = frame(segments[0] + b"\0\0", segments[1])  # non-standard padding that some writers add
    np.testing.assert_array_equal(pixels.read_frame(path_of(longer)), stored)
    assert "contains" in detail_of(path_of(frame(segments[0], b"\x81\x00")))
    assert "contains" in detail_of(path_of(frame(b"\x81\x00", segments[1])))
    assert "3 RLE segments" in detail_of(path_of(frame(*segments, count=3)))
    assert "impossible bounds" in detail_of(path_of(frame(segments[0] + b"\x81\0" * 10**5, segments[1])))
    assert "damaged" in detail_of(path_of(frame(segments[0] + b"\x81", segments[1])))
    assert detail_of(path_of(sound[:40]))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=name_of)
def test_data_that_is_not_a_codestream_is_rejected(syntax, save_compressed, encode):
    sound = encode(smooth(8), syntax)
    for codes in (b"\0\0", b"\xff\xd8\xff\xff", sound[:20], sound[:45], bytes(100), sound[::-1]):
        assert detail_of(save_compressed(smooth(8), syntax, codes + b"\0" * (len(codes) % 2)))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=name_of)
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_codestream_that_ends_early_is_rejected(syntax, kept, save_compressed, encode):
    """libjpeg-turbo would fill the rest with the last values."""
    stored = smooth(8, (64, 64))
    codestream = encode(stored, syntax)
    assert detail_of(save_compressed(stored, syntax, codestream[: int(kept * len(codestream))]))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLSNearLossless], ids=name_of)
def test_jpeg_ls_without_an_end_is_rejected_immediately(syntax, save_compressed, encode):
    """CharLS 2.4.3 alone loops over 2**32 missing bits for seven seconds."""
    stored = full_range(16, signed=False, allocated=16)
    codestream = encode(stored, syntax)
    path = save_compressed(stored, syntax, codestream[:100] + bytes(2))
    before = time.process_time()
    assert detail_of(path) == "the decoder failed (JpeglsError)"
    assert time.process_time() - before < 1


def test_a_transfer_syntax_without_a_decoder_is_named_in_the_error(save_compressed, encode):
    path = Path(save_compressed(smooth(8), JPEGBaseline8Bit, encode(smooth(8), JPEGBaseline8Bit)))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.53", 1))
    assert "no decoder is available for JPEG" in detail_of(str(path))
