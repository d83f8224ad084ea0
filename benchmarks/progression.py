"""Leave-one-patient-out training on the cores of a machine, in folds per minute.

    python benchmarks/progression.py                  # on all cores
    python benchmarks/progression.py --cores 4 --json progression.json

Runs `tumorprog train-progression` with its default settings on random vectors of 20 patients with ten series of 25
slices, eight of them with a rise in grade, from the features on disk to the tables, including the permutation control
(null control). The time to start Ray is excluded, the start of its worker processes is included. For comparison, some
of the same folds are trained one after the other in a separate process, as in a loop without Ray: the difference is
start-up, and idle cores at the end.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

TARGET_S = 180
RISING = 8


def main() -> None:
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--series", type=int, default=10, help="of each patient")
    parser.add_argument("--slices", type=int, default=25, help="of each series")
    parser.add_argument("--compared", type=int, default=12, help="number of folds that are trained sequentially")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        figures = measure(Path(folder), arguments)
    print(f"\n{figures['folds']} folds, {figures['cores']} cores")
    print(f"{'whole grid':<24}{figures['grid_s']:>8.1f} s, of which the grid of results takes about")
    without_control_s = figures["grid_s"] * figures["grid_folds"] / figures["folds"]
    print(f"{'':<24}{without_control_s:>8.1f} s (target: {TARGET_S} s on 4 cores)")
    for name in ("first_per_minute", "second_per_minute", "one_core_per_minute"):
        print(f"{name:<24}{figures[name]:>8.0f} folds{figures[name] / figures['one_core_per_minute']:>8.2f} x one core")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of the whole grid, and the folds per minute with Ray (twice, cold and warm) and without."""
    from tumorprog.distributed import session
    from tumorprog.heads.settings import Progression
    from tumorprog.progression import months
    from tumorprog.progression.series import read_training_series
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import train_progression

    settings = with_values(Settings(), {"cluster.cores": arguments.cores})
    write_run(folder, arguments)
    series = read_training_series(folder)
    trials = months.plan(series, Progression(), seed=0)
    session.connect(settings.cluster)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        train_progression.run(folder, folder, settings)
        seconds.append(time.perf_counter() - began)
    sequential_s = train_sequentially(folder, arguments.compared)
    return {
        "cores": arguments.cores,
        "folds": len(trials),
        "grid_folds": sum(trial.purpose == "result" for trial in trials),
        "grid_s": seconds[0],
        "first_per_minute": 60 * len(trials) / seconds[0],
        "second_per_minute": 60 * len(trials) / seconds[1],
        "one_core_per_minute": 60 * arguments.compared / sequential_s,
    }


def train_sequentially(folder: Path, count: int) -> float:
    """Return the seconds of training some folds in a separate process with one thread, after torch is imported."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(train_subset, (folder, count))


def train_subset(folder: Path, count: int) -> float:
    """Train folds that are evenly spaced among all folds, and return the seconds."""
    import torch

    from tumorprog.heads.settings import Progression
    from tumorprog.progression import months
    from tumorprog.progression.series import read_training_series

    torch.set_num_threads(1)
    series = read_training_series(folder)
    trials = months.plan(series, Progression(), seed=0)
    began = time.perf_counter()
    for index in np.linspace(0, len(trials) - 1, count).astype(int):
        months.train_fold(series, trials[index], Progression(), 0)
    return time.perf_counter() - began


def write_run(folder: Path, arguments: argparse.Namespace) -> None:
    """Write the files of the preceding stages: features, a reference sheet and volumes."""
    import pandas as pd
    import pyarrow as pa

    from tumorprog import tables
    from tumorprog.cohort.columns import VOLUMES
    from tumorprog.encoders.columns import FEATURES, VECTOR_LENGTH
    from tumorprog.progression.columns import REFERENCE_SHEET

    random = np.random.default_rng(0)
    sheet, rows, vectors = [], [], []
    for number in range(arguments.patients):
        days = int(random.lognormal(4.64, 0.96)) + 20
        patient_mean = random.normal(0, 1, VECTOR_LENGTH)
        patient = {"PatientID": f"P{number:03d}", "date": "2000-01-01"}
        for kind in range(arguments.series):
            labels = {**patient, "Type": f"T{kind}"}
            target = {"PredictedGrade": 3, "MonthDif": days // 31, "days": days, "FirstGrade": 3}
            sheet.append({**labels, **target, "LaterGrade": 4 if number < RISING else 3})
            series = {**labels, "sequence": f"T{kind}", "SeriesInstanceUID": f"1.{number}.{kind}", "stack": 0}
            rows += [{**series, "order": order, "region": "brightest"} for order in range(arguments.slices)]
            vectors.append(patient_mean + random.normal(0, 1, (arguments.slices, VECTOR_LENGTH)))
    features = pa.Table.from_pylist(rows).append_column(
        "vector", pa.FixedSizeListArray.from_arrays(np.concatenate(vectors).astype(np.float32).ravel(), 100)
    )
    (folder / "features").mkdir()
    tables.write_shard(folder / "features" / "part-00000.parquet", features, FEATURES)
    tables.write_json(folder / "features" / tables.SUMMARY, {"wavelet": "haar", "roi": {"method": "brightest"}})
    tables.write_csv(folder / "reference_sheet.csv", pd.DataFrame(sheet), REFERENCE_SHEET)
    tables.write_csv(folder / "volumes.csv", pd.DataFrame(), VOLUMES)


if __name__ == "__main__":
    main()
