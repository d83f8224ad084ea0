"""The section on a sweep and the alternative texts of the archive."""

import pandas as pd

from tumorprog.report.data import sections as data_sections
from tumorprog.report.sweep import sections as sweep_sections


def metric(value):
    return {"value": value, "lower": None, "upper": None, "n": 3, "patients": 3, "reason": ""}


def section():
    trials = pd.DataFrame(
        {
            "trial": [0, 1, 2],
            "grader.batch_size": [16, 32, 64],
            "epochs": 2,
            "balanced_accuracy": [0.4, 0.625, 0.5],
            "seconds": 1.5,
            "status": "finished",
        }
    )
    curves = pd.DataFrame({"trial": [1, 1, 0], "epoch": [2, 1, 1], "balanced_accuracy": [0.625, 0.25, 0.4]})
    scores = {"balanced_accuracy": metric(0.6), "accuracy": metric(0.7)}
    summary = {
        "model": "grader",
        "metric": "balanced_accuracy",
        "mode": "max",
        "best": {"grader.batch_size": 32},
        "trials": {"finished": 3},
        "test": {"patient": {**scores, "baselines": {"majority": scores}}},
    }
    return sweep_sections.section(trials, curves, summary, {"grader.batch_size": 0.5})


def test_the_sweep_names_metrics_levels_and_models_in_words():
    best, tested = section().tables
    assert list(best.rows.columns) == ["trial", "grader.batch_size", "epochs", "Balanced accuracy", "seconds", "status"]
    assert [row["Level, model"] for row in tested.rows] == ["per patient: best trial", "per patient: majority class"]
    assert list(tested.rows[0])[2:] == ["Balanced accuracy", "Accuracy"]
    assert "compared by their balanced accuracy on patients outside" in section().paragraphs[0]


def test_the_alternative_texts_of_the_sweep_state_its_results():
    assert [picture.alt for picture in section().pictures] == [
        "Best of the trials: trial 1, Balanced accuracy 0.62, with grader.batch_size 32.",
        "Balanced accuracy of 2 trials by epoch; the best trial goes from 0.25 to 0.62.",
        "Importance: grader.batch_size 0.50.",
    ]


def test_the_alternative_text_of_the_archive_states_the_slices():
    catalogue = pd.DataFrame({"sequence": ["T2", "T2", "FLAIR"], "cohort": ["grading", "grading", "progression"]})
    summary = {"found": 3, "used": 3, "slices": 3, "quarantined": 0}
    shown = data_sections.archive(summary, catalogue, pd.DataFrame({"reason": []}), synthetic=False)
    assert shown.pictures[0].alt == "Slices. Cohort grading: FLAIR 0, T2 2. Cohort progression: FLAIR 1, T2 0."
