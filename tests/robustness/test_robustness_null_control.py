"""The null control: where grades are drawn at random among patients, there is nothing to learn but who is who.

A split by patients must then fall to chance; the paper's, which lets slices of one patient stand on both sides, does
not.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from tumorprog import tables
from tumorprog.cohort import splits
from tumorprog.evaluation import metrics
from tumorprog.models import grader
from tumorprog.training import Criterion, class_weights, train_epoch

PATIENTS, SLICES_EACH, SIDE, EPOCHS, DRAWS = 30, 8, 32, 6, 3
CHANCE = 1 / len(tables.GRADES)


def cohort(seed):
    """Slices that show who the patient is, and patients with grades that have nothing to do with it."""
    random = np.random.default_rng(seed)
    faces = random.normal(128, 60, (PATIENTS, SIDE // 8, SIDE // 8)).repeat(8, axis=1).repeat(8, axis=2)
    patient = np.repeat(np.arange(PATIENTS), SLICES_EACH)
    images = (faces[patient] + random.normal(0, 12, (len(patient), SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    grades = random.permutation(np.tile(tables.GRADES, PATIENTS // len(tables.GRADES)))
    names = np.array([f"P{number:02d}" for number in range(PATIENTS)])
    known = pd.DataFrame(
        {
            "slice": np.arange(len(patient)),
            "PatientID": names[patient],
            "StudyInstanceUID": [f"1.{number}" for number in patient],
            "SeriesInstanceUID": [f"2.{number}" for number in patient],
            "SOPInstanceUID": [f"3.{number}" for number in range(len(patient))],
            "frame": 0,
            "pixel_hash": [str(number) for number in range(len(patient))],
            "grade": grades[patient],
            "Institution": "one",
            "Manufacturer": "one",
        }
    )
    return images, known


def sides_of(known, protocol, seed):
    if protocol == "paper":
        return splits.split_slices(len(known), seed=seed)
    chosen = splits.split_patients(known.groupby("PatientID")["grade"].first(), seed=seed)
    return known["PatientID"].map(chosen).to_numpy()


def balanced_accuracy(protocol, seed):
    """Of the test slices, after the project's own split, audit, training and metrics."""
    images, known = cohort(seed)
    known = known.assign(side=sides_of(known, protocol, seed))
    leaks = splits.audit(known, protocol=protocol)
    assert bool(len(leaks)) == (protocol == "paper")
    labels = torch.tensor((known["grade"] - tables.GRADES[0]).tolist())
    train = np.flatnonzero(known["side"] == "train")
    weights = class_weights(torch.bincount(labels[train], minlength=len(tables.GRADES)).tolist())
    model = grader.build("none", seed=seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(EPOCHS):
        order = np.random.default_rng([seed, epoch]).permutation(train)
        batches = [(torch.from_numpy(images[rows]), labels[rows]) for rows in np.array_split(order, len(order) // 24)]
        train_epoch(model, batches, optimiser=optimiser, criterion=Criterion(class_weights=weights), epoch=epoch)
    test = known[known["side"] == "test"]
    told = grader.probabilities(model, images[test.index], device="cpu")
    predictions = test.assign(**{f"p{grade}": told[:, column] for column, grade in enumerate(tables.GRADES)})
    judged = metrics.grader_metrics(metrics.grader_levels(predictions)["slice"], resamples=10, seed=0)
    return judged["balanced_accuracy"]["value"]


@pytest.mark.long
def test_random_grades_are_learned_under_the_papers_split_and_not_by_patients():
    by_protocol = {
        protocol: np.mean([balanced_accuracy(protocol, seed) for seed in range(DRAWS)])
        for protocol in ("patient", "paper")
    }
    assert by_protocol["paper"] > 0.9
    # nine test patients in three draws: of nine guesses seven or more are right in one of a hundred cases
    assert by_protocol["patient"] < CHANCE + 0.36
