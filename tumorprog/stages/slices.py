"""slices: catalogue + table of grades -> slices/ (224 x 224 uint8 images of graded patients, ready to train on).

With `slices.only: tumour` also from regions/: only the slices whose region is large enough.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import xxhash

from tumorprog import queries, storage, tables
from tumorprog.cohort import clinical
from tumorprog.cohort.columns import COHORT
from tumorprog.distributed import session, shards
from tumorprog.errors import InputError
from tumorprog.formats import frames
from tumorprog.formats.columns import QUARANTINE, Rejected
from tumorprog.graders.columns import SLICES
from tumorprog.graders.images import IMAGE_TEMPLATE, image_column
from tumorprog.imaging import intensity
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

_METADATA = [name for name in SLICES.names if name not in {"image", "pixel_hash"}]
WORK = pa.schema(
    [*frames.SCHEMA, *(SLICES.field(name) for name in _METADATA if name not in frames.SCHEMA.names)],
)
"""The columns of an image that are known before its pixels are read."""

_WANTED = """
SELECT * FROM catalogue JOIN graded USING (PatientID) WHERE cohort = 'grading' AND list_contains($sequences, sequence)
"""
# isfinite, because DuckDB (2.0) computes isnan from Parquet's minimum and maximum, which ignore NaN
_MEASURED = f"""
SELECT wanted.*, CASE WHEN isfinite(area_mm2) THEN area_mm2 END AS area FROM ({_WANTED}) AS wanted
LEFT JOIN (SELECT path, frame, area_mm2 FROM regions WHERE cohort = 'grading') USING (path, frame)
"""  # noqa: S608
_WITH_TUMOUR = f"SELECT * FROM ({_MEASURED}) WHERE area >= $smallest"  # noqa: S608
_COUNTS = f"""
SELECT count(*) FILTER (area >= $smallest) AS kept, count(*) FILTER (area < $smallest) AS without_tumour,
    count(*) FILTER (area IS NULL) AS without_region
FROM ({_MEASURED})
"""  # noqa: S608
_PLAN = """
WITH numbered AS (
    SELECT *, row_number() OVER (ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order") - 1 AS slice FROM ({wanted})
)
SELECT * FROM numbered ORDER BY md5(concat_ws(' ', $seed, slice))
"""


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Write the grader's input image of every slice of the graded patients.

    In addition to the shards, `slices/_cohort.csv` states whether each patient is included, or why not, and
    `slices/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if the table of grades cannot be read or contains no patient of the archive; with
            `slices.only: tumour`, if no slice shows tumour.
    """
    catalogue = tables.shards(folder / "catalogue")
    patients = queries.fetch("SELECT DISTINCT PatientID FROM catalogue WHERE cohort = 'grading'", catalogue=catalogue)
    if patients.empty:
        raise InputError(
            f"{folder / 'catalogue'}: contains no slice of the grading cohort; "
            "run `tumorprog catalogue` with --grading DIR"
        )
    if not settings.archive.grades:
        raise InputError("no table of grades given; set it with --grades TABLE")
    known = sorted(patients["PatientID"])
    table = clinical.read_grades(storage.as_path(settings.archive.grades), settings.cohort, known)
    cohort = clinical.match(known, table)
    log.info("  %s", clinical.describe(cohort))
    regions = tables.shards(folder / "regions") if settings.slices.only == "tumour" else []
    dropped = count_dropped(catalogue, regions, cohort, settings) if regions else {}
    work = plan(catalogue, regions, cohort, settings, out / "work")
    if not work:
        unmatched = clinical.unmatched(cohort)
        raise InputError(
            f"{settings.archive.grades}: no patient with grade 2, 3 or 4 has a slice to train on"
            + (f"; {unmatched}. Set the column with the images' ids: --cohort.patient_column NAME" if unmatched else "")
        )
    session.connect(settings.cluster)
    transform = partial(_images, scaling=settings.slices.scaling)
    rejected = shards.write_shards(work, transform, out / "slices", SLICES, items="slices")
    tables.write_csv(out / "slices" / "_cohort.csv", cohort, COHORT)
    tables.write_csv(out / "slices" / "_rejected.csv", rejected, QUARANTINE)
    images = tables.read_summary(out / "work")["rows"] - len(rejected)
    counts = {"images": images, "rejected": len(rejected), **dropped}
    made = {"scaling": settings.slices.scaling, "selection": settings.slices.selection}
    tables.write_json(out / "slices" / tables.SUMMARY, {**counts, **made})
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def count_dropped(
    catalogue: list[Path], regions: list[Path], cohort: pd.DataFrame, settings: Settings
) -> dict[str, int]:
    """Count the slices of the graded patients that `slices.only: tumour` drops.

    Args:
        catalogue: files of `formats.columns.CATALOGUE`.
        regions: files of `regions.columns.REGIONS`.
        cohort: rows of `cohort.columns.COHORT`.
        settings: `slices`.

    Returns:
        without_tumour: number of slices whose region is smaller than `slices.min_tumour_mm2`; without_region: of those
        for which no area is known.

    Raises:
        InputError: if none is left.
    """
    values = {"sequences": list(settings.slices.sequences), "smallest": settings.slices.min_tumour_mm2}
    sources = {"catalogue": catalogue, "regions": regions, "graded": _graded(cohort)}
    kept, without_tumour, without_region = map(int, queries.fetch(_COUNTS, values, **sources).iloc[0])
    if not kept and (without_tumour or without_region):
        raise InputError(
            f"slices.only is tumour, but no slice of the graded patients shows it: the region of {without_tumour:,} "
            f"is smaller than {settings.slices.min_tumour_mm2:g} mm2 (slices.min_tumour_mm2), and that of "
            f"{without_region:,} is neither a mask nor learned (roi.method); use --slices.only all, masks of the "
            "grading cohort, or a trained segmenter (tumorprog train-segmenter)"
        )
    return {"without_tumour": without_tumour, "without_region": without_region}


def _graded(cohort: pd.DataFrame) -> pd.DataFrame:
    return cohort.loc[cohort["status"] == "graded", ["PatientID", "grade", "Institution"]]


def plan(
    catalogue: list[Path], regions: list[Path], cohort: pd.DataFrame, settings: Settings, folder: Path
) -> list[Path]:
    """Write the rows of the slices that become images in a seeded random order, one file of `WORK` per shard.

    The order mixes the patients over the shards, so that training can read shards one after the other and still have
    all grades in every batch.

    Args:
        catalogue: files of `formats.columns.CATALOGUE`.
        regions: files of `regions.columns.REGIONS` if only the slices that show tumour become images; else empty.
        cohort: rows of `cohort.columns.COHORT`.
        settings: `slices`, `seed`.
        folder: receives the files.

    Returns:
        The paths of the files.
    """
    values: dict[str, Any] = {"sequences": list(settings.slices.sequences), "seed": settings.seed}
    sources: dict[str, Any] = {"catalogue": catalogue, "graded": _graded(cohort)}
    if not regions:
        return shards.write_work(folder, _PLAN.format(wanted=_WANTED), WORK, values, **sources)
    values["smallest"] = settings.slices.min_tumour_mm2
    return shards.write_work(folder, _PLAN.format(wanted=_WITH_TUMOUR), WORK, values, **sources, regions=regions)


def _images(work: pa.Table, *, scaling: intensity.Scaling) -> tuple[pa.Table, Rejected]:
    convert = partial(intensity.grader_input, scaling=scaling)
    images, decoded, rejected = frames.decode(work, convert, like=IMAGE_TEMPLATE)
    hashes = ["" if image.min() == image.max() else xxhash.xxh3_128_hexdigest(image) for image in images]
    metadata = work.select(_METADATA)
    metadata = metadata.filter(pa.array(decoded)) if rejected else metadata
    return metadata.append_column("pixel_hash", pa.array(hashes, pa.string())).append_column(
        "image", image_column(images)
    ), rejected
