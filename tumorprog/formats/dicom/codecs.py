"""Decoding of compressed frames to stored values: pydicom's decoders with imagecodecs as the plug-in.

The C libraries behind imagecodecs trust the size stated in a codestream. It is compared with the header's before any of
them reads the codestream, so that a damaged or malicious one can neither exhaust memory nor fill an image with other
data. Other checks that these libraries omit are also made here.
"""

import functools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder, DecodeRunner

from tumorprog.errors import DicomError

_LABEL = "tumorprog"

_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_MAX_TILES = 4096
"""OpenJPEG allocates some 6 KB for each tile that a codestream states, whether or not the tile is present."""

_JPEG_FRAMES = {0xC0, 0xC1, 0xC3}
"""Markers of the JPEG frame types that DICOM allows, all Huffman-coded: baseline, extended sequential, lossless."""
_JPEG_LS_FRAMES = {0xF7}
_END_OF_IMAGE, _MAX_PADDING_BYTES = b"\xff\xd9", 64
_ALL_FRAMES = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | _JPEG_LS_FRAMES


@dataclass(frozen=True)
class _CodestreamSize:
    """Size and depth stated in a codestream."""

    rows: int
    columns: int
    components: int
    precision: int
    tiles: int = 1


def decode(source: BinaryIO, syntax: uid.UID, frame: int, options: Mapping[str, Any]) -> np.ndarray:
    """Decode one frame of encapsulated pixel data.

    Args:
        source: positioned at the start of the pixel data's value.
        syntax: transfer syntax of the pixel data.
        frame: 0-based; no other frame is decoded.
        options: of pydicom's decoders, for one sample per pixel.

    Returns:
        (Rows, Columns) of the integer type that the options specify, with the correct signs.

    Raises:
        DicomError: `undecodable`.
        elements.DAMAGE: raised by pydicom for fragments that it cannot read.
    """
    if not is_available(syntax):
        raise DicomError("undecodable", f"no decoder is available for {syntax.name}")
    refusals: list[DicomError] = []
    try:
        decoded, _ = _decoder(syntax).as_array(
            source, index=frame, raw=True, decoding_plugin=_LABEL, tumorprog_refusals=refusals, **options
        )
    except RuntimeError:
        if refusals:
            raise refusals[0] from None
        raise
    return decoded


@functools.cache
def _decoder(syntax: uid.UID) -> Decoder:
    """Return pydicom's decoder for a transfer syntax, with the plug-in of this module."""
    decoder = get_decoder(syntax)
    decoder.add_plugin(_LABEL, (__name__, "decode_frame"))
    return decoder


def is_available(syntax: str) -> bool:
    """Return whether frames of a transfer syntax can be decoded; part of pydicom's plug-in interface."""
    return syntax == uid.RLELossless or syntax in _DECODERS


def decode_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame to its stored values, little endian, row by row; part of pydicom's plug-in interface.

    Args:
        stream: the encoded frame, its fragments joined.
        runner: pydicom's description of the pixel data. `bits_allocated` is set to that of the result, as the interface
            requires; `tumorprog_refusals` receives the reason of a failure, which pydicom would convert to text.

    Raises:
        DicomError: `undecodable`.
    """
    try:
        return _decode_frame(stream, runner)
    except DicomError as error:
        runner.get_option("tumorprog_refusals", []).append(error)
        raise
    except MemoryError as error:
        refusal = DicomError("undecodable", "not enough memory for the frame")
        runner.get_option("tumorprog_refusals", []).append(refusal)
        raise refusal from error


def _decode_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    if runner.transfer_syntax == uid.RLELossless:
        return _decode_rle(stream, runner)
    parse, decode_stream = _DECODERS[runner.transfer_syntax]
    codestream, stated = parse(stream)
    _check_stated_size(stated, runner)
    try:
        decoded = decode_stream(codestream)
    except (RuntimeError, ValueError) as error:  # the decoder's message may quote the file, so only its type is kept
        raise _undecodable(f"the decoder failed ({type(error).__name__})") from None
    expected = (runner.rows, runner.columns)
    if decoded.shape != expected or decoded.dtype.kind not in "iu" or 8 * decoded.itemsize > runner.bits_allocated:
        raise _undecodable(f"decoded to {decoded.shape} {decoded.dtype}, but the header states {expected}")
    runner.set_option("bits_allocated", 8 * decoded.itemsize)
    return decoded.tobytes()


def _undecodable(detail: str) -> DicomError:
    return DicomError("undecodable", detail)


def _check_stated_size(stated: _CodestreamSize, runner: DecodeRunner) -> None:
    size = (stated.rows, stated.columns, stated.components)
    if size != (runner.rows, runner.columns, 1):
        raise _undecodable(
            f"the codestream is {size[0]} x {size[1]} with {size[2]} components, but the header states "
            f"{runner.rows} x {runner.columns} with 1"
        )
    if stated.tiles > _MAX_TILES:
        raise _undecodable(f"the codestream has {stated.tiles:,} tiles, more than the maximum of {_MAX_TILES:,}")
    if not 1 <= stated.precision <= runner.bits_allocated:
        raise _undecodable(f"the codestream has {stated.precision} bits per pixel, the header {runner.bits_allocated}")


def _decode_rle(stream: bytes, runner: DecodeRunner) -> bytes:
    """Decode RLE: one run-length coded segment per byte of the pixels, the most significant first (PS3.5 annex G).

    `imagecodecs.dicomrle_decode` does not report segments that are too short, so each segment is decoded separately.
    """
    header = np.frombuffer(stream[:64].ljust(64, b"\0"), "<u4").tolist()
    count, starts = runner.bits_allocated // 8, header[1:]
    if header[0] != count:
        raise _undecodable(f"{header[0]} RLE segments, {count} expected")
    ends = [*starts[1:count], len(stream)]
    pixels = runner.rows * runner.columns
    planes = np.empty((pixels, count), np.uint8)
    for index, (start, end) in enumerate(zip(starts, ends, strict=False)):
        # two bytes can expand to 128, so a segment longer than any valid one could exhaust memory
        if not 64 <= start <= end <= len(stream) or end - start > 2 * pixels + 64:
            raise _undecodable("an RLE segment has impossible bounds")
        try:
            plane = imagecodecs.packbits_decode(stream[start:end])
        except (RuntimeError, ValueError) as error:
            raise _undecodable(f"an RLE segment is damaged ({type(error).__name__})") from None
        if len(plane) < pixels:
            raise _undecodable(f"an RLE segment contains {len(plane):,} of {pixels:,} bytes")
        planes[:, count - 1 - index] = np.frombuffer(plane, np.uint8, pixels)
    return planes.tobytes()


def _jpeg(stream: bytes, frames: set[int]) -> tuple[bytes, _CodestreamSize]:
    """Return a JPEG or JPEG-LS codestream, and the size in its frame header (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    if stream[:2] != b"\xff\xd8":
        raise _undecodable("not a JPEG codestream")
    at = 2
    while at + 4 <= len(stream):
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at] != 0xFF or length < 2:
            break
        if marker == 0xFF:  # any number of fill bytes may precede a marker
            at += 1
            continue
        if marker in _ALL_FRAMES:
            if marker not in frames or length < 8 or at + 10 > len(stream):
                break
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            return stream, _CodestreamSize(rows, columns, components, precision)
        at += 2 + length
    raise _undecodable("no JPEG frame header that the transfer syntax allows")


def _jpeg2000(stream: bytes) -> tuple[bytes, _CodestreamSize]:
    """Return a bare JPEG 2000 codestream, and the size in its SIZ marker segment (ITU-T T.800 A.5.1)."""
    stream = _unboxed(stream)
    if stream[:4] != b"\xff\x4f\xff\x51" or len(stream) < 43:
        raise _undecodable("not a JPEG 2000 codestream")
    right, lower, left, upper, tile_width, tile_height, tile_left, tile_upper, components, depth, across, down = (
        struct.unpack_from(">8I H 3B", stream, 8)
    )
    inside = tile_left <= left < tile_left + tile_width and tile_upper <= upper < tile_upper + tile_height
    if not inside or (across, down) != (1, 1):
        raise _undecodable("a JPEG 2000 codestream with impossible tiles or subsampling")
    tiles = -((tile_left - right) // tile_width) * -((tile_upper - lower) // tile_height)
    return stream, _CodestreamSize(lower - upper, right - left, components, (depth & 0x7F) + 1, tiles)


def _unboxed(stream: bytes) -> bytes:
    """Return the codestream in a JP2 file, which some writers store despite the standard; other streams unchanged."""
    at = 0
    if not stream.startswith(_JP2_SIGNATURE):
        return stream
    while at + 8 <= len(stream):
        length, kind = int.from_bytes(stream[at : at + 4], "big"), stream[at + 4 : at + 8]
        header = 8
        if length == 1:
            length, header = int.from_bytes(stream[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return stream[at + header : at + length if length else None]
        if length < header:
            break
        at += length
    return b""


def _decode_jpeg(stream: bytes) -> np.ndarray:
    """Decode a complete codestream with libjpeg-turbo, which would invent the rest of one that ends early."""
    if _END_OF_IMAGE not in stream[-_MAX_PADDING_BYTES:]:
        raise _undecodable("the codestream ends early")
    return imagecodecs.jpeg8_decode(stream)


def _decode_jpeg_ls(stream: bytes) -> np.ndarray:
    """Decode with CharLS, with an end marker appended: without one CharLS may loop over 2**32 missing bits."""
    return imagecodecs.jpegls_decode(stream + _END_OF_IMAGE)


_JPEG_2000_SYNTAXES = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_Parse = Callable[[bytes], tuple[bytes, _CodestreamSize]]
_jpeg_dct_or_lossless: _Parse = functools.partial(_jpeg, frames=_JPEG_FRAMES)
_jpeg_ls: _Parse = functools.partial(_jpeg, frames=_JPEG_LS_FRAMES)

_DECODERS: dict[str, tuple[_Parse, Callable[[bytes], np.ndarray]]] = {
    **dict.fromkeys(uid.JPEGTransferSyntaxes, (_jpeg_dct_or_lossless, _decode_jpeg)),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, (_jpeg_ls, _decode_jpeg_ls)),
    # OpenJPEG for HTJ2K too: OpenJPH, behind imagecodecs.htj2k_decode, crashes on damaged codestreams
    **dict.fromkeys(_JPEG_2000_SYNTAXES, (_jpeg2000, imagecodecs.jpeg2k_decode)),
}
"""By transfer syntax: the function that reads the size stated in a codestream, and its decoder."""
