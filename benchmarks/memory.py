"""Whether memory use is constant: the peak of catalogue, slices and an epoch for two archives, one ten times as large.

    python benchmarks/memory.py                              # 11,000 and 110,000 slices of 64 x 64
    python benchmarks/memory.py --slices 2000 20000 --json memory.json

Each command runs in its own process, as for a user. Five times per second, the proportional set sizes of the process
and of all its children, including Ray's, are added up, so that shared memory counts once. The epoch is the data
stream of the training over all shards, without the network, and with a step of 30 ms for 64 slices, about as long as
on a GPU.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import archive
import psutil

TARGET = 1.25
COMMANDS = ("catalogue", "slices", "epoch")
BATCH, STEP_SECONDS = 64, 0.03


def main() -> None:
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs=2, default=[11_000, 110_000])
    parser.add_argument("--size", type=int, default=64, help="rows and columns of a slice")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--folder", type=Path, help="working folder; needs 60 KB per slice")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--epoch", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.epoch:
        epoch(arguments.epoch, cores=arguments.cores)
        return
    figures = {"cores": arguments.cores, "size": arguments.size, "peaks": []}
    for slices in arguments.slices:
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="tumorprog-benchmark-") as folder:
            archive.write(Path(folder), slices=slices, size=arguments.size)
            for command in COMMANDS:
                peak, seconds = measure(command, Path(folder), cores=arguments.cores)
                figures["peaks"].append({"command": command, "slices": slices, "peak_mb": peak, "seconds": seconds})
                print(f"{command:<10} {slices:>9,} slices  peak {peak:>7,.0f} MB  {seconds:>6.0f} s", flush=True)
    small, large = (
        [row["peak_mb"] for row in figures["peaks"] if row["slices"] == slices] for slices in arguments.slices
    )
    figures["ratio"] = max(large[:2]) / max(small[:2])
    print(f"ratio of the peaks of catalogue and slices: {figures['ratio']:.2f} x (target: at most {TARGET})")
    for command, before, after in zip(COMMANDS, small, large, strict=True):
        print(f"  {command}: {after / before:.2f} x")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(command: str, folder: Path, *, cores: int) -> tuple[float, float]:
    """Return the peak in MB and the seconds of one command."""
    paths = ["--grading", str(folder / "archive"), "--grades", str(folder / "grades.csv"), "--out", str(folder / "run")]
    command_line = [sys.executable, "-m", "tumorprog.cli", command, *paths, "--cluster.cores", str(cores)]
    if command == "epoch":
        command_line = [sys.executable, __file__, "--epoch", str(folder / "run" / "slices"), "--cores", str(cores)]
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    while process.poll() is None:
        peak = max(peak, _megabytes(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{command} failed with exit code {process.returncode}")
    return peak, time.monotonic() - began


def epoch(slices: Path, *, cores: int) -> None:
    """Stream all shards as in training, and wait for the time of a training step after each batch."""
    import numpy as np

    from tumorprog import tables
    from tumorprog.distributed import grader_training, session
    from tumorprog.distributed.rows import read_rows
    from tumorprog.distributed.settings import Cluster

    session.connect(Cluster(cores=cores))
    count = tables.read_summary(slices)["images"]
    rows = read_rows(tables.shards(slices), ["slice", "image"], wanted=np.ones(count, bool))
    received = 0
    for _, labels in grader_training.shuffled_batches(rows, np.zeros(count, np.uint8), batch_size=BATCH, seed=1):
        received += len(labels)
        time.sleep(STEP_SECONDS)
    if received != count:
        raise SystemExit(f"received {received} of {count} slices")


def _megabytes(pid: int) -> float:
    """Return the proportional set size of a process and all its children."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # the process has just ended
            continue
    return total / 1e6


if __name__ == "__main__":
    main()
