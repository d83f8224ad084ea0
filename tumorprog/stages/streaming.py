"""Ray for the stages: connecting to it, and streaming a table of work into shards that are written whole."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from tumorprog import tables
from tumorprog.settings import Cluster

log = logging.getLogger(__name__)

Rejected = list[dict[str, str]]
"""Rows of `tables.QUARANTINE`: what could not be used, and why."""

_SHARDS, _LEAST_ROWS, _MOST_ROWS = 16, 32, 2048
_REPORT_EVERY_S = 5.0


def connect(cluster: Cluster) -> None:
    """Joins the cluster that the settings or the surrounding Ray job name, or starts Ray on this machine.

    Does nothing where this process is connected already.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # one line of ours instead
    context.execution_options.preserve_order = True  # the same rows in the same order, run after run
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or "RAY_ADDRESS" in os.environ:  # inside `ray job submit`
        ray.init(**quiet)
    elif cluster.address != "local":
        ray.init(address=cluster.address, **quiet)
    else:
        ray.init(address="local", num_cpus=cluster.cores or None, include_dashboard=False, **quiet)


def cores() -> int:
    """CPU cores of the whole cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def copies(most: int, *, gpu: bool) -> dict[str, Any]:
    """Options of `map_batches` for a class that is costly to set up: a few copies on the cores or GPUs there are.

    Args:
        most: how many are worth it.
        gpu: whether each copy takes a GPU, or else a core; one core stays free for what feeds them.
    """
    there = int(ray.cluster_resources().get("GPU", 0)) if gpu else cores() - 1
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(most, there)))
    return {"compute": pool, "num_cpus": 0 if gpu else 1, "num_gpus": 1 if gpu else 0}


def shard_rows(num_rows: int) -> int:
    """Rows of a shard: about sixteen shards, which keeps a few cores busy to the end, but none too small or too large.

    It depends on the rows alone, so that a run on another machine leaves the same files.
    """
    return min(max(-(-num_rows // _SHARDS), _LEAST_ROWS), _MOST_ROWS)


def pieces(work: pa.Table) -> list[pa.Table]:
    """The table cut into the rows of each shard."""
    rows = shard_rows(work.num_rows)
    return [work.slice(start, rows) for start in range(0, work.num_rows, rows)]


def write_shards(
    work: pa.Table,
    transform: Callable[[pa.Table], tuple[pa.Table, Rejected]],
    folder: Path,
    schema: pa.Schema,
) -> pd.DataFrame:
    """Streams a table of work through `transform` on all cores of the cluster; each piece becomes one shard.

    The tasks open the files that the work names themselves and write their shard themselves, so only paths go in and
    counts come back. A shard is renamed into place when it is whole, holds what it rejected in its own metadata, and
    is not made again if it exists: an interrupted call goes on where it stopped, and a task that Ray repeats does no
    harm.

    Args:
        work: small rows, such as paths.
        transform: a piece of `work` -> (table of `schema`, what was rejected); pickled to the workers.
        folder: receives `part-00000.parquet` and so on; must be reachable from all nodes.
        schema: of the shards.

    Returns:
        All that was rejected, columns `tables.QUARANTINE`, in the order of the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cut = pieces(work)
    paths = [folder / f"part-{number:05d}.parquet" for number in range(len(cut))]
    due = [
        piece.replace_schema_metadata({"shard": str(path)})
        for piece, path in zip(cut, paths, strict=True)
        if not path.exists()
    ]
    if due:
        write = partial(_write_one, transform=transform, schema=schema)
        results = ray.data.from_arrow(due).map_batches(write, batch_size=None, batch_format="pyarrow")
        progress = Progress(folder.name, total=len(due), unit="shards", items="rows")
        for result in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            progress.add(result.num_rows, sum(result["rows"].to_pylist()))
    rejected = [row for path in paths for row in _rejected(path)]
    return pd.DataFrame(rejected, columns=list(tables.QUARANTINE))


def _write_one(
    piece: pa.Table, *, transform: Callable[[pa.Table], tuple[pa.Table, Rejected]], schema: pa.Schema
) -> pa.Table:
    path = Path(piece.schema.metadata[b"shard"].decode())
    table, rejected = transform(piece)
    noted = schema.with_metadata({"rejected": json.dumps(rejected)})
    tables.write_shard(path, table, noted)
    return pa.table({"rows": [table.num_rows + len(rejected)]})


def _rejected(path: Path) -> Rejected:
    return json.loads(pq.read_schema(path).metadata[b"rejected"])


def read_rows(paths: list[Path], columns: list[str], *, wanted: np.ndarray) -> ray.data.Dataset:
    """A stream of some rows of shards of `tables.SLICES`.

    The tasks open the files, a row group at a time. Ray's own `read_parquet` costs ten times as much to start (1.7 s to
    0.15 s on four cores, 2.60), which every epoch pays for each side.

    Args:
        paths: of the shards.
        columns: which; `slice` is among them.
        wanted: (N,) bool by the number in `slice`: which rows.
    """
    work = [pa.table({"path": [str(path)]}) for path in paths]
    read = partial(_row_groups, columns=columns, wanted=wanted)
    return ray.data.from_arrow(work).map_batches(read, batch_size=None, batch_format="pyarrow")


def _row_groups(work: pa.Table, *, columns: list[str], wanted: np.ndarray) -> Iterator[pa.Table]:
    for path in work["path"].to_pylist():
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number, columns=columns).replace_schema_metadata()
                yield rows.filter(pa.array(wanted[rows["slice"].to_numpy()]))


class Progress:
    """Says every few seconds how far a long work is, in one line of the log."""

    def __init__(self, label: str, *, total: int, unit: str, items: str) -> None:
        self._label, self._total, self._unit, self._items = label, total, unit, items
        self._done = self._count = 0
        self._started = self._said = time.monotonic()

    def add(self, done: int, count: int = 0) -> None:
        """Counts finished units, and the items in them."""
        self._done += done
        self._count += count
        now = time.monotonic()
        if now - self._said < _REPORT_EVERY_S and self._done < self._total:
            return
        self._said = now
        rate = self._count / max(now - self._started, 1e-9)
        log.info(
            "  %s: %d of %d %s, %s %s, %.0f a second",
            self._label,
            self._done,
            self._total,
            self._unit,
            f"{self._count:,}",
            self._items,
            rate,
        )
