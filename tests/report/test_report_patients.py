"""Courses of single patients: what the figures are drawn from, their captions, and the images."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.cohort.columns import OUTCOMES, TIMELINE, VOLUMES
from tumorprog.formats import reading
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.patients import courses, images, sections
from tumorprog.synthetic import plan

PATIENTS = [f"P{number}" for number in range(1, 7)]
DAYS = (30, 60, 90, 120, 700, 365)
LABELS = (np.nan,) * 5


@pytest.fixture
def tables():
    second = [(pd.Timestamp("2000-01-01") + pd.Timedelta(days=days)).date().isoformat() for days in DAYS]
    timeline = [
        (name, 2, f"2000-01-01 {date}", 2, "two dates or more") for name, date in zip(PATIENTS, second, strict=True)
    ]
    timeline += [("P7", 1, np.nan, 0, "no date"), ("P8", 1, "2000-01-01", 1, "one date")]
    volumes = [
        (name, "2000-01-01", "mask", 70.0 / days, *LABELS, 1, np.nan, np.nan, np.nan)
        for name, days in zip(PATIENTS, DAYS, strict=True)
    ]
    volumes += [("P1", second[0], "mask", 3.0, *LABELS, 1, 30.0, 1.0, -50.0)]
    volumes += [("P2", second[1], "mask", 3.0, *LABELS, 1, 60.0, 1.0, 80.0)]
    intervals = pd.DataFrame({"PatientID": PATIENTS, "date": "2000-01-01", "days": DAYS})
    return courses.Tables(
        timeline=pd.DataFrame(timeline, columns=list(TIMELINE)),
        volumes=pd.DataFrame(volumes, columns=list(VOLUMES)),
        intervals=intervals,
        outcomes=None,
        identifiers=Identifiers([*PATIENTS, "P7", "P8"], dict.fromkeys(PATIENTS, "2000-01-01"), shown=True, seed=0),
    )


def section_of(tables):
    return sections.section(courses.metrics(tables), tables, [])


def with_outcomes(tables):
    rows = [("P1", "2000-01-01", "2000-03-01", 60 / 30.4375, 1, "followed")]
    rows += [("P2", "2000-01-01", "2000-02-01", 31 / 30.4375, 0, "followed")]
    rows += [("P3", "2000-01-01", "", np.nan, np.nan, "no outcome")]
    return courses.Tables(**{**vars(tables), "outcomes": pd.DataFrame(rows, columns=list(OUTCOMES))})


def test_courses_are_in_days_and_the_longest_comes_first(tables):
    found = courses.courses(tables)
    assert [course.patient for course in found] == ["P5", "P6", "P4", "P3", "P2", "P1", "P8"]
    assert (found[0].scans, found[0].end, found[0].kind) == ([0, 700], 700, courses.SECOND_DATE)
    assert (found[-1].scans, found[-1].end) == ([0], None)


def test_with_outcomes_a_course_ends_with_its_event_or_is_censored(tables):
    ends = {course.patient: (course.end, course.kind) for course in courses.courses(with_outcomes(tables))}
    assert ends["P1"] == (60, courses.EVENT)
    assert ends["P2"] == (31, courses.CENSORED)
    assert ends["P3"] == (None, courses.NONE)


def test_changes_of_the_volume_are_sorted(tables):
    changes = courses.volume_changes(tables)
    assert changes.to_numpy().tolist() == [["P2", 80.0], ["P1", -50.0]]


def test_the_captions_and_alternative_texts_state_the_results(tables):
    pictures = {picture.name: picture for picture in section_of(tables).pictures}
    assert list(pictures) == [
        f"figures/patients-{name}.svg" for name in ("courses", "kaplan-meier", "waterfall", "volume")
    ]
    expected = {
        "courses": "6 count as progressed, 0 are censored",
        "kaplan-meier": "Median 2.96 months (95% CI 0.99 to not reached); 6 patients, 6 of whom progressed",
        "waterfall": "1 of 2 rise by at least 40%, and 1 fall; the median is +15%",
        "volume": "Spearman's rho -1.00 (no interval",
    }
    for name, text in expected.items():
        assert text in pictures[f"figures/patients-{name}.svg"].alt
        assert text in pictures[f"figures/patients-{name}.svg"].caption


def test_no_correlation_is_given_for_censored_months(tables):
    pictures = section_of(with_outcomes(tables)).pictures
    assert "the months of 1 of 2 patients are censored" in pictures[-1].alt
    assert "Median" in pictures[1].alt


def test_more_patients_than_fit_are_cut_and_the_caption_says_so(tables):
    many = pd.DataFrame(
        [(f"Q{number:02}", 1, "2000-01-01", 1, "one date") for number in range(45)], columns=list(TIMELINE)
    )
    shown = section_of(courses.Tables(**{**vars(tables), "timeline": many})).pictures[0]
    assert "40 of 45 patients" in shown.caption


def test_without_dates_and_masks_there_is_nothing_to_draw(tables):
    empty = {name: getattr(tables, name).head(0) for name in ("timeline", "volumes", "intervals")}
    assert section_of(courses.Tables(**{**vars(tables), **empty})).pictures == []


@pytest.fixture(scope="module")
def slices(cohort_folder):
    """Return catalogue rows of the progression cohort, whose slices are numbered from one end."""
    files = sorted((cohort_folder / plan.PROGRESSION).rglob("*.dcm"))
    rows = pd.DataFrame([row for path in files for row in reading.read_rows(str(path))])
    return rows.assign(stack=0, order=rows["InstanceNumber"], cohort="progression")


@pytest.fixture(scope="module")
def regions(slices, write_regions):
    return write_regions(slices[slices["sequence"] != "mask"])


@pytest.fixture(scope="module")
def intervals(slices):
    dates = slices.groupby("PatientID")["StudyDate"].agg(["min", "max"]).reset_index()
    days = (pd.to_datetime(dates["max"]) - pd.to_datetime(dates["min"])).dt.days
    return pd.DataFrame({"PatientID": dates["PatientID"], "date": dates["min"], "days": days})


@pytest.fixture(scope="module")
def identifiers(intervals):
    first = dict(zip(intervals["PatientID"], intervals["date"], strict=True))
    return Identifiers(intervals["PatientID"], first, shown=False, seed=0)


def test_both_dates_are_shown_with_their_masks(slices, intervals, identifiers):
    first, second = images.first_and_second(slices, intervals, identifiers, max_patients=1)
    days = dict(zip(map(identifiers.patient, intervals["PatientID"]), intervals["days"], strict=True))
    assert first["title"].startswith("patient 01, day 0: T1post, position")
    assert second["title"].startswith(f"patient 01, day {days['patient 01']}: T1post, position")
    assert first["mask"].any()
    assert second["mask"].any()
    assert second["image"].shape == second["mask"].shape
    assert first["image"].shape == first["mask"].shape


def test_the_slice_shown_is_the_one_with_the_largest_mask(slices, intervals, identifiers):
    first, _ = images.first_and_second(slices, intervals, identifiers, max_patients=1)
    patient = next(name for name in intervals["PatientID"] if identifiers.patient(name) == "patient 01")
    date = intervals.set_index("PatientID").loc[patient, "date"]
    masks = slices[(slices["PatientID"] == patient) & (slices["StudyDate"] == date) & (slices["sequence"] == "mask")]
    assert first["mask"].sum() == max(
        np.count_nonzero(reading.read_frame(row.path, row.frame)) for row in masks.itertuples()
    )


def predictions(intervals):
    months = intervals["days"] / 30.4375
    return intervals.assign(
        Predicted_Progression_Timeline=months + np.array([1.0, -20.0, 3.0]), Lower=[np.nan, 1.0, 2.0], Upper=9.0
    )


def test_the_largest_errors_come_first_with_their_months_and_interval(slices, regions, intervals, identifiers):
    patients = predictions(intervals)
    found = images.largest_errors(slices, patients, identifiers, regions=regions, max_patients=2)
    worst = patients.iloc[1]
    assert len(found) == 2
    assert found[0]["title"].startswith(f"{identifiers.patient(worst['PatientID'])}: measured ")
    assert "(1.00 to 9.00); T1post" in found[0]["title"]
    assert found[0]["mask"].sum() == 50 * 70  # the region of the table


def test_patients_whose_files_are_gone_are_left_out(slices, regions, intervals, identifiers):
    gone = slices.assign(path=slices["path"] + ".gone")
    assert images.first_and_second(gone, intervals, identifiers, max_patients=2) == []
    patients = predictions(intervals)
    assert images.largest_errors(gone, patients, identifiers, regions=regions, max_patients=3) == []
    worst = patients["PatientID"].iloc[1]
    partly = slices.where(slices["PatientID"] != worst, gone)
    found = images.largest_errors(partly, patients, identifiers, regions=regions, max_patients=3)
    assert [example["title"].split(":")[0] for example in found] == [
        identifiers.patient(intervals["PatientID"].iloc[index]) for index in (2, 0)
    ]


def test_slices_are_drawn_in_their_size(slices, intervals, identifiers):
    tall = slices.assign(row_spacing_mm=2.0, column_spacing_mm=1.0)
    first = images.first_and_second(tall, intervals, identifiers, max_patients=1)[0]
    height, width = first["image"].shape
    assert (first["geometry"].height_mm, first["geometry"].width_mm) == (2.0 * height, width)


def test_a_mask_of_another_plane_is_not_outlined_on_a_slice_of_the_same_position_and_size(
    slices, intervals, identifiers
):
    assert images.first_and_second(slices, intervals, identifiers, max_patients=3)
    coronal = slices.assign(plane=np.where(slices["sequence"] == "mask", "coronal", "axial"))
    assert images.first_and_second(coronal, intervals, identifiers, max_patients=3) == []


def test_the_two_dates_are_shown_in_the_same_plane(slices, intervals, identifiers):
    later = slices["StudyDate"] == slices.groupby("PatientID")["StudyDate"].transform("max")
    turned = slices.assign(plane=np.where(later, "coronal", "axial"))
    assert images.first_and_second(turned, intervals, identifiers, max_patients=3) == []


def test_a_patient_with_several_intervals_is_shown_once(slices, regions, intervals, identifiers):
    twice = pd.concat([intervals, intervals], ignore_index=True)
    shown = images.first_and_second(slices, twice, identifiers, max_patients=3)
    assert [example["title"].split(",")[0] for example in shown[::2]] == ["patient 01", "patient 02", "patient 03"]
    repeated = pd.concat([predictions(intervals)] * 2, ignore_index=True)
    found = images.largest_errors(slices, repeated, identifiers, regions=regions, max_patients=3)
    titles = [example["title"].split(":")[0] for example in found]
    assert len(set(titles)) == len(titles) == 3


@pytest.mark.parametrize("outcomes", [False, True])
def test_the_end_is_counted_from_the_first_scan_also_if_the_time_starts_later(tables, outcomes):
    timeline = pd.DataFrame([("P1", 3, "2000-01-01 2000-03-01 2000-06-01", 3, "two dates or more")])
    known = {
        "timeline": timeline.set_axis(list(TIMELINE), axis=1),
        "intervals": pd.DataFrame({"PatientID": ["P1"], "date": "2000-03-01", "days": 92}),
    }
    if outcomes:
        row = ("P1", "2000-03-01", "2000-06-01", 92 / 30.4375, 1, "followed")
        known["outcomes"] = pd.DataFrame([row], columns=list(OUTCOMES))
    (course,) = courses.courses(courses.Tables(**{**vars(tables), **known}))
    assert (course.scans, course.end) == ([0, 60, 152], 152)
