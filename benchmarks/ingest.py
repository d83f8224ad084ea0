"""catalogue + slices against their peers: from DICOM files never seen to 224 x 224 images on disk, in slices a second.

    python benchmarks/ingest.py                    # 20,000 slices of 256 x 256, on all cores
    python benchmarks/ingest.py --slices 40000 --cores 4 --json ingest.json

Everything runs in one call, on the same files, one after the other, with the same number of processes, in rounds; the
best round of each counts, because other work on a machine only ever slows one down. The two data loaders do the same
work as ours with what their users reach for: between the 0.5th and the 99.5th percentile of each slice, to 224 x 224
with antialiasing, to bytes, onto the disk. The paper's loop scales between minimum and maximum.

Before each, a file twice as large as what is going to be written is written and removed: a virtual machine may have to
ask its host for memory that was free for some seconds, at 500 MB/s, and whoever writes first would pay for that.
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
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--slices", type=int, default=20_000)
    words.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--rounds", type=int, default=2, help="the best of so many")
    words.add_argument("--folder", type=Path, help="where to work; needs room for the archive and the images")
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="tumorprog-benchmark-") as folder:
        prepare(Path(folder), slices=parsed.slices, size=parsed.size)
        rounds = [measure(Path(folder), slices=parsed.slices, cores=parsed.cores) for _ in range(parsed.rounds)]
    figures = {"slices": parsed.slices, "size": parsed.size, "cores": parsed.cores}
    figures |= {name: max(one[name] for one in rounds) for name in rounds[0]}
    tell(figures)
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def prepare(folder: Path, *, slices: int, size: int) -> None:
    """Writes the archive."""
    print(f"writing {slices:,} slices of {size} x {size} ...", flush=True)
    archive.write(folder, slices=slices, size=size)


def measure(folder: Path, *, slices: int, cores: int) -> dict[str, float]:
    """Slices a second of each."""
    paths = sorted(str(path) for path in (folder / "archive").rglob("*.dcm"))
    peers: dict[str, Callable[[list[str], Path, int], int]] = {
        "pool": pool,
        "torch_dataloader": torch_dataloader,
        "monai_dataloader": monai_dataloader,
        "paper_loop": paper_loop,
    }
    figures = ours(folder, slices, cores)
    for name, peer in peers.items():
        target = folder / name
        target.mkdir()
        _claim_memory(folder, slices)
        began = time.perf_counter()
        done = peer(paths, target, cores)
        figures[name] = slices / (time.perf_counter() - began)
        if done != slices:
            raise SystemExit(f"{name} made {done} of {slices} images")
        print(f"{name}: {figures[name]:,.0f} slices/s", flush=True)
        shutil.rmtree(target)
    return figures


def _claim_memory(folder: Path, slices: int) -> None:
    """Twice what is going to be written: that much is then at hand for a second or two."""
    block = b"\1" * (2 * IMAGE_BYTES)
    with (folder / "claimed").open("wb") as file:
        for _ in range(slices):
            file.write(block)
    (folder / "claimed").unlink()


def tell(figures: dict[str, float]) -> None:
    """One table of all."""
    print(f"\n{figures['slices']:,} slices of {figures['size']} x {figures['size']}, {figures['cores']} cores")
    print(f"{'':<20}{'slices/s':>10}{'ours cold is':>15}{'target':>8}")
    for name in ("ours_cold", "ours_warm", *TARGETS):
        ratio = f"{figures['ours_cold'] / figures[name]:.2f} x" if name in TARGETS else ""
        print(f"{name:<20}{figures[name]:>10,.0f}{ratio:>15}{TARGETS.get(name, ''):>8}")
    print(f"ours warm is {figures['ours_warm'] / figures['ours_cold']:.2f} x ours cold (target 2.5)")
    print("starting Ray, which takes some seconds, is counted nowhere above")


def ours(folder: Path, slices: int, cores: int) -> dict[str, float]:
    """Cold: catalogue and slices into a new run directory. Warm: slices again, with another seed, from the index."""
    import pyarrow as pa
    import ray.data

    from tumorprog import run, tables
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import streaming

    settings = with_values(
        Settings(),
        {
            "archive.grading": str(folder / "archive"),
            "archive.grades": str(folder / "grades.csv"),
            "cluster.cores": cores,
        },
    )
    streaming.connect(settings.cluster)
    up = ray.data.from_arrow([pa.table({"number": [number]}) for number in range(4 * cores)])
    up.map_batches(_worker_is_up, batch_size=None, batch_format="pyarrow", num_cpus=0.5).materialize()
    figures = {}
    for name, stages, seed in (("ours_cold", ("catalogue", "slices"), 0), ("ours_warm", ("slices",), 1)):
        seconds = 0.0
        for stage in stages:
            _claim_memory(folder, slices)
            began = time.perf_counter()
            run.run_stages(folder / "run", with_values(settings, {"seed": seed}), [run.stage_named(stage)])
            seconds += time.perf_counter() - began
        figures[name] = slices / seconds
        made = tables.read_summary(folder / "run" / "slices")["images"]
        if made != slices:
            raise SystemExit(f"{name} made {made} of {slices} images")
        print(f"{name}: {figures[name]:,.0f} slices/s", flush=True)
    ray.shutdown()
    shutil.rmtree(folder / "run")
    return figures


def _worker_is_up(rows: Any) -> Any:
    """Imports what the tasks need, so that neither that nor the start of Ray Data's own actors is measured."""
    from tumorprog.stages import catalogue, slices

    time.sleep(0.5)  # so that each gets a worker of its own
    del catalogue, slices
    return rows


def decode(path: str) -> np.ndarray:
    """The project's own decode function: a file -> its image for the grader."""
    from tumorprog.dicom import pixels
    from tumorprog.imaging import intensity

    return intensity.grader_input(pixels.read_frame(path), scaling="robust")


def pool(paths: list[str], target: Path, cores: int) -> int:
    """A bare process pool; the images come back and are dropped."""
    del target
    decode(paths[0])  # so that the processes inherit what it imports
    with multiprocessing.get_context("fork").Pool(cores, initializer=_one_thread) as workers:
        return sum(1 for _ in workers.imap_unordered(decode, paths, chunksize=BATCH))


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


class Files:
    """What people write: pydicom and PIL behind a torch Dataset."""

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
    """A torch DataLoader with a worker on each core; the batches are saved."""
    from torch.utils.data import DataLoader

    return _save(DataLoader(Files(paths), batch_size=BATCH, num_workers=cores), target)


def monai_dataloader(paths: list[str], target: Path, cores: int) -> int:
    """MONAI's reader and transforms behind its DataLoader; the batches are saved."""
    from monai.data import DataLoader, Dataset

    return _save(DataLoader(Dataset(paths, monai_steps()), batch_size=BATCH, num_workers=cores), target)


def monai_steps() -> Any:
    """A file -> its image for the grader, in MONAI's words."""
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
    """The paper's way: a thousand images at a time, one process, saved as normalised tensors of three channels."""
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
        torch.save(torch.stack(images), target / "batch.pt")  # over the one before: a batch takes 600 MB
    return len(paths)


if __name__ == "__main__":
    main()
