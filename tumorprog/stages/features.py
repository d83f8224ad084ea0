"""features: catalogue -> features/ (for each series of the progression cohort its slices in order, 100 float32 each).

Also writes volumes.csv: the tumour volume on each date, from the masks.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import queries, storage, tables
from tumorprog.cohort.columns import VOLUMES
from tumorprog.conventions import SEQUENCES
from tumorprog.distributed import session, shards
from tumorprog.distributed.volumes import measure
from tumorprog.encoders import spectral
from tumorprog.encoders.columns import FEATURES, VECTOR_LENGTH
from tumorprog.errors import DicomError, InputError
from tumorprog.formats import frames
from tumorprog.formats.columns import QUARANTINE, Rejected
from tumorprog.report import drawing
from tumorprog.report.regions import examples as feature_examples
from tumorprog.report.regions import figures as regions_figures
from tumorprog.settings import Settings

_METADATA = [name for name in FEATURES.names if name != "vector"]
WORK = pa.schema([*frames.SCHEMA, *(FEATURES.field(name) for name in _METADATA)])
"""The columns of a slice that are known before its vector is computed."""

_PLAN = """
SELECT *, StudyDate AS date FROM catalogue WHERE cohort = 'progression' AND list_contains($sequences, sequence)
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""

_VECTOR = np.empty(VECTOR_LENGTH, np.float32)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Compute the feature vector of every slice of every image series, and the tumour volumes from the masks.

    `features/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if the catalogue contains no image series of the progression cohort.
        SettingsError: if the wavelet does not exist.
    """
    options = spectral.options(settings.features, settings.roi)
    catalogue = tables.shards(folder / "catalogue")
    values = {"sequences": list(SEQUENCES)}
    work = shards.write_work(out / "work", _PLAN, WORK, values, catalogue=catalogue)
    if not work:
        raise InputError(
            f"{folder / 'catalogue'}: contains no image series; run `tumorprog catalogue` with --progression DIR"
        )
    session.connect(settings.cluster)
    transform = partial(_vectors, options=options)
    rejected = shards.write_shards(work, transform, out / "features", FEATURES, items="slices")
    sizes, masks_rejected = measure(catalogue, out / "masks")
    tables.write_csv(out / "volumes.csv", sizes, VOLUMES)
    tables.write_csv(out / "features" / "_rejected.csv", pd.concat([rejected, masks_rejected]), QUARANTINE)
    series = int(queries.fetch("SELECT count(DISTINCT SeriesInstanceUID) AS n FROM work", work=work)["n"][0])
    vectors = tables.read_summary(out / "work")["rows"] - len(rejected)
    counts = {"vectors": vectors, "series": series, "rejected": len(rejected)}
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
    options = spectral.options(settings.features, settings.roi)
    series = feature_examples.select_series(feature_examples.slices_of(tables.shards(folder / "catalogue")), arguments)
    first = series.iloc[0]
    try:
        example = feature_examples.example(series, options, order=order)
    except DicomError as error:
        raise InputError(f"{first['path']}: {error}") from error
    name = " ".join([first["PatientID"], first["StudyDate"], first["Type"]])
    path = folder / f"features-{re.sub(r'[^A-Za-z0-9._]+', '-', name)}.png"
    with storage.atomic_write(path) as file:
        shown = f"{name}, --slice {example['order']} ({example['title']})"
        file.write(drawing.png(regions_figures.feature_steps({**example, "title": shown})))
    return path


def _vectors(work: pa.Table, *, options: dict[str, Any]) -> tuple[pa.Table, Rejected]:
    vectors, decoded, rejected = frames.decode(work, partial(spectral.encode, **options), like=_VECTOR)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), VECTOR_LENGTH)
    return work.select(_METADATA).filter(pa.array(decoded)).append_column("vector", column), rejected
