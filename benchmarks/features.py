"""Features against the loop that people write over scikit-learn, PyWavelets and SciPy, in slices a second.

    python benchmarks/features.py                  # on all cores
    python benchmarks/features.py --patients 20 --cores 4 --json features.json

The slices are those of synthetic patients. `libraries_per_core` and `ours_per_core` turn arrays in memory into vectors
in one process with one thread, the same slices in turns; `ours_all_cores` is the whole stage on Ray, from the catalogue
to the shards on disk. Starting Ray and reading the headers are not counted.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

TURN = 40
TARGET = 60


def main() -> None:
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--patients", type=int, default=8, help="with 2 dates, 10 series and 24 slices each")
    words.add_argument("--size", type=int, default=256, help="rows of a slice; columns are more or fewer")
    words.add_argument("--compared", type=int, default=200, help="slices that the libraries are given")
    words.add_argument("--method", choices=("brightest", "component"), default="brightest")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="tumorprog-benchmark-") as folder:
        figures = measure(Path(folder), parsed)
    print(f"\n{figures['slices']:,} slices, {figures['cores']} cores, region: {parsed.method}")
    for name in ("libraries_per_core", "ours_per_core", "ours_all_cores"):
        print(f"{name:<20}{figures[name]:>10,.1f} slices/s{figures[name] / figures['libraries_per_core']:>9.1f} x")
    print(f"ours per core is to be at least {TARGET} x the libraries")
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, parsed: argparse.Namespace) -> dict[str, float]:
    """Slices a second of each, and what they were measured on."""
    from tumorprog import run, tables
    from tumorprog.settings import Settings, Synthetic, with_values
    from tumorprog.stages import streaming
    from tumorprog.synthetic import archive

    shape = Synthetic(
        graded_patients=0,
        ungraded_patients=0,
        progression_patients=parsed.patients,
        series_slices=24,
        size=parsed.size,
    )
    print("writing the archive ...", flush=True)
    for _ in archive.write_cohort(folder / "cohort", shape, seed=0, processes=parsed.cores):
        pass
    chosen = {
        "archive.progression": str(folder / "cohort" / "Brain-Tumor-Progression"),
        "cluster.cores": parsed.cores,
        "roi.method": parsed.method,
    }
    settings = with_values(Settings(), chosen)
    run.run_stages(folder / "run", settings, [run.stage_named("catalogue")])
    figures: dict[str, float] = {"cores": parsed.cores, **per_core(folder / "run" / "catalogue", parsed)}
    streaming.connect(settings.cluster)
    for seed, wavelet in enumerate(("db2", "haar")):  # the first starts the workers
        began = time.perf_counter()
        wanted = with_values(settings, {"seed": seed, "features.wavelet": wavelet})
        run.run_stages(folder / "run", wanted, [run.stage_named("features")])
        seconds = time.perf_counter() - began
    figures["slices"] = tables.read_summary(folder / "run" / "features")["vectors"]
    figures["ours_all_cores"] = figures["slices"] / seconds
    return figures


def per_core(catalogue: Path, parsed: argparse.Namespace) -> dict[str, float]:
    """Ours and the libraries', in turns of some slices, so that both see the same machine."""
    import cv2
    from threadpoolctl import threadpool_limits

    from tumorprog import tables
    from tumorprog.dicom import pixels
    from tumorprog.imaging import spectral
    from tumorprog.stages import streaming

    rows = tables.read_shards(catalogue, tables.CATALOGUE, ["path", "frame", "sequence"]).to_pandas()
    rows = rows[rows["sequence"] != "mask"]
    rows = rows.iloc[np.linspace(0, len(rows) - 1, parsed.compared).astype(int)]
    images = [pixels.read_frame(path, frame) for path, frame in zip(rows["path"], rows["frame"], strict=True)]
    cv2.setNumThreads(1)
    streaming.keep_freed_memory()  # as in the stage's own processes; both gain by it
    seconds = {"libraries_per_core": 0.0, "ours_per_core": 0.0}
    ways = {
        "libraries_per_core": by_libraries,
        "ours_per_core": lambda image: spectral.slice_vector(image, wavelet="haar", method=parsed.method),
    }
    with threadpool_limits(1):
        for way in ways.values():
            way(images[0])  # what is done only once
        for start in range(0, len(images), TURN):
            for name, way in ways.items():
                began = time.perf_counter()
                for image in images[start : start + TURN]:
                    way(image)
                seconds[name] += time.perf_counter() - began
            print(f"\r{min(start + TURN, len(images))} of {len(images)} slices compared", end="", flush=True)
    return {name: len(images) / taken for name, taken in seconds.items()}


def by_libraries(image: np.ndarray) -> np.ndarray:
    """The same vector with what the libraries offer; the region is the brightest cluster."""
    import pywt
    import scipy.fft
    import scipy.stats
    from sklearn.cluster import KMeans

    from tumorprog.imaging import spectral

    scaled = spectral.prepared(image)
    clusters = KMeans(n_clusters=3, n_init=10, random_state=0).fit(scaled.reshape(-1, 1))
    region = clusters.labels_.reshape(scaled.shape) == np.argmax(clusters.cluster_centers_)
    low, details = pywt.dwt2(np.where(region, scaled, 0), "haar")
    coefficients = scipy.fft.dctn(low, norm="ortho")
    places = spectral.zigzag(*low.shape, spectral.NUM_COEFFICIENTS)
    told = [coefficients[places[:, 0], places[:, 1]]]
    for band in details:
        counts, _ = np.histogram(band, bins=64)
        told.append(np.array([band.mean(), band.std(), np.mean(band**2), scipy.stats.entropy(counts, base=2)]))
    return np.concatenate(told).astype(np.float32)


if __name__ == "__main__":
    main()
