"""Ray for the stages: connecting to it, and streaming a table of work into shards that are written whole."""

import copy
import ctypes
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.resource_manager import ResourceManager
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from tumorprog import storage, tables
from tumorprog.errors import InputError
from tumorprog.settings import Cluster
from tumorprog.stages import address, queries

log = logging.getLogger(__name__)

Rejected = list[dict[str, str]]
"""Rows of `tables.QUARANTINE`: what could not be used, and why."""

_OPEN = (
    "without token authentication, and its ports are open on every address of a machine: whoever reaches one could run "
    "any command there. Set RAY_AUTH_MODE=token (on a cluster also RAY_AUTH_TOKEN, the same on all nodes; "
    "cluster/README.md says how)"
)
_NO_GPU = (
    "Ray finds no GPU on this machine (`nvidia-smi` lists those that programs can use); ask for none: "
    "--grader.gpu false, and in a sweep no gpu among the resources"
)

_TURN_S = 0.01
_IDLE_MS = 60_000
"""Kept so long, the processes that read the shards are still there for the next epoch; after a second, they are not."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the options, from malloc.h."""
_SHARDS, _LEAST_ROWS, _MOST_ROWS = 16, 32, 2048
_TASK_SHARDS = 8
_AHEAD_BYTES = 2**29
"""Ten thousand images, or some seconds of a GPU."""
_ROW_GROUP, _IMAGE_ROW_GROUP = 1024, 64
"""Rows that a task holds at a time. Of images it is 3 MB, which the caches still hold when they are written."""


class _Started:
    """The Ray that this process has started, if it has."""

    without_state_api = ""
    """Its address, if it cannot be asked for the state of its actors."""


def connect(cluster: Cluster, *, gpu: bool = False, train_workers: int = 0) -> None:
    """Joins the cluster that the settings or the surrounding Ray job name, or starts Ray on this machine.

    Does nothing where this process is connected already, unless Ray Train is to have workers of a Ray that was started
    here for less: its cleaner, which frees the resources of a training that has crashed, asks Ray's state API, and that
    is a part of the dashboard. A dashboard takes a gigabyte and a second, so only trainings have one.

    Args:
        cluster: the settings.
        gpu: whether GPUs are going to be asked for.
        train_workers: of Ray Train, that are going to be asked for.

    Raises:
        InputError: if the cluster cannot be joined, or would take commands from whoever reaches it; if there is no GPU
            and none can come.
    """
    settle()
    if train_workers and ray.is_initialized() and _Started.without_state_api == _address():
        ray.shutdown()
    if not ray.is_initialized():
        _join_or_start(cluster, state_api=train_workers > 0)
    if gpu and not gpus():
        if not joins(cluster):
            raise InputError(_NO_GPU)
        log.warning("  the cluster has no GPU yet: what asks for one waits until a node with one joins it")


def _join_or_start(cluster: Cluster, *, state_api: bool) -> None:
    _Started.without_state_api = ""
    if joins(cluster):
        _join(cluster)
        return
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise InputError(f"Ray would start {_OPEN}")
    folder = address.session_folder(os.environ, user=os.getuid())
    if folder:
        log.info("  Ray's sockets do not fit into TMPDIR, or it is not writable; they go to %s", folder)
    with _dashboard() if state_api else nullcontext({"include_dashboard": False}) as dashboard:
        ray.init(
            address="local",
            _temp_dir=str(folder) if folder else None,
            object_spilling_directory=tempfile.gettempdir() if folder else None,  # there is more room
            num_cpus=cluster.cores or None,
            logging_level=logging.ERROR,
            _system_config={"idle_worker_killing_time_threshold_ms": _IDLE_MS},
            **dashboard,
        )
    _Started.without_state_api = "" if state_api else _address()


@contextmanager
def _dashboard() -> Iterator[dict[str, Any]]:
    """Options of `ray.init` for a dashboard on the loopback, and its address for the processes that are started.

    They would look for it among all that runs on the machine, and give up where there are two.
    """
    name, host = "RAY_API_SERVER_ADDRESS", "127.0.0.1"
    before, port = os.environ.get(name), address.free_port(host)
    os.environ[name] = f"http://{host}:{port}"
    try:
        yield {"include_dashboard": True, "dashboard_host": host, "dashboard_port": port}
    finally:
        del os.environ[name]
        os.environ.update({name: before} if before is not None else {})


def _address() -> str:
    return ray.get_runtime_context().gcs_address


def settle() -> None:
    """Has Ray work as we want it in this process: quietly, and with the same rows in the same order every time.

    A task that runs Ray Data itself, as a training among others does, must call it too.
    """
    hush()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # one line of ours instead
    context.execution_options.preserve_order = True  # the same rows in the same order, run after run
    if Unhurried not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(Unhurried)
    # Ray Data asks for the cluster's cores once a second, and runs a single task until the first answer (2.60)
    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = 0.02


def hush() -> None:
    """Lets Ray's libraries say in this process only what is wrong."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.WARNING)


class Unhurried(ExecutionCallback):
    """Has Ray Data's loop turn a hundred times a second at most, and quietly, in whatever process it runs.

    Once it has read as far ahead as it may, it would turn without a pause and take a core (2.60). Where it shares a
    process with a training, each of the hundreds of calls into torch that make a step then waits for the interpreter:
    an H100 spent 100 ms on every batch, of 256 images as of 64.
    """

    def __init__(self) -> None:
        self._next = 0.0
        hush()  # here, because Ray Train has a process of its own for the stream of a training

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Called by Ray at each turn."""
        del executor
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + _TURN_S


def joins(cluster: Cluster) -> bool:
    """Whether a command takes part in a cluster that runs already: that of its Ray job, or the settings' one."""
    return _surrounded() or cluster.address != "local"


def _surrounded() -> bool:
    """Whether Ray itself has been told its cluster, as it is in a job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or bool(os.environ.get("RAY_ADDRESS"))


def _join(cluster: Cluster) -> None:
    stated = os.environ.get("RAY_ADDRESS")
    try:
        address.knock(stated or cluster.address)
        ray.init(address=None if _surrounded() else cluster.address, logging_level=logging.ERROR)
    except (OSError, ray.exceptions.AuthenticationError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        named = f"RAY_ADDRESS {stated}" if stated else f"cluster.address {cluster.address}"
        alone = "unset RAY_ADDRESS" if stated else "--cluster.address local"
        raise InputError(
            f"{named}: cannot be joined ({told}); start a cluster there, export its RAY_AUTH_MODE=token and "
            f"RAY_AUTH_TOKEN, or work on this machine alone: {alone}"
        ) from error
    hosts = sorted({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})
    beyond = not all(host.startswith("127.") or host == "::1" for host in hosts)
    if beyond and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":  # Ray sets it where a token is at hand
        ray.shutdown()
        raise InputError(f"the Ray cluster on {', '.join(hosts)} runs {_OPEN}")


def cores() -> int:
    """CPU cores of the whole cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def gpus() -> int:
    """GPUs of the whole cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def alone() -> bool:
    """Whether this machine is all there is; one that is only a client of a cluster is none of its nodes."""
    return not ray.util.client.ray.is_connected() and sum(node["Alive"] for node in ray.nodes()) == 1


def num_copies(most: int, *, gpu: bool) -> int:
    """How many copies of a class that is costly to set up there is room for, at least 1.

    Args:
        most: how many are worth it.
        gpu: whether each copy takes a GPU, or else a core; one core stays free for what feeds them.
    """
    return max(1, min(most, gpus() if gpu else cores() - 1))


def copies(number: int, *, gpu: bool) -> dict[str, Any]:
    """Options of `map_batches` for a class of which there are to be up to so many copies."""
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=number)
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


def write_work(folder: Path, sql: str, schema: pa.Schema, values: Mapping[str, Any], /, **sources: Any) -> list[Path]:
    """The rows of a query as files of work for `write_shards`, a shard's worth each; made only once.

    Args:
        folder: of the files.
        sql: over the sources, with an order.
        schema: of its rows.
        values: of the $names in it.
        sources: tables by name.
    """
    num_rows = int(queries.ask(f"SELECT count(*) AS rows FROM ({sql})", values, **sources)["rows"][0])  # noqa: S608
    return queries.write_parts(
        folder, lambda: queries.stream(sql, schema, values, **sources), schema, rows=shard_rows(num_rows)
    )


def write_shards(
    work: list[Path],
    transform: Callable[[pa.Table], tuple[pa.Table, Rejected]],
    folder: Path,
    schema: pa.Schema,
    *,
    items: str,
) -> pd.DataFrame:
    """Streams files of work through `transform` on all cores of the cluster; each becomes one shard.

    The tasks read their file of work, open what it names, and write their shard, a row group at a time: only names go
    in and counts come back, and no process holds more than a row group. A shard appears when it is whole, holds what
    it rejected in its own metadata, and is not made again if it exists: an interrupted call goes on where it stopped,
    and a task that Ray repeats does no harm.

    Args:
        work: Parquet files of small rows, such as paths.
        transform: some rows of `work` -> (table of `schema`, what was rejected); pickled to the workers.
        folder: receives `part-00000.parquet` and so on; must be reachable from all nodes.
        schema: of the shards.
        items: what the rows of work are, for the progress shown.

    Returns:
        All that was rejected, columns `tables.QUARANTINE`, in the order of the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / queries.part_name(number) for number in range(len(work))]
    there = set(folder.glob("part-*.parquet"))
    due: list[dict[str, Any]] = [
        {"work": str(path), "shard": str(shard), "rows": _num_rows(path)}
        for path, shard in zip(work, shards, strict=True)
        if shard not in there
    ]
    if due:
        tasks = num_tasks(len(due), cores())
        made = ray.data.from_arrow([pa.Table.from_pylist(due[first::tasks]) for first in range(tasks)])
        made.context.target_max_block_size = 1  # byte: what a task yields is seen at once, not when the task ends
        made.context.execution_options.preserve_order = False
        write = partial(_write_some, transform=transform, schema=schema)
        made = made.map_batches(write, batch_size=None, batch_format="pyarrow", num_cpus=1)
        progress = Progress(folder.name, total=sum(one["rows"] for one in due), items=items)
        for rows in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            progress.add(sum(rows["rows"].to_pylist()))
    rejected = [row for shard in shards for row in _rejected(shard)]
    return pd.DataFrame(rejected, columns=list(tables.QUARANTINE))


def num_tasks(num_shards: int, num_cores: int) -> int:
    """Into how many tasks the writing of shards is cut.

    Ray Data notices ten times a second that a task has ended (2.60), and its core waits meanwhile: so a task makes up
    to eight shards. Every core gets as many tasks, so that all are done at about the same time.

    Args:
        num_shards: to be written, at least 1.
        num_cores: of the cluster, at least 1.

    Returns:
        At least 1, and not more than there are shards.
    """
    rounds = -(-num_shards // (_TASK_SHARDS * num_cores))
    return min(num_shards, rounds * num_cores)


def _write_some(
    due: pa.Table, *, transform: Callable[[pa.Table], tuple[pa.Table, Rejected]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Writes one shard after the other and yields the rows of work of each."""
    keep_freed_memory()
    for one in due.to_pylist():
        shard = storage.place(one["shard"])
        if not shard.exists():  # else this task was on a node that was lost, and is done again
            _write_one(storage.place(one["work"]), shard, transform, schema)
        yield pa.table({"rows": [one["rows"]]})


def keep_freed_memory() -> None:
    """Lets the C library keep some of what is freed: else it is given back, and asked for again, with every slice."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's
        libc.mallopt(_M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**26)


def _write_one(
    work: Path, target: Path, transform: Callable[[pa.Table], tuple[pa.Table, Rejected]], schema: pa.Schema
) -> None:
    rejected: Rejected = []
    rows = _IMAGE_ROW_GROUP if "image" in schema.names else _ROW_GROUP
    with work.open("rb") as source, tables.shard(target, schema) as shard:
        for batch in pq.ParquetFile(source).iter_batches(rows):
            table, not_used = transform(pa.Table.from_batches([batch]))
            shard.add(table)
            rejected += not_used
        shard.add_metadata({"rejected": json.dumps(rejected)})


def _num_rows(path: Path) -> int:
    with path.open("rb") as file:
        return pq.read_metadata(file).num_rows


def _rejected(path: Path) -> Rejected:
    with path.open("rb") as file:
        return json.loads(pq.read_metadata(file).metadata[b"rejected"])


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
    # less than half a core, so that a training worker and what feeds it fit on one
    rows = ray.data.from_arrow(work).map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=0.4)
    rows.context.execution_options = ahead(num_readers=1)
    return rows


def ahead(*, num_readers: int) -> ray.data.ExecutionOptions:
    """How Ray Data is to run a stream that is read more slowly than it could be made: only so far ahead.

    Left to itself it fills half of the object store (4.7 GB on a machine of 24 GB, 2.60), the sooner the more shards
    there are.

    Args:
        num_readers: training workers that share the stream.
    """
    options = copy.deepcopy(ray.data.DataContext.get_current().execution_options)
    memory = _AHEAD_BYTES * max(1, num_readers)
    options.resource_limits = ray.data.ExecutionResources(object_store_memory=memory)
    return options


def _row_groups(work: pa.Table, *, columns: list[str], wanted: np.ndarray) -> Iterator[pa.Table]:
    for path in work["path"].to_pylist():
        with storage.place(path).open("rb") as opened, pq.ParquetFile(opened) as file:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number, columns=columns).replace_schema_metadata()
                yield rows.filter(pa.array(wanted[rows["slice"].to_numpy()]))


class Progress:
    """Says how far a long work is: a record of the log at each step, which the command line draws or thins out."""

    def __init__(self, label: str, *, total: int, items: str) -> None:
        self._label, self._total, self._items = label, total, items
        self._done = 0
        self._started = time.monotonic()
        self.add(0)

    def add(self, done: int) -> None:
        """Counts what has been finished since."""
        self._done += done
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        log.info(
            "  %s: %s of %s %s, %s a second",
            self._label,
            f"{self._done:,}",
            f"{self._total:,}",
            self._items,
            f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}",
            extra={"progress": (self._label, self._done, self._total, self._items)},
        )
