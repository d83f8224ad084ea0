import numpy as np
import pandas as pd
import pytest
import torch

from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.encoders.columns import VECTOR_LENGTH
from tumorprog.errors import InputError
from tumorprog.evaluation.survival import survival_metrics
from tumorprog.heads.settings import Progression
from tumorprog.progression import survival
from tumorprog.progression.columns import PATIENT_SURVIVAL, SURVIVAL_PREDICTIONS
from tumorprog.progression.folds import build_trials
from tumorprog.settings import Settings, with_values
from tumorprog.stages import train_progression


def followed(count=24, *, series_each=2, seed=0, censored=0.4):
    """Series whose first features depend on the rate of progression; some patients are censored."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        rate = random.normal()
        months = 6 * np.exp(-rate) * random.exponential() ** 0.15
        event = random.random() > censored
        for kind in range(series_each):
            vectors = random.normal(0, 1, (4, VECTOR_LENGTH)).astype(np.float32)
            vectors[:, :30] += 2 * rate
            known = {"PatientID": f"P{number:02d}", "date": "2000-01-01", "Type": f"T{kind}", "sequence": f"T{kind}"}
            outcome = {"months": months if event else 0.7 * months, "event": event}
            rows.append({**known, "SeriesInstanceUID": f"{number}.{kind}", "stack": 0, "vectors": vectors, **outcome})
    return pd.DataFrame(rows)


def trials(series):
    return build_trials("all", series, np.arange(len(series)), seed=0)


SMALL = Progression(target="survival", hidden=16, epochs=25, learning_rate=0.01)


def test_a_fold_returns_decreasing_survival_curves_for_series_and_patients():
    series = followed(8)
    result = survival.train_fold(series, trials(series)[0], SMALL, 0)
    predictions, patients = result["survival_predictions"], result["patient_survival"]
    assert set(SURVIVAL_PREDICTIONS) <= set(predictions.columns)
    assert set(PATIENT_SURVIVAL) <= set(patients.columns)
    curves = predictions[[f"Survival_{month}m" for month in SURVIVAL_MONTHS]].to_numpy()
    assert ((curves >= 0) & (curves <= 1)).all()
    assert (np.diff(curves, axis=1) <= 0).all()
    assert patients[["Model", "PatientID", "Series"]].to_numpy().tolist() == [
        ["model", "P00", 2],
        ["life table", "P00", 2],
    ]
    combined = np.average(curves[:, 3], weights=predictions["Weight"])
    assert patients.iloc[0][f"Survival_{SURVIVAL_MONTHS[3]}m"] == pytest.approx(combined)


def test_the_outcome_of_the_test_patient_affects_neither_the_model_nor_the_life_table():
    series = followed(8)
    trial = next(trial for trial in trials(series) if trial.fold.name == "P03")
    own = series["PatientID"] == "P03"
    other = series.assign(months=series["months"].where(~own, 300.0), event=series["event"] ^ own)
    original, changed = (survival.train_fold(table, trial, SMALL, 0) for table in (series, other))
    assert original["history"].equals(changed["history"])
    columns = [name for name in PATIENT_SURVIVAL if name not in {"months", "event"}]
    assert original["patient_survival"][columns].equals(changed["patient_survival"][columns])
    assert not original["patient_survival"]["months"].equals(changed["patient_survival"]["months"])


@pytest.mark.no_cover
def test_the_model_learns_a_risk_encoded_in_the_features_despite_censoring():
    torch.set_num_threads(1)
    series = followed(30)
    left_out = [trial for trial in trials(series) if trial.protocol == "patient"][::2]  # of half of the patients
    rows = pd.concat([survival.train_fold(series, trial, SMALL, 0)["patient_survival"] for trial in left_out])
    by_model = {str(name): level for name, level in rows.groupby("Model")}
    found = survival_metrics(by_model["model"], {"life table": by_model["life table"]}, resamples=10, seed=0)
    assert found["concordance"]["value"] > 0.75
    score, baseline = found["integrated_brier_score"], found["baselines"]["life table"]["integrated_brier_score"]
    assert score["value"] < 0.8 * baseline["value"]


def test_only_first_date_series_of_followed_patients_are_included():
    series = followed(3).drop(columns=["months", "event"])
    later = series.assign(date="2001-01-01")
    both = pd.concat([series, later])
    first = survival.first_dates(both)
    assert first.to_numpy().tolist() == [[f"P0{number}", "2000-01-01"] for number in range(3)]
    status = ["followed", "no outcome", "followed"]
    cohort = first.assign(months=[1.0, np.nan, 2.0], event=pd.array([1, None, 0], "Int64"), status=status)
    included = survival.followed_series(both, cohort)
    assert set(included["PatientID"]) == {"P00", "P02"}
    assert set(included["date"]) == {"2000-01-01"}
    assert included["event"].dtype == bool
    assert survival.first_dates(series.assign(date=""))["date"].tolist() == ["", "", ""]


def test_survival_without_a_table_of_outcomes_is_refused_with_the_missing_option(tmp_path):
    with pytest.raises(InputError, match="requires a table of outcomes: --outcomes TABLE"):
        train_progression.run(tmp_path, tmp_path, with_values(Settings(), {"progression.target": "survival"}))
