import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.evaluation import combination
from tumorprog.graders.columns import HISTORY
from tumorprog.imaging import orientation
from tumorprog.progression.columns import PROGRESSION_HISTORY
from tumorprog.report import drawing
from tumorprog.report.data import figures as data_figures
from tumorprog.report.geometry import Geometry
from tumorprog.report.grading import figures as grading_figures
from tumorprog.report.progression import figures as progression_figures
from tumorprog.report.regions import figures as regions_figures
from tumorprog.report.regions.level import Level, View
from tumorprog.report.survival import figures as survival_figures
from tumorprog.report.sweep import figures as sweep_figures


def metric(value, lower=None, upper=None, count=5):
    return {"value": value, "lower": lower, "upper": upper, "n": count}


def history(saved=("Yes", "No", "Yes", "No")):
    numbers = [np.linspace(1.2, 0.4, 4), np.linspace(40, 80, 4)] * 3
    return pd.DataFrame(dict(zip(HISTORY, [np.arange(1, 5), *numbers, list(saved)], strict=True)))


def level():
    return pd.DataFrame({"grade": [2, 2, 3, 4, 4, 4], "predicted": [2, 3, 3, 4, 4, 2]})


def levels():
    return {"slice": level(), "patient": level().iloc[:3]}


def bins():
    return pd.DataFrame(
        {"lower": [0.4, 0.6], "upper": [0.5, 0.7], "count": [3, 4], "confidence": [0.45, 0.66], "accuracy": [0.3, 0.7]}
    )


def months(protocols=("patient", "paper"), cohorts=("all", "grade_rise"), shift=0.0):
    rows = [
        (f"P{patient}", "1990-01-01", 40 * (patient + 1), 2.0 * patient + series + shift, protocol, cohort)
        for protocol in protocols
        for cohort in cohorts
        for patient in range(5)
        for series in range(3)
    ]
    names = ["PatientID", "date", "days", "Predicted_Progression_Timeline", "Protocol", "Cohort"]
    frame = pd.DataFrame(rows, columns=names)
    predicted = frame["Predicted_Progression_Timeline"]
    known = {"Type": "T2", "MonthDif": frame["days"] // 31, "Weight": 1.0, "Fold": 0}
    return frame.assign(**known, Lower=(predicted - 3).clip(lower=0), Upper=(predicted + 40).clip(lower=0))


def patient_rows(series):
    rows = combination.combine_by_patient(series)
    return rows.assign(Lower=rows["Predicted_Progression_Timeline"] - 3, Upper=rows["days"] / 10)


def scatter(series):
    return progression_figures.months_scatter(series, patient_rows(series))


def null_control():
    scores = {"mae": metric(0.4, 0.2, 0.6), "baselines": {"mean": {"mae": metric(5.0, 3.0, 7.0)}}}
    return {"paper": {"series": scores}, "patient": {"series": {**scores, "mae": metric(6.0, 4.0, 8.0)}}}


def losses():
    rows = [
        (protocol, "all", fold, epoch, 1 / epoch + fold, 2 / epoch + fold)
        for protocol in ("patient", "paper")
        for fold in range(2)
        for epoch in range(1, 4 + 3 * fold)
    ]
    return pd.DataFrame(rows, columns=list(PROGRESSION_HISTORY))


def progression():
    patient = {"mae": metric(4.0, 2.0, 30.0), "baselines": {"median": {"mae": metric(4.35, 2.1, 7.0)}}}
    leaking = {"mae": metric(0.02, 0.01, 0.03), "baselines": {"median": {"mae": metric(None)}}}
    return {"paper": {"all": {"patient": leaking}}, "patient": {"all": {"patient": patient}}}


def survival_predictions():
    expected = np.linspace(3, 20, 6)
    curves = {f"Survival_{month}m": np.exp(-month / expected) for month in SURVIVAL_MONTHS}
    rows = pd.DataFrame({"months": expected, "event": [1, 0, 1, 1, 0, 1], "Cohort": "all", **curves})
    return pd.concat([rows.assign(Protocol=protocol) for protocol in ("patient", "paper")])


def survival(rows):
    steps = np.array([0.0, 4.0, 9.0]), np.array([1.0, 0.7, 0.3])
    return survival_figures.survival_curves(rows, {"patient": steps, "paper": steps}, SURVIVAL_MONTHS)


def grader():
    scores = {
        "balanced_accuracy": metric(0.5, 0.4, 0.6),
        "baselines": {"majority": {"balanced_accuracy": metric(1 / 3)}},
    }
    return {"patient": {"patient": scores}}


def groups():
    return {
        name: {"accuracy": metric(0.9, 0.7, 1.0), "balanced_accuracy": metric(None)}
        for name in ("Henry Ford", "Jefferson")
    }


def grad_cam_example():
    ramp = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    return {
        "title": "grade 2, predicted 3 (81%)",
        "image": (255 * ramp).astype(np.uint8),
        "heat_map": ramp.T,
        **turned(),
    }


def turned():
    """A slice of 200 x 120 mm, shown with its columns downwards."""
    return {"geometry": Geometry(height_mm=200, width_mm=120, display=orientation.display((0, 1, 0, 1, 0, 0)))}


def view(mask, *, tumour=None, is_map=False):
    image = np.linspace(0, 1, 64).reshape(8, 8)
    return View(title="FLAIR", image=image, window=(0.1, 0.9), is_map=is_map, region=mask, tumour=tumour, **turned())


def level_of(*views):
    return Level(name="P1, 2000-01-01", choice="the middle of a series", views=views)


def steps(mask):
    image = np.linspace(0, 1, mask.size).reshape(mask.shape)
    return {
        **example(mask),
        "clusters": (3 * image).astype(int).clip(0, 2),
        "bands": np.stack([image * mask] * 4),
        "coefficients": np.arange(6.0) * mask.any(),
        "positions": np.array([[0, 0], [0, 1], [1, 0], [2, 0], [1, 1], [0, 2]]),
    }


def example(mask):
    return {"title": "P1 FLAIR", "image": np.linspace(0, 1, 64).reshape(8, 8), "mask": mask, **turned()}


def square():
    return np.pad(np.ones((3, 3), bool), ((2, 3), (2, 3)))


def trials():
    return pd.DataFrame(
        {
            "trial": [0, 1, 2],
            "rate": [1e-4, 1e-2, 1e-3],
            "kind": ["a", "b", "a"],
            "same": [4, 4, 4],
            "error": [4.5, np.nan, 3.5],
        }
    )


def parallel(rows, best=2):
    return sweep_figures.parallel_coordinates(rows, ["rate", "kind", "same"], "error", best=best)


DRAWN = {
    "trials": lambda: parallel(trials()),
    "trials_without_data": lambda: parallel(trials().iloc[:0]),
    "importance": lambda: sweep_figures.importance({"rate": 0.5, "kind": 0.1}),
    "curves": lambda: sweep_figures.curves(
        pd.DataFrame({"trial": [0, 0, 2], "epoch": [1, 2, 1], "error": [5.0, 4.0, 3.5]}), "error", best=2
    ),
    "learning_curves": lambda: grading_figures.learning_curves(history()),
    "learning_curves_nothing_saved": lambda: grading_figures.learning_curves(history(saved=[False] * 4)),
    "confusion": lambda: grading_figures.confusion(levels(), "Test"),
    "confusion_without_data": lambda: grading_figures.confusion({"slice": level().iloc[:0]}, "Test"),
    "reliability": lambda: grading_figures.reliability({"slice": bins(), "patient": bins()}, "Test"),
    "reliability_without_data": lambda: grading_figures.reliability({"slice": bins().iloc[:0]}, "Test"),
    "progression_curves": lambda: progression_figures.progression_curves(losses()),
    "progression_curves_without_data": lambda: progression_figures.progression_curves(losses().iloc[:0]),
    "months_scatter": lambda: scatter(months()),
    "months_scatter_without_intervals": lambda: progression_figures.months_scatter(
        months(), combination.combine_by_patient(months())
    ),
    "months_scatter_without_data": lambda: scatter(months().iloc[:0]),
    "errors_with_baselines": lambda: progression_figures.errors_with_baselines(progression()),
    "null_control": lambda: progression_figures.null_control(null_control()),
    "survival_curves": lambda: survival(survival_predictions()),
    "survival_curves_without_data": lambda: survival(survival_predictions().iloc[:0]),
    "errors_without_data": lambda: progression_figures.errors_with_baselines({}),
    "grader_with_baselines": lambda: grading_figures.grader_with_baselines(grader()),
    "group_bars": lambda: grading_figures.group_bars(groups(), "By institution"),
    "group_bars_without_data": lambda: grading_figures.group_bars({}, "By institution"),
    "cohort_overview": lambda: data_figures.cohort_overview(pd.DataFrame({"grading": [5, 0]}, index=["FLAIR", "T2"])),
    "cohort_overview_without_data": lambda: data_figures.cohort_overview(pd.DataFrame()),
    "level_panel": lambda: regions_figures.level_panel(
        level_of(view(square()), view(square(), tumour=square().T, is_map=True), view(square()))
    ),
    "level_panel_empty_and_full": lambda: regions_figures.level_panel(
        level_of(view(square() & False, tumour=square() & False), view(square() | True))
    ),
    "grad_cam_panel": lambda: grading_figures.grad_cam_panel([grad_cam_example()] * 3),
    "feature_steps": lambda: regions_figures.feature_steps(steps(square())),
    "feature_steps_of_an_empty_region": lambda: regions_figures.feature_steps(steps(square() & False)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_figure_is_drawn_wide_enough_without_a_warning(name):
    picture = Image.open(io.BytesIO(drawing.png(DRAWN[name]())))
    assert picture.width in (1120, 1800)
    assert picture.height < 4000
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 3


def test_equal_figures_give_equal_bytes():
    assert drawing.png(DRAWN["group_bars"]()) == drawing.png(DRAWN["group_bars"]())


def test_the_best_trial_is_highlighted_and_trials_without_a_metric_are_excluded():
    (axes,) = parallel(trials()).axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(lines) == 2
    (best,) = (line for line in lines if line.get_label() == "best")
    # of the two lines it has the larger rate and the smaller error; equal values are in the middle
    assert best.get_ydata().tolist() == [1.0, 0.5, 0.5, 0.0]


def test_drawing_does_not_change_the_global_state_of_matplotlib():
    before = dict(mpl.rcParams)
    drawing.png(grading_figures.confusion(levels(), "Test"))
    scatter(months())
    assert dict(mpl.rcParams) == before


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_the_confusion_matrix_shows_the_counts_of_each_true_grade_in_its_row():
    axes, _ = grading_figures.confusion(levels(), "Test").axes
    counts = [text.split("\n")[0] for text in texts(axes)]
    assert counts == ["1", "1", "0", "0", "1", "0", "1", "0", "2"]
    assert "67%" in texts(axes)[-1]


def test_leakage_is_marked_in_every_figure_that_can_show_the_paper_protocol():
    for figure in (
        scatter(months()),
        progression_figures.errors_with_baselines(progression()),
        progression_figures.null_control(null_control()),
        survival(survival_predictions()),
    ):
        marked = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="right") == "leakage"]
        assert marked == [title for axes in figure.axes if "paper" in (title := axes.get_title(loc="left"))]
        assert marked
    for figure in (
        grading_figures.learning_curves(history(), leaks=True),
        grading_figures.confusion(levels(), "Test", leaks=True),
        grading_figures.reliability({"slice": bins(), "patient": bins()}, "Test", leaks=True),
        grading_figures.group_bars(groups(), "By institution", leaks=True),
    ):
        assert "leakage" in figure.get_suptitle()


def test_an_empty_cohort_has_no_panel():
    with_empty = {protocol: {**cohorts, "grade_rise": {}} for protocol, cohorts in progression().items()}
    titles = [axes.get_title(loc="left") for axes in progression_figures.errors_with_baselines(with_empty).axes]
    assert titles == ["protocol: patient, cohort: all", "protocol: paper, cohort: all"]


def test_bars_of_a_protocol_with_leakage_are_hatched_and_grey_and_come_last():
    first, second = progression_figures.errors_with_baselines(progression()).axes
    assert "patient" in first.get_title(loc="left")
    assert not first.patches[0].get_hatch()
    assert second.patches[0].get_hatch()
    assert to_hex(second.patches[0].get_facecolor()).upper() == drawing.GREY


def test_every_interval_is_within_the_limits_of_its_axes():
    for figure in (
        progression_figures.errors_with_baselines(progression()),
        grading_figures.group_bars(groups(), "By vendor"),
    ):
        for axes in figure.axes:
            ends = [path.vertices[:, 0].max() for lines in axes.collections for path in lines.get_paths()]
            assert max(ends, default=0) <= axes.get_xlim()[1]
    first, second = progression_figures.errors_with_baselines(progression()).axes
    assert first.get_xlim() == second.get_xlim()


def test_predictions_below_zero_months_are_within_the_axes():
    rows = months(shift=-9.0)
    lowest = rows["Predicted_Progression_Timeline"].min()
    assert lowest < 0
    for axes in scatter(rows).axes:
        assert axes.get_ylim()[0] <= lowest
        assert axes.get_ylim()[1] >= patient_rows(rows)["Upper"].max()


def test_an_undefined_metric_is_labelled_and_not_drawn_as_zero():
    _, leaking = progression_figures.errors_with_baselines(progression()).axes
    assert " not defined" in texts(leaking)
    assert len(leaking.patches) == 1


def test_the_marked_epoch_is_the_last_one_saved():
    for axes in grading_figures.learning_curves(history()).axes:
        (selected,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert selected.get_xdata()[0] == 3


def test_the_mean_over_folds_counts_a_stopped_fold_with_its_last_loss():
    axes = progression_figures.progression_curves(losses()).axes[0]
    mean = next(line for line in axes.lines if line.get_label() == "Training")
    # fold 0 stops after epoch 3 at 1/3; fold 1 ends at epoch 6 with 1/6 + 1
    assert mean.get_ydata()[-1] == pytest.approx((1 / 3 + 1 / 6 + 1) / 2)
