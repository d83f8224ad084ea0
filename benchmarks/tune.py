"""What a sweep costs beyond training: fifty trials of the progression model.

    python benchmarks/tune.py                   # 50 trials, 8 patients x 5 series x 25 slices, on all cores
    python benchmarks/tune.py --trials 20 --cores 2 --json tune.json

Features are random numbers around a face for each patient. A trial's own seconds are those in which it trains; what the
sweep takes beyond them, on all cores together, is what handing out trials costs. A second sweep with trials of a single
epoch shows that cost alone. Starting Ray is not counted.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

from progression import write_run

SWEEP = """
samples: {trials}
space:
  progression.learning_rate: {{loguniform: [1.0e-4, 1.0e-2]}}
  progression.hidden: {{choice: [64, 128]}}
  progression.epochs: {{choice: [{epochs}]}}
  progression.patience: {{choice: [{epochs}]}}
"""


def main() -> None:
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--trials", type=int, default=50)
    words.add_argument("--epochs", type=int, default=20)
    words.add_argument("--patients", type=int, default=8)
    words.add_argument("--series", type=int, default=5, help="of each patient")
    words.add_argument("--slices", type=int, default=25, help="of each series")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        figures = {"trials": parsed.trials, "cores": parsed.cores, **measure(Path(folder), parsed)}
    for name in ("training", "one_epoch"):
        of = figures[name]
        print(
            f"{name:<12}{of['wall_s']:>8.1f} s, of which trials trained {of['trained_s'] / parsed.cores:>8.1f} s on "
            f"{parsed.cores} cores: {of['trained_share']:.0%}; {of['beyond_s']:.2f} s a trial and core beyond"
        )
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, parsed: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds of a sweep of whole trainings, and of one of single epochs."""
    import pandas as pd

    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import streaming, tune

    write_run(folder, parsed)
    settings = with_values(Settings(), {"cluster.cores": parsed.cores})
    streaming.connect(settings.cluster)
    figures = {}
    for name, epochs in (("training", parsed.epochs), ("one_epoch", 1)):
        sweep = folder / f"{name}.yaml"
        sweep.write_text(SWEEP.format(trials=parsed.trials, epochs=epochs))
        out = folder / name
        out.mkdir()
        began = time.perf_counter()
        tune.run(folder, out, with_values(settings, {"tune.sweep": str(sweep)}))
        wall = time.perf_counter() - began
        trained = float(pd.read_csv(out / "tune" / "trials.csv")["seconds"].sum())
        beyond = (wall - trained / parsed.cores) * parsed.cores / parsed.trials
        share = trained / parsed.cores / wall
        figures[name] = {"wall_s": wall, "trained_s": trained, "beyond_s": beyond, "trained_share": share}
    return figures


if __name__ == "__main__":
    main()
