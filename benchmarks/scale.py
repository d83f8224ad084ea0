"""slices and features on 1, 2 and 4 logical nodes of one core each: slices a second, and the efficiency.

    python benchmarks/scale.py                     # 8,000 slices of 256 x 256
    python benchmarks/scale.py --nodes 1 2 4 8 --slices 40000 --json scale.json

The nodes are nodes to Ray, each with its own scheduler and object store, beside a head that takes no work; they share
this machine. So what this shows is what the work costs beyond the work when it is spread; it cannot show a network, and
with more nodes than cores the efficiency falls because the cores are shared. Efficiency is the rate over that of one
node, divided by the nodes. `bare` is a process pool of as many processes that computes features of an array in
memory: what the machine gives at that moment, whatever spreads the work. Starting Ray and its workers is not counted;
the better of some rounds is.
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
BARE = 2_000
TARGET = 0.9


def main() -> None:
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--slices", type=int, default=8_000)
    words.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    words.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    words.add_argument("--rounds", type=int, default=2, help="the best of so many, each with both stages")
    words.add_argument("--folder", type=Path, help="where to work; needs room for the archive and the images")
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # before ray reads it
    with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="tumorprog-benchmark-") as folder:
        print(f"writing {parsed.slices:,} slices of {parsed.size} x {parsed.size} ...", flush=True)
        archive.write(Path(folder), slices=parsed.slices, size=parsed.size)
        rates = {nodes: measure(Path(folder), nodes=nodes, parsed=parsed) for nodes in parsed.nodes}
    cores = multiprocessing.cpu_count()
    tell(rates, slices=parsed.slices, cores=cores)
    if parsed.json:
        figures = {"slices": parsed.slices, "size": parsed.size, "cores": cores, "rates": rates}
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, *, nodes: int, parsed: argparse.Namespace) -> dict[str, float]:
    """Slices a second of each stage on so many nodes."""
    import ray
    from ray.cluster_utils import Cluster

    from tumorprog import run, storage
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import streaming

    tree = str(folder / "archive")
    places = {"archive.grading": tree, "archive.grades": str(folder / "grades.csv"), "archive.progression": tree}
    settings = with_values(Settings(), places)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    best = {**dict.fromkeys(STAGES, 0.0), "bare": bare(nodes)}
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        streaming.connect(settings.cluster)
        run.run_stages(folder / "run", settings, [run.stage_named("catalogue")])
        start_workers(nodes)
        for number in range(parsed.rounds + 1):  # the first fills the caches and imports what the tasks need
            changed = with_values(settings, {"seed": 10 * nodes + number})  # the other seed: slices are due again
            storage.remove(folder / "run" / "features")
            for stage in STAGES:
                began = time.perf_counter()
                run.run_stages(folder / "run", changed, [run.stage_named(stage)])
                rate = parsed.slices / (time.perf_counter() - began)
                if number:
                    best[stage] = max(best[stage], rate)
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(f"{nodes} nodes: " + ", ".join(f"{stage} {rate:,.0f}/s" for stage, rate in best.items()), flush=True)
    return best


def bare(processes: int) -> float:
    """Features a second of so many processes without Ray, files or each other."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(vectors, [20] * processes, chunksize=1)
        began = time.perf_counter()
        pool.map(vectors, [BARE] * processes, chunksize=1)
        return BARE * processes / (time.perf_counter() - began)


def vectors(number: int) -> None:
    """Computes the features of one array so many times."""
    import cv2
    import numpy as np

    from tumorprog.imaging import spectral

    cv2.setNumThreads(1)
    image = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    for _ in range(number):
        spectral.slice_vector(image, wavelet="haar", method="brightest")


def start_workers(nodes: int) -> None:
    """A process on every core that has imported what the tasks need."""
    import pyarrow as pa
    import ray.data

    rows = ray.data.from_arrow([pa.table({"number": [number]}) for number in range(2 * nodes)])
    rows.map_batches(_is_up, batch_size=None, batch_format="pyarrow", num_cpus=1).materialize()


def _is_up(rows: Any) -> Any:
    from tumorprog.stages import features, slices

    time.sleep(0.5)  # so that each node gets some
    del features, slices
    return rows


def tell(rates: dict[int, dict[str, float]], *, slices: int, cores: int) -> None:
    """One table of all."""
    print(f"\n{slices:,} slices, nodes of one core on a machine of {cores} cores")
    columns = (*STAGES, "bare")
    print(f"{'nodes':<8}" + "".join(f"{stage + '/s':>14}{'efficiency':>12}" for stage in columns))
    first = min(rates)
    for nodes, rate in rates.items():
        shares = "".join(
            f"{rate[stage]:>14,.0f}{rate[stage] / rates[first][stage] * first / nodes:>12.2f}" for stage in columns
        )
        print(f"{nodes:<8}{shares}{'   more nodes than cores' if nodes > cores else ''}")
    print(f"target: {TARGET} where there are cores for it")


if __name__ == "__main__":
    main()
