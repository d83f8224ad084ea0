"""slices and features on 1, 2 and 4 logical nodes of one core each: slices per second and efficiency.

    python benchmarks/scale.py                     # 8,000 slices of 256 x 256
    python benchmarks/scale.py --nodes 1 2 4 8 --slices 40000 --json scale.json

The nodes are logical Ray nodes, each with its own scheduler and object store, and there is a head that runs no tasks;
all of them share this machine. So the benchmark measures the overhead of distribution; it cannot measure a network,
and with more nodes than cores the efficiency falls because the cores are shared. Efficiency is the rate relative to
that of one node, divided by the number of nodes. `plain` is a process pool with as many processes that computes
features of an array in memory: it shows what the machine can do at that moment without distribution. The time to
start Ray and its workers is not included; the best of several rounds counts.
"""

import argparse
import json
import multiprocessing
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import archive

STAGES = ("slices", "features")
PLAIN_REPEATS = 2_000
TARGET = 0.9


def main() -> None:
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=8_000)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds of both stages; the best one counts")
    parser.add_argument("--folder", type=Path, help="working folder; needs space for the archive and the images")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # before ray reads it
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="tumorprog-benchmark-") as folder:
        print(f"writing {arguments.slices:,} slices of {arguments.size} x {arguments.size} ...", flush=True)
        archive.write(Path(folder), slices=arguments.slices, size=arguments.size)
        rates = {nodes: measure(Path(folder), nodes=nodes, arguments=arguments) for nodes in arguments.nodes}
    cores = multiprocessing.cpu_count()
    print_table(rates, slices=arguments.slices, cores=cores)
    if arguments.json:
        figures = {"slices": arguments.slices, "size": arguments.size, "cores": cores, "rates": rates}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, *, nodes: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the slices per second of each stage on a number of nodes."""
    import ray
    from ray.cluster_utils import Cluster

    from tumorprog import run, storage
    from tumorprog.distributed import session
    from tumorprog.settings import Settings, with_values

    tree = str(folder / "archive")
    paths = {"archive.grading": tree, "archive.grades": str(folder / "grades.csv"), "archive.progression": tree}
    settings = with_values(Settings(), {**paths, "roi.method": "brightest"})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    best = {**dict.fromkeys(STAGES, 0.0), "plain": plain(nodes)}
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        session.connect(settings.cluster)
        run.run_stages(folder / "run", settings, [run.stage_named("catalogue"), run.stage_named("regions")])
        start_workers(nodes)
        for number in range(arguments.rounds + 1):  # the first round fills the caches and imports modules
            changed = with_values(settings, {"seed": 10 * nodes + number})  # so that slices runs again
            storage.remove(folder / "run" / "features")
            for stage in STAGES:
                began = time.perf_counter()
                run.run_stages(folder / "run", changed, [run.stage_named(stage)])
                rate = arguments.slices / (time.perf_counter() - began)
                if number:
                    best[stage] = max(best[stage], rate)
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(f"{nodes} nodes: " + ", ".join(f"{stage} {rate:,.0f}/s" for stage, rate in best.items()), flush=True)
    return best


def plain(processes: int) -> float:
    """Return the features per second of a number of independent processes, without Ray and files."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(compute_features, [20] * processes, chunksize=1)
        began = time.perf_counter()
        pool.map(compute_features, [PLAIN_REPEATS] * processes, chunksize=1)
        return PLAIN_REPEATS * processes / (time.perf_counter() - began)


def compute_features(repeats: int) -> None:
    """Compute the features of one array repeatedly."""
    import cv2
    import numpy as np

    from tumorprog.encoders import spectral
    from tumorprog.imaging import intensity
    from tumorprog.regions.brightest import brightest_region

    cv2.setNumThreads(1)
    image = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    for _ in range(repeats):
        scaled = intensity.prepare(image)
        spectral.encode(scaled, brightest_region(scaled), wavelet="haar")


def start_workers(nodes: int) -> None:
    """Start a process on every core that has imported what the tasks need."""
    import pyarrow as pa
    import ray.data

    rows = ray.data.from_arrow([pa.table({"number": [number]}) for number in range(2 * nodes)])
    rows.map_batches(_import_modules, batch_size=None, batch_format="pyarrow", num_cpus=1).materialize()


def _import_modules(rows: Any) -> Any:
    """Import what the tasks need."""
    from tumorprog.stages import features, slices

    time.sleep(0.5)  # so that each node gets a block
    del features, slices
    return rows


def print_table(rates: dict[int, dict[str, float]], *, slices: int, cores: int) -> None:
    """Print one table of all rates."""
    print(f"\n{slices:,} slices, nodes of one core on a machine of {cores} cores")
    columns = (*STAGES, "plain")
    print(f"{'nodes':<8}" + "".join(f"{stage + '/s':>14}{'efficiency':>12}" for stage in columns))
    first = min(rates)
    for nodes, rate in rates.items():
        cells = "".join(
            f"{rate[stage]:>14,.0f}{rate[stage] / rates[first][stage] * first / nodes:>12.2f}" for stage in columns
        )
        print(f"{nodes:<8}{cells}{'   more nodes than cores' if nodes > cores else ''}")
    print(f"target: an efficiency of {TARGET}, if there are as many cores as nodes")


if __name__ == "__main__":
    main()
