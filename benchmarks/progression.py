"""Leaving one patient out in turn, on the cores of a machine, in folds a minute.

    python benchmarks/progression.py                  # on all cores
    python benchmarks/progression.py --cores 4 --json progression.json

Random vectors of 20 patients with ten series of 25 slices, in eight of whom the grade rises: `tumorprog
train-progression` with its default settings, from the features on disk to the tables, with its null control. Starting
Ray is not counted, the start of its processes is. Beside it some of the same folds one after the other in a process of
their own, as a loop without Ray would train them: what is lost on the way is start-up and the end, when cores idle.
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
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--patients", type=int, default=20)
    words.add_argument("--series", type=int, default=10, help="of each patient")
    words.add_argument("--slices", type=int, default=25, help="of each series")
    words.add_argument("--compared", type=int, default=12, help="folds that are trained one after the other")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        figures = measure(Path(folder), parsed)
    print(f"\n{figures['folds']} folds, {figures['cores']} cores")
    print(f"{'whole grid':<24}{figures['grid_s']:>8.1f} s, of which without the null control about")
    print(f"{'':<24}{figures['grid_s'] * figures['grid_folds'] / figures['folds']:>8.1f} s (target: {TARGET_S} on 4)")
    for name in ("first_a_minute", "again_a_minute", "one_core_a_minute"):
        print(f"{name:<24}{figures[name]:>8.0f} folds{figures[name] / figures['one_core_a_minute']:>8.2f} x one core")
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, parsed: argparse.Namespace) -> dict[str, float]:
    """Seconds of the whole grid and folds a minute, through Ray (twice: its processes are warm then) and without."""
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import streaming, train_progression

    settings = with_values(Settings(), {"cluster.cores": parsed.cores})
    write_run(folder, parsed)
    series = train_progression.learnable(folder)
    trials = train_progression.plan(series, seed=0, null_control=True)
    streaming.connect(settings.cluster)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        train_progression.run(folder, folder, settings)
        seconds.append(time.perf_counter() - began)
    alone = one_after_the_other(folder, parsed.compared)
    return {
        "cores": parsed.cores,
        "folds": len(trials),
        "grid_folds": sum(not trial.shuffled for trial in trials),
        "grid_s": seconds[0],
        "first_a_minute": 60 * len(trials) / seconds[0],
        "again_a_minute": 60 * len(trials) / seconds[1],
        "one_core_a_minute": 60 * parsed.compared / alone,
    }


def one_after_the_other(folder: Path, count: int) -> float:
    """Seconds of some folds in a process of their own with one thread, once torch is imported."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(train_some, (folder, count))


def train_some(folder: Path, count: int) -> float:
    """Trains folds that stand evenly among all of the grid."""
    import torch

    from tumorprog.settings import Progression
    from tumorprog.stages import train_progression

    torch.set_num_threads(1)
    series = train_progression.learnable(folder)
    trials = train_progression.plan(series, seed=0, null_control=True)
    began = time.perf_counter()
    for place in np.linspace(0, len(trials) - 1, count).astype(int):
        train_progression.train_fold(series, trials[place], Progression(), 0)
    return time.perf_counter() - began


def write_run(folder: Path, parsed: argparse.Namespace) -> None:
    """What the stages before it leave: features, a reference sheet, volumes."""
    import pandas as pd
    import pyarrow as pa

    from tumorprog import tables

    random = np.random.default_rng(0)
    sheet, rows, vectors = [], [], []
    for number in range(parsed.patients):
        days = int(random.lognormal(4.64, 0.96)) + 20
        face = random.normal(0, 1, tables.VECTOR_LENGTH)
        known = {"PatientID": f"P{number:03d}", "date": "2000-01-01"}
        for kind in range(parsed.series):
            named = {**known, "Type": f"T{kind}"}
            told = {"PredictedGrade": 3, "MonthDif": days // 31, "days": days, "FirstGrade": 3}
            sheet.append({**named, **told, "LaterGrade": 4 if number < RISING else 3})
            series = {**named, "sequence": f"T{kind}", "SeriesInstanceUID": f"1.{number}.{kind}"}
            rows += [{**series, "order": order} for order in range(parsed.slices)]
            vectors.append(face + random.normal(0, 1, (parsed.slices, tables.VECTOR_LENGTH)))
    features = pa.Table.from_pylist(rows).append_column(
        "vector", pa.FixedSizeListArray.from_arrays(np.concatenate(vectors).astype(np.float32).ravel(), 100)
    )
    (folder / "features").mkdir()
    tables.write_shard(folder / "features" / "part-00000.parquet", features, tables.FEATURES)
    tables.write_json(folder / "features" / tables.SUMMARY, {"wavelet": "haar", "roi": "brightest"})
    tables.write_csv(folder / "reference_sheet.csv", pd.DataFrame(sheet), tables.REFERENCE_SHEET)
    tables.write_csv(folder / "volumes.csv", pd.DataFrame(), tables.VOLUMES)


if __name__ == "__main__":
    main()
