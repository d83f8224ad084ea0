"""Permutation control (null control): with random grades, only the patients' identities can be learned.

The accuracy under a split by patients must then be at chance level. Under the paper's split, which puts slices of one
patient into both the training and the test set, it is not.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from tumorprog.cohort import splits
from tumorprog.conventions import GRADES
from tumorprog.evaluation import metrics
from tumorprog.graders import resnet18
from tumorprog.graders.training import Criterion, class_weights, train_epoch

PATIENTS, SLICES_EACH, SIDE, EPOCHS, DRAWS = 30, 8, 32, 6, 3
CHANCE = 1 / len(GRADES)


def cohort(seed):
    """Return slices that identify their patient, and metadata with grades that are independent of the images."""
    random = np.random.default_rng(seed)
    identities = random.normal(128, 60, (PATIENTS, SIDE // 8, SIDE // 8)).repeat(8, axis=1).repeat(8, axis=2)
    patient = np.repeat(np.arange(PATIENTS), SLICES_EACH)
    images = (identities[patient] + random.normal(0, 12, (len(patient), SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    grades = random.permutation(np.tile(GRADES, PATIENTS // len(GRADES)))
    names = np.array([f"P{number:02d}" for number in range(PATIENTS)])
    slices = pd.DataFrame(
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
    return images, slices


def assign_sides(slices, protocol, seed):
    if protocol == "paper":
        return splits.split_slices(len(slices), seed=seed)
    by_patient = splits.split_patients(slices.groupby("PatientID")["grade"].first(), seed=seed)
    return slices["PatientID"].map(by_patient).to_numpy()


def balanced_accuracy(protocol, seed):
    """Return the balanced accuracy on the test slices, using the project's own split, audit, training and metrics."""
    images, slices = cohort(seed)
    slices = slices.assign(side=assign_sides(slices, protocol, seed))
    leaks = splits.audit(slices, protocol=protocol)
    assert bool(len(leaks)) == (protocol == "paper")
    labels = torch.tensor((slices["grade"] - GRADES[0]).tolist())
    train = np.flatnonzero(slices["side"] == "train")
    weights = class_weights(torch.bincount(labels[train], minlength=len(GRADES)).tolist())
    model = resnet18.build("none", seed=seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(EPOCHS):
        order = np.random.default_rng([seed, epoch]).permutation(train)
        batches = [(torch.from_numpy(images[rows]), labels[rows]) for rows in np.array_split(order, len(order) // 24)]
        train_epoch(model, batches, optimiser=optimiser, criterion=Criterion(class_weights=weights), epoch=epoch)
    test = slices[slices["side"] == "test"]
    probabilities = resnet18.probabilities(model, images[test.index], device="cpu")
    predictions = test.assign(**{f"p{grade}": probabilities[:, column] for column, grade in enumerate(GRADES)})
    evaluated = metrics.grader_metrics(metrics.grader_levels(predictions)["slice"], resamples=10, seed=0)
    return evaluated["balanced_accuracy"]["value"]


@pytest.mark.long
def test_random_grades_are_learned_under_the_papers_split_and_not_by_patients():
    by_protocol = {
        protocol: np.mean([balanced_accuracy(protocol, seed) for seed in range(DRAWS)])
        for protocol in ("patient", "paper")
    }
    assert by_protocol["paper"] > 0.9
    # nine test patients over three draws: seven or more random guesses are correct in one of a hundred cases
    assert by_protocol["patient"] < CHANCE + 0.36
