import math

import numpy as np
import pytest
import torch

from tumorprog.errors import TumorprogError
from tumorprog.heads.bilstm import predict_months
from tumorprog.heads.fitting import EarlyStopping, SeriesDataset, fit_progression
from tumorprog.heads.settings import Progression


@pytest.mark.parametrize(
    ("losses", "stops_after", "best"),
    [
        ([1.0, 0.75, 0.5, 0.25], None, 4),  # improves in every epoch
        ([1.0, 0.5, 0.625, 0.625, 0.625], 5, 2),  # three epochs without improvement
        ([1.0, 0.5, 0.625, 0.625, 0.375, 0.375, 0.375], None, 5),  # improves in the last epoch before the patience ends
        ([1.0, 0.9375, 0.92, 0.91, 0.0], 4, 4),  # improvements too small: it stops and keeps the lowest loss
        ([1.0, 0.9375, 0.875, 0.875, 0.875], None, 3),  # small decreases add up to an improvement
        ([1.0, 1.0, 1.0, 1.0], 4, 1),
        ([math.nan, math.nan, math.nan], 3, 0),
    ],
)
def test_early_stopping_on_known_losses(losses, stops_after, best):
    stopping = EarlyStopping(patience=3, min_improvement=0.125)  # exactly representable, like the losses
    stopped = next((epoch for epoch, loss in enumerate(losses, start=1) if stopping.update(loss)), None)
    assert stopped == stops_after
    assert stopping.best_epoch == best


def test_without_a_minimum_improvement_training_stops_at_a_plateau():
    stopping = EarlyStopping(patience=2, min_improvement=0.0)
    assert [stopping.update(loss) for loss in (1.0, 0.999, 0.999, 0.999)] == [False, False, False, True]


def cohort(count, seed=0, shift=0.0):
    """Return series whose first twenty features are their months with noise."""
    generator = np.random.default_rng(seed)
    months = generator.uniform(1, 12, count)
    vectors = [generator.normal(0, 1, (generator.integers(3, 8), 100)).astype(np.float32) for _ in range(count)]
    for series, value in zip(vectors, months, strict=True):
        series[:, :20] += value + shift
    return SeriesDataset(vectors, months)


QUICK = Progression(hidden=16, epochs=12, learning_rate=0.01, batch_size=8)


def test_a_model_predicts_months_that_are_encoded_in_the_features():
    model, history = fit_progression(cohort(48), cohort(12, seed=1), settings=QUICK, seed=0)
    held_out = cohort(20, seed=2)
    error = np.abs(predict_months(model, held_out.vectors) - held_out.months).mean()
    assert error < 0.5 * np.abs(np.median(held_out.months) - held_out.months).mean()
    assert history[-1]["Train Loss"] < 0.3 * history[0]["Train Loss"]
    assert [row["Epoch"] for row in history] == list(range(1, len(history) + 1))


def test_the_seed_determines_the_result_and_the_global_state_is_unchanged():
    before = torch.get_rng_state()
    (first, history), (again, same), (other, _) = (
        fit_progression(cohort(16), cohort(4, seed=1), settings=QUICK, seed=seed) for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert history == same
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert not torch.equal(first.head.weight, other.head.weight)


def test_only_the_training_set_determines_the_standardisation():
    training = cohort(10)
    near, _ = fit_progression(training, cohort(4, seed=1), settings=QUICK, seed=0)
    far, _ = fit_progression(training, cohort(4, seed=1, shift=1000), settings=QUICK, seed=0)
    for name in ("vector_mean", "vector_std", "months_mean", "months_std"):
        assert torch.equal(near.get_buffer(name), far.get_buffer(name))
    np.testing.assert_allclose(near.vector_mean, np.concatenate(training.vectors).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(near.months_mean, training.months.mean(), rtol=1e-6)


def test_the_returned_model_is_that_of_the_best_epoch():
    settings = Progression(hidden=16, epochs=25, patience=4, learning_rate=0.05, batch_size=4)
    validation = SeriesDataset(cohort(6, seed=1).vectors, np.random.default_rng(3).uniform(1, 12, 6))
    training = cohort(12)
    model, history = fit_progression(training, validation, settings=settings, seed=0)
    losses = [row["Validation Loss"] for row in history]
    assert len(history) < 25
    assert losses.index(min(losses)) < len(losses) - 1
    scaled = (predict_months(model, validation.vectors) - validation.months) / training.months.std()
    assert np.mean(scaled**2) == pytest.approx(min(losses), rel=1e-4)
    assert not model.training


def test_without_a_validation_set_the_training_loss_is_used():
    model, history = fit_progression(cohort(8), SeriesDataset([], np.empty(0)), settings=QUICK, seed=0)
    assert all(math.isnan(row["Validation Loss"]) for row in history)
    assert np.isfinite(predict_months(model, cohort(3).vectors)).all()


def test_training_works_with_one_series_of_one_slice():
    training = SeriesDataset([np.ones((1, 100), np.float32)], np.array([7.0]))
    model, _ = fit_progression(training, training, settings=QUICK, seed=0)
    assert predict_months(model, training.vectors) == pytest.approx([7.0], abs=1.0)


def test_non_finite_features_are_rejected():
    training = cohort(6)
    training.vectors[2][1, 5] = np.nan
    with pytest.raises(TumorprogError, match=r"progression, epoch 1: the loss is nan.*features/"):
        fit_progression(training, cohort(3, seed=1), settings=QUICK, seed=0)


def test_series_and_months_must_match():
    with pytest.raises(ValueError, match="2 series but 3 months"):
        SeriesDataset(cohort(2).vectors, np.ones(3))
