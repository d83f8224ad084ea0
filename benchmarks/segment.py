"""The segmenter beside MONAI's own loop: images per second of training and of prediction, in one run.

    python benchmarks/segment.py                     # 8 synthetic patients with 2 stacks of 20 slices, on all cores
    python benchmarks/segment.py --patients 50 --device cuda --batch 64 --json segment.json

Network, loss, optimiser, slices and precision of the training step are the same for all. In training, `step` repeats
one batch in memory; `tumorprog` streams the shards of samples, shuffled, and augments whole batches, as
`train-segmenter` does; `monai` is a filled CacheDataset with MONAI's random transforms in the workers of its
DataLoader, one per core, kept from epoch to epoch. MONAI has no counterpart of the last step of tumorprog's
augmentation, which copies tumours into other slices. An image is a slice with its neighbours and mirror image. Whole
epochs are timed, alternating, after one to warm up; the best round counts.

Prediction begins with the decoded slices of a stack and ends with its mask, on the same grid: normalisation, resizing,
neighbours and mirror image as channels, the network on the slices and on their mirror images, resizing. It is measured
on the CPU in float32, as in the pipeline, whatever the device of the training: `network` alone, `tumorprog`
(`segmenters.apply`), and `monai` (dictionary transforms and SliceInferer).
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Batches = Iterable[tuple[Any, Any]]
"""Tensors of images (N, channels, SIDE, SIDE), 0 to 255, and masks (N, SIDE, SIDE), 0 or 1."""
Feed = Callable[[int], Batches]
"""Returns the batches of an epoch, given its number."""

TRAINING, PREDICTION = ("step", "tumorprog", "monai"), ("network", "tumorprog", "monai")
SEQUENCE, NEIGHBOURS, SLICES, LEARNING_RATE = "T1post", 1, 20, 3e-3
INFERENCE_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The decoded slices of a stack."""

    slices: list[np.ndarray]
    spacing_mm: tuple[float, float]


def main() -> None:
    """Run the benchmark, print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=8, help="number of patients, with 2 stacks of 20 slices each")
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="of the training")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of the training")
    parser.add_argument("--cores", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--folder", type=Path, help="working folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="tumorprog-benchmark-") as folder:
        figures = measure(Path(folder), arguments)
    print(f"\n{figures['slices']:,} slices, batches of {arguments.batch}, {arguments.cores} cores")
    for task, names in (("training", TRAINING), ("prediction", PREDICTION)):
        print(f"{task}, {figures[f'{task}_device']}, {figures[f'{task}_precision']}:")
        for name in names:
            rate = figures[task][name]
            print(f"    {name:<12}{rate:>10,.1f} images/s{rate / figures[task]['monai']:>8.2f} x monai")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the images per second of training and of prediction, and the size of the benchmark."""
    import torch

    from tumorprog.segmenters.training import computes_in_bfloat16

    torch.set_num_threads(arguments.cores)
    shards, stacks = prepare(folder, arguments)
    samples = read_samples(shards)
    half = computes_in_bfloat16(arguments.precision, torch.device(arguments.device))
    return {
        "slices": len(samples),
        "batch": arguments.batch,
        "cores": arguments.cores,
        "training_device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device,
        "training_precision": "bfloat16" if half else "float32",
        "prediction_device": "cpu",
        "prediction_precision": "float32",
        "training": training(shards, samples, arguments),
        "prediction": prediction(folder / "segmenter", stacks, arguments.rounds),
    }


def prepare(folder: Path, arguments: argparse.Namespace) -> tuple[list[Path], list[Stack]]:
    """Write a synthetic cohort, and return the shards of its samples and its stacks, decoded."""
    from tumorprog import run, tables
    from tumorprog.distributed import shards
    from tumorprog.segmenters import samples
    from tumorprog.segmenters.columns import SAMPLES
    from tumorprog.settings import Settings, with_values
    from tumorprog.stages import train_segmenter
    from tumorprog.synthetic import archive, plan
    from tumorprog.synthetic.settings import Synthetic

    shape = Synthetic(
        graded_patients=0,
        ungraded_patients=0,
        progression_patients=arguments.patients,
        series_slices=SLICES,
        size=arguments.size,
    )
    print("writing the archive ...", flush=True)
    for _ in archive.write_cohort(folder / "cohort", shape, seed=0, processes=arguments.cores):
        pass
    values = {
        "archive.progression": str(folder / "cohort" / plan.PROGRESSION),
        "cluster.cores": arguments.cores,
        "segmenter.sequences": (SEQUENCE,),
        "segmenter.neighbours": NEIGHBOURS,
    }
    settings = with_values(Settings(), values)
    run.run_stages(folder / "run", settings, [run.stage_named("catalogue")])
    catalogue = tables.shards(folder / "run" / "catalogue")
    work = train_segmenter.plan(catalogue, settings, folder / "work")
    transform = partial(samples.of_studies, settings=settings.segmenter, labels=settings.roi.labels)
    shards.write_noted_shards(work, transform, folder / "samples", SAMPLES, items="studies", batch_rows=1)
    return tables.shards(folder / "samples"), decode(folder / "run" / "catalogue")


def decode(catalogue: Path) -> list[Stack]:
    """Return the stacks of the segmented sequence."""
    from tumorprog import tables
    from tumorprog.formats import reading
    from tumorprog.formats.columns import CATALOGUE

    place = ["path", "frame", "row_spacing_mm", "column_spacing_mm"]
    names = [*place, "SeriesInstanceUID", "stack", "order", "sequence"]
    rows = tables.read_shards(catalogue, CATALOGUE, names).to_pandas().query("sequence == @SEQUENCE")
    stacks = []
    for _, slices in rows.sort_values("order").groupby(["SeriesInstanceUID", "stack"]):
        found = list(slices[place].itertuples(index=False, name=None))
        images = [reading.read_frame(path, frame) for path, frame, *_ in found]
        stacks.append(Stack(slices=images, spacing_mm=found[0][2:]))
    return stacks


def read_samples(shards: list[Path]) -> list[dict[str, np.ndarray]]:
    """Return all samples: `image` (channels, SIDE, SIDE) uint8 and `mask` (1, SIDE, SIDE) uint8."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tumorprog.segmenters import samples

    rows = pa.concat_tables([pq.read_table(shard, columns=["image", "mask"]) for shard in shards])
    images, masks = samples.arrays(rows)
    return [{"image": image, "mask": mask[None]} for image, mask in zip(images, masks, strict=True)]


def training(
    shards: list[Path], samples: list[dict[str, np.ndarray]], arguments: argparse.Namespace
) -> dict[str, float]:
    """Return the images per second of training epochs with each source of batches."""
    feeds = {
        "step": one_batch(samples, arguments),
        "tumorprog": tumorprog_stream(shards, samples, arguments),
        "monai": monai_loader(samples, arguments),
    }
    trainings = {name: Training(feed, len(samples), arguments) for name, feed in feeds.items()}
    return best_of({name: one.epoch for name, one in trainings.items()}, arguments.rounds, task="training")


def best_of(passes: dict[str, Callable[[], int]], rounds: int, *, task: str) -> dict[str, float]:
    """Return the best rate of each of some functions, which return how many images they processed."""
    best = dict.fromkeys(passes, 0.0)
    for number in range(rounds + 1):
        for name, once in passes.items():
            began = time.perf_counter()
            rate = once() / (time.perf_counter() - began)
            if number:  # the first warms up
                best[name] = max(best[name], rate)
                print(f"{task}, {name}: {rate:,.1f} images/s", flush=True)
    return best


class Training:
    """A training of the segmenter by tumorprog's step, with one source of batches."""

    def __init__(self, feed: Feed, slices: int, arguments: argparse.Namespace) -> None:
        from tumorprog.segmenters import training, unet
        from tumorprog.segmenters.stacks import num_channels

        self.feed, self.precision, self.number = feed, arguments.precision, 0
        self.model = unet.build(num_channels(1, NEIGHBOURS), seed=0).to(arguments.device)
        steps = (arguments.rounds + 1) * -(-slices // arguments.batch)
        self.optimiser, self.scheduler = training.optimisation(
            self.model, learning_rate=LEARNING_RATE, total_steps=steps
        )

    def epoch(self) -> int:
        """Train for an epoch and return the number of images."""
        from tumorprog.segmenters.training import train_epoch

        self.number += 1
        return train_epoch(
            self.model,
            self.feed(self.number),
            optimiser=self.optimiser,
            scheduler=self.scheduler,
            precision=self.precision,
            epoch=self.number,
        ).count


def one_batch(samples: list[dict[str, np.ndarray]], arguments: argparse.Namespace) -> Feed:
    """Repeat one batch in memory, without augmentation."""
    import torch

    chosen = samples[: arguments.batch]
    images = torch.from_numpy(np.stack([one["image"] for one in chosen])).to(arguments.device)
    masks = torch.from_numpy(np.concatenate([one["mask"] for one in chosen])).to(arguments.device)
    return lambda _: [(images, masks)] * (len(samples) // len(chosen))


def tumorprog_stream(shards: list[Path], samples: list[dict[str, np.ndarray]], arguments: argparse.Namespace) -> Feed:
    """Stream the shards as `train-segmenter` does."""
    import torch

    from tumorprog.distributed.rows import read_rows
    from tumorprog.distributed.segmenter_training import augmented_batches

    numbers = slice_numbers(shards)
    wanted = np.zeros(numbers.max() + 1, bool)
    wanted[numbers] = True
    rows, generator = read_rows(shards, ["slice", "image", "mask"], wanted=wanted), torch.Generator().manual_seed(0)
    return lambda number: augmented_batches(
        rows,
        batch_size=arguments.batch,
        channels=len(samples[0]["image"]),
        seed=number,
        generator=generator,
        device=arguments.device,
    )


def slice_numbers(shards: list[Path]) -> np.ndarray:
    """Return the column `slice` of the samples."""
    import pyarrow.parquet as pq

    return np.concatenate([pq.read_table(shard, columns=["slice"])["slice"].to_numpy() for shard in shards])


def monai_loader(samples: list[dict[str, np.ndarray]], arguments: argparse.Namespace) -> Feed:
    """Augment with MONAI's transforms in the workers of its DataLoader, from a filled cache."""
    from monai.data import CacheDataset, DataLoader

    cached = CacheDataset(samples, monai_augmentation(), num_workers=arguments.cores, progress=False)
    loader = DataLoader(
        cached,
        batch_size=arguments.batch,
        shuffle=True,
        num_workers=arguments.cores,
        persistent_workers=True,
        pin_memory=arguments.device.startswith("cuda"),
    )

    def epoch(_: int) -> Batches:
        for batch in loader:
            images, masks = (batch[name].as_tensor() for name in ("image", "mask"))
            yield images.to(arguments.device, non_blocking=True), masks[:, 0].to(arguments.device, non_blocking=True)

    return epoch


def monai_augmentation() -> Any:
    """Return MONAI's counterpart of `segmenters.training.augment`, with the same ranges and probabilities."""
    from monai import transforms

    both = ["image", "mask"]
    return transforms.Compose(
        [
            transforms.EnsureTyped(both, dtype=np.float32),
            transforms.RandFlipd(both, prob=0.5, spatial_axis=1),
            transforms.RandAffined(
                both,
                prob=0.9,
                rotate_range=np.radians(20),
                shear_range=(np.tan(np.radians(5)), np.tan(np.radians(5))),
                translate_range=(12.8, 12.8),  # pixels: 0.08 of 160
                scale_range=((-0.2, 0.25), (-0.2, 0.25)),
                mode=["bilinear", "nearest"],
                padding_mode="zeros",
            ),
            transforms.RandAdjustContrastd("image", prob=0.3, gamma=(0.85, 1.2)),
            transforms.RandScaleIntensityd("image", factors=0.1, prob=0.3),
            transforms.RandGaussianSmoothd("image", sigma_x=(0.3, 0.8), sigma_y=(0.3, 0.8), prob=0.15),
            transforms.RandGaussianNoised("image", prob=0.2, std=0.03 * 255),
        ]
    )


def prediction(folder: Path, stacks: list[Stack], rounds: int) -> dict[str, float]:
    """Return the images per second from decoded slices to masks; of the network, from its input to probabilities."""
    from tumorprog import model_files
    from tumorprog.segmenters import apply, unet
    from tumorprog.segmenters.stacks import channels, num_channels
    from tumorprog.segmenters.stacks import prepare as normalised

    network = unet.build(num_channels(1, NEIGHBOURS), seed=0).eval()
    model_files.save(folder, network, {**unet.DESCRIPTION, "sequences": [SEQUENCE], "neighbours": NEIGHBOURS})
    inputs = [channels([normalised(one.slices, one.spacing_mm)], neighbours=NEIGHBOURS) for one in stacks]

    def alone() -> int:
        return sum(len(unet.probabilities(network, images)) for images in inputs)

    def by_tumorprog() -> int:
        found = (apply.segment(folder, apply.FINAL, {SEQUENCE: one.slices}, one.spacing_mm) for one in stacks)
        return sum(len(mask) for mask in found)

    def by_monai() -> int:
        return sum(len(monai_segment(network, one)) for one in stacks)

    return best_of({"network": alone, "tumorprog": by_tumorprog, "monai": by_monai}, rounds, task="prediction")


def monai_segment(network: Any, stack: Stack) -> np.ndarray:
    """Segment a stack as with MONAI: dictionary transforms, SliceInferer on the volume, and the way back."""
    import torch
    from monai import transforms
    from monai.inferers import SliceInferer

    from tumorprog.segmenters.stacks import SIDE, SPACING_MM

    count, shape = len(stack.slices), stack.slices[0].shape
    size = [round(rows * mm / SPACING_MM) for rows, mm in zip(shape, stack.spacing_mm, strict=True)]
    steps = transforms.Compose(
        [
            transforms.EnsureTyped("image", dtype=np.float32),
            transforms.ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0, 1, clip=True),
            transforms.Resized("image", size, mode="area"),
            transforms.ResizeWithPadOrCropd("image", (SIDE, SIDE)),
        ]
    )
    volume = steps({"image": np.stack(stack.slices)})["image"].as_tensor() * 4 - 1  # (N, SIDE, SIDE)
    near = torch.arange(count)[:, None] + torch.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    images = torch.cat([volume[near.clamp(0, count - 1)], volume.flip(2)[:, None]], 1)
    images = images.permute(1, 2, 3, 0)[None]  # (1, channels, SIDE, SIDE, N)
    inferer = SliceInferer(spatial_dim=2, roi_size=(SIDE, SIDE), sw_batch_size=INFERENCE_BATCH)
    with torch.inference_mode():
        mean = (inferer(images, network).sigmoid() + inferer(images.flip(3), network).sigmoid().flip(3)) / 2
    back = transforms.Compose([transforms.ResizeWithPadOrCrop(size), transforms.Resize(shape, mode="bilinear")])
    return np.asarray(back(mean[0, 0].permute(2, 0, 1)) > 0.5)


if __name__ == "__main__":
    main()
