"""Nodes of a cluster: a check, before long work, that each node sees the files that a stage reads and writes."""

import logging
import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tumorprog import storage
from tumorprog.distributed import session
from tumorprog.distributed.settings import Cluster
from tumorprog.errors import InputError

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long a node looks for a file that has just been written: on a shared disk it may appear late."""
_ANSWER_S = 120.0
"""How long a node may take to answer; most of it is the start of a process with all of its imports."""


def check_shared(out: Path, archives: Sequence[str], cluster: Cluster) -> None:
    """Check that all nodes of the cluster see the run directory and the archives.

    On a single machine nothing is checked and Ray is not started. The run directory counts as shared if every other
    node that takes work finds a file that this node has just written and can write there itself; an archive, if every
    node finds one of its files.

    Args:
        out: the run directory.
        archives: folders that the nodes read, as given in the settings.
        cluster: settings of the cluster.

    Raises:
        InputError: if a node does not see one of them or lacks a package; the message names the nodes.
    """
    if not session.joins_existing_cluster(cluster):
        return
    session.connect(cluster)
    others = _other_nodes()
    if not others:
        return
    samples = {root: next(storage.walk(storage.as_path(root)), None) for root in archives}
    folder = storage.as_path(storage.absolute(str(out)))
    for left_over in folder.glob(".nodes-*"):  # from a command that was killed during the check
        storage.remove(left_over)
    probe = folder / f".nodes-{uuid.uuid4().hex}"
    probe.mkdir(parents=True)
    try:
        storage.write_text(probe / "asked", probe.name)
        missing = _check_nodes(others, str(probe), {root: file for root, file in samples.items() if file})
    finally:
        storage.remove(probe)
    for path, nodes in missing.items():
        label = f"--out {out}" if path == str(probe) else path
        raise InputError(
            f"{label}: not the same folder on node {', '.join(sorted(nodes))} as on this machine, or not writable "
            "there; a run on several nodes needs a disk that all of them share under this path, or an address such as "
            "s3://bucket/name"
        )


def _other_nodes() -> dict[str, str]:
    """Return the identifiers and addresses of the other nodes that take work."""
    this_node = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != this_node and {"CPU", "GPU"} & set(node["Resources"])
    }


def _check_nodes(nodes: dict[str, str], probe: str, samples: dict[str, storage.Found]) -> dict[str, list[str]]:
    """Return for each missing path the addresses of the nodes that do not see it; lost nodes are not counted."""
    check = ray.remote(num_cpus=0)(find_missing)  # no core, so that it does not wait for the work of another job
    requests = {
        check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(probe, samples): node
        for node in nodes
    }
    ready, late = ray.wait(list(requests), num_returns=len(requests), timeout=_ANSWER_S)
    missing: dict[str, list[str]] = {}
    for answer in ready:
        address = nodes[requests[answer]]
        try:
            paths = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            module = re.search(r"No module named '([\w.]+)'", str(error))
            if module is None:
                raise
            raise InputError(
                f"node {address} has no {module[1]}; nodes need the packages of requirements.lock, and receive "
                "tumorprog through `tumorprog submit` or `ray job submit --runtime-env jobs/runtime_env.yaml`"
            ) from error
        except ray.exceptions.RayError as error:
            log.warning("  node %s did not answer (%s) and was not checked", address, type(error).__name__)
            continue
        for path in paths:
            missing.setdefault(path, []).append(address)
    for answer in late:
        log.warning("  node %s did not answer within %.0f s and was not checked", nodes[requests[answer]], _ANSWER_S)
    return missing


def find_missing(probe: str, samples: dict[str, storage.Found]) -> list[str]:
    """Return the paths that differ between the node that runs this function and the node of the command.

    Args:
        probe: folder of the run directory with a file `asked` that contains the folder's name; receives an answer.
        samples: for each archive, one of its files.

    Returns:
        The missing archives, and the probe if it cannot be read or written.
    """
    missing = [root for root, file in samples.items() if not _exists(file)]
    folder = storage.as_path(probe)
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if (folder / "asked").read_text() == folder.name:
                storage.write_text(folder / uuid.uuid4().hex, "")
                return missing
        except OSError:
            log.debug("%s cannot be read or written", folder)
        if time.monotonic() > deadline:
            return [*missing, probe]
        time.sleep(0.2)


def _exists(file: storage.Found) -> bool:
    """Return whether the file exists with its size; its time may differ, as an archive may be copied to every node."""
    found = next(storage.walk(storage.as_path(storage.local_name(file.path))), None)
    return found is not None and found.num_bytes == file.num_bytes
