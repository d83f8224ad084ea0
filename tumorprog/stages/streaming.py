"""Ray for the stages: connecting to a cluster, and processing a table of work into shards, written atomically."""

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
"""Rows of `tables.QUARANTINE`: the files that could not be used, each with its reason."""

_NO_AUTHENTICATION = (
    "without token authentication, and its ports are open on every address of the machine: anyone who can reach one "
    "could run any command on it. Set RAY_AUTH_MODE=token (on a cluster also RAY_AUTH_TOKEN, the same on all nodes; "
    "see cluster/README.md)"
)
_NO_GPU = (
    "Ray finds no GPU on this machine (`nvidia-smi` lists the available GPUs). To train without one, set "
    "--grader.gpu false; in a sweep, remove gpu from the resources"
)

_STEP_SECONDS = 0.01
_IDLE_WORKER_MS = 60_000
"""Idle workers are kept this long, so that the processes that read the shards survive until the next epoch.

Ray's default of one second is too short for that.
"""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Option numbers of glibc's `mallopt`, from malloc.h."""
_TARGET_SHARDS, _MIN_ROWS, _MAX_ROWS = 16, 32, 2048
_MAX_SHARDS_PER_TASK = 8
_READ_AHEAD_BYTES = 2**29
"""About ten thousand images, which a GPU processes in a few seconds."""
_ROW_GROUP, _IMAGE_ROW_GROUP = 1024, 64
"""Rows that a task holds in memory at a time. 64 images take 3 MB and are still in the CPU cache when written."""


class _Started:
    """The local Ray instance that this process has started, if any."""

    without_state_api = ""
    """Its address, if it was started without the dashboard and therefore without Ray's state API."""


def connect(cluster: Cluster, *, gpu: bool = False, train_workers: int = 0) -> None:
    """Join the cluster named by the settings or by the surrounding Ray job, or start Ray on this machine.

    Does nothing if this process is already connected. The exception is Ray Train with workers: its cleanup of crashed
    trainings needs Ray's state API, which is part of the dashboard. If this process started Ray without a dashboard,
    Ray is restarted with one. The dashboard costs a gigabyte of memory and a second, so only trainings have one.

    Args:
        cluster: the settings.
        gpu: whether GPUs will be requested.
        train_workers: number of Ray Train workers that will be requested.

    Raises:
        InputError: if the cluster cannot be joined or has no token authentication; if no GPU is available and none
            can be added.
    """
    configure_ray_data()
    if train_workers and ray.is_initialized() and _Started.without_state_api == _address():
        ray.shutdown()
    if not ray.is_initialized():
        _join_or_start(cluster, state_api=train_workers > 0)
    if gpu and not gpus():
        if not joins_existing_cluster(cluster):
            raise InputError(_NO_GPU)
        log.warning("  the cluster has no GPU yet; tasks that need one will wait until a node with a GPU joins")


def _join_or_start(cluster: Cluster, *, state_api: bool) -> None:
    _Started.without_state_api = ""
    if joins_existing_cluster(cluster):
        _join(cluster)
        return
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise InputError(f"Ray would start {_NO_AUTHENTICATION}")
    folder = address.session_folder(os.environ, user=os.getuid())
    if folder:
        log.info("  TMPDIR is too long for Ray's sockets, or not writable; using %s instead", folder)
    with _dashboard() if state_api else nullcontext({"include_dashboard": False}) as dashboard:
        ray.init(
            address="local",
            _temp_dir=str(folder) if folder else None,
            object_spilling_directory=tempfile.gettempdir() if folder else None,  # it has more space
            num_cpus=cluster.cores or None,
            logging_level=logging.ERROR,
            _system_config={"idle_worker_killing_time_threshold_ms": _IDLE_WORKER_MS},
            **dashboard,
        )
    _Started.without_state_api = "" if state_api else _address()


@contextmanager
def _dashboard() -> Iterator[dict[str, Any]]:
    """Yield the options of `ray.init` for a dashboard on the loopback, with its address set in the environment.

    Without the address, Ray's processes would search the machine for a dashboard, and fail if they found two.
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


def configure_ray_data() -> None:
    """Configure Ray Data in this process: quiet logs, deterministic row order and a throttled execution loop.

    A task that itself runs Ray Data, such as one of several concurrent trainings, must call this function too.
    """
    quiet_logs()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # tumorprog logs its own progress
    context.execution_options.preserve_order = True  # the same rows in the same order in every run
    if ThrottledExecution not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(ThrottledExecution)
    # Ray Data updates its resource limits once a second, and runs a single task until the first update (2.60)
    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = 0.02


def quiet_logs() -> None:
    """Limit the log output of Ray's libraries in this process to warnings and errors."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.WARNING)


class ThrottledExecution(ExecutionCallback):
    """Limit Ray Data's execution loop to a hundred steps a second, and quiet its logs, in any process that runs it.

    Once its read-ahead limit is reached, the loop would spin without a pause and occupy a core (2.60). If it shares a
    process with a training, the hundreds of torch calls of each training step then compete with it for the interpreter
    lock: an H100 took 100 ms per batch, whether the batch had 64 or 256 images.
    """

    def __init__(self) -> None:
        self._next = 0.0
        quiet_logs()  # called here because Ray Train executes the data stream of a training in a separate process

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Wait until the next step is due; Ray calls this at each step of the loop."""
        del executor
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + _STEP_SECONDS


def joins_existing_cluster(cluster: Cluster) -> bool:
    """Return whether a command joins a running cluster: that of its Ray job, or the one named in the settings."""
    return _in_ray_job() or cluster.address != "local"


def _in_ray_job() -> bool:
    """Return whether the environment names Ray's cluster, as it does in a Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or bool(os.environ.get("RAY_ADDRESS"))


def _join(cluster: Cluster) -> None:
    stated = os.environ.get("RAY_ADDRESS")
    try:
        address.knock(stated or cluster.address)
        ray.init(address=None if _in_ray_job() else cluster.address, logging_level=logging.ERROR)
    except (OSError, ray.exceptions.AuthenticationError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        source = f"RAY_ADDRESS {stated}" if stated else f"cluster.address {cluster.address}"
        local_option = "unset RAY_ADDRESS" if stated else "--cluster.address local"
        raise InputError(
            f"{source}: cannot join the Ray cluster ({reason}). Start a cluster at this address and export its "
            f"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or run on this machine only: {local_option}"
        ) from error
    hosts = sorted({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})
    exposed = not all(host.startswith("127.") or host == "::1" for host in hosts)
    if exposed and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":  # Ray sets it if it finds a token
        ray.shutdown()
        raise InputError(f"the Ray cluster on {', '.join(hosts)} runs {_NO_AUTHENTICATION}")


def cores() -> int:
    """Return the number of CPU cores of the whole cluster, at least 1."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def gpus() -> int:
    """Return the number of GPUs of the whole cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def is_single_node() -> bool:
    """Return whether this machine is the only node; a machine that is only a client of a cluster is not a node."""
    return not ray.util.client.ray.is_connected() and sum(node["Alive"] for node in ray.nodes()) == 1


def num_actors(limit: int, *, gpu: bool) -> int:
    """Return how many actors of a class with a costly set-up the cluster can run, at least 1.

    Args:
        limit: largest useful number of actors.
        gpu: whether each actor uses a GPU, or else a core; one core stays free for the tasks that feed the actors.
    """
    return max(1, min(limit, gpus() if gpu else cores() - 1))


def actor_options(number: int, *, gpu: bool) -> dict[str, Any]:
    """Return the options of `map_batches` for a class that runs in up to `number` actors."""
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=number)
    return {"compute": pool, "num_cpus": 0 if gpu else 1, "num_gpus": 1 if gpu else 0}


def shard_rows(num_rows: int) -> int:
    """Return the rows of each shard: about sixteen shards, to keep a few cores busy, within a minimum and maximum size.

    The number depends only on the rows, so that a run on another machine writes the same files.
    """
    return min(max(-(-num_rows // _TARGET_SHARDS), _MIN_ROWS), _MAX_ROWS)


def chunks(work: pa.Table) -> list[pa.Table]:
    """Split the table into one chunk for each shard."""
    rows = shard_rows(work.num_rows)
    return [work.slice(start, rows) for start in range(0, work.num_rows, rows)]


def write_work(folder: Path, sql: str, schema: pa.Schema, values: Mapping[str, Any], /, **sources: Any) -> list[Path]:
    """Write the rows of a query as work files for `write_shards`, one for each shard; existing files are kept.

    Args:
        folder: folder of the work files.
        sql: query over the sources, with ORDER BY.
        schema: schema of its rows.
        values: values of the $parameters of the query.
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
    """Process work files with `transform` on all cores of the cluster; each file becomes one shard.

    Each task reads its work files, opens the files that they list, and writes the shards, one row group at a time. Only
    paths are sent to a task and only counts are returned, and no process holds more than one row group. A shard is
    written atomically, stores the rows it rejected in its metadata, and is not written again if it exists. An
    interrupted call therefore resumes where it stopped, and a task may safely be repeated by Ray.

    Args:
        work: Parquet files of small rows, such as paths.
        transform: function from rows of `work` to (table of `schema`, rejected rows); pickled to the workers.
        folder: folder for `part-00000.parquet` and so on; must be reachable from all nodes.
        schema: schema of the shards.
        items: what the rows of work represent, for the progress log.

    Returns:
        All rejected rows, columns `tables.QUARANTINE`, in the order of the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / queries.part_name(number) for number in range(len(work))]
    existing = set(folder.glob("part-*.parquet"))
    pending: list[dict[str, Any]] = [
        {"work": str(path), "shard": str(shard), "rows": _num_rows(path)}
        for path, shard in zip(work, shards, strict=True)
        if shard not in existing
    ]
    if pending:
        tasks = num_tasks(len(pending), cores())
        written = ray.data.from_arrow([pa.Table.from_pylist(pending[first::tasks]) for first in range(tasks)])
        written.context.target_max_block_size = 1  # byte: counts arrive as they are yielded, not when the task ends
        written.context.execution_options.preserve_order = False
        write = partial(_write_task, transform=transform, schema=schema)
        written = written.map_batches(write, batch_size=None, batch_format="pyarrow", num_cpus=1)
        progress = Progress(folder.name, total=sum(shard["rows"] for shard in pending), items=items)
        for rows in written.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            progress.add(sum(rows["rows"].to_pylist()))
    rejected = [row for shard in shards for row in _rejected(shard)]
    return pd.DataFrame(rejected, columns=list(tables.QUARANTINE))


def num_tasks(num_shards: int, num_cores: int) -> int:
    """Return the number of tasks into which the writing of shards is divided.

    Ray Data checks for finished tasks ten times a second (2.60), and a core idles in between; a task therefore writes
    up to eight shards. Every core gets the same number of tasks, so that all finish at about the same time.

    Args:
        num_shards: number of shards to write, at least 1.
        num_cores: number of cores of the cluster, at least 1.

    Returns:
        Number of tasks, between 1 and `num_shards`.
    """
    rounds = -(-num_shards // (_MAX_SHARDS_PER_TASK * num_cores))
    return min(num_shards, rounds * num_cores)


def _write_task(
    pending: pa.Table, *, transform: Callable[[pa.Table], tuple[pa.Table, Rejected]], schema: pa.Schema
) -> Iterator[pa.Table]:
    """Write the shards one after the other and yield the number of work rows of each."""
    keep_freed_memory()
    for row in pending.to_pylist():
        shard = storage.place(row["shard"])
        if not shard.exists():  # it exists if Ray repeats this task after the loss of a node
            _write_shard(storage.place(row["work"]), shard, transform, schema)
        yield pa.table({"rows": [row["rows"]]})


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, instead of returning it to the system and requesting it for every slice."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's
        libc.mallopt(_M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**26)


def _write_shard(
    work: Path, target: Path, transform: Callable[[pa.Table], tuple[pa.Table, Rejected]], schema: pa.Schema
) -> None:
    rejected: Rejected = []
    rows = _IMAGE_ROW_GROUP if "image" in schema.names else _ROW_GROUP
    with work.open("rb") as source, tables.shard(target, schema) as shard:
        for batch in pq.ParquetFile(source).iter_batches(rows):
            table, batch_rejected = transform(pa.Table.from_batches([batch]))
            shard.add(table)
            rejected += batch_rejected
        shard.add_metadata({"rejected": json.dumps(rejected)})


def _num_rows(path: Path) -> int:
    with path.open("rb") as file:
        return pq.read_metadata(file).num_rows


def _rejected(path: Path) -> Rejected:
    with path.open("rb") as file:
        return json.loads(pq.read_metadata(file).metadata[b"rejected"])


def read_rows(paths: list[Path], columns: list[str], *, wanted: np.ndarray) -> ray.data.Dataset:
    """Stream a subset of the rows of shards of `tables.SLICES`.

    The tasks read the files one row group at a time. Ray's own `read_parquet` takes ten times as long to start (1.7 s
    against 0.15 s on four cores, 2.60), at every epoch and for each of the training, validation and test sets.

    Args:
        paths: paths of the shards.
        columns: columns to read; must include `slice`.
        wanted: (N,) bool, indexed by the number in `slice`: whether to include the row.
    """
    work = [pa.table({"path": [str(path)]}) for path in paths]
    read = partial(_row_groups, columns=columns, wanted=wanted)
    # less than half a core, so that a training worker and the task that feeds it fit on one core
    rows = ray.data.from_arrow(work).map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=0.4)
    rows.context.execution_options = read_ahead_options(num_readers=1)
    return rows


def read_ahead_options(*, num_readers: int) -> ray.data.ExecutionOptions:
    """Return execution options that limit how far Ray Data reads ahead of a slow consumer.

    By default it fills half of the object store (4.7 GB on a machine with 24 GB, 2.60).

    Args:
        num_readers: number of training workers that share the stream.
    """
    options = copy.deepcopy(ray.data.DataContext.get_current().execution_options)
    memory = _READ_AHEAD_BYTES * max(1, num_readers)
    options.resource_limits = ray.data.ExecutionResources(object_store_memory=memory)
    return options


def _row_groups(work: pa.Table, *, columns: list[str], wanted: np.ndarray) -> Iterator[pa.Table]:
    for path in work["path"].to_pylist():
        with storage.place(path).open("rb") as opened, pq.ParquetFile(opened) as file:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number, columns=columns).replace_schema_metadata()
                yield rows.filter(pa.array(wanted[rows["slice"].to_numpy()]))


class Progress:
    """Progress of a long task: one log record at each step, which the command line draws as a bar or thins out."""

    def __init__(self, label: str, *, total: int, items: str) -> None:
        self._label, self._total, self._items = label, total, items
        self._done = 0
        self._started = time.monotonic()
        self.add(0)

    def add(self, done: int) -> None:
        """Add the number of items finished since the last call."""
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
