"""features: regions -> features/ (for each series of the progression cohort its slices in order, 100 float32 each)."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorprog import queries, storage, tables
from tumorprog.distributed import session, shards
from tumorprog.encoders import spectral
from tumorprog.encoders.columns import FEATURES, VECTOR_LENGTH
from tumorprog.errors import DicomError, InputError
from tumorprog.formats import frames
from tumorprog.formats.columns import QUARANTINE, Rejected
from tumorprog.imaging import intensity
from tumorprog.regions.packing import region_of
from tumorprog.report import drawing
from tumorprog.report.regions import examples as feature_examples
from tumorprog.report.regions import figures as regions_figures
from tumorprog.settings import Settings

_METADATA = [name for name in FEATURES.names if name not in {"region", "vector"}]
_COUNTS = """
SELECT count(*) AS slices, count(DISTINCT SeriesInstanceUID) AS series FROM regions WHERE cohort = 'progression'
"""
_VECTOR = np.empty(VECTOR_LENGTH, np.float32)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Compute the feature vector of every slice of every image series within its region of interest.

    `features/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if there are no regions of the progression cohort.
        SettingsError: if the wavelet does not exist.
    """
    options = spectral.options(settings.features)
    work = tables.shards(folder / "regions")
    slices, series = map(int, queries.fetch(_COUNTS, regions=work).to_numpy()[0])
    if not slices:
        raise InputError(
            f"{folder / 'regions'}: contains no image series; run `tumorprog catalogue` with --progression DIR"
        )
    session.connect(settings.cluster)
    rejected = shards.write_shards(work, partial(vectors, **options), out / "features", FEATURES, items="slices")
    tables.write_csv(out / "features" / "_rejected.csv", rejected, QUARANTINE)
    counts = {"vectors": slices - len(rejected), "series": series, "rejected": len(rejected)}
    roi = tables.read_summary(folder / "regions")["roi"]
    tables.write_json(out / "features" / tables.SUMMARY, {**counts, **options, "roi": roi})
    return f"{counts['vectors']:,} vectors of {series:,} series, {len(rejected):,} slices rejected"


def show(folder: Path, arguments: Sequence[str], settings: Settings, *, order: int | None = None) -> Path:
    """Draw the steps from one slice to its feature vector and save the figure in the run directory.

    Args:
        folder: the run directory, with a catalogue and regions.
        arguments: a SeriesInstanceUID; or PatientID, date and Type.
        settings: `features.wavelet`.
        order: index of the slice in its series; None for the middle slice of the first stack.

    Returns:
        The path of the figure, `features-<PatientID>-<date>-<Type>.png`.

    Raises:
        InputError: if the series or slice does not exist, has no region, or its pixels cannot be decoded.
    """
    options = spectral.options(settings.features)
    regions = tables.shards(folder / "regions")
    series = feature_examples.select_series(feature_examples.slices_of(tables.shards(folder / "catalogue")), arguments)
    first = series.iloc[0]
    try:
        example = feature_examples.example(series, regions, options, order=order)
    except DicomError as error:
        raise InputError(f"{first['path']}: {error}") from error
    name = " ".join([first["PatientID"], first["StudyDate"], first["Type"]])
    path = folder / f"features-{re.sub(r'[^A-Za-z0-9._]+', '-', name)}.png"
    with storage.atomic_write(path) as file:
        shown = f"{name}, --slice {example['order']} ({example['title']})"
        file.write(drawing.png(regions_figures.feature_steps({**example, "title": shown})))
    return path


def vectors(regions: pa.Table, *, wavelet: str) -> tuple[pa.Table, Rejected]:
    """Compute the feature vectors of slices.

    Args:
        regions: rows of `regions.columns.REGIONS`; those of the grading cohort are skipped.
        wavelet: a discrete wavelet of PyWavelets.

    Returns:
        Rows of `FEATURES`, and the slices that could not be decoded.
    """
    work = regions.filter(pc.equal(regions["cohort"], "progression"))
    convert = partial(_vector, wavelet=wavelet)
    computed, decoded, rejected = frames.decode(work, convert, like=_VECTOR, given=("method", "region"))
    kept = work.filter(pa.array(decoded))
    column = pa.FixedSizeListArray.from_arrays(pa.array(computed.ravel()), VECTOR_LENGTH)
    return kept.select(_METADATA).append_column("region", kept["method"]).append_column("vector", column), rejected


def _vector(image: np.ndarray, method: str, bits: bytes | None, *, wavelet: str) -> np.ndarray:
    scaled = intensity.prepare(image)
    return spectral.encode(scaled, region_of(scaled, method, bits), wavelet=wavelet)
