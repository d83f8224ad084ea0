"""Tests of what the progression model learns from the months to progression.

Permutation control (null control): with the months shuffled between patients, only the patients' identities can be
learned. Leave-one-patient-out must then be no better than the mean of the other patients, while the error under the
paper's split stays near zero. If the months depend on the images, as for the phantoms, the model must beat that mean
for held-out patients.
"""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.encoders import spectral
from tumorprog.encoders.columns import VECTOR_LENGTH
from tumorprog.evaluation import combination, progression
from tumorprog.heads.settings import Progression
from tumorprog.imaging import intensity
from tumorprog.progression import months
from tumorprog.synthetic import phantom, plan
from tumorprog.synthetic.settings import Synthetic

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

INDICES = {sequence: index for index, sequence in enumerate(plan.PROGRESSION_SERIES.values())}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def table(rows):
    """Convert rows of (patient, sequence, vectors, days) to a table of `progression.series.read_training_series`."""
    series = pd.DataFrame(rows, columns=["PatientID", "sequence", "vectors", "days"])
    constants = {"date": "2000-01-01", "PredictedGrade": 4, "FirstGrade": 4, "LaterGrade": 4, "volume_ml": np.nan}
    uids = [str(number) for number in range(len(series))]
    columns = {
        "Type": series["sequence"],
        "SeriesInstanceUID": uids,
        "MonthDif": series["days"] // 31,
        "months": series["days"] / DAYS_PER_MONTH,
    }
    return series.assign(**constants, **columns)


def mean_errors(series, settings, *, purpose="result", repeat=0):
    """Return the mean absolute error per series of (the model, the mean) by protocol, using the project's own folds."""
    trials = [t for t in months.plan(series, settings, seed=0) if (t.purpose, t.repeat) == (purpose, repeat)]
    errors = {}
    for protocol in ("patient", "paper"):
        chosen = [trial for trial in trials if trial.protocol == protocol and trial.cohort == "all"]
        results = [months.train_fold(series, trial, settings, 0) for trial in chosen]
        model = pd.concat([result["predictions"] for result in results])
        baselines = pd.concat([result["baselines"] for result in results])
        mean = baselines[baselines["Baseline"] == "mean"]
        evaluated = [progression.progression_metrics(rows, resamples=10, seed=0) for rows in (model, mean)]
        errors[protocol] = tuple(result["mae"]["value"] for result in evaluated)
        if protocol == "patient":
            combined = progression.progression_metrics(combination.combine_by_patient(model), resamples=10, seed=0)
            errors["combined"] = (combined["mae"]["value"], errors[protocol][1])
    return errors


def test_shuffled_months_are_learned_under_the_papers_split_and_not_by_patients():
    """The series of each patient are clearly recognisable as belonging together."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(16):
        identity, days = random.normal(0, 1, VECTOR_LENGTH), int(random.lognormal(4.64, 0.9))
        for kind in range(8):
            vectors = identity + random.normal(0, 0.3, (5, VECTOR_LENGTH))
            rows.append((f"P{number:02d}", f"T{kind}", vectors.astype(np.float32), days))
    settings = Progression(hidden=32, epochs=60, learning_rate=5e-3, min_improvement=0.001)
    draws = [mean_errors(table(rows), settings, purpose="null", repeat=repeat) for repeat in (1, 2, 3)]
    for errors in draws:
        model, mean = errors["paper"]
        assert model < 0.1 * mean
    model, mean = (np.mean([errors["patient"][side] for errors in draws]) for side in (0, 1))
    assert 0.85 * mean < model < 1.6 * mean


def vectors_of(patient, sequence):
    """Compute the features of a first-date series inside the mask, from slices as the synthetic archive has them."""
    study = patient.studies[0]
    random = np.random.default_rng([*patient.key, INDICES[sequence]])
    receiver = phantom.random_receiver(random)
    vectors = []
    for plane in study.stacks[0].planes:
        painted = phantom.layers(patient.head, study.tumour, plane)
        signal = phantom.image(patient.head, study.tumour, sequence=sequence, painted=painted, plane=plane)
        received = phantom.received(signal, receiver, random, sequence=sequence, plane=plane).astype(np.float32)
        scaled = intensity.prepare(received)
        mask = phantom.enhancing_mask(study.tumour, plane).astype(np.float32)
        vectors.append(spectral.encode(scaled, intensity.resize(mask, intensity.SIDE) > 0.5, wavelet="haar"))
    return np.stack(vectors)


def test_the_model_beats_the_mean_on_held_out_patients_if_the_images_predict_the_months():
    """Uses 40 phantoms after the 20 with published intervals, whose outlier of 966 days would dominate the error."""
    shape = Synthetic(series_slices=8, size=96)
    rows = []
    for number in range(20, 60):
        patient = plan.plan_patient("progression", number, shape=shape, seed=0)
        days = (patient.studies[1].day - patient.studies[0].day).days
        rows += [(patient.patient_id, name, vectors_of(patient, name), days) for name in ("T1post", "dT1")]
    errors = mean_errors(table(rows), Progression())
    for level in ("patient", "combined"):
        model, mean = errors[level]
        assert model < 0.8 * mean
