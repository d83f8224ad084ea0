"""Nodes of a cluster: whether each of them sees the files that a stage reads and writes, before anything long."""

import logging
import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tumorprog import storage
from tumorprog.errors import InputError
from tumorprog.settings import Cluster
from tumorprog.stages import streaming

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""How long a node looks for a file that has just been written: a shared disk may show it late."""
_ANSWER_S = 120.0
"""How long an answer may take; most of it is the start of a process with all of its imports."""


def check_shared(out: Path, archives: Sequence[str], cluster: Cluster) -> None:
    """Refuses a run directory or an archive that some node of the cluster does not see.

    On one machine there is nothing to ask, and Ray is not started for it. The run directory counts as shared if every
    other node that takes work finds there what this one has just written, and may write there itself; an archive, if
    every node finds one of its files.

    Args:
        out: the run directory.
        archives: folders that the nodes read, as the settings name them.
        cluster: the settings.

    Raises:
        InputError: if a node does not see one of them, or lacks a package; it names the nodes.
    """
    if not streaming.joins(cluster):
        return
    streaming.connect(cluster)
    others = _other_nodes()
    if not others:
        return
    samples = {root: next(storage.walk(storage.place(root)), None) for root in archives}
    folder = storage.place(storage.absolute(str(out)))
    for left_over in folder.glob(".nodes-*"):  # of a command that was killed while it asked
        storage.remove(left_over)
    probe = folder / f".nodes-{uuid.uuid4().hex}"
    probe.mkdir(parents=True)
    try:
        storage.write_text(probe / "asked", probe.name)
        missing = _ask(others, str(probe), {root: file for root, file in samples.items() if file})
    finally:
        storage.remove(probe)
    for place, nodes in missing.items():
        what = f"--out {out}" if place == str(probe) else place
        raise InputError(
            f"{what}: on node {', '.join(sorted(nodes))} this is not the folder that it is here, or cannot be written; "
            "on several nodes it must be on a disk that all of them share under this path, or at an address such as "
            "s3://bucket/name"
        )


def _other_nodes() -> dict[str, str]:
    """Identifier and address of the nodes that take work, without this one."""
    mine = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != mine and {"CPU", "GPU"} & set(node["Resources"])
    }


def _ask(nodes: dict[str, str], probe: str, samples: dict[str, storage.Found]) -> dict[str, list[str]]:
    """For each place that some nodes do not see, their addresses; a node that is lost meanwhile is not counted."""
    look = ray.remote(num_cpus=0)(not_seen)  # no core, so that it does not wait for the work of another job
    asked = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(probe, samples): node
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
    missing: dict[str, list[str]] = {}
    for answer in ready:
        address = nodes[asked[answer]]
        try:
            places = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            lacks = re.search(r"No module named '([\w.]+)'", str(error))
            if lacks is None:
                raise
            raise InputError(
                f"node {address} has no {lacks[1]}; nodes need the packages of requirements.lock, and get tumorprog by "
                "`tumorprog submit`, or by `ray job submit --runtime-env jobs/runtime_env.yaml`"
            ) from error
        except ray.exceptions.RayError as error:
            log.warning("  node %s did not answer (%s) and is not waited for", address, type(error).__name__)
            continue
        for place in places:
            missing.setdefault(place, []).append(address)
    for answer in late:
        log.warning("  node %s did not answer within %.0f s and is not waited for", nodes[asked[answer]], _ANSWER_S)
    return missing


def not_seen(probe: str, samples: dict[str, storage.Found]) -> list[str]:
    """Runs on another node: which of these places are not, there, what they are where the command runs.

    Args:
        probe: folder of the run directory that holds a file `asked` with the folder's name; receives an answer.
        samples: a file of each archive.

    Returns:
        The probe, or names of archives.
    """
    missing = [root for root, file in samples.items() if not _is_there(file)]
    folder = storage.place(probe)
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if (folder / "asked").read_text() == folder.name:
                storage.write_text(folder / uuid.uuid4().hex, "")
                return missing
        except OSError:
            log.debug("%s cannot be read or written", folder)
        if time.monotonic() > until:
            return [*missing, probe]
        time.sleep(0.2)


def _is_there(file: storage.Found) -> bool:
    """Whether a file is there with its size; not its time, because an archive may be copied to every node."""
    found = next(storage.walk(storage.place(storage.local_name(file.path))), None)
    return found is not None and found.num_bytes == file.num_bytes
