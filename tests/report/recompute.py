"""Recompute figures of metrics.json from the tables of a run directory, with other libraries than tumorprog.

    python tests/report/recompute.py runs/demo

Nothing of tumorprog is imported: a reviewer can follow each figure from its definition. The exit status is 1 if a
figure differs by more than a millionth.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats
from sklearn import metrics
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.model_selection import LeaveOneOut, cross_val_predict

_PROBABILITIES = ["p2", "p3", "p4"]
_GRADES = [2, 3, 4]
_DAYS_PER_MONTH = 30.4375
_WIDTH = 0.2  # one minus the nominal coverage of the prediction intervals


def recompute(run: Path) -> dict[str, float]:
    """Return figures by their path in metrics.json."""
    return {
        **grader(run / "grader"),
        **progression(run / "progression"),
        **null_control(run / "progression"),
        **regions(run / "regions"),
    }


def reported(run: Path, path: str) -> float | None:
    """Return the figure at a path of metrics.json, keys separated by slashes; None if it is not defined."""
    found = json.loads((run / "metrics.json").read_text())
    for key in path.split("/"):
        found = found.get(key, {})
    return found if isinstance(found, int | float) else None


def grader(folder: Path) -> dict[str, float]:
    """Recompute figures of the grader on held-out patients."""
    slices = pd.read_parquet(folder / "predictions.parquet").astype(dict.fromkeys(_PROBABILITIES, float))
    test, train = (slices[slices["side"] == side] for side in ("test", "train"))
    by_patient = test.groupby("PatientID").agg({"grade": "first", **dict.fromkeys(_PROBABILITIES, "mean")})
    found = {}
    for level, rows in (("slice", test), ("patient", by_patient)):
        truth, predicted = rows["grade"], np.array(_GRADES)[rows[_PROBABILITIES].to_numpy().argmax(axis=1)]
        path = f"grader/patient/{level}"
        found[f"{path}/accuracy/value"] = metrics.accuracy_score(truth, predicted)
        found[f"{path}/balanced_accuracy/value"] = metrics.balanced_accuracy_score(truth, predicted)
        recalls = metrics.recall_score(truth, predicted, labels=_GRADES, average=None)
        found |= {f"{path}/recall_{grade}/value": recall for grade, recall in zip(_GRADES, recalls, strict=True)}
        if level == "patient":
            hits = int((truth == predicted).sum())
            wilson = scipy.stats.binomtest(hits, len(truth)).proportion_ci(method="wilson")
            found |= {f"{path}/accuracy/lower": wilson.low, f"{path}/accuracy/upper": wilson.high}
            if test["PatientID"].nunique() >= 10:
                shares = rows[_PROBABILITIES].div(rows[_PROBABILITIES].sum(axis=1), axis=0)
                auc = metrics.roc_auc_score(truth, shares, multi_class="ovr", average="macro")
                found[f"{path}/macro_auc/value"] = auc
    patients = train.drop_duplicates("PatientID")
    dummy = DummyClassifier(strategy="most_frequent").fit(patients[["PatientID"]], patients["grade"])
    majority = metrics.balanced_accuracy_score(by_patient["grade"], dummy.predict(by_patient))
    path = "grader/patient/patient"
    found[f"{path}/baselines/majority/balanced_accuracy/value"] = majority
    found[f"{path}/baselines/majority/difference/value"] = found[f"{path}/balanced_accuracy/value"] - majority
    return found


def progression(folder: Path) -> dict[str, float]:
    """Recompute figures of the months of held-out patients."""
    predictions = pd.read_csv(folder / "predictions.csv").query("Protocol == 'patient' and Cohort == 'all'")
    weighted = predictions.assign(sum=predictions["Predicted_Progression_Timeline"] * predictions["Weight"])
    groups = weighted.groupby(["PatientID", "date"])
    patients = groups.agg(days=("days", "first"), sum=("sum", "sum"), weight=("Weight", "sum"))
    truth, predicted = patients["days"] / _DAYS_PER_MONTH, patients["sum"] / patients["weight"]
    path = "progression/patient/all/patient"
    median = cross_val_predict(DummyRegressor(strategy="median"), truth, truth, cv=LeaveOneOut())
    error = metrics.mean_absolute_error(truth, predicted)
    found = {
        f"{path}/mae/value": error,
        f"{path}/median_ae/value": metrics.median_absolute_error(truth, predicted),
        f"{path}/rmse/value": metrics.root_mean_squared_error(truth, predicted),
        f"{path}/baselines/median/mae/value": metrics.mean_absolute_error(truth, median),
        f"{path}/baselines/median/difference/value": error - metrics.mean_absolute_error(truth, median),
        "progression/patient/all/series/mae/value": metrics.mean_absolute_error(
            predictions["days"] / _DAYS_PER_MONTH, predictions["Predicted_Progression_Timeline"]
        ),
    }
    if len(patients) >= 10:
        found[f"{path}/concordance/value"] = (scipy.stats.somersd(truth, predicted).statistic + 1) / 2
    return found | _intervals(folder, path)


def _intervals(folder: Path, path: str) -> dict[str, float]:
    rows = pd.read_csv(folder / "patient_predictions.csv").query("Protocol == 'patient' and Cohort == 'all'")
    rows = rows.dropna(subset=["Lower", "Upper"])
    if rows.empty:
        return {}
    truth = rows["days"] / _DAYS_PER_MONTH
    hits = int(truth.between(rows["Lower"], rows["Upper"]).sum())
    wilson = scipy.stats.binomtest(hits, len(rows)).proportion_ci(method="wilson")
    # The interval score is the sum of the pinball losses of its two bounds, Gneiting & Raftery 2007, section 6.2.
    losses = [
        metrics.mean_pinball_loss(truth, bound, alpha=level)
        for bound, level in ((rows["Lower"], _WIDTH / 2), (rows["Upper"], 1 - _WIDTH / 2))
    ]
    return {
        f"{path}/coverage/value": hits / len(rows),
        f"{path}/coverage/lower": wilson.low,
        f"{path}/coverage/upper": wilson.high,
        f"{path}/interval_width/value": float((rows["Upper"] - rows["Lower"]).median()),
        f"{path}/interval_score/value": 2 / _WIDTH * sum(losses),
    }


def null_control(folder: Path) -> dict[str, float]:
    """Recompute the permutation test of the months."""
    rows = pd.read_csv(folder / "null_control.csv").query("Protocol == 'patient'")
    rows = rows.assign(sum=rows["Predicted_Progression_Timeline"] * rows["Weight"])
    sums = rows.groupby(["Draw", "Model", "PatientID", "date"]).agg(
        days=("days", "first"), sum=("sum", "sum"), weight=("Weight", "sum")
    )
    errors = (sums["sum"] / sums["weight"] - sums["days"] / _DAYS_PER_MONTH).abs()
    means = errors.groupby(["Draw", "Model"]).mean().unstack("Model")
    benefit = means["model"] - means["mean"]
    draws = benefit.drop(0)
    return {
        "null_control/patient/observed": benefit[0],
        "null_control/patient/p": (1 + int((draws <= benefit[0] + 1e-12).sum())) / (1 + len(draws)),
    }


def regions(folder: Path) -> dict[str, float]:
    """Recompute how well the segmenter and the paper's method find the tumour on T1post."""
    scores = pd.read_csv(folder / "_scores.csv").query("sequence == 'T1post'")
    lesions = pd.read_csv(folder / "_lesions.csv").query("sequence == 'T1post'")
    found = {}
    for method, rows in scores.groupby("method"):
        path, tumours = f"roi/{method}/T1post", rows[rows["mask"] > 0]
        recall, precision = tumours["both"] / tumours["mask"], (tumours["both"] / tumours["region"]).fillna(0)
        found[f"{path}/dice/value"] = scipy.stats.hmean([recall, precision]).mean()  # an F score
        found[f"{path}/hd95_mm/value"] = np.nanmean(tumours["hd95_mm"])
        found[f"{path}/volume_error_ml/value"] = rows["region_ml"].mean() - rows["mask_ml"].mean()
        own = lesions[lesions["method"] == method]
        found[f"{path}/lesions_found/value"] = metrics.accuracy_score(own["volume_ml"] > 0, own["found_ml"] > 0)
    return found


def main(run: Path) -> int:
    """Print each figure as reported and recomputed, and return 1 if any differs."""
    different = 0
    for path, value in recompute(run).items():
        own = reported(run, path)
        agrees = bool(np.isnan(value) if own is None else np.isclose(own, value, atol=1e-6))
        different += not agrees
        sys.stdout.write(f"{'ok' if agrees else 'DIFFERS'}\t{path}\t{own}\t{value:.6f}\n")
    return min(different, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
