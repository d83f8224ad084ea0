import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
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

COMPRESSED = [
    *(RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless),
    *(JPEGLSNearLossless, JPEG2000Lossless, JPEG2000Lossy, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
]


def write_valid_files(save, mr_dataset, enhanced_dataset, encode, compress):
    """Write valid single-frame and multi-frame files in each transfer syntax."""
    rows, columns = np.mgrid[:20, :14]
    smooth = ((np.sin(rows / 3) + np.cos(columns / 4) + 2) * 60).astype(np.uint8)
    twelve = (smooth.astype(np.uint16) << 4) + rows.astype(np.uint16) % 3
    for syntax in COMPRESSED:
        stored = smooth if syntax == JPEGBaseline8Bit else twelve
        bits = {"BitsStored": 8 if syntax == JPEGBaseline8Bit else 12}
        codestreams = [encode(frame, syntax, bits=bits["BitsStored"]) for frame in (stored, np.flipud(stored).copy())]
        save(compress(mr_dataset(stored, **bits), codestreams[:1], syntax), f"{syntax.keyword}.dcm")
        save(compress(mr_dataset(np.stack([stored] * 2), **bits), codestreams, syntax), f"{syntax.keyword}-2.dcm")
    save(mr_dataset(twelve, ImagePositionPatient=[1, 2, 3], RescaleSlope=2), "explicit.dcm")
    save(mr_dataset(np.stack([smooth] * 3)), "frames.dcm")
    save(mr_dataset(smooth.astype(np.float32)), "float.dcm")
    save(enhanced_dataset(), "enhanced.dcm")
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        dataset = enhanced_dataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        save(dataset, f"{syntax.keyword}.dcm")


@pytest.fixture
def valid_files(tmp_path, save, mr_dataset, enhanced_dataset, encode, compress):
    write_valid_files(save, mr_dataset, enhanced_dataset, encode, compress)
    return tmp_path


@pytest.mark.slow
def test_damaged_files_cause_no_crash_hang_or_memory_exhaustion(valid_files):
    """Run in a separate process, because a crash in a C decoder ends the process."""
    script = Path(__file__).with_name("fuzz.py")
    completed = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), str(valid_files), "0", "5000"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    seed = (valid_files / "seed").read_text()
    assert completed.returncode == 0, f"seed {seed}, return code {completed.returncode}\n{completed.stderr[-3000:]}"
