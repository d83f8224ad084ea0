"""catalogue + slices compared with alternatives: from DICOM files to 224 x 224 images on disk, in slices per second.

    python benchmarks/ingest.py                    # 20,000 slices of 256 x 256, on all cores
    python benchmarks/ingest.py --slices 40000 --cores 4 --json ingest.json

Everything runs in one call, on the same files, one after the other, with the same number of processes, in rounds; the
best round of each counts, because other work on the machine can only slow it down. The two data loaders do the same
work as tumorprog with the tools that their users would choose: scale between the 0.5th and the 99.5th percentile of
each slice, resize to 224 x 224 with antialiasing, convert to bytes and write to disk. The loop of the paper scales
between minimum and maximum.

Before each measurement, a file twice as large as the output is written and removed: a virtual machine may have to
request memory that was unused for some seconds from its host again, at 500 MB/s, and otherwise the first writer would
pay for that.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archive
import numpy as np

IMAGE_BYTES = 224 * 224
BATCH = 100
PAPER_BATCH = 1000
TARGETS = {"paper_loop": 12, "torch_dataloader": 2.5, "monai_dataloader": 5, "pool": 0.85}


def main() -> None:
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds; the best one counts")
    parser.add_argument("--folder", type=Path, help="working folder; needs space for the archive and the images")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="tumorprog-benchmark-") as folder:
        prepare(Path(folder), slices=arguments.slices, size=arguments.size)
        rounds = [
            measure(Path(folder), slices=arguments.slices, cores=arguments.cores) for _ in range(arguments.rounds)
        ]
    figures = {"slices": arguments.slices, "size": arguments.size, "cores": arguments.cores}
    figures |= {name: max(rates[name] for rates in rounds) for name in rounds[0]}
    print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def prepare(folder: Path, *, slices: int, size: int) -> None:
    """Write the archive."""
    print(f"writing {slices:,} slices of {size} x {size} ...", flush=True)
    archive.write(folder, slices=slices, size=size)


def measure(folder: Path, *, slices: int, cores: int) -> dict[str, float]:
    """Return the slices per second of tumorprog and of each alternative."""
    paths = sorted(str(path) for path in (folder / "archive").rglob("*.dcm"))
    alternatives: dict[str, Callable[[list[str], Path, int], int]] = {
        "pool": pool,
        "torch_dataloader": torch_dataloader,
        "monai_dataloader": monai_dataloader,
        "paper_loop": paper_loop,
    }
    figures = pipeline(folder, slices, cores)
    for name, alternative in alternatives.items():
        target = folder / name
        target.mkdir()
        _claim_memory(folder, slices)
        began = time.perf_counter()
        done = alternative(paths, target, cores)
        figures[name] = slices / (time.perf_counter() - began)
        if done != slices:
            raise SystemExit(f"{name} wrote {done} of {slices} images")
        print(f"{name}: {figures[name]:,.0f} slices/s", flush=True)
        shutil.rmtree(target)
    return figures


def _claim_memory(folder: Path, slices: int) -> None:
    """Write and remove twice the size of the output, so that this much memory is available for a second or two."""
    block = b"\1" * (2 * IMAGE_BYTES)
    with (folder / "claimed").open("wb") as file:
        for _ in range(slices):
            file.write(block)
    (folder / "claimed").unlink()


def print_table(figures: dict[str, float]) -> None:
    """Print one table of all figures."""
    print(f"\n{figures['slices']:,} slices of {figures['size']} x {figures['size']}, {figures['cores']} cores")
    print(f"{'':<20}{'slices/s':>10}{'cold / this':>15}{'target':>8}")
    for name in ("tumorprog_cold", "tumorprog_warm", *TARGETS):
        ratio = f"{figures['tumorprog_cold'] / figures[name]:.2f} x" if name in TARGETS else ""
        print(f"{name:<20}{figures[name]:>10,.0f}{ratio:>15}{TARGETS.get(name, ''):>8}")
    print(
        f"tumorprog_warm is {figures['tumorprog_warm'] / figures['tumorprog_cold']:.2f} x tumorprog_cold (target 2.5)"
    )
    print("none of these times includes starting Ray, which takes some seconds")


def pipeline(folder: Path, slices: int, cores: int) -> dict[str, float]:
    """Measure tumorprog.

    Cold is catalogue and slices into a new run directory; warm is slices again, with another seed, from the index.
    """
    import pyarrow as pa
    import ray.data

    from tumorprog import run, tables
    from tumorprog.distributed import session
    from tumorprog.settings import Settings, with_values

    settings = with_values(
        Settings(),
        {
            "archive.grading": str(folder / "archive"),
            "archive.grades": str(folder / "grades.csv"),
            "cluster.cores": cores,
        },
    )
    session.connect(settings.cluster)
    rows = ray.data.from_arrow([pa.table({"number": [number]}) for number in range(4 * cores)])
    rows.map_batches(_import_modules, batch_size=None, batch_format="pyarrow", num_cpus=0.5).materialize()
    figures = {}
    for name, stages, seed in (("tumorprog_cold", ("catalogue", "slices"), 0), ("tumorprog_warm", ("slices",), 1)):
        seconds = 0.0
        for stage in stages:
            _claim_memory(folder, slices)
            began = time.perf_counter()
            run.run_stages(folder / "run", with_values(settings, {"seed": seed}), [run.stage_named(stage)])
            seconds += time.perf_counter() - began
        figures[name] = slices / seconds
        written = tables.read_summary(folder / "run" / "slices")["images"]
        if written != slices:
            raise SystemExit(f"{name} wrote {written} of {slices} images")
        print(f"{name}: {figures[name]:,.0f} slices/s", flush=True)
    ray.shutdown()
    shutil.rmtree(folder / "run")
    return figures


def _import_modules(rows: Any) -> Any:
    """Import what the tasks need, so that neither that nor the start of Ray Data's own actors is measured."""
    from tumorprog.stages import catalogue, slices

    time.sleep(0.5)  # so that each block gets its own worker
    del catalogue, slices
    return rows


def decode(path: str) -> np.ndarray:
    """Read a file and return its image for the grader, with tumorprog's own functions."""
    from tumorprog.formats import reading
    from tumorprog.imaging import intensity

    return intensity.grader_input(reading.read_frame(path), scaling="robust")


def pool(paths: list[str], target: Path, cores: int) -> int:
    """Decode in a plain process pool; the images are returned to the parent process and discarded."""
    del target
    decode(paths[0])  # so that the processes inherit the imported modules
    with multiprocessing.get_context("fork").Pool(cores, initializer=_one_thread) as workers:
        return sum(1 for _ in workers.imap_unordered(decode, paths, chunksize=BATCH))


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


class Files:
    """A typical torch Dataset that reads with pydicom and resizes with PIL."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> np.ndarray:
        import pydicom
        from PIL import Image

        values = pydicom.dcmread(self.paths[number]).pixel_array.astype(np.float32)
        low, high = np.percentile(values, (0.5, 99.5))
        scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
        image = Image.fromarray((scaled * 255).astype(np.uint8))
        return np.array(image.resize((224, 224), Image.Resampling.BILINEAR))


def _save(loader: Any, target: Path) -> int:
    import torch

    done = 0
    for number, batch in enumerate(loader):
        torch.save(batch, target / f"{number}.pt")
        done += len(batch)
    return done


def torch_dataloader(paths: list[str], target: Path, cores: int) -> int:
    """Read with a torch DataLoader with one worker per core, and save the batches."""
    from torch.utils.data import DataLoader

    return _save(DataLoader(Files(paths), batch_size=BATCH, num_workers=cores), target)


def monai_dataloader(paths: list[str], target: Path, cores: int) -> int:
    """Read with MONAI's reader, transforms and DataLoader, and save the batches."""
    from monai.data import DataLoader, Dataset

    return _save(DataLoader(Dataset(paths, monai_steps()), batch_size=BATCH, num_workers=cores), target)


def monai_steps() -> Any:
    """Return MONAI transforms that read a file and return its image for the grader."""
    from monai import transforms

    return transforms.Compose(
        [
            transforms.LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True),
            transforms.ScaleIntensityRangePercentiles(0.5, 99.5, 0, 255, clip=True),
            transforms.Resize((224, 224), mode="area"),
            transforms.Lambda(_as_bytes),
        ]
    )


def _as_bytes(image: Any) -> Any:
    import torch

    return image.as_tensor()[0].to(torch.uint8)


def paper_loop(paths: list[str], target: Path, cores: int) -> int:
    """Read as in the paper: one process, a thousand images at a time, saved as normalised tensors of three channels."""
    import pydicom
    import torch
    from PIL import Image
    from torchvision import transforms

    torch.set_num_threads(cores)
    prepare = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    for start in range(0, len(paths), PAPER_BATCH):
        images = []
        for path in paths[start : start + PAPER_BATCH]:
            values = pydicom.dcmread(path).pixel_array.astype(float)
            scaled = (values - values.min()) / max(values.max() - values.min(), 1e-9) * 255
            images.append(prepare(Image.fromarray(scaled.astype(np.uint8)).convert("RGB")))
        torch.save(torch.stack(images), target / "batch.pt")  # overwrites the previous batch, because each takes 600 MB
    return len(paths)


if __name__ == "__main__":
    main()
