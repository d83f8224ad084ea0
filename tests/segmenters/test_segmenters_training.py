"""The U-Net, its training, and its application by the model that has not seen the patient."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from tumorprog import model_files
from tumorprog.errors import InputError, TumorprogError
from tumorprog.segmenters import apply, training, unet
from tumorprog.segmenters.stacks import SIDE


def _batch(count=4, seed=0):
    """Return noisy slices with a bright disc each, and the discs."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIDE, SIDE))
    images, masks = np.empty((count, 4, SIDE, SIDE), np.uint8), np.empty((count, SIDE, SIDE), np.uint8)
    for number in range(count):
        row, column = rng.integers(50, SIDE - 50, 2)
        masks[number] = np.hypot(rows - row, columns - column) < 14
        images[number] = np.clip(100 + 60 * masks[number] + rng.normal(0, 5, (4, SIDE, SIDE)), 0, 255)
    return torch.from_numpy(images), torch.from_numpy(masks)


def _trained(*, steps, seed=0):
    network = unet.build(4, seed=seed)
    optimiser, scheduler = training.optimisation(network, learning_rate=5e-3, total_steps=steps)
    tally = training.train_epoch(
        network, [_batch()] * steps, optimiser=optimiser, scheduler=scheduler, precision="float32", epoch=1
    )
    return network, tally


def test_a_network_starts_with_the_probability_of_a_rare_tumour():
    images, _ = _batch()
    predicted = unet.probabilities(unet.build(4, seed=0), images.numpy())
    assert predicted.shape == (4, SIDE, SIDE)
    assert 0.001 < predicted.mean() < 0.1


def test_the_seed_determines_the_network_and_leaves_the_global_state():
    before = torch.random.get_rng_state()
    first, second, other = (next(iter(unet.build(4, seed=seed).parameters())) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_learns_to_find_discs():
    network, _ = _trained(steps=60)
    images, masks = _batch(seed=1)
    found = unet.probabilities(network, images.numpy()) > 0.5
    truth = masks.numpy() > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_a_training_of_any_number_of_steps_has_a_schedule_that_ends_near_zero():
    for steps in (1, 2, 3, 9, 10, 11, 20, 21, 40):
        optimiser, scheduler = training.optimisation(torch.nn.Linear(1, 1), learning_rate=1e-2, total_steps=steps)
        rates = []
        for _ in range(steps):
            rates.append(scheduler.get_last_lr()[0])
            optimiser.step()
            scheduler.step()
        assert all(0 < rate <= 1e-2 for rate in rates), steps
        if steps > 2:
            assert max(rates) == pytest.approx(1e-2, rel=0.02), steps
            assert rates[-1] < 1e-4, steps


def test_a_loss_that_is_not_finite_stops_the_training():
    network = unet.build(4, seed=0)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    optimiser, scheduler = training.optimisation(network, learning_rate=1e-3, total_steps=2)
    with pytest.raises(TumorprogError, match=r"epoch 7, batch 1.*learning_rate"):
        training.train_epoch(
            network, [_batch()], optimiser=optimiser, scheduler=scheduler, precision="float32", epoch=7
        )


def test_augmentation_moves_slices_with_their_masks_and_is_reproducible():
    images, masks = _batch()
    first, again, other = (
        training.augment(images, masks, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    moved, areas = first
    assert moved.dtype == areas.dtype == torch.uint8
    for image, area in zip(moved[:, 1].float(), areas.bool(), strict=True):
        assert image[area].mean() > image[~area & (image > 20)].mean() + 30  # the disc is still the bright part


def test_a_tally_is_the_dice_coefficient_over_all_pixels():
    tally = training.Tally()
    tally.add(loss=2.0, count=3, both=10, either=40)
    tally.add(loss=1.0, count=1, both=5, either=20)
    assert tally.dice == pytest.approx(2 * 15 / 60)
    assert tally.mean_loss == pytest.approx(7 / 4)
    assert np.isnan(training.Tally().dice)


def test_the_model_of_a_patient_is_the_one_that_has_not_seen_them(tmp_path):
    folds = pd.DataFrame({"PatientID": ["A", "B"], "fold": [1, 2]})
    assert apply.model_of("B", folds) == "fold-2"
    assert apply.model_of("C", folds) == "final"
    assert apply.model_folder(tmp_path, "fold-2") == tmp_path / "folds" / "fold-2"
    assert apply.model_folder(tmp_path, "final") == tmp_path


def test_a_saved_model_segments_a_stack_on_its_own_grid(tmp_path):
    network, _ = _trained(steps=30)
    description = {**unet.DESCRIPTION, "sequences": ["T1post"], "neighbours": 1}
    model_files.save(tmp_path, network, description)
    rows, columns = np.indices((200, 240))
    disc = np.hypot(rows - 120, columns - 100) < 20
    rng = np.random.default_rng(0)
    slices = [1000 + 600 * disc + rng.normal(0, 40, disc.shape) for _ in range(3)]
    found = apply.segment(tmp_path, "final", {"T1post": slices, "FLAIR": slices}, (1.0, 1.0))
    assert found.shape == (3, 200, 240)
    assert 2 * (found[1] & disc).sum() / (found[1].sum() + disc.sum()) > 0.7


def test_a_model_of_another_size_is_refused(tmp_path):
    model_files.save(tmp_path, unet.build(4, seed=0), {**unet.DESCRIPTION, "sequences": ["T1post"], "neighbours": 1})
    path = tmp_path / model_files.DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), "spacing_mm": 3.0}))
    with pytest.raises(InputError, match=r"spacing_mm is 3\.0"):
        unet.load(tmp_path)
