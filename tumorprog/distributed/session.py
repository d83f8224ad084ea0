"""Connecting this process to Ray: starting it on this machine or joining a cluster, and what it offers."""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
import ray.data

from tumorprog.distributed import address
from tumorprog.distributed.internals import quiet_logs, start_options, throttle_execution, update_limits_often
from tumorprog.distributed.settings import Cluster
from tumorprog.errors import InputError

log = logging.getLogger(__name__)

_NO_AUTHENTICATION = (
    "without token authentication, and its ports are open on every address of the machine: anyone who can reach one "
    "could run any command on it. Set RAY_AUTH_MODE=token (on a cluster also RAY_AUTH_TOKEN, the same on all nodes; "
    "see cluster/README.md)"
)
_NO_GPU = (
    "Ray finds no GPU on this machine (`nvidia-smi` lists the available GPUs). To train without one, set "
    "--grader.gpu false and --segmenter.gpu false; in a sweep, remove gpu from the resources"
)

_IDLE_WORKER_MS = 60_000
"""Idle workers are kept this long, so that the processes that read the shards survive until the next epoch.

Ray's default of one second is too short for that.
"""


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
    with _signal_handler_kept():
        if joins_existing_cluster(cluster):
            _join(cluster)
        else:
            _start(cluster, state_api=state_api)


def _start(cluster: Cluster, *, state_api: bool) -> None:
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise InputError(f"Ray would start {_NO_AUTHENTICATION}")
    folder = address.session_folder(os.environ, user=os.getuid())
    if folder:
        log.info("  TMPDIR is too long for Ray's sockets, or not writable; using %s instead", folder)
    with _dashboard() if state_api else nullcontext({"include_dashboard": False}) as dashboard:
        ray.init(
            address="local",
            object_spilling_directory=tempfile.gettempdir() if folder else None,  # it has more space
            num_cpus=cluster.cores or None,
            logging_level=logging.ERROR,
            **start_options(folder=folder, idle_worker_ms=_IDLE_WORKER_MS),
            **dashboard,
        )
    _Started.without_state_api = "" if state_api else _address()


def configure_ray_data() -> None:
    """Configure Ray Data in this process: quiet logs, deterministic row order and a throttled execution loop.

    A task that itself runs Ray Data, such as one of several concurrent trainings, must call this function too.
    """
    quiet_logs()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # tumorprog logs its own progress
    context.execution_options.preserve_order = True  # the same rows in the same order in every run
    throttle_execution(context)
    update_limits_often()


@contextmanager
def _signal_handler_kept() -> Iterator[None]:
    """Restore the handler of SIGTERM, by which a command ends with its own exit code: `ray.init` replaces it (2.60)."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


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


def joins_existing_cluster(cluster: Cluster) -> bool:
    """Return whether a command joins a running cluster: that of its Ray job, or the one named in the settings."""
    return _in_ray_job() or cluster.address != "local"


def _in_ray_job() -> bool:
    """Return whether the environment names Ray's cluster, as it does in a Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ or bool(os.environ.get("RAY_ADDRESS"))


def _join(cluster: Cluster) -> None:
    stated = os.environ.get("RAY_ADDRESS")
    try:
        address.check_reachable(stated or cluster.address)
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
