"""Features compared with the usual loop over scikit-learn, PyWavelets and SciPy, in slices per second.

    python benchmarks/features.py                  # on all cores
    python benchmarks/features.py --patients 20 --cores 4 --json features.json

The slices are those of synthetic patients. `libraries_per_core` and `tumorprog_per_core` compute feature vectors from
arrays in memory, in one process with one thread, alternating on the same slices; `tumorprog_all_cores` is the whole
stage on Ray, from the table of regions to the shards on disk: with `brightest` and `component`, it computes the regions
too. Starting Ray and reading the headers are not included.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from tumorprog.regions import methods

CHUNK = 40
TARGET = 60


def main() -> None:
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--patients", type=int, default=8, help="number of patients, with 2 dates, 10 series and 24 slices each"
    )
    parser.add_argument("--size", type=int, default=256, help="rows of a slice; the number of columns varies")
    parser.add_argument(
        "--compared", type=int, default=200, help="number of slices in the comparison with the libraries"
    )
    parser.add_argument("--method", choices=list(methods.REGIONS), default="brightest")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        figures = measure(Path(folder), arguments)
    print(f"\n{figures['slices']:,} slices, {figures['cores']} cores, region of interest: {arguments.method}")
    for name in ("libraries_per_core", "tumorprog_per_core", "tumorprog_all_cores"):
        print(f"{name:<20}{figures[name]:>10,.1f} slices/s{figures[name] / figures['libraries_per_core']:>9.1f} x")
    print(f"target: tumorprog_per_core at least {TARGET} x libraries_per_core")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the slices per second of each method, and the size of the benchmark."""
    from tumorprog import run, tables
    from tumorprog.distributed import session
    from tumorprog.settings import Settings, with_values
    from tumorprog.synthetic import archive
    from tumorprog.synthetic.settings import Synthetic

    shape = Synthetic(
        graded_patients=0,
        ungraded_patients=0,
        progression_patients=arguments.patients,
        series_slices=24,
        size=arguments.size,
    )
    print("writing the archive ...", flush=True)
    for _ in archive.write_cohort(folder / "cohort", shape, seed=0, processes=arguments.cores):
        pass
    values = {
        "archive.progression": str(folder / "cohort" / "Brain-Tumor-Progression"),
        "cluster.cores": arguments.cores,
        "roi.method": arguments.method,
    }
    settings = with_values(Settings(), values)
    run.run_stages(folder / "run", settings, [run.stage_named("catalogue"), run.stage_named("regions")])
    figures: dict[str, float] = {"cores": arguments.cores, **per_core(folder / "run" / "catalogue", arguments)}
    session.connect(settings.cluster)
    for seed, wavelet in enumerate(("db2", "haar")):  # the first starts the workers
        began = time.perf_counter()
        changed = with_values(settings, {"seed": seed, "features.wavelet": wavelet})
        run.run_stages(folder / "run", changed, [run.stage_named("features")])
        seconds = time.perf_counter() - began
    figures["slices"] = tables.read_summary(folder / "run" / "features")["vectors"]
    figures["tumorprog_all_cores"] = figures["slices"] / seconds
    return figures


def per_core(catalogue: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the slices per second of both methods, which alternate after every chunk of slices on the same machine."""
    import cv2
    from threadpoolctl import threadpool_limits

    from tumorprog import tables
    from tumorprog.distributed import shards
    from tumorprog.formats import reading
    from tumorprog.formats.columns import CATALOGUE

    rows = tables.read_shards(catalogue, CATALOGUE, ["path", "frame", "sequence"]).to_pandas()
    rows = rows[rows["sequence"] != "mask"]
    rows = rows.iloc[np.linspace(0, len(rows) - 1, arguments.compared).astype(int)]
    images = [reading.read_frame(path, frame) for path, frame in zip(rows["path"], rows["frame"], strict=True)]
    cv2.setNumThreads(1)
    shards.keep_freed_memory()  # as in the stage's own processes; both methods benefit
    seconds = {"libraries_per_core": 0.0, "tumorprog_per_core": 0.0}
    methods = {
        "libraries_per_core": by_libraries,
        "tumorprog_per_core": lambda image: by_tumorprog(image, arguments.method),
    }
    with threadpool_limits(1):
        for method in methods.values():
            method(images[0])  # warm up
        for start in range(0, len(images), CHUNK):
            for name, method in methods.items():
                began = time.perf_counter()
                for image in images[start : start + CHUNK]:
                    method(image)
                seconds[name] += time.perf_counter() - began
            print(f"\r{min(start + CHUNK, len(images))} of {len(images)} slices compared", end="", flush=True)
    return {name: len(images) / taken for name, taken in seconds.items()}


def by_tumorprog(image: np.ndarray, method: str) -> np.ndarray:
    """Compute the vector as the stage does, from the pixels of a slice: scaling, region of interest and features."""
    from tumorprog.encoders import spectral
    from tumorprog.imaging import intensity
    from tumorprog.regions.packing import region_of

    scaled = intensity.prepare(image)
    return spectral.encode(scaled, region_of(scaled, method, None), wavelet="haar")


def by_libraries(image: np.ndarray) -> np.ndarray:
    """Compute the same vector with the functions of the libraries; the region is the brightest cluster."""
    import pywt
    import scipy.fft
    import scipy.stats
    from sklearn.cluster import KMeans

    from tumorprog.encoders import spectral
    from tumorprog.imaging import intensity

    scaled = intensity.prepare(image)
    clusters = KMeans(n_clusters=3, n_init=10, random_state=0).fit(scaled.reshape(-1, 1))
    region = clusters.labels_.reshape(scaled.shape) == np.argmax(clusters.cluster_centers_)
    low, details = pywt.dwt2(np.where(region, scaled, 0), "haar")
    coefficients = scipy.fft.dctn(low, norm="ortho")
    indices = spectral.zigzag(*low.shape, spectral.NUM_COEFFICIENTS)
    parts = [coefficients[indices[:, 0], indices[:, 1]]]
    for band in details:
        counts, _ = np.histogram(band, bins=64)
        parts.append(np.array([band.mean(), band.std(), np.mean(band**2), scipy.stats.entropy(counts, base=2)]))
    return np.concatenate(parts).astype(np.float32)


if __name__ == "__main__":
    main()
