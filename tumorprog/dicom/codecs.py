"""A compressed frame in, its stored values out: pydicom's decoders, with imagecodecs to do the work.

The C libraries behind imagecodecs believe the size that a codestream states of itself. It is compared with the
header's before any of them sees it, so that a damaged or lying one neither exhausts memory nor fills an image with
something else. What they do not check themselves is checked here too.
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
_MOST_TILES = 4096
"""OpenJPEG keeps some 6 KB for each tile that a codestream states, whether it comes or not."""

_JPEG_FRAMES = {0xC0, 0xC1, 0xC3}
"""Baseline, extended sequential, lossless: the frames of JPEG that DICOM knows, all with Huffman codes."""
_JPEG_LS_FRAMES = {0xF7}
_END_OF_IMAGE, _MOST_PADDING = b"\xff\xd9", 64
_ALL_FRAMES = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | _JPEG_LS_FRAMES


@dataclass(frozen=True)
class _Stated:
    """What a codestream says of itself."""

    rows: int
    columns: int
    components: int
    precision: int
    tiles: int = 1


def decode(source: BinaryIO, syntax: uid.UID, frame: int, options: Mapping[str, Any]) -> np.ndarray:
    """One frame of encapsulated pixels.

    Args:
        source: stands at the start of the pixels' value.
        syntax: its transfer syntax.
        frame: 0-based; no other is decoded.
        options: of pydicom's decoders, for one sample a pixel.

    Returns:
        (Rows, Columns) of the integer type that the options name, with the signs as they should be.

    Raises:
        DicomError: `undecodable`.
        elements.DAMAGE: whatever pydicom makes of fragments that it cannot read.
    """
    if not is_available(syntax):
        raise DicomError("undecodable", f"there is no decoder of {syntax.name}")
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
    """The decoder that pydicom has for a transfer syntax, with our plug-in."""
    decoder = get_decoder(syntax)
    decoder.add_plugin(_LABEL, (__name__, "decode_frame"))
    return decoder


def is_available(syntax: str) -> bool:
    """Whether frames of a transfer syntax can be decoded; pydicom asks a plug-in so."""
    return syntax == uid.RLELossless or syntax in _HOW


def decode_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    """The stored values of one encoded frame, little endian, row by row; pydicom calls a plug-in so.

    Args:
        stream: the frame, its fragments joined.
        runner: what pydicom knows of the pixels. `bits_allocated` becomes that of the result, as the interface asks;
            `tumorprog_refusals` receives the reason of a failure, which pydicom would turn into text.

    Raises:
        DicomError: `undecodable`.
    """
    try:
        return _decode_frame(stream, runner)
    except DicomError as error:
        runner.get_option("tumorprog_refusals", []).append(error)
        raise
    except MemoryError as error:
        refused = DicomError("undecodable", "not enough memory for the frame")
        runner.get_option("tumorprog_refusals", []).append(refused)
        raise refused from error


def _decode_frame(stream: bytes, runner: DecodeRunner) -> bytes:
    if runner.transfer_syntax == uid.RLELossless:
        return _decode_rle(stream, runner)
    parse, decode_stream = _HOW[runner.transfer_syntax]
    codestream, stated = parse(stream)
    _refuse_lie(stated, runner)
    try:
        decoded = decode_stream(codestream)
    except (RuntimeError, ValueError) as error:  # of the decoder: what it says may quote what stands in the file
        raise _undecodable(f"the decoder gave up ({type(error).__name__})") from None
    expected = (runner.rows, runner.columns)
    if decoded.shape != expected or decoded.dtype.kind not in "iu" or 8 * decoded.itemsize > runner.bits_allocated:
        raise _undecodable(f"decoded to {decoded.shape} {decoded.dtype}, the header says {expected}")
    runner.set_option("bits_allocated", 8 * decoded.itemsize)
    return decoded.tobytes()


def _undecodable(detail: str) -> DicomError:
    return DicomError("undecodable", detail)


def _refuse_lie(stated: _Stated, runner: DecodeRunner) -> None:
    told = (stated.rows, stated.columns, stated.components)
    if told != (runner.rows, runner.columns, 1):
        raise _undecodable(
            f"the codestream is {told[0]} x {told[1]} of {told[2]} components, the header says "
            f"{runner.rows} x {runner.columns} of 1"
        )
    if stated.tiles > _MOST_TILES:
        raise _undecodable(f"the codestream has {stated.tiles:,} tiles, {_MOST_TILES:,} at most expected")
    if not 1 <= stated.precision <= runner.bits_allocated:
        raise _undecodable(f"the codestream has {stated.precision} bits a pixel, the header {runner.bits_allocated}")


def _decode_rle(stream: bytes, runner: DecodeRunner) -> bytes:
    """Bytes of equal significance, the highest first, each kind run-length coded by itself (PS3.5 annex G).

    `imagecodecs.dicomrle_decode` says nothing of segments that are too short, so that each is decoded by itself.
    """
    header = np.frombuffer(stream[:64].ljust(64, b"\0"), "<u4").tolist()
    count, starts = runner.bits_allocated // 8, header[1:]
    if header[0] != count:
        raise _undecodable(f"{header[0]} segments of run-length codes, {count} expected")
    ends = [*starts[1:count], len(stream)]
    pixels = runner.rows * runner.columns
    planes = np.empty((pixels, count), np.uint8)
    for place, (start, end) in enumerate(zip(starts, ends, strict=False)):
        # a run of two bytes can become 128: what is longer than any sound segment could fill the memory
        if not 64 <= start <= end <= len(stream) or end - start > 2 * pixels + 64:
            raise _undecodable("a segment of run-length codes that cannot be one")
        try:
            plane = imagecodecs.packbits_decode(stream[start:end])
        except (RuntimeError, ValueError) as error:
            raise _undecodable(f"a segment of run-length codes is damaged ({type(error).__name__})") from None
        if len(plane) < pixels:
            raise _undecodable(f"a segment of run-length codes holds {len(plane):,} of {pixels:,} bytes")
        planes[:, count - 1 - place] = np.frombuffer(plane, np.uint8, pixels)
    return planes.tobytes()


def _jpeg(stream: bytes, frames: set[int]) -> tuple[bytes, _Stated]:
    """A codestream of JPEG or JPEG-LS, and what its frame header says (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    if stream[:2] != b"\xff\xd8":
        raise _undecodable("no codestream of JPEG")
    at = 2
    while at + 4 <= len(stream):
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at] != 0xFF or length < 2:
            break
        if marker == 0xFF:  # any number of these may stand before a marker
            at += 1
            continue
        if marker in _ALL_FRAMES:
            if marker not in frames or length < 8 or at + 10 > len(stream):
                break
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            return stream, _Stated(rows, columns, components, precision)
        at += 2 + length
    raise _undecodable("no frame header of JPEG that its transfer syntax allows")


def _jpeg2000(stream: bytes) -> tuple[bytes, _Stated]:
    """A codestream of JPEG 2000, without a file around it, and what its marker SIZ says (ITU-T T.800 A.5.1)."""
    stream = _unboxed(stream)
    if stream[:4] != b"\xff\x4f\xff\x51" or len(stream) < 43:
        raise _undecodable("no codestream of JPEG 2000")
    right, lower, left, upper, tile_width, tile_height, tile_left, tile_upper, components, depth, across, down = (
        struct.unpack_from(">8I H 3B", stream, 8)
    )
    inside = tile_left <= left < tile_left + tile_width and tile_upper <= upper < tile_upper + tile_height
    if not inside or (across, down) != (1, 1):
        raise _undecodable("a codestream of JPEG 2000 with impossible tiles, or subsampled")
    tiles = -((tile_left - right) // tile_width) * -((tile_upper - lower) // tile_height)
    return stream, _Stated(lower - upper, right - left, components, (depth & 0x7F) + 1, tiles)


def _unboxed(stream: bytes) -> bytes:
    """The codestream in a JP2 file, which some write where DICOM wants it bare; others as they are."""
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
    """What libjpeg-turbo makes of a codestream that is whole: of one that ends early it would make up the rest."""
    if _END_OF_IMAGE not in stream[-_MOST_PADDING:]:
        raise _undecodable("the codestream ends early")
    return imagecodecs.jpeg8_decode(stream)


def _decode_jpeg_ls(stream: bytes) -> np.ndarray:
    """What CharLS makes of a codestream that surely ends: without a last marker it may count to 2**32 first."""
    return imagecodecs.jpegls_decode(stream + _END_OF_IMAGE)


_JPEG_2000_SYNTAXES = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_Parse = Callable[[bytes], tuple[bytes, _Stated]]
_jpeg_dct_or_lossless: _Parse = functools.partial(_jpeg, frames=_JPEG_FRAMES)
_jpeg_ls: _Parse = functools.partial(_jpeg, frames=_JPEG_LS_FRAMES)

_HOW: dict[str, tuple[_Parse, Callable[[bytes], np.ndarray]]] = {
    **dict.fromkeys(uid.JPEGTransferSyntaxes, (_jpeg_dct_or_lossless, _decode_jpeg)),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, (_jpeg_ls, _decode_jpeg_ls)),
    # OpenJPEG for the high-throughput ones too: OpenJPH, behind imagecodecs.htj2k_decode, crashes on damaged ones
    **dict.fromkeys(_JPEG_2000_SYNTAXES, (_jpeg2000, imagecodecs.jpeg2k_decode)),
}
"""By transfer syntax: what reads the size that a codestream states, and what decodes it."""
