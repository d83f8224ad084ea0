import base64
import io
import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.evaluation import combination
from tumorprog.graders.columns import HISTORY
from tumorprog.imaging import orientation
from tumorprog.progression.columns import PROGRESSION_HISTORY
from tumorprog.report import drawing, page, theme
from tumorprog.report.data import figures as data_figures
from tumorprog.report.geometry import Geometry
from tumorprog.report.grading import figures as grading_figures
from tumorprog.report.progression import figures as progression_figures
from tumorprog.report.regions import figures as regions_figures
from tumorprog.report.regions.level import Level, View
from tumorprog.report.survival import figures as survival_figures
from tumorprog.report.sweep import figures as sweep_figures

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


def parsed(source):
    return ET.fromstring(source)  # noqa: S314  our own drawing


def listed(figures):
    return [figures] if isinstance(figures, Figure) else list(figures)


def axes_of(figures):
    return [axes for figure in listed(figures) for axes in figure.axes]


def as_svg(figures):
    return drawing.picture("drawn", figures, caption="c", alt="a", source="s").panels


def metric(value, lower=None, upper=None, count=5):
    return {"value": value, "lower": lower, "upper": upper, "n": count, "patients": count, "reason": ""}


def history(saved=("Yes", "No", "Yes", "No")):
    numbers = [np.linspace(1.2, 0.4, 4), np.linspace(40, 80, 4)] * 3
    return pd.DataFrame(dict(zip(HISTORY, [np.arange(1, 5), *numbers, list(saved)], strict=True)))


def level():
    return pd.DataFrame({"grade": [2, 2, 3, 4, 4, 4], "predicted": [2, 3, 3, 4, 4, 2]})


def levels():
    return {"slice": level(), "patient": level().iloc[:3]}


def bins():
    return pd.DataFrame(
        {
            **{"confidence": [0.45, 0.66], "accuracy": [0.3, 0.7], "lower": [0.1, 0.4], "upper": [0.6, 0.9]},
            **{"count": [30, 30], "patients": [12, 14]},
        }
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
    draws = {"draws": [0.5, -0.5, 1.0, 0.0], "as_good": 1, "p": 0.4}
    return {"patient": {"observed": -0.4, **draws}, "paper": {"observed": -3.0, **draws}}


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
        **{f"recall_{grade}": metric(0.5) for grade in (2, 3, 4)},
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
def test_each_panel_is_a_well_formed_drawing_of_one_width_without_a_warning(name):
    for panel in as_svg(DRAWN[name]()):
        root = parsed(panel)
        assert root.tag == f"{SVG}svg"
        _, _, width, height = map(float, root.get("viewBox").split())
        assert width == pytest.approx(72 * drawing.WIDTH)
        assert height < 1000
        assert len(list(root.iter(f"{SVG}text"))) > 0
        assert not list(root.iter(f"{SVG}style"))


@pytest.mark.parametrize("name", DRAWN)
def test_letters_are_legible_on_a_narrow_screen(name):
    # a panel is shown 343 pixels wide on a screen of 375 pixels
    for panel in as_svg(DRAWN[name]()):
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", panel)]
        sizes += [float(size) for size in re.findall(r"font: [^;\"]*?([\d.]+)px", panel)]
        assert min(sizes) * 343 / (72 * drawing.WIDTH) >= 10


def test_ids_are_unique_over_all_panels_of_all_figures_and_every_reference_has_a_target():
    names = ("grad_cam_panel", "group_bars", "errors_with_baselines", "months_scatter")
    drawn = [drawing.picture(name.replace("_", "-"), DRAWN[name](), caption="", alt="", source="") for name in names]
    source = "".join(panel for picture in drawn for panel in picture.panels)
    ids = re.findall(r'\bid="([^"]+)"', source)
    assert len(ids) == len(set(ids)) > 10
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', source)) <= {
        pair for name in ids for pair in ((name, ""), ("", name))
    }


def test_text_that_looks_like_markup_is_text():
    hostile = '<script>alert("x")</script> id="y" url(#y) & #y'
    (panel,) = as_svg(grading_figures.confusion({hostile: level()}, "Test"))
    assert [text.text for text in parsed(panel).iter(f"{SVG}text") if "script" in text.text] == [hostile]
    assert "<script" not in panel


def test_the_pixels_of_an_image_are_embedded_as_they_are():
    example = grad_cam_example()
    image = orientation.turn(example["image"], example["geometry"].display)
    (panel,) = as_svg(grading_figures.grad_cam_panel([grad_cam_example()]))
    data = [element.get(HREF) for element in parsed(panel).iter(f"{SVG}image")]
    assert len(data) == 3  # the slice twice, and the heat map
    plain = Image.open(io.BytesIO(base64.b64decode(data[0].partition(",")[2]))).convert("L")
    assert plain.size == image.shape[::-1]
    assert np.abs(np.asarray(plain).astype(int) - image).max() <= 1


def test_equal_figures_give_equal_bytes():
    for name in ("group_bars", "grad_cam_panel", "months_scatter"):
        assert as_svg(DRAWN[name]()) == as_svg(DRAWN[name]())
    assert drawing.png(DRAWN["feature_steps"]()) == drawing.png(DRAWN["feature_steps"]())


def test_a_picture_as_png_has_its_panels_side_by_side():
    picture = Image.open(io.BytesIO(drawing.png(DRAWN["feature_steps"]())))
    assert picture.size == (2 * 880, 920)


def test_the_title_is_stated_once_above_the_panels():
    drawn = drawing.picture("bars", DRAWN["group_bars"](), caption="", alt="", source="")
    assert drawn.title == "By institution"
    assert len(drawn.panels) == 2
    assert not any("By institution" in panel for panel in drawn.panels)
    assert list(page.files(drawn)) == ["figures/bars-1.svg", "figures/bars-2.svg"]


def test_neutral_colours_follow_the_dark_mode_and_the_file_is_complete():
    panel = as_svg(progression_figures.errors_with_baselines(progression()))[1]
    root = parsed(theme.standalone(panel))
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme: dark" in style
    written = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", panel))
    neutral = written & set(theme.NEUTRAL)
    assert {"#000000", drawing.INK, drawing.FAINT, drawing.WARN, drawing.SHADED} <= neutral
    for colour in neutral:
        assert f'[style*="fill: {colour}"]' in style


def contrast(first, second):
    def luminance(colour):
        values = np.array(to_rgb(colour))
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_and_data_have_enough_contrast(colours):
    for text in ("ink", "quiet", "accent", "warn"):
        for ground in ("paper", "panel", "warn-panel"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for data in (drawing.BLUE, drawing.ORANGE, drawing.GREEN, drawing.SKY, drawing.GREY):
        assert contrast(data, colours["paper"]) >= 3, data
    red, green, blue, alpha = drawing.SHADES(1.0)
    mixed = alpha * np.array([red, green, blue]) + (1 - alpha) * np.array(to_rgb(colours["paper"]))
    assert contrast(colours["ink"], mixed) >= 4.5


def test_all_text_of_all_figures_is_in_a_colour_with_enough_contrast():
    allowed = {drawing.INK, drawing.QUIET, drawing.WARN}
    for name, draw in DRAWN.items():
        for panel in as_svg(draw()):
            styles = [text.get("style") for text in parsed(panel).iter(f"{SVG}text")]
            used = {colour for style in styles for colour in re.findall(r"fill: (#[0-9a-f]{6})", style)}
            assert used <= allowed, name


def test_bars_are_described_with_their_numbers():
    levels = {(protocol, f"{protocol}\nall"): part["all"]["patient"] for protocol, part in progression().items()}
    assert drawing.describe_bars(levels, "mae", label="Error (months)") == (
        "Error (months). patient, all: model 4.00 (2.00 to 30.00); median of the training patients 4.35 (2.10 to "
        "7.00). paper, all: model 0.02 (0.01 to 0.03); median of the training patients not defined."
    )


def test_the_best_trial_is_highlighted_and_trials_without_a_metric_are_excluded():
    (axes,) = axes_of(parallel(trials()))
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(lines) == 2
    (best,) = (line for line in lines if line.get_label() == "best")
    # of the two lines it has the larger rate and the smaller error; equal values are in the middle
    assert best.get_xdata().tolist() == [1.0, 0.5, 0.5, 0.0]


def test_drawing_does_not_change_the_global_state_of_matplotlib():
    before = dict(mpl.rcParams)
    as_svg(grading_figures.confusion(levels(), "Test"))
    drawing.png(grading_figures.confusion(levels(), "Test"))
    scatter(months())
    assert dict(mpl.rcParams) == before


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_the_confusion_matrix_shows_the_counts_of_each_true_grade_in_its_row():
    axes, _ = axes_of(grading_figures.confusion(levels(), "Test"))
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
        for axes in axes_of(figure):
            titles = axes.get_title(loc="left") + axes.get_title(loc="right")
            assert ("leakage" in titles) == ("paper" in titles)
            assert ("leakage" in titles) == (to_hex(axes.get_facecolor()) == drawing.SHADED)
        assert any(to_hex(axes.get_facecolor()) == drawing.SHADED for axes in axes_of(figure))
    for figure in (
        grading_figures.learning_curves(history(), leaks=True),
        grading_figures.confusion(levels(), "Test", leaks=True),
        grading_figures.reliability({"slice": bins(), "patient": bins()}, "Test", leaks=True),
        grading_figures.group_bars(groups(), "By institution", leaks=True),
    ):
        assert "(leakage)" in drawing.picture("drawn", figure, caption="", alt="", source="").title


def test_an_empty_cohort_has_no_panel():
    with_empty = {protocol: {**cohorts, "grade_rise": {}} for protocol, cohorts in progression().items()}
    titles = [axes.get_title(loc="left") for axes in axes_of(progression_figures.errors_with_baselines(with_empty))]
    assert titles == ["held-out patients\nall patients", "paper's split (leakage)\nall patients"]


def test_bars_of_a_protocol_with_leakage_are_hatched_and_grey_and_come_last():
    first, second = axes_of(progression_figures.errors_with_baselines(progression()))
    assert "held-out" in first.get_title(loc="left")
    assert not first.patches[0].get_hatch()
    assert second.patches[0].get_hatch()
    assert to_hex(second.patches[0].get_facecolor()).upper() == drawing.GREY


def test_every_interval_is_within_the_limits_of_its_axes():
    for figure in (
        progression_figures.errors_with_baselines(progression()),
        grading_figures.group_bars(groups(), "By vendor"),
    ):
        for axes in axes_of(figure):
            ends = [path.vertices[:, 0].max() for lines in axes.collections for path in lines.get_paths()]
            assert max(ends, default=0) <= axes.get_xlim()[1]
    first, second = axes_of(progression_figures.errors_with_baselines(progression()))
    assert first.get_xlim() == second.get_xlim()


def test_predictions_below_zero_months_are_within_the_axes():
    rows = months(shift=-9.0)
    lowest = rows["Predicted_Progression_Timeline"].min()
    assert lowest < 0
    for axes in axes_of(scatter(rows)):
        assert axes.get_ylim()[0] <= lowest
        assert axes.get_ylim()[1] >= patient_rows(rows)["Upper"].max()


def test_an_undefined_metric_is_labelled_and_not_drawn_as_zero():
    _, leaking = axes_of(progression_figures.errors_with_baselines(progression()))
    assert " not defined" in texts(leaking)
    assert len(leaking.patches) == 1


def test_the_marked_epoch_is_the_last_one_saved():
    for axes in axes_of(grading_figures.learning_curves(history())):
        (selected,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert selected.get_xdata()[0] == 3


def test_the_mean_over_folds_counts_a_stopped_fold_with_its_last_loss():
    axes = axes_of(progression_figures.progression_curves(losses()))[0]
    mean = next(line for line in axes.lines if line.get_label() == "Training")
    # fold 0 stops after epoch 3 at 1/3; fold 1 ends at epoch 6 with 1/6 + 1
    assert mean.get_ydata()[-1] == pytest.approx((1 / 3 + 1 / 6 + 1) / 2)
