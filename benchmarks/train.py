"""Whether training waits for data: images per second of the same training step with four sources of data.

    python benchmarks/train.py                       # 640 slices of 256 x 256, batches of 32, on all cores
    python benchmarks/train.py --slices 2000 --device cuda --batch 256 --json train.json

The training step is tumorprog's own (`train_epoch`, ResNet-18, Adam). `ceiling` repeats one batch in memory;
`tumorprog_shards` streams the shards of `tumorprog slices`, shuffled, as the stage does; `torch_dataloader` decodes
the DICOM files with pydicom and PIL in one worker per core; `monai_cache` is MONAI's CacheDataset, with its cache
filled beforehand. The sources alternate, with one epoch each per round; the best round counts.
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
"""Tensors of images (N, 224, 224) uint8 and classes (N,)."""
Feed = Callable[[int], Batches]
"""Returns the batches of an epoch, given its number."""


def main() -> None:
    """Run the benchmark, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=640)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--folder", type=Path, help="working folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="tumorprog-benchmark-") as folder:
        archive.write(Path(folder), slices=arguments.slices, size=arguments.size)
        figures = measure(Path(folder), arguments)
    print(f"\n{arguments.slices:,} slices, batches of {arguments.batch}, {arguments.cores} cores, {figures['device']}")
    for name in ("ceiling", "tumorprog_shards", "torch_dataloader", "monai_cache"):
        print(f"{name:<18}{figures[name]:>10,.1f} images/s{figures[name] / figures['ceiling']:>8.2f} of the ceiling")
    print(f"target: tumorprog_shards at least {TARGET} of the ceiling")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the images per second with each source of data, and the size of the benchmark."""
    import torch

    sources = (ceiling, tumorprog_shards, torch_dataloader, monai_cache)
    feeds = {source.__name__: source(folder, arguments) for source in sources}
    step = Step(arguments)
    best = dict.fromkeys(feeds, 0.0)
    for number in range(arguments.rounds):
        for name, feed in feeds.items():
            rate = step.images_per_second(feed(number))
            best[name] = max(best[name], rate)
            print(f"{name}: {rate:,.1f} images/s", flush=True)
    device = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device
    return {"slices": arguments.slices, "batch": arguments.batch, "cores": arguments.cores, "device": device, **best}


class Step:
    """Tumorprog's training step on one model."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import torch

        from tumorprog.graders import resnet18

        torch.set_num_threads(arguments.cores)
        self.device, self.precision = arguments.device, arguments.precision
        self.model = resnet18.build("none", seed=0).to(self.device, memory_format=torch.channels_last)
        if arguments.compile:
            self.model.compile()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def images_per_second(self, batches: Batches) -> float:
        """Return the rate of an epoch, without the first step, which warms up."""
        first = next(batches)
        self._epoch(iter([first]))
        began = time.perf_counter()
        return self._epoch(batches) / (time.perf_counter() - began)

    def _epoch(self, batches: Batches) -> int:
        import torch

        from tumorprog.graders.training import Criterion, train_epoch

        criterion = Criterion(class_weights=torch.ones(3), device=self.device, precision=self.precision)
        tally = train_epoch(self.model, batches, optimiser=self.optimiser, criterion=criterion, epoch=1)
        return tally.count


def ceiling(folder: Path, arguments: argparse.Namespace) -> Feed:
    """Repeat one batch in memory."""
    import torch

    del folder
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch, 224, 224), np.uint8)
    batch = torch.from_numpy(images), torch.arange(arguments.batch) % 3
    return lambda _: iter([batch] * (arguments.slices // arguments.batch))


def tumorprog_shards(folder: Path, arguments: argparse.Namespace) -> Feed:
    """Stream the shards of `tumorprog slices` as the stage does."""
    from tumorprog import run, tables
    from tumorprog.distributed import grader_training
    from tumorprog.distributed.rows import read_rows
    from tumorprog.settings import Settings, with_values

    values = {
        "archive.grading": str(folder / "archive"),
        "archive.grades": str(folder / "grades.csv"),
        "cluster.cores": arguments.cores,
    }
    stages = [run.stage_named(name) for name in ("catalogue", "slices")]
    run.run_stages(folder / "run", with_values(Settings(), values), stages)
    shards, wanted = tables.shards(folder / "run" / "slices"), np.ones(arguments.slices, bool)
    labels = np.arange(arguments.slices) % 3

    def epoch(seed: int) -> Batches:
        rows = read_rows(shards, ["slice", "image"], wanted=wanted)
        return grader_training.shuffled_batches(
            rows, labels, batch_size=arguments.batch, seed=seed, device=arguments.device
        )

    return epoch


class Labelled(Files):
    """Files with a class for each."""

    def __getitem__(self, number: int) -> Any:
        return super().__getitem__(number), number % 3


def torch_dataloader(folder: Path, arguments: argparse.Namespace) -> Feed:
    """Read the DICOM files with a torch DataLoader."""
    from torch.utils.data import DataLoader

    files = Labelled(paths_of(folder))
    options = {"shuffle": True, "num_workers": arguments.cores, "pin_memory": arguments.device.startswith("cuda")}
    return lambda _: iter(DataLoader(files, batch_size=arguments.batch, **options))


def monai_cache(folder: Path, arguments: argparse.Namespace) -> Feed:
    """Read from a filled MONAI CacheDataset, with all images in memory."""
    import torch
    from monai.data import CacheDataset, DataLoader

    files = CacheDataset(paths_of(folder), monai_steps(), num_workers=arguments.cores, progress=False)

    def epoch(_: int) -> Batches:
        loader = DataLoader(files, batch_size=arguments.batch, shuffle=True)
        return ((images.as_tensor(), torch.arange(len(images)) % 3) for images in loader)

    return epoch


def paths_of(folder: Path) -> list[str]:
    """Return the files of the archive."""
    return sorted(str(path) for path in (folder / "archive").rglob("*.dcm"))


if __name__ == "__main__":
    main()
