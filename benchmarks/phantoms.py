"""How phantoms and patients look: figures of T1post and its masks, one column per archive.

    python benchmarks/phantoms.py Brain-Tumor-Progression           # beside phantoms of 20 slices, written for it
    python benchmarks/phantoms.py Brain-Tumor-Progression other/archive --patients 6 --json figures.json

Every stack of T1post with a mask of the same study and size is measured by `tumorprog.synthetic.appearance`. Printed
are the mean over the stacks, the smallest and the largest.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tumorprog.formats import reading
from tumorprog.synthetic import archive, plan
from tumorprog.synthetic.appearance import Scan, figures
from tumorprog.synthetic.settings import Synthetic


def main() -> None:
    """Measure the archives, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", type=Path, nargs="*", help="folders in the layout of Brain-Tumor-Progression")
    parser.add_argument("--patients", type=int, default=20, help="number of phantoms, with 2 dates each")
    parser.add_argument("--size", type=int, default=256, help="rows of the phantoms' slices")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    measured = {str(folder): measure(folder) for folder in arguments.archives}
    shape = Synthetic(
        graded_patients=0,
        ungraded_patients=0,
        progression_patients=arguments.patients,
        series_slices=20,
        size=arguments.size,
    )
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        for _ in archive.write_cohort(Path(folder), shape, seed=0):
            pass
        measured["phantoms"] = measure(Path(folder) / plan.PROGRESSION)
    for name, table in measured.items():
        print(f"\n{name}: {len(table)} stacks")
        print(table.agg(["mean", "min", "max"]).T.round(3).to_string())
    if arguments.json:
        arguments.json.write_text(json.dumps({name: table.to_dict("list") for name, table in measured.items()}) + "\n")


def measure(folder: Path) -> pd.DataFrame:
    """Return the figures of all T1post stacks of an archive that have a mask, a row each."""
    rows = [row for path in sorted(folder.rglob("*.dcm")) for row in reading.read_rows(str(path))]
    slices = pd.DataFrame(rows).query("sequence in ['T1post', 'mask']")
    stacks = (scan for _, study in slices.groupby(["PatientID", "StudyDate"]) for scan in _scans(study))
    return pd.DataFrame([figures(scan) for scan in stacks])


def _scans(study: pd.DataFrame) -> list[Scan]:
    images, masks = (study[study["sequence"] == name].sort_values("position_mm") for name in ("T1post", "mask"))
    if images.empty or len(images) != len(masks):
        return []
    return [
        Scan(
            images=_frames(images),
            mask=_frames(masks) > 0,
            pixel_mm=float(images["row_spacing_mm"].iloc[0]),
            spacing_mm=float(np.median(np.diff(images["position_mm"]))),
        )
    ]


def _frames(rows: pd.DataFrame) -> np.ndarray:
    return np.stack([reading.read_frame(row["path"], row["frame"]) for row in rows.to_dict("records")])


if __name__ == "__main__":
    main()
