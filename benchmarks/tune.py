"""The overhead of a sweep beyond training: fifty trials of the progression model.

    python benchmarks/tune.py                   # 50 trials, 8 patients x 5 series x 25 slices, on all cores
    python benchmarks/tune.py --trials 20 --cores 2 --json tune.json

Features are random numbers around a mean vector of each patient. The seconds of a trial are those in which it trains;
the time of the sweep beyond them, added over all cores, is the overhead of scheduling trials. A second sweep with
trials of a single epoch shows this overhead alone. The time to start Ray is not included.
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
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--series", type=int, default=5, help="of each patient")
    parser.add_argument("--slices", type=int, default=25, help="of each series")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        figures = {"trials": arguments.trials, "cores": arguments.cores, **measure(Path(folder), arguments)}
    for name in ("training", "one_epoch"):
        row = figures[name]
        print(
            f"{name:<12}{row['wall_s']:>8.1f} s, of which training {row['trained_s'] / arguments.cores:>8.1f} s on "
            f"{arguments.cores} cores: {row['trained_share']:.0%}; "
            f"overhead {row['overhead_s']:.2f} s per trial and core"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the seconds of a sweep of full trainings, and of one of single epochs."""
    import pandas as pd

    from tumorprog.distributed import session
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import tune

    write_run(folder, arguments)
    settings = with_values(Settings(), {"cluster.cores": arguments.cores})
    session.connect(settings.cluster)
    figures = {}
    for name, epochs in (("training", arguments.epochs), ("one_epoch", 1)):
        sweep = folder / f"{name}.yaml"
        sweep.write_text(SWEEP.format(trials=arguments.trials, epochs=epochs))
        out = folder / name
        out.mkdir()
        began = time.perf_counter()
        tune.run(folder, out, with_values(settings, {"tune.sweep": str(sweep)}))
        wall = time.perf_counter() - began
        trained = float(pd.read_csv(out / "tune" / "trials.csv")["seconds"].sum())
        overhead = (wall - trained / arguments.cores) * arguments.cores / arguments.trials
        share = trained / arguments.cores / wall
        figures[name] = {"wall_s": wall, "trained_s": trained, "overhead_s": overhead, "trained_share": share}
    return figures


if __name__ == "__main__":
    main()
