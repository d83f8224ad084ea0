"""A DICOM file and the number of a frame in, the frame in the modality's units out."""

from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from tumorprog.dicom import header
from tumorprog.errors import DicomError

_KEYWORDS = (
    *header.IMAGE_KEYWORDS,
    *header.GROUP_KEYWORDS,
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
    with header.quiet_pydicom(), header.open_file(path) as file:
        head = header.read_header(file, _KEYWORDS)
        num_frames = header.num_frames(head)
        if not 0 <= frame < num_frames:
            raise DicomError("undecodable", f"no frame {frame}: the file has {num_frames}, counted from 0")
        try:
            stored = _decode(file, head, frame)
        except header.DAMAGE as error:
            raise header.damaged(error, "undecodable", "the pixels") from None
        except RuntimeError as error:
            raise _undecodable(error, head) from None
        image = _rescaled(stored, head.dataset, frame)
    if header.text(head.dataset, "PhotometricInterpretation") == "MONOCHROME1":
        image = image.max() + image.min() - image
    return image
