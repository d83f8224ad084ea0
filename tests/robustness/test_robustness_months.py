"""What the months to progression must teach, and what they must not.

The null control: with the months shuffled between patients there is nothing to learn but who is who; leaving one
patient out must then fall to the mean of the others, while the paper's split stays near zero error. And where the truth
can be learned, as from the phantoms, the model must beat that mean for patients that it never saw.
"""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from tumorprog import tables
from tumorprog.evaluation import combination, metrics
from tumorprog.imaging import spectral
from tumorprog.settings import Progression, Synthetic
from tumorprog.stages import train_progression
from tumorprog.synthetic import phantom, plan

pytestmark = pytest.mark.long

PLACES = {sequence: place for place, sequence in enumerate(plan.PROGRESSION_SERIES.values())}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def table(rows):
    """Rows of (patient, sequence, vectors, days) as `train_progression.learnable` gives them."""
    series = pd.DataFrame(rows, columns=["PatientID", "sequence", "vectors", "days"])
    known = {"date": "2000-01-01", "PredictedGrade": 4, "FirstGrade": 4, "LaterGrade": 4, "volume_ml": np.nan}
    uids = [str(number) for number in range(len(series))]
    months = series["days"] / tables.DAYS_PER_MONTH
    made = {"Type": series["sequence"], "SeriesInstanceUID": uids, "MonthDif": series["days"] // 31, "months": months}
    return series.assign(**known, **made)


def mean_errors(series, settings, *, null_control=False):
    """Protocol -> (the model's, the mean's) mean absolute error per series, by the project's own folds."""
    trials = train_progression.plan(series, seed=0, null_control=null_control)
    found = {}
    for protocol in ("patient", "paper"):
        chosen = [trial for trial in trials if trial.protocol == protocol and trial.shuffled == null_control]
        results = [train_progression.train_fold(series, trial, settings, 0) for trial in chosen]
        model = pd.concat([result["predictions"] for result in results])
        beside = pd.concat([result["baselines"] for result in results])
        mean = beside[beside["Baseline"] == "mean"]
        judged = [metrics.progression_metrics(rows, resamples=10, seed=0) for rows in (model, mean)]
        found[protocol] = tuple(one["mae"]["value"] for one in judged)
        if protocol == "patient":
            combined = metrics.progression_metrics(combination.patients(model), resamples=10, seed=0)
            found["combined"] = (combined["mae"]["value"], found[protocol][1])
    return found


def test_shuffled_months_are_learned_under_the_papers_split_and_not_by_patients():
    """Series that show plainly whose they are."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(16):
        face, days = random.normal(0, 1, tables.VECTOR_LENGTH), int(random.lognormal(4.64, 0.9))
        for kind in range(8):
            vectors = face + random.normal(0, 0.3, (5, tables.VECTOR_LENGTH))
            rows.append((f"P{number:02d}", f"T{kind}", vectors.astype(np.float32), days))
    settings = Progression(hidden=32, epochs=60, learning_rate=5e-3, min_improvement=0.001)
    found = mean_errors(table(rows), settings, null_control=True)
    model, mean = found["paper"]
    assert model < 0.1 * mean
    model, mean = found["patient"]
    assert 0.85 * mean < model < 1.6 * mean


def vectors_of(patient, sequence):
    """The features of the first date's series, by the same functions that make the archive and read it."""
    study = patient.studies[0]
    random = np.random.default_rng([*patient.key, PLACES[sequence]])
    receiver = phantom.random_receiver(random)
    found = []
    for plane in study.stacks[0].planes:
        painted = phantom.layers(patient.head, study.tumour, plane)
        signal = phantom.image(patient.head, study.tumour, sequence=sequence, painted=painted, plane=plane)
        seen = phantom.received(signal, receiver, random, sequence=sequence, plane=plane).astype(np.float32)
        found.append(spectral.slice_vector(seen, wavelet="haar", method="component"))
    return np.stack(found)


def test_where_the_truth_can_be_learned_the_model_beats_the_mean_on_unseen_patients():
    """40 phantoms beyond the 20 with published intervals, whose 966 days would decide the mean error alone."""
    shape = Synthetic(series_slices=8, size=96)
    rows = []
    for number in range(20, 60):
        patient = plan.plan_patient("progression", number, shape=shape, seed=0)
        days = (patient.studies[1].day - patient.studies[0].day).days
        rows += [(patient.patient_id, name, vectors_of(patient, name), days) for name in ("T1post", "dT1")]
    found = mean_errors(table(rows), Progression())
    for level in ("patient", "combined"):
        model, mean = found[level]
        assert model < 0.8 * mean
