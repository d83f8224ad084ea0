"""Whether training waits for data: images a second of the same training step, fed in four ways.

    python benchmarks/train.py                       # 640 slices of 256 x 256, batches of 32, on all cores
    python benchmarks/train.py --slices 2000 --device cuda --batch 256 --json train.json

The step is the project's own (`training.train_epoch`, ResNet-18, Adam). `ceiling` takes one batch that lies in memory
again and again; `ours` streams the shards of `tumorprog slices`, shuffled, as the stage does; `torch_dataloader`
decodes the DICOM files with pydicom and PIL in a worker on each core; `monai_cache` is MONAI's CacheDataset, its cache
filled before. One epoch each, in turns, the best of the rounds.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import archive
import numpy as np
from ingest import Files, monai_steps

TARGET = 0.95
Batches = Iterator[tuple[Any, Any]]
"""Images (N, 224, 224) uint8 and classes (N,), as tensors."""
Feed = Callable[[int], Batches]
"""The batches of an epoch, by its number."""


def main() -> None:
    """Measures, prints the table, writes the figures."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--slices", type=int, default=640)
    words.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    words.add_argument("--batch", type=int, default=32)
    words.add_argument("--rounds", type=int, default=2)
    words.add_argument("--device", default="cpu")
    words.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    words.add_argument("--compile", action="store_true", help="torch.compile the network")
    words.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    words.add_argument("--folder", type=Path, help="where to work")
    words.add_argument("--json", type=Path, help="write the figures there")
    parsed = words.parse_args()
    with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="tumorprog-benchmark-") as folder:
        archive.write(Path(folder), slices=parsed.slices, size=parsed.size)
        figures = measure(Path(folder), parsed)
    print(f"\n{parsed.slices:,} slices, batches of {parsed.batch}, {parsed.cores} cores, {figures['device']}")
    for name in ("ceiling", "ours", "torch_dataloader", "monai_cache"):
        print(f"{name:<18}{figures[name]:>10,.1f} images/s{figures[name] / figures['ceiling']:>8.2f} of the ceiling")
    print(f"ours is to be at least {TARGET} of the ceiling")
    if parsed.json:
        parsed.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, parsed: argparse.Namespace) -> dict[str, Any]:
    """Images a second of each way, and what they were measured on."""
    import torch

    ways = {way.__name__: way(folder, parsed) for way in (ceiling, ours, torch_dataloader, monai_cache)}
    step = Step(parsed)
    best = dict.fromkeys(ways, 0.0)
    for number in range(parsed.rounds):
        for name, way in ways.items():
            rate = step.images_a_second(way(number))
            best[name] = max(best[name], rate)
            print(f"{name}: {rate:,.1f} images/s", flush=True)
    device = torch.cuda.get_device_name() if parsed.device.startswith("cuda") else parsed.device
    return {"slices": parsed.slices, "batch": parsed.batch, "cores": parsed.cores, "device": device, **best}


class Step:
    """The project's training step on one model."""

    def __init__(self, parsed: argparse.Namespace) -> None:
        import torch

        from tumorprog.models import grader

        torch.set_num_threads(parsed.cores)
        self.device, self.precision = parsed.device, parsed.precision
        self.model = grader.build("none", seed=0).to(self.device, memory_format=torch.channels_last)
        if parsed.compile:
            self.model.compile()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def images_a_second(self, batches: Batches) -> float:
        """Of an epoch; the first step, which warms up, is not counted."""
        first = next(batches)
        self._epoch(iter([first]))
        began = time.perf_counter()
        return self._epoch(batches) / (time.perf_counter() - began)

    def _epoch(self, batches: Batches) -> int:
        import torch

        from tumorprog.training import Criterion, train_epoch

        criterion = Criterion(class_weights=torch.ones(3), device=self.device, precision=self.precision)
        tally = train_epoch(self.model, batches, optimiser=self.optimiser, criterion=criterion, epoch=1)
        return tally.count


def ceiling(folder: Path, parsed: argparse.Namespace) -> Feed:
    """One batch, again and again."""
    import torch

    del folder
    images = np.random.default_rng(0).integers(0, 256, (parsed.batch, 224, 224), np.uint8)
    batch = torch.from_numpy(images), torch.arange(parsed.batch) % 3
    return lambda _: iter([batch] * (parsed.slices // parsed.batch))


def ours(folder: Path, parsed: argparse.Namespace) -> Feed:
    """The shards of `tumorprog slices`, through the stage's own stream."""
    from tumorprog import run, tables
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import grader_training, streaming

    chosen = {
        "archive.grading": str(folder / "archive"),
        "archive.grades": str(folder / "grades.csv"),
        "cluster.cores": parsed.cores,
    }
    stages = [run.stage_named(name) for name in ("catalogue", "slices")]
    run.run_stages(folder / "run", with_values(Settings(), chosen), stages)
    shards, wanted = tables.shards(folder / "run" / "slices"), np.ones(parsed.slices, bool)
    labels = np.arange(parsed.slices) % 3

    def epoch(seed: int) -> Batches:
        rows = streaming.read_rows(shards, ["slice", "image"], wanted=wanted)
        return grader_training.shuffled(rows, labels, batch_size=parsed.batch, seed=seed, device=parsed.device)

    return epoch


class Labelled(Files):
    """Files with a class each."""

    def __getitem__(self, number: int) -> Any:
        return super().__getitem__(number), number % 3


def torch_dataloader(folder: Path, parsed: argparse.Namespace) -> Feed:
    """A torch DataLoader over the DICOM files."""
    from torch.utils.data import DataLoader

    files = Labelled(paths_of(folder))
    how = {"shuffle": True, "num_workers": parsed.cores, "pin_memory": parsed.device.startswith("cuda")}
    return lambda _: iter(DataLoader(files, batch_size=parsed.batch, **how))


def monai_cache(folder: Path, parsed: argparse.Namespace) -> Feed:
    """MONAI's CacheDataset, filled; its images wait in memory."""
    import torch
    from monai.data import CacheDataset, DataLoader

    files = CacheDataset(paths_of(folder), monai_steps(), num_workers=parsed.cores, progress=False)

    def epoch(_: int) -> Batches:
        loader = DataLoader(files, batch_size=parsed.batch, shuffle=True)
        return ((images.as_tensor(), torch.arange(len(images)) % 3) for images in loader)

    return epoch


def paths_of(folder: Path) -> list[str]:
    """The files of the archive."""
    return sorted(str(path) for path in (folder / "archive").rglob("*.dcm"))


if __name__ == "__main__":
    main()
