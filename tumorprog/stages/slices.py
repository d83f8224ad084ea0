"""slices: catalogue + table of grades -> slices/ (224 x 224 uint8 images of graded patients, ready to train on)."""

import hashlib
import logging
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.cohort import clinical
from tumorprog.dicom import pixels
from tumorprog.errors import DicomError, InputError
from tumorprog.imaging import intensity
from tumorprog.settings import Settings
from tumorprog.stages import streaming

log = logging.getLogger(__name__)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Makes the grader's images of every slice of a graded patient.

    Besides the shards, `slices/_cohort.csv` says of every patient whether it takes part, and why not, and
    `slices/_rejected.csv` lists the slices whose pixels could not be decoded.

    Raises:
        InputError: if the table of grades cannot be read or names no patient of the archive.
    """
    catalogue = tables.read_shards(folder / "catalogue", tables.CATALOGUE).to_pandas()
    grading = catalogue[catalogue["cohort"] == "grading"]
    if grading.empty:
        raise InputError(f"{folder / 'catalogue'}: no slice to grade; give `tumorprog catalogue` a --grading DIR")
    if not settings.archive.grades:
        raise InputError("no table of grades: name it with --grades TABLE")
    table = clinical.read_grades(Path(settings.archive.grades), settings.cohort)
    cohort = clinical.match(sorted(grading["PatientID"].unique()), table)
    log.info("  %s", clinical.describe(cohort))
    work = plan(grading, cohort, settings)
    if work.num_rows == 0:
        raise InputError(f"{settings.archive.grades}: no patient with grade 2, 3 or 4 has a slice to train on")
    streaming.connect(settings.cluster)
    transform = partial(_images, scaling=settings.slices.scaling)
    rejected = streaming.write_shards(work, transform, out / "slices", tables.SLICES)
    tables.write_csv(out / "slices" / "_cohort.csv", cohort, tables.COHORT)
    tables.write_csv(out / "slices" / "_rejected.csv", rejected, tables.QUARANTINE)
    counts = {"images": work.num_rows - len(rejected), "rejected": len(rejected)}
    tables.write_json(out / "slices" / tables.SUMMARY, {**counts, "scaling": settings.slices.scaling})
    return f"{counts['images']:,} images, {counts['rejected']:,} rejected"


def plan(grading: pd.DataFrame, cohort: pd.DataFrame, settings: Settings) -> pa.Table:
    """The slices that become images, in a seeded random order.

    The order mixes the patients over the shards, so that training can read shards one after the other and still see
    all grades in every batch.

    Args:
        grading: rows of `tables.CATALOGUE`.
        cohort: rows of `tables.COHORT`.
        settings: `slices.sequences`, `seed`.

    Returns:
        The columns of `tables.SLICES` that are known before the pixels are read, and path.
    """
    graded = cohort.loc[cohort["status"] == "graded", ["PatientID", "grade", "Institution"]]
    wanted = grading[grading["sequence"].isin(settings.slices.sequences)].merge(graded, on="PatientID")
    wanted = wanted.sort_values(["PatientID", "StudyDate", "SeriesInstanceUID", "order"], kind="stable")
    wanted["slice"] = np.arange(len(wanted))
    shuffled = wanted.iloc[np.random.default_rng(settings.seed).permutation(len(wanted))]
    known = [name for name in tables.SLICES.names if name not in {"image", "pixel_hash"}]
    fields = [pa.field("path", pa.string()), *(tables.SLICES.field(name) for name in known)]
    return pa.Table.from_pandas(shuffled, pa.schema(fields), preserve_index=False)


def _images(work: pa.Table, *, scaling: intensity.Scaling) -> tuple[pa.Table, streaming.Rejected]:
    images, kept, rejected = decode(work, scaling=scaling)
    hashes = [hashlib.blake2b(image, digest_size=16).hexdigest() if np.ptp(image) else "" for image in images]
    known = work.drop_columns(["path"]).filter(pa.array(kept))
    return known.append_column("pixel_hash", pa.array(hashes, pa.string())).append_column(
        "image", packed(images)
    ), rejected


def decoded(work: pa.Table, *, scaling: intensity.Scaling) -> pa.Table:
    """The images of the rows that can be decoded, each with its `row`; the others are logged and left out."""
    images, kept, rejected = decode(work, scaling=scaling)
    for row in rejected:
        log.warning("%s: %s (%s), left out", row["path"], row["reason"], row["detail"])
    return work.select(["row"]).filter(pa.array(kept)).append_column("image", packed(images))


def packed(images: np.ndarray) -> pa.Array:
    """(N, 224, 224) uint8 as a column `image` of `tables.SLICES`."""
    return pa.array([image.tobytes() for image in images], tables.SLICES.field("image").type)


def decode(work: pa.Table, *, scaling: intensity.Scaling) -> tuple[np.ndarray, np.ndarray, streaming.Rejected]:
    """The grader's images of the slices that a piece of work names.

    Args:
        work: has path and frame.
        scaling: as the setting `slices.scaling`.

    Returns:
        images: (M, 224, 224) uint8, of those that could be decoded.
        decoded: (N,) bool, which of the N rows those are.
        rejected: one row for each of the others.
    """
    cv2.setNumThreads(1)  # the cores are Ray's to share out
    images, rejected = [], []
    decoded = np.ones(work.num_rows, bool)
    for number, (path, frame) in enumerate(zip(work["path"].to_pylist(), work["frame"].to_pylist(), strict=True)):
        try:
            images.append(intensity.grader_input(pixels.read_frame(path, frame), scaling=scaling))
        except DicomError as error:
            decoded[number] = False
            rejected.append({"path": path, "reason": error.reason, "detail": error.detail})
    size = tables.IMAGE_SIZE
    return np.stack(images) if images else np.empty((0, size, size), np.uint8), decoded, rejected
