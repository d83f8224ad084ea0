"""Whether memory is flat: the peak of all processes of catalogue, slices and an epoch, for archives ten times apart.

    python benchmarks/memory.py                              # 11,000 and 110,000 slices of 64 x 64
    python benchmarks/memory.py --slices 2000 20000 --json memory.json

Each command runs as a user runs it, in a process of its own. Its memory and that of all its children, Ray's among
them, is added up five times a second as proportional set size: what processes share counts once. The epoch is the
training's own stream over all shards with a step of 30 ms for 64 slices, as long as a GPU might take; no network.
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
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--slices", type=int, nargs=2, default=[11_000, 110_000])
    words.add_argument("--size", type=int, default=64, help="rows and columns of a slice")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--folder", type=Path, help="where to work; needs 60 KB for each slice")
    words.add_argument("--json", type=Path, help="write the figures there")
    words.add_argument("--epoch", type=Path, help=argparse.SUPPRESS)
    parsed = words.parse_args()
    if parsed.epoch:
        epoch(parsed.epoch, cores=parsed.cores)
        return
    figures = {"cores": parsed.cores, "size": parsed.size, "peaks": []}
    for slices in parsed.slices:
        with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="tumorprog-benchmark-") as folder:
            archive.write(Path(folder), slices=slices, size=parsed.size)
            for command in COMMANDS:
                peak, seconds = measure(command, Path(folder), cores=parsed.cores)
                figures["peaks"].append({"command": command, "slices": slices, "peak_mb": peak, "seconds": seconds})
                print(f"{command:<10} {slices:>9,} slices  peak {peak:>7,.0f} MB  {seconds:>6.0f} s", flush=True)
    few, many = ([one["peak_mb"] for one in figures["peaks"] if one["slices"] == slices] for slices in parsed.slices)
    figures["ratio"] = max(many[:2]) / max(few[:2])
    print(f"peak of catalogue and slices: {figures['ratio']:.2f} x (target: at most {TARGET})")
    for command, one, other in zip(COMMANDS, few, many, strict=True):
        print(f"  {command}: {other / one:.2f} x")
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(command: str, folder: Path, *, cores: int) -> tuple[float, float]:
    """The peak in MB and the seconds of one command."""
    words = ["--grading", str(folder / "archive"), "--grades", str(folder / "grades.csv"), "--out", str(folder / "run")]
    line = [sys.executable, "-m", "tumorprog.cli", command, *words, "--cluster.cores", str(cores)]
    if command == "epoch":
        line = [sys.executable, __file__, "--epoch", str(folder / "run" / "slices"), "--cores", str(cores)]
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own words
    while process.poll() is None:
        peak = max(peak, _megabytes(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return peak, time.monotonic() - began


def epoch(slices: Path, *, cores: int) -> None:
    """Streams all shards as a training does, and waits a step's time for each batch."""
    import numpy as np

    from tumorprog import tables
    from tumorprog.settings import Cluster
    from tumorprog.stages import grader_training, streaming

    streaming.connect(Cluster(cores=cores))
    count = tables.read_summary(slices)["images"]
    rows = streaming.read_rows(tables.shards(slices), ["slice", "image"], wanted=np.ones(count, bool))
    seen = 0
    for _, labels in grader_training.shuffled(rows, np.zeros(count, np.uint8), batch_size=BATCH, seed=1):
        seen += len(labels)
        time.sleep(STEP_SECONDS)
    if seen != count:
        raise SystemExit(f"{seen} of {count} slices came")


def _megabytes(pid: int) -> float:
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0.0
    for one in family:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total / 1e6


if __name__ == "__main__":
    main()
