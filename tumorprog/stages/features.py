"""features: catalogue -> features/ (for each series of the progression cohort its slices in order, 100 float32 each).

Also writes volumes.csv: the tumour volume on each date, from the masks.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import storage, tables
from tumorprog.errors import DicomError, InputError
from tumorprog.imaging import roi, spectral
from tumorprog.report import drawing, figures
from tumorprog.settings import SEQUENCES, Settings
from tumorprog.stages import frames, queries, regions, streaming, volumes

_METADATA = [name for name in tables.FEATURES.names if name != "vector"]
WORK = pa.schema([*frames.SCHEMA, *(tables.FEATURES.field(name) for name in _METADATA)])
"""The columns of a slice that are known before its vector is computed."""

_PLAN = """
SELECT *, StudyDate AS date FROM catalogue WHERE cohort = 'progression' AND list_contains($sequences, sequence)
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""

_VECTOR = np.empty(tables.VECTOR_LENGTH, np.float32)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Compute the feature vector of every slice of every image series, and the tumour volumes from the masks.

    `features/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if the catalogue contains no image series of the progression cohort.
        SettingsError: if the wavelet does not exist.
    """
    spectral.check_wavelet(settings.features.wavelet)
    catalogue = tables.shards(folder / "catalogue")
    values = {"sequences": list(SEQUENCES)}
    work = streaming.write_work(out / "work", _PLAN, WORK, values, catalogue=catalogue)
    if not work:
        raise InputError(
            f"{folder / 'catalogue'}: contains no image series; run `tumorprog catalogue` with --progression DIR"
        )
    streaming.connect(settings.cluster)
    transform = partial(_vectors, wavelet=settings.features.wavelet, method=settings.roi.method)
    rejected = streaming.write_shards(work, transform, out / "features", tables.FEATURES, items="slices")
    sizes, masks_rejected = volumes.measure(catalogue, out / "masks")
    tables.write_csv(out / "volumes.csv", sizes, tables.VOLUMES)
    tables.write_csv(out / "features" / "_rejected.csv", pd.concat([rejected, masks_rejected]), tables.QUARANTINE)
    series = int(queries.fetch("SELECT count(DISTINCT SeriesInstanceUID) AS n FROM work", work=work)["n"][0])
    vectors = tables.read_summary(out / "work")["rows"] - len(rejected)
    counts = {"vectors": vectors, "series": series, "rejected": len(rejected)}
    options = {"wavelet": settings.features.wavelet, "roi": settings.roi.method}
    tables.write_json(out / "features" / tables.SUMMARY, {**counts, **options})
    return (
        f"{counts['vectors']:,} vectors of {series:,} series, {len(rejected):,} slices rejected; {len(sizes):,} volumes"
    )


def show(folder: Path, arguments: Sequence[str], settings: Settings, *, order: int | None = None) -> Path:
    """Draw the steps from one slice to its feature vector and save the figure in the run directory.

    Args:
        folder: the run directory, with a catalogue.
        arguments: a SeriesInstanceUID; or PatientID, date and Type.
        settings: `roi.method`, `features.wavelet`.
        order: index of the slice in its series; None for the middle slice of the first stack.

    Returns:
        The path of the figure, `features-<PatientID>-<date>-<Type>.png`.

    Raises:
        InputError: if the series or slice does not exist, or its pixels cannot be decoded.
    """
    spectral.check_wavelet(settings.features.wavelet)
    series = regions.series_named(regions.slices_of(tables.shards(folder / "catalogue")), arguments)
    first = series.iloc[0]
    try:
        example = regions.example(series, settings, order=order)
    except DicomError as error:
        raise InputError(f"{first['path']}: {error}") from error
    name = " ".join([first["PatientID"], first["StudyDate"], first["Type"]])
    path = folder / f"features-{re.sub(r'[^A-Za-z0-9._]+', '-', name)}.png"
    with storage.whole(path) as file:
        file.write(drawing.png(figures.feature_steps({**example, "title": f"{name} ({example['title']})"})))
    return path


def _vectors(work: pa.Table, *, wavelet: str, method: roi.Method) -> tuple[pa.Table, streaming.Rejected]:
    convert = partial(spectral.slice_vector, wavelet=wavelet, method=method)
    vectors, decoded, rejected = frames.decode(work, convert, like=_VECTOR)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), tables.VECTOR_LENGTH)
    return work.select(_METADATA).filter(pa.array(decoded)).append_column("vector", column), rejected
