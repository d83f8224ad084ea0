import math

import numpy as np
import pytest
import torch

from tumorprog.errors import TumorprogError
from tumorprog.fitting import EarlyStopping, SeriesPart, fit_progression
from tumorprog.models.progression import predict_months
from tumorprog.settings import Progression


@pytest.mark.parametrize(
    ("losses", "stops_after", "best"),
    [
        ([1.0, 0.75, 0.5, 0.25], None, 4),  # always better
        ([1.0, 0.5, 0.625, 0.625, 0.625], 5, 2),  # three without improvement
        ([1.0, 0.5, 0.625, 0.625, 0.375, 0.375, 0.375], None, 5),  # saved in the last moment
        ([1.0, 0.9375, 0.92, 0.91, 0.0], 4, 4),  # too little better: it stops, and keeps the lowest
        ([1.0, 0.9375, 0.875, 0.875, 0.875], None, 3),  # little by little adds up to an improvement
        ([1.0, 1.0, 1.0, 1.0], 4, 1),
        ([math.nan, math.nan, math.nan], 3, 0),
    ],
)
def test_early_stopping_by_hand(losses, stops_after, best):
    stopping = EarlyStopping(patience=3, min_improvement=0.125)  # exact in binary, as the losses are
    stopped = next((epoch for epoch, loss in enumerate(losses, start=1) if stopping.update(loss)), None)
    assert stopped == stops_after
    assert stopping.best_epoch == best


def test_without_a_least_improvement_a_plateau_still_stops():
    stopping = EarlyStopping(patience=2, min_improvement=0.0)
    assert [stopping.update(loss) for loss in (1.0, 0.999, 0.999, 0.999)] == [False, False, False, True]


def cohort(count, seed=0, shift=0.0):
    """Series with noise around their months in the first twenty features."""
    generator = np.random.default_rng(seed)
    months = generator.uniform(1, 12, count)
    vectors = [generator.normal(0, 1, (generator.integers(3, 8), 100)).astype(np.float32) for _ in range(count)]
    for series, value in zip(vectors, months, strict=True):
        series[:, :20] += value + shift
    return SeriesPart(vectors, months)


QUICK = Progression(hidden=16, epochs=12, learning_rate=0.01, batch_size=8)


def test_months_that_are_in_the_features_are_learned():
    model, history = fit_progression(cohort(48), cohort(12, seed=1), settings=QUICK, seed=0)
    unseen = cohort(20, seed=2)
    error = np.abs(predict_months(model, unseen.vectors) - unseen.months).mean()
    assert error < 0.5 * np.abs(np.median(unseen.months) - unseen.months).mean()
    assert history[-1]["Train Loss"] < 0.3 * history[0]["Train Loss"]
    assert [row["Epoch"] for row in history] == list(range(1, len(history) + 1))


def test_the_seed_decides_the_result_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    (first, history), (again, same), (other, _) = (
        fit_progression(cohort(16), cohort(4, seed=1), settings=QUICK, seed=seed) for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert history == same
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert not torch.equal(first.head.weight, other.head.weight)


def test_only_the_training_part_sets_the_scales():
    training = cohort(10)
    near, _ = fit_progression(training, cohort(4, seed=1), settings=QUICK, seed=0)
    far, _ = fit_progression(training, cohort(4, seed=1, shift=1000), settings=QUICK, seed=0)
    for name in ("vector_mean", "vector_std", "months_mean", "months_std"):
        assert torch.equal(near.get_buffer(name), far.get_buffer(name))
    np.testing.assert_allclose(near.vector_mean, np.concatenate(training.vectors).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(near.months_mean, training.months.mean(), rtol=1e-6)


def test_the_best_epoch_is_kept_and_its_loss_is_the_models():
    settings = Progression(hidden=16, epochs=25, patience=4, learning_rate=0.05, batch_size=4)
    validation = SeriesPart(cohort(6, seed=1).vectors, np.random.default_rng(3).uniform(1, 12, 6))
    training = cohort(12)
    model, history = fit_progression(training, validation, settings=settings, seed=0)
    losses = [row["Validation Loss"] for row in history]
    assert len(history) < 25
    assert losses.index(min(losses)) < len(losses) - 1
    scaled = (predict_months(model, validation.vectors) - validation.months) / training.months.std()
    assert np.mean(scaled**2) == pytest.approx(min(losses), rel=1e-4)
    assert not model.training


def test_without_a_validation_part_the_training_loss_decides():
    model, history = fit_progression(cohort(8), SeriesPart([], np.empty(0)), settings=QUICK, seed=0)
    assert all(math.isnan(row["Validation Loss"]) for row in history)
    assert np.isfinite(predict_months(model, cohort(3).vectors)).all()


def test_one_series_of_one_slice_is_enough():
    training = SeriesPart([np.ones((1, 100), np.float32)], np.array([7.0]))
    model, _ = fit_progression(training, training, settings=QUICK, seed=0)
    assert predict_months(model, training.vectors) == pytest.approx([7.0], abs=1.0)


def test_features_that_are_not_finite_are_refused():
    training = cohort(6)
    training.vectors[2][1, 5] = np.nan
    with pytest.raises(TumorprogError, match=r"progression, epoch 1: the loss is nan.*features/"):
        fit_progression(training, cohort(3, seed=1), settings=QUICK, seed=0)


def test_series_and_months_must_match():
    with pytest.raises(ValueError, match="2 series but 3 months"):
        SeriesPart(cohort(2).vectors, np.ones(3))
