import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.heads import hazard

EDGES = np.array([0.0, 2.0, 4.0, 8.0])


def outcomes(count=200, seed=0):
    rng = np.random.default_rng(seed)
    months, last_follow_up = rng.exponential(6, count), rng.exponential(9, count)
    return np.minimum(months, last_follow_up), months <= last_follow_up


def test_the_targets_are_those_of_the_paper():
    """Events survive the intervals before them; censored patients also an interval of which half has elapsed."""
    months, event = np.array([3.0, 3.0, 2.9, 4.0, 4.1, 20.0, 20.0]), np.array([1, 0, 0, 1, 1, 1, 0], bool)
    survived, progressed = hazard.targets(months, event, EDGES).unbind(1)
    assert survived.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    assert progressed.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_all_intervals_have_equal_numbers_of_events():
    months, event = outcomes(1000)
    edges = hazard.interval_edges(months, event)
    assert (edges[0], len(edges)) == (0.0, hazard.INTERVALS + 1)
    counts, _ = np.histogram(months[event], edges)
    assert np.ptp(counts) <= 2
    assert edges[-1] == months[event].max()


@pytest.mark.parametrize("times", [[5.0], [5.0, 5.0], [1.0, 2.0, 3.0]])
def test_few_events_give_few_intervals_but_at_least_two(times):
    edges = hazard.interval_edges(np.array(times), np.ones(len(times), bool))
    assert 3 <= len(edges) <= hazard.INTERVALS + 1
    assert (np.diff(edges) > 0).all()


def test_the_loss_is_the_likelihood_of_survival_and_of_progression():
    odds = torch.tensor([[0.5, -1.0, 2.0]])
    hazards = torch.sigmoid(odds)[0]
    observed = hazard.loss(odds, hazard.targets(np.array([3.0]), np.array([True]), EDGES))
    assert observed == pytest.approx(float(-torch.log((1 - hazards[0]) * hazards[1])))
    censored = hazard.loss(odds, hazard.targets(np.array([3.5]), np.array([False]), EDGES))
    assert censored == pytest.approx(float(-torch.log((1 - hazards[0]) * (1 - hazards[1]))))


def test_the_baseline_hazards_minimise_the_loss():
    target = hazard.targets(*outcomes(), EDGES)
    best = torch.tensor(hazard.baseline_log_odds(target), requires_grad=True)
    loss = hazard.loss(best.expand(len(target), -1), target)
    loss.backward()
    assert best.grad.abs().max() < 1e-6


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_survival_decreases_from_one_and_is_the_product_at_the_edges(odds):
    odds = np.array([odds])
    months = np.array([0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0])
    curve = hazard.survival(odds, EDGES, months)[0]
    assert curve[0] == 1.0
    assert (np.diff(curve) <= 0).all()
    assert curve[[2, 3, 5]] == pytest.approx(np.cumprod(1 / (1 + np.exp(odds[0]))), abs=1e-9)


def test_a_constant_hazard_has_the_mean_of_an_exponential():
    edges = np.linspace(0, 200, 9)
    per_interval = 1 - np.exp(-25 / 10)  # a mean of ten months
    odds = np.full((1, 8), np.log(per_interval / (1 - per_interval)))
    assert hazard.survival(odds, edges, np.array([7.0, 300.0]))[0] == pytest.approx(np.exp([-0.7, -30.0]))
    assert hazard.expected_months(odds, edges) == pytest.approx([10.0], rel=0.01)
