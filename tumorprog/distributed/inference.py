"""A stream of slices -> the probabilities that a trained grader predicts, on all cores or GPUs."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data

from tumorprog import storage
from tumorprog.distributed import session, shards
from tumorprog.distributed.grader_training import GraderPlan
from tumorprog.distributed.rows import read_rows
from tumorprog.formats import frames
from tumorprog.graders import resnet18
from tumorprog.graders.images import decode_images, image_array
from tumorprog.graders.settings import Grader as GraderSettings
from tumorprog.graders.votes import PROBABILITIES
from tumorprog.progress import Progress
from tumorprog.settings import Settings

_BATCH = 64
_ROWS_PER_COPY = 2000
"""Number of slices for which starting another copy of the grader pays off."""


def grade_slices(selected: pd.DataFrame, model: Path, settings: Settings) -> pd.DataFrame:
    """Return the rows whose pixels could be decoded, with the predicted probabilities."""
    index = pa.Table.from_pandas(selected, frames.SCHEMA, preserve_index=False)
    work = index.append_column("row", pa.array(np.arange(len(selected))))
    images = ray.data.from_arrow(shards.chunks(work)).map_batches(
        partial(decode_images, scaling=settings.slices.scaling), batch_size=None, batch_format="pyarrow"
    )
    results = score(images, model, settings.grader, num_rows=len(selected))
    return selected.iloc[results["row"]].assign(**{name: results[name].to_numpy() for name in PROBABILITIES})


def score(images: ray.data.Dataset, model: Path, settings: GraderSettings, *, num_rows: int) -> pd.DataFrame:
    """Predict the probabilities of the grades of a stream of images.

    Args:
        images: rows with `row` (int) and `image` (bytes of 224 x 224 uint8).
        model: folder of a trained grader.
        settings: with `workers` 0, or if there would be a single copy on a single machine, the grader runs in this
            process; otherwise copies run on all cores or GPUs.
        num_rows: number of images, for the progress display.

    Returns:
        Columns row, p2, p3, p4, sorted by row.
    """
    arguments = {"model": str(model), "device": "cuda" if settings.gpu else "cpu"}
    batches = {"batch_size": _BATCH, "batch_format": "pyarrow"}
    number = session.num_actors(num_rows // _ROWS_PER_COPY, gpu=settings.gpu)
    if settings.workers == 0 or (number == 1 and session.is_single_node()):
        scored = map(Grader(**arguments), images.iter_batches(**batches))
    else:
        copies = session.actor_options(number, gpu=settings.gpu)
        scored = images.map_batches(Grader, fn_constructor_kwargs=arguments, **copies, **batches).iter_batches(
            **batches
        )
    progress = Progress("grading", total=num_rows, items="slices")
    parts = []
    for part in scored:
        progress.add(part.num_rows)
        parts.append(part)
    return pa.concat_tables(parts).to_pandas().sort_values("row", ignore_index=True)


class Grader:
    """A copy of the grader in a Ray Data worker: batches of images -> batches of probabilities."""

    def __init__(self, *, model: str, device: str) -> None:
        self._model = resnet18.load(storage.as_path(model))
        self._device = device

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows with `row` and `image` -> rows with `row`, p2, p3, p4."""
        probabilities = resnet18.probabilities(self._model, image_array(batch), device=self._device)
        columns = dict(zip(PROBABILITIES, probabilities.T, strict=True))
        return pa.table({"row": batch["row"], **{name: pa.array(values) for name, values in columns.items()}})


def predictions(slices: pd.DataFrame, plan: GraderPlan) -> pd.DataFrame:
    """Return the rows of `GRADER_PREDICTIONS` for `slices`, by the best model of a finished training."""
    wanted = np.isin(np.arange(len(plan.sides)), slices["slice"])
    rows = read_rows(plan.shards, ["slice", "image"], wanted=wanted).rename_columns({"slice": "row"})
    scores = score(rows, plan.target, plan.settings, num_rows=len(slices)).rename(columns={"row": "slice"})
    return slices.merge(scores, on="slice").sort_values("slice")
