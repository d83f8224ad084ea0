import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from tumorprog.heads.bilstm import ProgressionLSTM, pad, predict_months


def series(*lengths, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    return [rng.normal(5, spread, (length, 100)).astype(np.float32) for length in lengths]


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ProgressionLSTM(16)
    model.fit_standardisation(series(8, 9, seed=1), np.array([2.0, 10.0]))
    return model


def test_a_prediction_does_not_depend_on_the_batch(model):
    vectors = series(3, 11, 1, 7, 11)
    together = predict_months(model, vectors)
    alone = np.concatenate([predict_months(model, [one]) for one in vectors])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(predict_months(model, vectors[::-1])[::-1], together, rtol=1e-5)
    assert np.ptp(together) > 0.01


def test_values_after_the_end_of_a_series_are_ignored(model):
    vectors, lengths = pad(series(3, 6))
    expected = model(vectors, lengths)
    vectors[0, 3:] = torch.nan
    torch.testing.assert_close(model(vectors, lengths), expected)


def test_the_output_joins_the_last_states_of_both_directions(model):
    """Compare with two unidirectional LSTMs with the same weights, the second one on reversed input."""
    (vectors,) = series(6)
    inputs = (torch.from_numpy(vectors)[None] - model.vector_mean) / model.vector_std
    states = []
    for suffix, order in (("", inputs), ("_reverse", inputs.flip(1))):
        unidirectional = torch.nn.LSTM(100, 16, batch_first=True)
        own = dict(model.lstm.named_parameters())
        unidirectional.load_state_dict({name: own[name + suffix] for name in unidirectional.state_dict()})
        states.append(unidirectional(order)[1][0][0])
    months = model.head(torch.cat(states, dim=1)) * model.months_std + model.months_mean
    np.testing.assert_allclose(predict_months(model, [vectors]), months.detach().numpy()[0], rtol=1e-5)


def test_the_order_of_slices_matters(model):
    (vectors,) = series(6)
    assert abs(predict_months(model, [vectors]) - predict_months(model, [vectors[::-1]])) > 1e-4


def test_the_standardisation_equals_that_of_scikit_learn_over_all_slices(model):
    vectors, months = series(4, 9, 2), np.array([1.5, 0.5, 32.0])
    model.fit_standardisation(vectors, months)
    scaler = StandardScaler().fit(np.concatenate(vectors).astype(np.float64))
    np.testing.assert_allclose(model.vector_mean, scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(model.vector_std, scaler.scale_, rtol=1e-5)
    standardised = model.standardise_months(torch.tensor(months, dtype=torch.float32))
    expected = StandardScaler().fit_transform(months[:, None])[:, 0]
    np.testing.assert_allclose(standardised, expected, rtol=1e-5)
    np.testing.assert_allclose(model.restore_months(standardised), months, rtol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-8, -3e7])
def test_a_constant_feature_is_harmless(model, constant):
    vectors = series(5, 6)
    for one in vectors:
        one[:, 17] = constant
    model.fit_standardisation(vectors, np.array([4.0, 4.0]))
    assert model.vector_std[17] == 1
    assert model.months_std == 1
    assert np.isfinite(predict_months(model, vectors)).all()


def test_a_feature_that_varies_by_rounding_only_is_not_scaled_up(model):
    vectors = series(6)
    vectors[0][:, 17] = 0.1
    vectors[0][::2, 17] = np.nextafter(np.float32(0.1), np.float32(1))
    model.fit_standardisation(vectors, np.array([1.0]))
    assert model.vector_std[17] == 1


def test_small_features_are_scaled_like_other_features(model):
    vectors = series(50)
    vectors[0][:, 3] *= 1e-6
    model.fit_standardisation(vectors, np.array([1.0]))
    assert model.vector_std[3] == pytest.approx(vectors[0][:, 3].std(), rel=1e-4)


def test_zero_series_give_zero_predictions(model):
    assert predict_months(model, []).shape == (0,)


def test_many_series_are_predicted_in_order(model):
    vectors = series(*[1 + index % 3 for index in range(600)])
    months = predict_months(model, vectors)
    assert months.shape == (600,)
    np.testing.assert_allclose(months[590:], predict_months(model, vectors[590:]), rtol=1e-5)


def test_pad_preserves_vectors_and_lengths():
    vectors = series(2, 4)
    padded, lengths = pad(vectors)
    assert padded.shape == (2, 4, 100)
    assert lengths.tolist() == [2, 4]
    np.testing.assert_array_equal(padded[0, :2], vectors[0])
    assert not padded[0, 2:].any()
