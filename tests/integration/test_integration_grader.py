"""Training of the grader with real Ray. Expected content of grader/ with both protocols, folds and null controls:

checkpoint.pt  history.csv  leaks.csv  model.json  model.safetensors  predictions.parquet  split.csv
null/draw-1/{checkpoint.pt, history.csv, model.json, model.safetensors, predictions.parquet} ...
seeds/seed-1/ ... as null/draw-1
paper/ ... as above, with its own null/
folds/{split.csv, predictions.parquet}  folds/fold-1/{checkpoint.pt, history.csv, model.json, model.safetensors} ...
"""

import json
import math
import shlex
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
import ray.train
import torch
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.train.torch import TorchTrainer
from safetensors.torch import load_file
from torch import nn

from tumorprog import cli, tables
from tumorprog.conventions import GRADES
from tumorprog.distributed import grader_training, session
from tumorprog.distributed import rows as row_streams
from tumorprog.distributed.internals import ThrottledExecution
from tumorprog.distributed.rows import read_rows
from tumorprog.evaluation import metrics
from tumorprog.graders import resnet18
from tumorprog.graders.columns import GRADER_PREDICTIONS, HISTORY, SLICES
from tumorprog.graders.images import read_images
from tumorprog.graders.training import Criterion, evaluate
from tumorprog.synthetic import archive, plan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

SMALL = shlex.split("--grader.weights none --grader.workers 0 --grader.epochs 2 --grader.batch_size 16")
NEW_MODEL = {"checkpoint.pt", "history.csv", "model.json", "model.safetensors"}
BATCH = 6


@pytest.fixture(scope="module")
def sliced(cohort_folder, tmp_path_factory):
    """A run directory with the slices of two sequences; each test trains in a copy of it."""
    folder = tmp_path_factory.mktemp("run") / "sliced"
    arguments = (
        *("--grading", str(cohort_folder / plan.GRADING), "--grades", str(cohort_folder / archive.CLINICAL_TABLE)),
        *("--slices.sequences", "[T1post,FLAIR]", "--report.bootstrap", "200", "--out", str(folder)),
    )
    for command in ("catalogue", "slices"):
        assert cli.main([command, *arguments]) == 0
    return folder


@pytest.fixture
def run(sliced, tmp_path):
    shutil.copytree(sliced, tmp_path / "run")
    return tmp_path / "run"


def train(run, *arguments):
    assert cli.main(["train-grader", "--out", str(run), *SMALL, *arguments]) == 0
    return pd.read_csv(run / "grader" / "history.csv")


def read_description(folder):
    return json.loads((folder / "model.json").read_text())


@pytest.fixture
def small_network(monkeypatch):
    """A small network in place of the ResNet-18, for trainings in this process: it trains and compiles in seconds."""

    def build(weights, *, seed):
        del weights
        torch.default_generator.manual_seed(seed)
        layers = nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, len(GRADES)))

    monkeypatch.setattr(resnet18, "build", build)


@pytest.mark.usefixtures("small_network")
def test_a_training_with_more_epochs_resumes_from_the_finished_ones(run, sliced, tmp_path, caplog):
    """History, weights and predictions are the same as of an uninterrupted training."""
    before = train(run)
    after = train(run, "--grader.epochs", "3")
    assert "resuming from epoch 2" in caplog.text
    assert after["Epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(after.head(2), before)

    uninterrupted = shutil.copytree(sliced, tmp_path / "uninterrupted")
    pd.testing.assert_frame_equal(train(uninterrupted, "--grader.epochs", "3"), after)
    expected, actual = (tables.read_shards(folder / "grader", GRADER_PREDICTIONS) for folder in (uninterrupted, run))
    pd.testing.assert_frame_equal(expected.to_pandas(), actual.to_pandas())

    caplog.clear()
    train(run, "--grader.augment", "true")
    assert "resuming" not in caplog.text
    assert read_description(run / "grader")["training"]["augment"] is True


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler for the CPU")
@pytest.mark.long
@pytest.mark.usefixtures("small_network")
def test_bfloat16_and_compiled_kernels_give_the_same_training(run, sliced, tmp_path):
    """Losses differ only by rounding, and the saved weights keep their precision."""
    reference = train(shutil.copytree(sliced, tmp_path / "reference"))
    torch._dynamo.utils.counters.clear()
    compiled = train(run, "--grader.precision", "bfloat16", "--grader.compile", "true")
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    losses = [name for name in HISTORY if name.endswith("Loss")]
    pd.testing.assert_frame_equal(compiled[losses], reference[losses], rtol=0.02)
    assert not compiled[losses].equals(reference[losses])
    saved = load_file(run / "grader" / "model.safetensors")
    assert {tensor.dtype for name, tensor in saved.items() if name.endswith("weight")} == {torch.float32}


def check_repetitions(grading):
    """Another seed changes nothing but the seed; a null draw has other grades, one per patient."""
    for folder in (grading / "seeds" / "seed-1", grading / "null" / "draw-1", grading / "paper" / "null" / "draw-1"):
        assert {path.name for path in folder.iterdir()} == NEW_MODEL | {"predictions.parquet"}
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert set(pd.read_parquet(folder / "predictions.parquet")["side"]) == {"test"}
    assert not (grading / "paper" / "seeds").exists()
    other = read_description(grading / "seeds" / "seed-1")
    assert other == {**read_description(grading), "seed": 1, "epoch": other["epoch"]}
    null = pd.read_parquet(grading / "null" / "draw-1" / "predictions.parquet")
    assert (null.groupby("PatientID")["grade"].nunique() == 1).all()
    assert read_description(grading / "null" / "draw-1")["data_fingerprint"] != other["data_fingerprint"]


@pytest.mark.long
def test_folds_and_null_controls_are_trained_alongside_the_protocols_and_reported(run):
    repeated = "--grader.null_control true --grader.null_draws 1 --grader.seeds 2"
    train(run, *shlex.split(f"--protocol both --folds 3 {repeated} --grader.epochs 1"))
    grading = run / "grader"
    for folder in (grading, grading / "paper"):
        assert {path.name for path in folder.iterdir()} >= NEW_MODEL | {"leaks.csv", "split.csv", "predictions.parquet"}
    check_repetitions(grading)
    assert {path.name for path in (grading / "folds").iterdir()} == {
        *("fold-1", "fold-2", "fold-3", "split.csv", "predictions.parquet")
    }
    assert {path.name for path in (grading / "folds" / "fold-2").iterdir()} == NEW_MODEL

    slices = pd.read_parquet(run / "slices", columns=["slice", "PatientID", "grade"]).set_index("slice").sort_index()
    tested = pd.read_parquet(grading / "folds" / "predictions.parquet")
    assert sorted(tested["slice"]) == slices.index.tolist()
    split = pd.read_csv(grading / "folds" / "split.csv")
    side = split.set_index(["fold", "patient"])["side"]
    assert (side.loc[list(zip(tested["fold"], tested["PatientID"], strict=True))] == "test").all()

    assert cli.main(["report", "--out", str(run), "--report.evidence_slices", "8"]) == 0
    reported = json.loads((run / "metrics.json").read_text())["grader"]
    assert set(reported) == {"patient", "paper", "folds"}
    assert reported["folds"]["patient"]["accuracy"]["n"] == 9
    assert len(reported["patient"]["null_control"]["draws"]) == len(reported["paper"]["null_control"]["draws"]) == 1
    assert len(reported["patient"]["seeds"]["balanced_accuracy"]["values"]) == 2
    assert reported["patient"]["evidence"]["outside_head"]["model"]["evidence"]["n"] > 0
    assert "evidence" not in reported["paper"]
    page = (run / "report.html").read_text()
    assert "each patient held out once" in page
    assert "Comparison with the paper" in page


@pytest.mark.long
def test_two_workers_reproduce_the_same_history(run, tmp_path):
    """DDP on two processes; each slice of the validation and test sets is evaluated by one of them."""
    again = shutil.copytree(run, tmp_path / "again")
    arguments = shlex.split("--grader.workers 2 --grader.batch_size 8 --slices.scaling minmax")
    history = train(run, *arguments)
    pd.testing.assert_frame_equal(train(again, *arguments), history)
    description = read_description(run / "grader")
    assert description["scaling"] == "robust"  # of the shards; this command's option has no effect
    assert description["training_slices_left_out"] == sum(description["training_slices"].values()) % 2
    assert history["Epoch"].tolist() == [1, 2]
    assert not (run / "grader" / ".ray").exists()
    best = history[history["Best Model Saved"]].iloc[-1]
    levels = metrics.grader_levels(pd.read_parquet(run / "grader" / "predictions.parquet"))
    for side, column in (("validation", "Validation Acc (%)"), ("test", "Test Acc (%)")):
        slices = levels["slice"][levels["slice"]["side"] == side]
        assert 100 * (slices["grade"] == slices["predicted"]).mean() == pytest.approx(best[column], abs=1e-3)


def test_the_stream_is_throttled_while_it_waits_for_its_reader(tmp_path, monkeypatch):
    """Without throttling, Ray Data's loop spins a thousand times a second once its read-ahead limit is reached."""
    shards, rows_each = [tmp_path / f"{number}.parquet" for number in range(24)], 32
    images = SLICES.field("image").type
    for number, path in enumerate(shards):
        first = number * rows_each
        rows = {
            "slice": range(first, first + rows_each),
            "image": pa.array([bytes(images.byte_width)] * rows_each, images),
        }
        pq.write_table(pa.table(rows), path)
    steps = []

    class Counting(ExecutionCallback):
        def on_execution_step(self, executor):
            steps.append(executor)

    session.configure_ray_data()
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "custom_execution_callback_classes", [ThrottledExecution, Counting])
    monkeypatch.setattr(row_streams, "_READ_AHEAD_BYTES", 3 * rows_each * images.byte_width // 2)
    wanted = np.ones(len(shards) * rows_each, bool)
    batches = iter(read_rows(shards, ["slice", "image"], wanted=wanted).iter_batches(batch_size=4))
    num_first = len(next(batches)["slice"])
    time.sleep(2)
    before = len(steps)
    time.sleep(1)
    assert 0 < len(steps) - before < 150
    assert num_first + sum(len(batch["slice"]) for batch in batches) == len(wanted)


@pytest.mark.long
def test_two_workers_share_the_slices_and_give_the_same_sums_as_one(sliced, tmp_path):
    """Each slice is used once per epoch, in as many batches as with one worker, and the model's sums are the same."""
    shards = tables.shards(sliced / "slices")
    slices = pd.read_parquet(sliced / "slices")
    count = len(slices) - len(slices) % 2
    numbers, wanted = np.arange(len(slices)), np.arange(len(slices)) < count
    labels = slices.set_index("slice").sort_index()["grade"].to_numpy() - GRADES[0]

    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    def loop(config):
        rank = ray.train.get_context().get_world_rank()
        epochs = [
            [
                batch.tolist()
                for _, batch in grader_training.shuffled_batches(
                    ray.train.get_dataset_shard("train"), numbers, batch_size=BATCH // 2, seed=seed
                )
            ]
            for seed in (1, 2)
        ]
        own = [
            n for _, batch in grader_training.worker_batches("test", numbers, batch_size=BATCH) for n in batch.tolist()
        ]
        batches = grader_training.worker_batches("test", labels, batch_size=BATCH)
        criterion = Criterion(class_weights=torch.ones(3))
        tally = evaluate(network(), batches, criterion=criterion).all_reduce()
        result = {"epochs": epochs, "own": own, "sums": [tally.loss_sum, tally.correct, tally.count]}
        (Path(config) / f"{rank}.json").write_text(json.dumps(result))

    rows = {name: read_rows(shards, ["slice", "image"], wanted=wanted) for name in ("train", "test")}
    TorchTrainer(
        loop,
        train_loop_config=str(tmp_path),
        datasets=rows,
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=ray.train.RunConfig(name="two", storage_path=str(tmp_path / "ray")),
    ).fit()
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    epochs = [[batches for result in results for batches in result["epochs"][epoch]] for epoch in (0, 1)]
    for batches in epochs:
        assert sorted(number for batch in batches for number in batch) == list(range(count))
        assert len(batches) == 2 * math.ceil(len(slices) / BATCH)
    assert epochs[0] != epochs[1]
    assert sorted(results[0]["own"] + results[1]["own"]) == list(range(count))
    images = torch.from_numpy(read_images(sliced / "slices", list(range(count))))
    single = evaluate(
        network(),
        [(images, torch.from_numpy(labels[:count].copy()))],
        criterion=Criterion(class_weights=torch.ones(3)),
    )
    for result in results:
        assert result["sums"][1:] == [single.correct, single.count]
        assert result["sums"][0] == pytest.approx(single.loss_sum, rel=1e-5)
