"""features: catalogue -> features/ (per series of the progression cohort, its slices in order, 100 float32 each)."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.dicom import pixels
from tumorprog.errors import DicomError, InputError
from tumorprog.imaging import spectral
from tumorprog.settings import SEQUENCES, Settings
from tumorprog.stages import streaming


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Computes the vector of every slice of every image series; masks and localizers are no images.

    `features/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if the catalogue holds no series of the progression cohort.
        SettingsError: if there is no such wavelet.
    """
    spectral.check_wavelet(settings.features.wavelet)
    catalogue = tables.read_shards(folder / "catalogue", tables.CATALOGUE).to_pandas()
    wanted = catalogue[(catalogue["cohort"] == "progression") & catalogue["sequence"].isin(SEQUENCES)]
    if wanted.empty:
        raise InputError(f"{folder / 'catalogue'}: no image series; give `tumorprog catalogue` a --progression DIR")
    streaming.connect(settings.cluster)
    transform = partial(_vectors, wavelet=settings.features.wavelet)
    rejected = streaming.write_shards(_plan(wanted), transform, out / "features", tables.FEATURES)
    tables.write_csv(out / "features" / "_rejected.csv", rejected, tables.QUARANTINE)
    series = wanted["SeriesInstanceUID"].nunique()
    counts = {"vectors": len(wanted) - len(rejected), "series": series, "rejected": len(rejected)}
    tables.write_json(out / "features" / tables.SUMMARY, {**counts, "wavelet": settings.features.wavelet})
    return f"{counts['vectors']:,} vectors of {series:,} series, {len(rejected):,} slices rejected"


def _plan(wanted: pd.DataFrame) -> pa.Table:
    renamed = wanted.rename(columns={"StudyDate": "date"})
    known = [tables.FEATURES.field(name) for name in tables.FEATURES.names if name != "vector"]
    schema = pa.schema([pa.field("path", pa.string()), pa.field("frame", pa.int32()), *known])
    return pa.Table.from_pandas(renamed, schema, preserve_index=False)


def _vectors(work: pa.Table, *, wavelet: str) -> tuple[pa.Table, streaming.Rejected]:
    cv2.setNumThreads(1)  # the cores are Ray's to share out
    vectors, kept, rejected = [], [], []
    for number, (path, frame) in enumerate(zip(work["path"].to_pylist(), work["frame"].to_pylist(), strict=True)):
        try:
            vectors.append(spectral.slice_vector(pixels.read_frame(path, frame), wavelet=wavelet))
            kept.append(number)
        except DicomError as error:
            rejected.append({"path": path, "reason": error.reason, "detail": error.detail})
    flat = pa.array(np.concatenate([np.empty(0, np.float32), *vectors]))
    column = pa.FixedSizeListArray.from_arrays(flat, tables.VECTOR_LENGTH)
    return work.drop_columns(["path", "frame"]).take(kept).append_column("vector", column), rejected
