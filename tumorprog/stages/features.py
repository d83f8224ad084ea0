"""features: catalogue -> features/ (per series of the progression cohort, its slices in order, 100 float32 each).

And volumes.csv: the tumour on each date, from the masks.
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

_KNOWN = [name for name in tables.FEATURES.names if name != "vector"]
WORK = pa.schema([*frames.SCHEMA, *(tables.FEATURES.field(name) for name in _KNOWN)])
"""What is known of a slice before its vector is computed."""

_PLAN = """
SELECT *, StudyDate AS date FROM catalogue WHERE cohort = 'progression' AND list_contains($sequences, sequence)
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""

_VECTOR = np.empty(tables.VECTOR_LENGTH, np.float32)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Computes the vector of every slice of every image series, and from the masks the volume of each tumour.

    `features/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if the catalogue holds no series of the progression cohort.
        SettingsError: if there is no such wavelet.
    """
    spectral.check_wavelet(settings.features.wavelet)
    catalogue = tables.shards(folder / "catalogue")
    chosen = {"sequences": list(SEQUENCES)}
    work = streaming.write_work(out / "work", _PLAN, WORK, chosen, catalogue=catalogue)
    if not work:
        raise InputError(f"{folder / 'catalogue'}: no image series; give `tumorprog catalogue` a --progression DIR")
    streaming.connect(settings.cluster)
    transform = partial(_vectors, wavelet=settings.features.wavelet, method=settings.roi.method)
    rejected = streaming.write_shards(work, transform, out / "features", tables.FEATURES, items="slices")
    sizes, masks_rejected = volumes.measure(catalogue, out / "masks")
    tables.write_csv(out / "volumes.csv", sizes, tables.VOLUMES)
    tables.write_csv(out / "features" / "_rejected.csv", pd.concat([rejected, masks_rejected]), tables.QUARANTINE)
    series = int(queries.ask("SELECT count(DISTINCT SeriesInstanceUID) AS n FROM work", work=work)["n"][0])
    vectors = tables.read_summary(out / "work")["rows"] - len(rejected)
    counts = {"vectors": vectors, "series": series, "rejected": len(rejected)}
    made_with = {"wavelet": settings.features.wavelet, "roi": settings.roi.method}
    tables.write_json(out / "features" / tables.SUMMARY, {**counts, **made_with})
    return (
        f"{counts['vectors']:,} vectors of {series:,} series, {len(rejected):,} slices rejected; {len(sizes):,} volumes"
    )


def show(folder: Path, words: Sequence[str], settings: Settings, *, order: int | None = None) -> Path:
    """Draws what the vector of one slice is made of, into the run directory.

    Args:
        folder: the run directory, with a catalogue.
        words: a SeriesInstanceUID; or PatientID, date and Type.
        settings: `roi.method`, `features.wavelet`.
        order: of the slice in its series; None is the middle one of its first stack.

    Returns:
        The picture, `features-<PatientID>-<date>-<Type>.png`.

    Raises:
        InputError: if there is no such series or slice, or its pixels cannot be decoded.
    """
    spectral.check_wavelet(settings.features.wavelet)
    series = regions.series_named(regions.slices_of(tables.shards(folder / "catalogue")), words)
    first = series.iloc[0]
    try:
        drawn = regions.example(series, settings, order=order)
    except DicomError as error:
        raise InputError(f"{first['path']}: {error}") from error
    name = " ".join([first["PatientID"], first["StudyDate"], first["Type"]])
    path = folder / f"features-{re.sub(r'[^A-Za-z0-9._]+', '-', name)}.png"
    with storage.whole(path) as file:
        file.write(drawing.png(figures.feature_steps({**drawn, "title": f"{name} ({drawn['title']})"})))
    return path


def _vectors(work: pa.Table, *, wavelet: str, method: roi.Method) -> tuple[pa.Table, streaming.Rejected]:
    make = partial(spectral.slice_vector, wavelet=wavelet, method=method)
    vectors, decoded, rejected = frames.decode(work, make, like=_VECTOR)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), tables.VECTOR_LENGTH)
    return work.select(_KNOWN).filter(pa.array(decoded)).append_column("vector", column), rejected
