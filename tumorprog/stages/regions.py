"""regions: catalogue, segmenter -> regions/ (where the tumour is on every slice, and how well each method finds it).

Also writes volumes.csv: the tumour volume on each date, from the masks or from the segmenter.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import queries, storage, tables
from tumorprog.cohort.columns import VOLUMES
from tumorprog.cohort.volumes import MEASURED, volumes_by_date
from tumorprog.conventions import SEQUENCES
from tumorprog.distributed import session, shards
from tumorprog.errors import InputError
from tumorprog.evaluation import segmentation
from tumorprog.formats.columns import CATALOGUE, QUARANTINE, Rejected
from tumorprog.imaging import intensity
from tumorprog.regions import masks, packing, sources
from tumorprog.regions.columns import LESIONS, REGIONS, SCORES
from tumorprog.regions.methods import REGIONS as IMAGE_METHODS
from tumorprog.regions.methods import options as roi_options
from tumorprog.regions.sources import Source, Stack
from tumorprog.settings import Settings

_STUDY = pa.schema([*(CATALOGUE.field(name) for name in ("cohort", "PatientID")), pa.field("date", pa.string())])
WORK = pa.schema([*_STUDY, pa.field("slices", pa.list_(pa.struct(list(sources.SLICE))))])
"""A row per study, which is what a patient has on a date, with its images and masks."""

_WANTED = """
FROM catalogue
WHERE list_contains($cohorts, cohort) AND (sequence = 'mask' OR list_contains($sequences, sequence))
"""
_PLAN = f"""
SELECT *, StudyDate AS date, concat_ws('|', cohort, {shards.STUDY_KEY}) AS study {_WANTED}
ORDER BY cohort, PatientID, StudyDate, study, SeriesInstanceUID, "order"
"""
_PATIENTS = f"SELECT DISTINCT PatientID {_WANTED}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the regions of a study are found."""

    methods: Mapping[str, str]
    """Value of `roi.method` for each cohort."""
    fallback: str
    labels: tuple[int, ...]
    margin_mm: float
    """As in the settings `roi`."""
    sequences: tuple[str, ...]
    """Input of the segmenter; the stacks of the first are scored in full."""
    segmenter: str = ""
    """Path of the trained segmenter; "" if there is none."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The model that has not seen each patient."""


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Find the region of interest on every slice of every image series, and measure the volumes of the tumours.

    In addition to the shards, `regions/_scores.csv` and `regions/_lesions.csv` compare each method with the masks,
    where there are masks, and `regions/_rejected.csv` lists slices of masks and of segmented stacks that could not be
    decoded.

    Raises:
        InputError: if the catalogue contains no image series, or if the settings need masks or a segmenter that do not
            exist.
        LeakError: if a patient would be segmented by a model that was trained on this patient.
    """
    catalogue = tables.shards(folder / "catalogue")
    options = options_of(folder, catalogue, settings)
    session.connect(settings.cluster)
    work = plan(catalogue, list(options.methods), out / "work")
    if not work:
        raise InputError(
            f"{folder / 'catalogue'}: contains no image series; run `tumorprog catalogue` with --progression DIR"
        )
    transform = partial(find, options=options)
    notes = shards.write_noted_shards(work, transform, out / "regions", REGIONS, items="studies", batch_rows=1)
    for name, columns in (("scores", SCORES), ("lesions", LESIONS), ("rejected", QUARANTINE)):
        table = pd.DataFrame(notes.get(name, []), columns=list(columns))
        tables.write_csv(out / "regions" / f"_{name}.csv", table, columns)
    sizes = volumes_by_date(pd.DataFrame(notes.get("volumes", []), columns=["PatientID", "date", "method", *MEASURED]))
    tables.write_csv(out / "volumes.csv", sizes, VOLUMES)
    counts = _count_slices(tables.shards(out / "regions"))
    studies = tables.read_summary(out / "work")["rows"]
    summary = {"studies": studies, "slices": counts, "roi": roi_options(settings.roi)}
    tables.write_json(out / "regions" / tables.SUMMARY, summary)
    found = ", ".join(f"{number:,} {method}" for method, number in counts.items())
    total = f"{sum(counts.values()):,} slices of {studies:,} studies"
    return f"regions of {total} ({found}); {len(sizes):,} volumes"


def _count_slices(paths: list[Path]) -> dict[str, int]:
    found = queries.fetch("SELECT method, count(*) AS slices FROM regions GROUP BY ALL ORDER BY ALL", regions=paths)
    return {str(method): int(number) for method, number in zip(found["method"], found["slices"], strict=True)}


def options_of(folder: Path, catalogue: list[Path], settings: Settings) -> Options:
    """Return how the regions are found, after checking that this is possible; see `run` for the errors.

    Args:
        folder: the run directory, whose `segmenter/` is used if it contains a trained one.
        catalogue: files of `formats.columns.CATALOGUE`.
        settings: `roi`, `segmenter.sequences`, `slices.only`.
    """
    roi, segmenter = settings.roi, folder / "segmenter"
    trained = segmenter.exists() and tables.read_summary(segmenter)["trained"]
    _check_possible(segmenter, catalogue, settings, trained=trained)
    methods: dict[str, str] = {"progression": roi.method}
    if settings.slices.only == "tumour":  # whether a slice shows the tumour is not known from the slice alone
        methods["grading"] = roi.method if roi.method == "learned" else "auto"
    fallback = roi.method if roi.method in IMAGE_METHODS else roi.fallback
    options = Options(
        methods=methods,
        fallback=fallback,
        labels=roi.labels,
        margin_mm=roi.margin_mm,
        sequences=settings.segmenter.sequences,
    )
    if not trained:
        return options
    from tumorprog import model_files  # these take seconds to import
    from tumorprog.segmenters import unseen

    patients = queries.fetch(_PATIENTS, _values(list(methods)), catalogue=catalogue)["PatientID"]
    sequences = tuple(model_files.load_description(segmenter)["sequences"])
    return replace(options, sequences=sequences, segmenter=str(segmenter), models=unseen.models(segmenter, patients))


def _check_possible(segmenter: Path, catalogue: list[Path], settings: Settings, *, trained: bool) -> None:
    if settings.roi.method == "learned" and not trained:
        raise InputError(
            f"roi.method is learned, but {segmenter} contains no trained segmenter; run `tumorprog train-segmenter`, "
            "which requires masks of at least 3 patients, or choose --roi.method auto"
        )
    if settings.slices.only == "all" or trained:
        return
    masks_found = queries.fetch(
        "SELECT 1 FROM catalogue WHERE cohort = 'grading' AND sequence = 'mask' LIMIT 1", catalogue=catalogue
    )
    if masks_found.empty:
        raise InputError(
            "slices.only is tumour, but the grading archive contains no masks and no segmenter is trained; run "
            "`tumorprog train-segmenter`, which requires masks of at least 3 patients, or choose --slices.only all"
        )


def _values(cohorts: list[str]) -> dict[str, Any]:
    return {"cohorts": cohorts, "sequences": list(SEQUENCES)}


def plan(catalogue: list[Path], cohorts: list[str], folder: Path) -> list[Path]:
    """Write the studies of the cohorts, a row each, in files of `WORK`, and return their paths.

    Args:
        catalogue: files of `formats.columns.CATALOGUE`.
        cohorts: grading, progression.
        folder: receives the files; a finished call is not repeated.
    """
    return shards.write_studies(folder, _PLAN, WORK, _values(cohorts), catalogue=catalogue)


def find(work: pa.Table, *, options: Options) -> tuple[pa.Table, shards.Notes]:
    """Find the regions of studies, and compare them with the masks.

    Args:
        work: rows of `WORK`.
        options: of the run.

    Returns:
        Rows of `regions.columns.REGIONS`, and notes: `scores` (rows of `SCORES`), `lesions` (`LESIONS`), `volumes`
        (PatientID, date, method and `cohort.volumes.MEASURED`) and `rejected` (`QUARANTINE`).
    """
    found: list[pa.Table] = []
    notes: shards.Notes = {"scores": [], "lesions": [], "volumes": [], "rejected": []}
    for number in range(work.num_rows):
        study = {name: work[name][number].as_py() for name in _STUDY.names}
        slices = pa.Table.from_struct_array(pa.chunked_array([work["slices"][number].values]))
        stacks = sources.stacks_of(slices)
        read, learned, rejected = _sources(study, stacks, options)
        preferred = _preferred(options.methods[study["cohort"]], read, learned)
        found += [_rows(study, stack, preferred, options) for stack in stacks if stack.of_first("sequence") != "mask"]
        notes["rejected"] += rejected
        if study["cohort"] == "progression":
            notes["volumes"] += _volumes(study, read, preferred)
            for score, lesions in _scores(study, stacks, read, learned, options):
                notes["scores"].append(score)
                notes["lesions"] += lesions
    return pa.concat_tables([REGIONS.empty_table(), *found]), notes


def _sources(
    study: Mapping[str, str], stacks: list[Stack], options: Options
) -> tuple[list[Source], Source | None, Rejected]:
    """Return the masks of a study, and its segmented stack if that is used or compared with a mask."""
    read, rejected = sources.read_masks(stacks, options.labels)
    if not options.segmenter or not (read or options.methods[study["cohort"]] in {"auto", "learned"}):
        return read, None, rejected
    from tumorprog.segmenters import apply  # takes seconds to import

    model = options.models[study["PatientID"]]
    segment = partial(apply.segment, storage.as_path(options.segmenter), model)
    learned, more = sources.segmented(stacks, options.sequences, segment, model)
    return read, learned, [*rejected, *more]


def _preferred(method: str, read: list[Source], learned: Source | None) -> list[Source]:
    """Return the sources of a study's regions, the first that can be carried over to a stack counts."""
    by_mask = read[:1] if method in {"auto", "mask"} else []
    return [*by_mask, *([learned] if learned and method in {"auto", "learned"} else [])]


def _rows(study: Mapping[str, str], stack: Stack, preferred: list[Source], options: Options) -> pa.Table:
    """Return the rows of `REGIONS` of the slices of a stack."""
    count, pixel_mm = stack.slices.num_rows, stack.pixel_mm
    carried = ((source, source.on(stack)) for source in preferred)
    source, region = next((pair for pair in carried if pair[1] is not None), (None, None))
    columns: dict[str, Any] = {"method": options.fallback, "model": "", "area_mm2": math.nan, "region": None}
    if source is not None and region is not None:
        enlarged = np.stack([masks.enlarge(one, options.margin_mm, pixel_mm) for one in region])
        areas = np.count_nonzero(enlarged, axis=(1, 2)) * math.prod(pixel_mm)
        packed = [packing.pack(one) for one in enlarged]
        columns = {"method": source.method, "model": source.model, "area_mm2": areas, "region": packed}
    table = stack.slices
    for name, value in {**study, **columns}.items():
        spread = pa.array(value if isinstance(value, list | np.ndarray) else [value] * count, REGIONS.field(name).type)
        table = table.append_column(REGIONS.field(name), spread)
    return table.select(REGIONS.names).cast(REGIONS)


def _volumes(study: Mapping[str, str], read: list[Source], preferred: list[Source]) -> list[dict[str, Any]]:
    """Return the measured volumes of a study: of its masks, unless its region is learned."""
    learned = [source for source in preferred[:1] if source.method == "learned"]
    identity_of = {"PatientID": study["PatientID"], "date": study["date"]}
    return [{**identity_of, "method": source.method, **source.volumes} for source in learned or read]


def _scores(
    study: Mapping[str, str], stacks: list[Stack], read: list[Source], learned: Source | None, options: Options
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield the row of `SCORES` and the rows of `LESIONS` of every method on every image stack that has a mask."""
    for stack in stacks if read else []:
        truth = read[0].on(stack)
        if stack.of_first("sequence") == "mask" or truth is None:
            continue
        is_segmented = learned is not None and stack is learned.stack
        images, decoded = (learned.images, learned.decoded) if learned and is_segmented else sources.read(stack)[:2]
        if decoded.any():
            regions = _regions(stack, images[decoded], decoded, learned)
            yield from _compare(study, stack, regions, truth[decoded], options)


def _regions(
    stack: Stack, images: np.ndarray, decoded: np.ndarray, learned: Source | None
) -> dict[tuple[str, str], np.ndarray]:
    """Return the regions of a stack by method and model, (N, SIDE, SIDE) bool without margin."""
    scaled = [intensity.prepare(image) for image in images]
    regions = {(name, ""): np.stack([method(image) for image in scaled]) for name, method in IMAGE_METHODS.items()}
    carried = learned.on(stack) if learned else None
    return regions if learned is None or carried is None else {**regions, ("learned", learned.model): carried[decoded]}


def _compare(
    study: Mapping[str, str],
    stack: Stack,
    regions: Mapping[tuple[str, str], np.ndarray],
    truth: np.ndarray,
    options: Options,
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    identity_of = {"PatientID": study["PatientID"], "date": study["date"]}
    series = {name: stack.of_first(name) for name in ("SeriesInstanceUID", "stack", "sequence")}
    spacing_mm = (_depth_mm(stack), *stack.pixel_mm)
    in_full = series["sequence"] == options.sequences[0]
    for (method, model), region in regions.items():
        common = {**identity_of, **series, "method": method, "model": model}
        found = segmentation.lesions(region, truth, spacing_mm) if in_full else []
        lesions = [
            {**common, "lesion": number, "volume_ml": volume, "found_ml": part}
            for number, (volume, part) in enumerate(found, 1)
        ]
        compare = segmentation.score if in_full else segmentation.overlap
        yield {**common, **compare(region, truth, spacing_mm)}, lesions


def _depth_mm(stack: Stack) -> float:
    spacing, thickness = stack.of_first("slice_spacing_mm"), stack.of_first("SliceThickness")
    return thickness if math.isnan(spacing) else spacing
