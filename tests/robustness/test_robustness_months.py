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
from tumorprog.regions import transfer
from tumorprog.regions.methods import REGIONS
from tumorprog.segmenters import apply, stacks, training, unet
from tumorprog.synthetic import phantom, plan, tumours
from tumorprog.synthetic.settings import Synthetic

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SHAPE, EPOCHS = Synthetic(series_slices=8, size=96), 12
INPUT = {"sequences": ["T1post"], "neighbours": 1}

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


def slices_of(patient, sequence):
    """Return the slices of a series of the first date, as the synthetic archive has them, and their tumour masks."""
    study = patient.studies[0]
    random = np.random.default_rng([*patient.key, INDICES[sequence]])
    receiver = phantom.random_receiver(random)
    slices, masks = [], []
    for plane in study.stacks[0].planes:
        painted = phantom.layers(patient.head, study.tumour, plane)
        signal = phantom.image(patient.head, study.tumour, sequence=sequence, painted=painted, plane=plane)
        slices.append(phantom.received(signal, receiver, random, sequence=sequence, plane=plane).astype(np.float32))
        masks.append(tumours.enhancing_mask(study.tumour, plane))
    return slices, np.stack(masks)


def spacing_of(patient):
    plane = patient.studies[0].stacks[0].planes[0]
    return float(np.linalg.norm(plane.row_mm)), float(np.linalg.norm(plane.column_mm))


def patients_of(numbers):
    """Plan phantoms after the 20 with published intervals, whose outlier of 966 days would dominate the error."""
    return [plan.plan_patient("progression", number, shape=SHAPE, seed=0) for number in numbers]


@pytest.fixture(scope="module")
def segmenter():
    """Return a U-Net that is trained on phantoms whose months are not predicted."""
    known = [(patient, *slices_of(patient, "T1post")) for patient in patients_of(range(60, 84))]
    images = np.concatenate(
        [stacks.channels([stacks.prepare(slices, spacing_of(patient))], neighbours=1) for patient, slices, _ in known]
    )
    masks = np.concatenate([stacks.mask_on_input(masks, spacing_of(patient)) for patient, _, masks in known])
    order = [np.random.default_rng(epoch).permutation(len(images)) for epoch in range(EPOCHS)]
    parts = [rows for epoch in order for rows in np.array_split(epoch, len(images) // 8)]
    generator = torch.Generator().manual_seed(0)
    batches = (
        training.augment(torch.from_numpy(images[rows]), torch.from_numpy(masks[rows]), generator=generator)
        for rows in parts
    )
    network = unet.build(images.shape[1], seed=0)
    optimiser, scheduler = training.optimisation(network, learning_rate=3e-3, total_steps=len(parts))
    training.train_epoch(network, batches, optimiser=optimiser, scheduler=scheduler, precision="float32", epoch=1)
    return network


@pytest.fixture(scope="module")
def cohort(segmenter):
    """Return the slices of the patients whose months are predicted, by sequence, with the regions of each method."""
    known = []
    for patient in patients_of(range(20, 60)):
        slices = {sequence: slices_of(patient, sequence)[0] for sequence in ("T1post", "dT1")}
        learned = apply.find(segmenter, INPUT, {"T1post": slices["T1post"]}, spacing_of(patient))
        known.append((patient, slices, {"mask": slices_of(patient, "T1post")[1], "learned": learned}))
    return known


def features_within(cohort, method):
    """Return the table of features within the regions of a method."""
    rows = []
    for patient, by_sequence, regions in cohort:
        days = (patient.studies[1].day - patient.studies[0].day).days
        for sequence, slices in by_sequence.items():
            vectors = []
            for number, image in enumerate(slices):
                scaled = intensity.prepare(image)
                region = transfer.on_side(regions[method][number]) if method in regions else REGIONS[method](scaled)
                vectors.append(spectral.encode(scaled, region, wavelet="haar"))
            rows.append((patient.patient_id, sequence, np.stack(vectors), days))
    return table(rows)


def test_the_model_beats_the_mean_on_held_out_patients_if_the_images_predict_the_months(cohort):
    errors = mean_errors(features_within(cohort, "mask"), Progression())
    for level in ("patient", "combined"):
        model, mean = errors[level]
        assert model < 0.8 * mean


def test_months_are_predicted_better_within_learned_regions_than_within_the_brightest_cluster(cohort):
    learned, brightest = (
        mean_errors(features_within(cohort, method), Progression()) for method in ("learned", "brightest")
    )
    for level in ("patient", "combined"):
        assert learned[level][0] < 0.9 * brightest[level][0]
        assert learned[level][0] < 0.9 * learned[level][1]
