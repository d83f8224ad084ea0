import math
import multiprocessing
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tumorprog.errors import TumorprogError
from tumorprog.graders import training
from tumorprog.graders.resnet18 import normalise
from tumorprog.graders.training import Criterion, Tally, augment, class_weights, evaluate, train_epoch

WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


def small_net(*, norm=False, seed=0):
    """Return a small classifier of 8 x 8 images into three classes, with the layer types of the grader."""
    torch.default_generator.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)] if norm else [nn.Conv2d(3, 4, 3, stride=2)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def separable(count, seed=0):
    """Return dark, medium and bright images whose class is their brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    noise = torch.randint(0, 30, (count, 8, 8), generator=generator)
    return (noise + 90 * labels[:, None, None]).to(torch.uint8), labels


def batches_of(size, images, labels):
    return list(zip(images.split(size), labels.split(size), strict=True))


def train(model, batches, *, lr=0.1, weights=WEIGHTS, epoch=1):
    optimiser = torch.optim.SGD(model.parameters(), lr=lr)
    return train_epoch(model, batches, optimiser=optimiser, criterion=Criterion(class_weights=weights), epoch=epoch)


# ---- Tally


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50), st.integers(1, 50)), min_size=1))
def test_sums_of_shards_combine_to_the_total(shards):
    total = Tally()
    for loss_sum, correct, count in shards:
        total.add(loss_sum, correct, count)
    losses, corrects, counts = zip(*shards, strict=True)
    assert (total.loss_sum, total.correct, total.count) == (sum(losses), sum(corrects), sum(counts))
    assert total.mean_loss == sum(losses) / sum(counts)
    assert total.accuracy == pytest.approx(100 * sum(corrects) / sum(counts))


def test_an_empty_tally_has_no_means():
    assert math.isnan(Tally().mean_loss)
    assert math.isnan(Tally().accuracy)


def test_outside_distributed_training_all_reduce_changes_nothing():
    assert Tally(2.5, 3, 4).all_reduce() == Tally(2.5, 3, 4)


# ---- class weights


def test_class_weights_equal_the_balanced_weights_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [41, 25, 23])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights([41, 25, 23]), expected, rtol=1e-6)


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3).filter(any))
def test_class_weights_average_to_one_and_absent_classes_have_weight_zero(counts):
    weights = class_weights(counts).double()
    assert float(weights @ torch.tensor(counts, dtype=torch.float64)) == pytest.approx(sum(counts), rel=1e-5)
    assert [float(weight) > 0 for weight in weights] == [count > 0 for count in counts]


def test_class_weights_without_samples_are_rejected():
    with pytest.raises(ValueError, match="no class"):
        class_weights([0, 0, 0])


# ---- evaluate


def test_evaluation_equals_torch_cross_entropy_for_any_batch_size():
    model, (images, labels) = small_net(norm=True), separable(50)
    weights = class_weights(labels.bincount(minlength=3).tolist())
    results = [
        evaluate(model, batches_of(size, images, labels), criterion=Criterion(class_weights=weights))
        for size in (50, 7)
    ]
    with torch.no_grad():
        logits = model.eval()(normalise(images))
    for result in results:
        # With class weights computed from these labels the mean over samples equals torch's weighted mean.
        assert result.mean_loss == pytest.approx(nn.CrossEntropyLoss(weight=weights)(logits, labels).item(), rel=1e-5)
        assert result.accuracy == pytest.approx(100 * (logits.argmax(1) == labels).float().mean().item())
        assert result.count == 50


def test_evaluation_leaves_the_model_unchanged_and_accepts_labels_of_any_integer_type():
    model, (images, labels) = small_net(norm=True), separable(9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    results = [
        evaluate(model, [(images, labels.to(kind))], criterion=Criterion(class_weights=WEIGHTS))
        for kind in (torch.int64, torch.int32, torch.uint8)
    ]
    assert results[0] == results[1] == results[2]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


# ---- train_epoch


def test_a_step_minimises_the_weighted_loss_sum_divided_by_the_samples():
    model, reference, (images, labels) = small_net(), small_net(), separable(12)
    tally = train(model, [(images, labels)])
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.1)
    loss = nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum")(reference(normalise(images)), labels)
    (loss / 12).backward()
    optimiser.step()
    assert tally.loss_sum == pytest.approx(loss.item(), rel=1e-6)
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected)


def test_training_learns_separable_images():
    model, (images, labels) = small_net(norm=True), separable(96)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    criterion = Criterion(class_weights=torch.ones(3))
    tallies = [
        train_epoch(model, batches_of(16, images, labels), optimiser=optimiser, epoch=epoch, criterion=criterion)
        for epoch in range(1, 9)
    ]
    assert tallies[-1].mean_loss < 0.5 * tallies[0].mean_loss
    assert evaluate(model, [separable(60, seed=1)], criterion=criterion).accuracy > 95


def test_bfloat16_affects_the_forward_pass_and_weights_and_losses_stay_float32():
    model, (images, labels) = small_net(norm=True), separable(48)
    exact, rough = (
        evaluate(model, [(images, labels)], criterion=Criterion(class_weights=WEIGHTS, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert rough.loss_sum != exact.loss_sum
    assert rough.loss_sum == pytest.approx(exact.loss_sum, rel=0.02)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = Criterion(class_weights=WEIGHTS, precision="bfloat16")
    loss_sum, _ = criterion(model, images, labels)
    assert loss_sum.dtype == torch.float32
    train_epoch(model, [(images, labels)], optimiser=optimiser, criterion=criterion, epoch=1)
    assert {tensor.dtype for tensor in [*model.parameters(), *(one.grad for one in model.parameters())]} == {
        torch.float32
    }


def test_permuting_the_classes_changes_no_loss():
    """Permute outputs and class weights in the same way as the labels."""
    images, labels = separable(20)
    order = torch.tensor([2, 0, 1])
    model, renamed = small_net(), small_net()
    with torch.no_grad():
        renamed[-1].weight[order] = model[-1].weight
        renamed[-1].bias[order] = model[-1].bias
    weights = torch.empty(3)
    weights[order] = WEIGHTS
    tally = train(model, batches_of(5, images, labels))
    other = train(renamed, batches_of(5, images, order[labels]), weights=weights)
    assert other.loss_sum == pytest.approx(tally.loss_sum, rel=1e-5)
    assert other.correct == tally.correct


def test_a_non_finite_loss_stops_training_before_the_step():
    model, (images, labels) = small_net(), separable(12)
    snapshots = []

    def make_infinite(_, __, logits):
        snapshots.append([parameter.clone() for parameter in model.parameters()])
        return logits * torch.inf if len(snapshots) == 2 else logits

    model.register_forward_hook(make_infinite)
    with pytest.raises(TumorprogError, match=r"epoch 4, batch 2: the loss is nan.*--grader\.learning_rate"):
        train(model, batches_of(6, images, labels), epoch=4)
    assert not torch.equal(snapshots[0][0], snapshots[1][0])  # the first step was taken
    assert all(torch.equal(*pair) for pair in zip(snapshots[1], model.parameters(), strict=True))


def test_the_next_batch_is_fetched_before_the_step_and_none_is_lost():
    """The GPU computes while the next batch is loaded."""
    model, (images, labels) = small_net(), separable(12)
    events = []

    def batches():
        for number, batch in enumerate(batches_of(5, images, labels)):
            events.append(f"batch {number}")
            yield batch

    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    optimiser.register_step_post_hook(lambda *_: events.append("step"))
    criterion = Criterion(class_weights=WEIGHTS)
    tally = train_epoch(model, batches(), optimiser=optimiser, criterion=criterion, epoch=1)
    assert events == ["batch 0", "batch 1", "step", "batch 2", "step", "step"]
    assert tally.count == 12


def test_a_batch_of_one_sample_is_trained_with_the_running_statistics():
    images, labels = separable(9)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    batches = batches_of(8, images, labels)
    train(model, batches[:1])
    statistics, bias = model[2].running_mean.clone(), model[3].bias.clone()
    tally = train(model, batches[1:])
    assert tally.count == 1
    assert torch.equal(model[2].running_mean, statistics)
    assert not torch.equal(model[3].bias, bias)
    train(model, batches[:1])
    assert not torch.equal(model[2].running_mean, statistics)


def test_an_epoch_without_batches_gives_an_empty_tally():
    assert train(small_net(), []) == Tally()


# ---- distributed


def _worker(rank, folder):
    """Train on the even or odd samples as one of two workers; the first evaluates three batches and the second one."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    images, labels = separable(32)
    plain = DistributedDataParallel(small_net())
    tally = train(plain, batches_of(4, images[rank::2], labels[rank::2])).all_reduce()
    normed = DistributedDataParallel(small_net(norm=True))
    train(normed, batches_of(4, images[rank::2], labels[rank::2]))
    own_batches = batches_of(8, images[:24], labels[:24]) if rank == 0 else batches_of(8, images[24:], labels[24:])
    evaluated = evaluate(normed, own_batches, criterion=Criterion(class_weights=WEIGHTS)).all_reduce()
    states = {"plain": plain.module.state_dict(), "normed": normed.module.state_dict()}
    torch.save({"tally": asdict(tally), "evaluated": asdict(evaluated), **states}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """Run two workers with gloo, this process and another, and return the results of both."""
    folder = tmp_path_factory.mktemp("workers")
    other = multiprocessing.get_context("spawn").Process(target=_worker, args=(1, folder))
    other.start()
    _worker(0, folder)
    other.join(120)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow  # the second process imports torch
def test_two_workers_take_the_same_steps_as_one_worker_with_twice_the_batch_size(two_workers):
    images, labels = separable(32)
    alone = small_net()
    expected = train(alone, batches_of(8, images, labels))
    for worker in two_workers:
        assert worker["tally"] == pytest.approx(asdict(expected), rel=1e-5)
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(worker["plain"][name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_workers_with_different_numbers_of_batches_evaluate_the_same_model_exactly(two_workers):
    images, labels = separable(32)
    for worker in two_workers:
        model = small_net(norm=True)
        model.load_state_dict(worker["normed"])
        expected = evaluate(model, [(images, labels)], criterion=Criterion(class_weights=WEIGHTS))
        assert worker["evaluated"] == pytest.approx(asdict(expected), rel=1e-5)
        assert expected.count == 32


def seeded_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def marked(count):
    """Return grey heads with a bright mark above and to the left of the centre."""
    images = torch.zeros(count, 64, 64, dtype=torch.uint8)
    images[:, 12:52, 12:52] = 100
    images[:, 18:24, 18:24] = 200
    return images


def test_without_rotation_and_brightness_a_slice_is_unchanged_or_flipped(monkeypatch):
    monkeypatch.setattr(training, "_MAX_ROTATION_DEGREES", 0.0)
    monkeypatch.setattr(training, "_MAX_BRIGHTNESS_CHANGE", 0.0)
    images = torch.randint(0, 256, (200, 16, 16), dtype=torch.uint8, generator=seeded_generator())
    changed = augment(images, generator=seeded_generator(1))
    same = (changed == images).flatten(1).all(1)
    flipped = (changed == images.flip(2)).flatten(1).all(1)
    assert (same ^ flipped).all()
    assert 70 < flipped.sum() < 130


def test_rotations_are_small_and_there_is_no_vertical_flip():
    changed = augment(marked(300), generator=seeded_generator()).float()
    assert changed.shape == (300, 64, 64)
    bright = changed > 0.85 * changed.amax(dim=(1, 2), keepdim=True)
    rows, columns = (torch.arange(64.0)[shape] for shape in ((None, slice(None), None), (None, None, slice(None))))
    count = bright.sum(dim=(1, 2))
    row = (bright * rows).sum(dim=(1, 2)) / count - 31.5
    column = (bright * columns).sum(dim=(1, 2)) / count - 31.5
    assert (row < -7).all()  # the mark is above the centre in all images
    # from (-11, -11) or (-11, 11), rotated by at most ten degrees about the centre
    angle = torch.rad2deg(torch.atan2(column.abs(), -row)) - 45
    assert angle.abs().max() < 12
    assert angle.abs().max() > 5
    assert 100 < (column > 0).sum() < 200


def test_brightness_changes_by_at_most_ten_percent():
    changed = augment(torch.full((300, 32, 32), 100, dtype=torch.uint8), generator=seeded_generator())[
        :, 16, 16
    ].float()
    assert 90 <= changed.min() < 93
    assert 107 < changed.max() <= 110
    assert augment(torch.full((9, 32, 32), 255, dtype=torch.uint8), generator=seeded_generator())[:, 16, 16].min() > 225


def test_equal_seeds_give_equal_slices_and_different_seeds_different_ones():
    one, same, other = (augment(marked(4), generator=seeded_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
