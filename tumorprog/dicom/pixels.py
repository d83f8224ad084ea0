"""A DICOM file and the number of a frame in, the frame in the modality's units out."""

import math
from typing import Any, BinaryIO

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from tumorprog.dicom import elements, header
from tumorprog.errors import DicomError

_KEYWORDS = (
    *header.IMAGE_KEYWORDS,
    *elements.GROUP_KEYWORDS,
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RescaleSlope",
    "RescaleIntercept",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


def read_frame(path: str, frame: int = 0) -> np.ndarray:
    """One frame of a file; no other frame is decoded.

    Rescaled by RescaleSlope and RescaleIntercept (a frame's own in an enhanced object; 1 and 0 if missing, and 1 for a
    slope of 0, which would leave nothing). A MONOCHROME1 frame is turned over within its own range, so that large is
    bright in every frame. What is not finite becomes 0: maps of perfusion hold NaN where they are undefined, outside
    the brain.

    Args:
        path: of a file that `header.read_rows` accepts.
        frame: 0-based.

    Returns:
        (Rows, Columns) float32, finite.

    Raises:
        DicomError: `undecodable`, and whatever `header.read_rows` gives as a reason.
    """
    with elements.quiet_pydicom(), header.open_file(path) as file:
        head = header.read_header(file, _KEYWORDS)
        shape = header.image_shape(head)
        if not 0 <= frame < shape.frames:
            raise DicomError("undecodable", f"no frame {frame}: the file has {shape.frames}, counted from 0")
        try:
            stored = _decode(file, head, frame, bits=shape.bits)
        except elements.DAMAGE as error:
            raise header.damaged(error, "undecodable", "the frame") from None
        image = _rescaled(stored, head.dataset, frame)
        inverted = elements.text(head.dataset, "PhotometricInterpretation") == "MONOCHROME1"
    if inverted:  # in float64, because the sum can be too large where no pixel is
        return (float(image.max()) + float(image.min()) - image.astype(float)).astype(np.float32)
    return image


def _decode(file: BinaryIO, head: header.Header, frame: int, *, bits: int) -> np.ndarray:
    """The stored values of a frame."""
    syntax = UID(head.transfer_syntax)
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise DicomError("undecodable", f"no decoder of {syntax.name} is installed; pydicom's manual lists them")
    if head.pixel_start < 0:  # deflated: nothing in it can be found without inflating all
        file.seek(0)
        source, options = dcmread(file, force=True), {}
    else:
        file.seek(head.pixel_start)
        source, options = file, _options(head, bits)
    decoded, _ = decoder.as_array(source, index=frame, raw=True, **options)
    return decoded


def _options(head: header.Header, bits: int) -> dict[str, Any]:
    """What pydicom must know of the pixels; files older than DICOM do not state all of it."""
    usual = {
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": 0,
        "bits_stored": bits,
    }
    stated = {name: found for name, found in as_pixel_options(head.dataset).items() if found is not None}
    vr = {"pixel_vr": head.pixel_vr} if head.pixel_vr else {}
    return {**usual, **stated, **vr, "pixel_keyword": head.pixel_keyword, "bits_allocated": bits, "view_only": True}


def _rescaled(stored: np.ndarray, dataset: Dataset, frame: int) -> np.ndarray:
    groups = elements.frame_groups(dataset, frame)
    slope = elements.frame_number(dataset, groups, "RescaleSlope")
    intercept = elements.frame_number(dataset, groups, "RescaleIntercept")
    # float32 holds every 16-bit number; what is larger must be rounded once only
    image = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if slope not in {0.0, 1.0} and not math.isnan(slope):
            np.multiply(image, slope, out=image)
        if intercept and not math.isnan(intercept):
            np.add(image, intercept, out=image)
        image = image.astype(np.float32, copy=False)
    finite = np.isfinite(image)
    if not finite.all():
        image[~finite] = 0
    return image
