"""Whether memory is flat: the peak of all processes of catalogue and slices, for archives ten times apart in size.

    python benchmarks/memory.py                              # 11,000 and 110,000 slices of 64 x 64
    python benchmarks/memory.py --slices 2000 20000 --json memory.json

Each command runs as a user runs it, in a process of its own. Its memory and that of all its children, Ray's among
them, is added up five times a second as proportional set size: what processes share counts once.
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


def main() -> None:
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--slices", type=int, nargs=2, default=[11_000, 110_000])
    words.add_argument("--size", type=int, default=64, help="rows and columns of a slice")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--folder", type=Path, help="where to work; needs 60 KB for each slice")
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    figures = {"cores": parsed.cores, "size": parsed.size, "peaks": []}
    for slices in parsed.slices:
        with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="tumorprog-benchmark-") as folder:
            archive.write(Path(folder), slices=slices, size=parsed.size)
            for command in ("catalogue", "slices"):
                peak, seconds = measure(command, Path(folder), cores=parsed.cores)
                figures["peaks"].append({"command": command, "slices": slices, "peak_mb": peak, "seconds": seconds})
                print(f"{command:<10} {slices:>9,} slices  peak {peak:>7,.0f} MB  {seconds:>6.0f} s", flush=True)
    few, many = ([one["peak_mb"] for one in figures["peaks"] if one["slices"] == slices] for slices in parsed.slices)
    figures["ratio"] = max(many) / max(few)
    print(f"peak of both commands: {figures['ratio']:.2f} x (target: at most {TARGET})")
    for command, one, other in zip(("catalogue", "slices"), few, many, strict=True):
        print(f"  {command}: {other / one:.2f} x")
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(command: str, folder: Path, *, cores: int) -> tuple[float, float]:
    """The peak in MB and the seconds of one command."""
    words = ["--grading", str(folder / "archive"), "--grades", str(folder / "grades.csv"), "--out", str(folder / "run")]
    line = [sys.executable, "-m", "tumorprog.cli", command, *words, "--cluster.cores", str(cores)]
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own words
    while process.poll() is None:
        peak = max(peak, _megabytes(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return peak, time.monotonic() - began


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
