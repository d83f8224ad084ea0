import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import openpyxl
import pandas as pd
import pydicom
import pytest
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage
from scipy import stats

from tumorprog.cohort import outcomes
from tumorprog.errors import InputError, TumorprogError
from tumorprog.synthetic import anatomy, archive, fields, phantom, plan, tumours
from tumorprog.synthetic.settings import Synthetic

SHAPE = Synthetic(graded_patients=6, ungraded_patients=2, progression_patients=3, series_slices=7, size=64)
SMALL = Synthetic(graded_patients=2, ungraded_patients=1, progression_patients=1, series_slices=2, size=32)

REAL_STUDIES = (
    "10-17-1995-MR RCBV SEQUENCE-57198",
    "06-18-1992-FH-HEADBrain Protocols-39987",
)
REAL_SERIES = ("34911-T1prereg-46949", "5341.000000-MaskTumor-75889")
STUDY_FOLDER = re.compile(r"\d\d-\d\d-\d{4}-((FH|NA)-)?(\S.*)?-\d{5}")
SERIES_FOLDER = re.compile(r"\d+(\.000000)?-(\S.*)?-\d{5}")
FILE_NAME = re.compile(r"\d{6}\.dcm|1-\d\d+\.dcm")


def write(out, shape, *, seed=0, processes=1):
    return list(archive.write_cohort(out, shape, seed=seed, processes=processes))


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort")
    write(out, SHAPE)
    return out


@pytest.fixture(scope="module")
def slices(cohort):
    """All files, read by pydicom, one row per file."""
    return pd.DataFrame([row_of(path, cohort) for path in sorted(cohort.rglob("*.dcm"))])


@pytest.fixture(scope="module")
def truth(cohort):
    return pd.read_csv(cohort / "truth.csv")


def row_of(path, cohort):
    dataset = pydicom.dcmread(path)
    return {
        "path": path.relative_to(cohort),
        "dataset": dataset,
        "collection": path.relative_to(cohort).parts[0],
        "PatientID": dataset.PatientID,
        "date": f"{dataset.StudyDate[:4]}-{dataset.StudyDate[4:6]}-{dataset.StudyDate[6:]}",
        "SeriesDescription": dataset.SeriesDescription,
        "SeriesInstanceUID": dataset.SeriesInstanceUID,
        "stored": dataset.pixel_array,
    }


def test_every_file_is_a_readable_image_with_the_required_elements(slices):
    for dataset, stored in zip(slices["dataset"], slices["stored"], strict=True):
        assert stored.shape == (dataset.Rows, dataset.Columns)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
        assert dataset.Modality == "MR"
        assert len(dataset.PixelSpacing) == 2
    assert slices["dataset"].map(lambda dataset: dataset.SOPInstanceUID).is_unique


def test_a_file_has_the_same_bytes_as_if_written_by_pydicom(cohort, slices):
    for path, dataset in zip(slices["path"][::7], slices["dataset"][::7], strict=True):
        rewritten = io.BytesIO()
        pydicom.dcmwrite(rewritten, dataset, enforce_file_format=True)
        assert rewritten.getvalue() == (cohort / path).read_bytes()


def test_the_numbers_of_patients_series_and_slices_are_those_of_the_shape(slices, truth):
    assert slices.groupby("collection")["PatientID"].nunique().to_dict() == {
        "REMBRANDT": 8,
        "Brain-Tumor-Progression": 3,
    }
    localizer = slices["dataset"].map(lambda dataset: "LOCALIZER" in dataset.ImageType)
    assert set(slices[~localizer].groupby("SeriesInstanceUID").size()) == {SHAPE.series_slices}
    assert set(slices[localizer].groupby("SeriesInstanceUID").size()) == {3}
    images = slices[~localizer].groupby(["collection", "PatientID", "date"])["SeriesInstanceUID"].nunique()
    assert set(images["REMBRANDT"]) == {3}
    assert set(images["Brain-Tumor-Progression"]) == {10}
    assert len(truth) == 8 + 2 * 3
    assert truth[truth["collection"] == "REMBRANDT"]["Institution"].value_counts().tolist() == [4, 4]


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_processes(tmp_path):
    one = write(tmp_path / "one", SMALL)
    two = write(tmp_path / "two", SMALL, processes=2)
    assert one == two == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_different_seed_gives_different_images(tmp_path):
    write(tmp_path / "zero", SMALL)
    write(tmp_path / "one", SMALL, seed=1)
    first, second = (
        {digest for name, digest in digests(tmp_path / name).items() if name.endswith(".dcm")}
        for name in ("zero", "one")
    )
    assert first
    assert not first & second


def test_adding_patients_does_not_change_the_earlier_ones(tmp_path):
    more = replace(SMALL, graded_patients=4, ungraded_patients=2, progression_patients=2)
    write(tmp_path / "small", SMALL)
    write(tmp_path / "large", more)
    small, large = (
        {name: digest for name, digest in digests(tmp_path / name).items() if name.endswith(".dcm")}
        for name in ("small", "large")
    )
    assert small.items() < large.items()


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    write(tmp_path / "complete", SMALL)
    interrupted = archive.write_cohort(tmp_path / "interrupted", SMALL, seed=0)
    assert next(interrupted) == (1, 4)
    interrupted.close()
    (kept,) = (tmp_path / "interrupted" / "REMBRANDT").iterdir()
    partial = tmp_path / "interrupted" / ".unfinished" / "REMBRANDT" / "900-00-1900" / "left"
    partial.mkdir(parents=True)
    (partial / "1-01.dcm").write_bytes(b"cut")
    before = kept.stat().st_ino
    assert write(tmp_path / "interrupted", SMALL)[-1] == (4, 4)
    assert kept.stat().st_ino == before
    assert digests(tmp_path / "complete") == digests(tmp_path / "interrupted")


def test_a_folder_with_other_files_is_rejected_and_unchanged(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="choose a new or empty folder"):
        archive.write_cohort(tmp_path, SMALL, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_instead_of_a_folder_is_rejected(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="choose another folder"):
        archive.write_cohort(tmp_path / "file", SMALL, seed=0)


def test_a_cohort_with_another_seed_or_shape_is_rejected(tmp_path):
    write(tmp_path / "out", SMALL)
    for shape, seed in ((SMALL, 1), (replace(SMALL, size=40), 0)):
        with pytest.raises(InputError, match="different shape or seed"):
            archive.write_cohort(tmp_path / "out", shape, seed=seed)


def test_a_path_that_cannot_be_written_is_named_in_the_error(tmp_path):
    progress = archive.write_cohort(tmp_path / "out", SMALL, seed=0)
    (tmp_path / "out" / "REMBRANDT").write_text("in the way")
    with pytest.raises(TumorprogError, match=r"REMBRANDT.*run the same command again"):
        list(progress)


def test_the_outcomes_equal_the_truth_except_for_censored_patients(cohort, truth):
    known = outcomes.read_outcomes(cohort / archive.OUTCOMES_TABLE).set_index("PatientID")
    first = truth[(truth["collection"] == plan.PROGRESSION) & truth["days"].notna()].set_index("PatientID")
    assert list(known.index) == list(first.index)
    days = (pd.to_datetime(known["date"]) - pd.to_datetime(first["date"])).dt.days
    assert (days == first["days"])[known["event"]].all()
    assert (days < first["days"])[~known["event"]].all()
    assert (~known["event"]).sum() == len(known) // 3


def test_an_empty_tree_is_not_written(tmp_path):
    write(tmp_path / "out", replace(SMALL, graded_patients=0, ungraded_patients=0, series_slices=1))
    assert not (tmp_path / "out" / "REMBRANDT").exists()
    assert not (tmp_path / "out" / archive.CLINICAL_TABLE).exists()
    write(tmp_path / "none", replace(SMALL, graded_patients=0, ungraded_patients=0, progression_patients=0))
    assert list(pd.read_csv(tmp_path / "none" / "truth.csv").columns) == list(archive.TRUTH)


def test_folder_and_file_names_follow_the_descriptive_layout(slices):
    assert all(STUDY_FOLDER.fullmatch(name) for name in REAL_STUDIES)
    assert all(SERIES_FOLDER.fullmatch(name) for name in REAL_SERIES)
    for path, dataset in zip(slices["path"], slices["dataset"], strict=True):
        _, patient, study, series, name = path.parts
        assert STUDY_FOLDER.fullmatch(study), study
        assert SERIES_FOLDER.fullmatch(series), series
        assert FILE_NAME.fullmatch(name), name
        assert patient == dataset.PatientID
        day = dataset.StudyDate
        assert study.startswith(f"{day[4:6]}-{day[6:]}-{day[:4]}-")
        assert study.endswith(f"-{dataset.StudyDescription}-{dataset.StudyInstanceUID[-5:]}")
        assert series.endswith(f"-{dataset.SeriesDescription}-{dataset.SeriesInstanceUID[-5:]}")
        assert float(series.split("-")[0]) == dataset.SeriesNumber
    studies = " ".join(path.parts[2] for path in slices["path"])
    assert "10-17-1995-MR RCBV SEQUENCE-" in studies
    assert "08-13-1996-FH-" in studies


def test_metadata_counts_the_images_of_each_series(cohort, slices):
    for collection in ("REMBRANDT", "Brain-Tumor-Progression"):
        metadata = pd.read_csv(cohort / collection / "metadata.csv").set_index("Series UID")
        counted = slices[slices["collection"] == collection].groupby("SeriesInstanceUID").size()
        assert metadata["Number of Images"].sort_index().to_dict() == counted.sort_index().to_dict()
        assert all((cohort / location).is_dir() for location in metadata["File Location"])
        assert (cohort / collection / "license.html").is_file()


def test_names_and_values_of_the_clinical_table_start_with_a_space(cohort):
    sheet = openpyxl.load_workbook(cohort / archive.CLINICAL_TABLE)["report"]
    names, *rows = sheet.iter_rows(values_only=True)
    assert names == ("Sample", " Age", " Gender", " Disease", " Grade", " Institution")
    assert all(value.startswith(" ") for row in rows for value in row[1:])
    assert {row[4] for row in rows} == {" II", " III", " IV", " --"}
    assert any(row[0].startswith("900_00_1") for row in rows)


def test_the_clinical_table_has_a_gbm_without_grade_one_extra_patient_and_one_missing_patient(cohort, slices):
    table = pd.read_excel(cohort / archive.CLINICAL_TABLE, sheet_name="report", dtype=str)
    assert (table[table[" Grade"] == " --"][" Disease"] == " GBM").any()
    listed = set(table["Sample"].str.replace("_", "-"))
    imaged = set(slices[slices["collection"] == "REMBRANDT"]["PatientID"])
    assert len(listed - imaged) == len(imaged - listed) == 1


def test_both_hospitals_have_patients_of_all_grades():
    patients = [plan.plan_patient("graded", number, shape=SMALL, seed=0) for number in range(12)]
    pairs = {(patient.grade, patient.institution) for patient in patients}
    assert pairs == {(grade, hospital) for grade in (2, 3, 4) for hospital in (plan.HENRY_FORD, plan.JEFFERSON)}


def test_jefferson_series_are_identified_by_acquisition_parameters_only(slices):
    jefferson = slices[slices["PatientID"].str.startswith("900-00-")]["dataset"]
    assert set(jefferson.map(lambda dataset: dataset.SeriesDescription + dataset.StudyDescription)) == {""}
    assert {dataset.Manufacturer for dataset in jefferson} == {"SIEMENS"}
    flair = [dataset for dataset in jefferson if dataset.SequenceName.startswith("*tir")]
    assert flair
    assert all(dataset.InversionTime > 1500 and "IR" in dataset.ScanningSequence for dataset in flair)
    assert any(dataset.get("ContrastBolusAgent") and dataset.RepetitionTime < 1000 for dataset in jefferson)


def test_all_pixel_representations_occur(slices):
    grading = slices[slices["collection"] == "REMBRANDT"]["dataset"]
    assert {dataset.PixelRepresentation for dataset in grading} == {0, 1}
    assert {float(dataset.RescaleSlope) for dataset in grading} == {0.5, 1.0}
    inverted = {dataset.PatientID for dataset in grading if dataset.PhotometricInterpretation == "MONOCHROME1"}
    assert len(inverted) == 1
    assert len({(dataset.Rows, dataset.Columns) for dataset in grading}) >= 3
    assert len({dataset.file_meta.TransferSyntaxUID for dataset in slices["dataset"]}) == 2


def test_all_series_of_a_date_share_one_frame_and_grid(slices):
    progression = slices[slices["collection"] == "Brain-Tumor-Progression"]
    for _, study in progression.groupby(["PatientID", "date"]):
        assert set(study["SeriesDescription"]) == set(plan.PROGRESSION_SERIES)
        assert len({dataset.FrameOfReferenceUID for dataset in study["dataset"]}) == 1
        grids = [
            tuple((*dataset.ImagePositionPatient, *dataset.PixelSpacing, dataset.Rows) for dataset in series["dataset"])
            for _, series in study.groupby("SeriesInstanceUID")
        ]
        assert len(set(grids)) == 1


def test_siemens_images_have_the_published_aspect_ratio_and_some_patients_change_scanner(slices):
    progression = slices[slices["collection"] == "Brain-Tumor-Progression"]
    shapes = {(dataset.Manufacturer, dataset.Rows, dataset.Columns) for dataset in progression["dataset"]}
    rows = SHAPE.size * 5 // 8
    assert shapes == {("GE MEDICAL SYSTEMS", 64, 64), ("SIEMENS", rows, round(rows * 260 / 320))}
    vendors = progression.groupby("PatientID")["dataset"].agg(
        lambda datasets: len({dataset.Manufacturer for dataset in datasets})
    )
    assert vendors.to_dict() == {"PGBM-001": 1, "PGBM-002": 1, "PGBM-003": 2}


def test_a_mask_is_a_secondary_capture_of_zeros_and_ones_with_the_true_volume(slices, truth):
    progression = slices[slices["collection"] == "Brain-Tumor-Progression"]
    is_mask = progression["SeriesDescription"] == "MaskTumor"
    assert {dataset.SOPClassUID for dataset in progression[is_mask]["dataset"]} == {SecondaryCaptureImageStorage}
    assert {dataset.SOPClassUID for dataset in progression[~is_mask]["dataset"]} == {MRImageStorage}
    for (patient, day), mask in progression[is_mask].groupby(["PatientID", "date"]):
        stored = np.stack(list(mask["stored"]))
        assert set(np.unique(stored)) == {0, 1}
        first = mask["dataset"].iloc[0]
        voxel_ml = np.prod([float(side) for side in (*first.PixelSpacing, first.SpacingBetweenSlices)]) / 1000
        (true,) = truth[(truth["PatientID"] == patient) & (truth["date"] == day)]["enhancing_ml"]
        # seven slices in 66 mm: only few slices intersect the rim
        assert stored.sum() * voxel_ml == pytest.approx(true, rel=0.3)


def test_a_tumour_has_about_the_volume_of_its_ellipsoid_and_exactly_without_deformation():
    rng = np.random.default_rng(0)
    for days in (27, 82, 400):
        tumour = tumours.tumour_of_days(days, rng)
        ellipsoid_ml = 4 / 3 * np.pi * np.prod(tumour.radii_mm) / 1000
        assert tumours.volumes_ml(tumour)[0] == pytest.approx(ellipsoid_ml, rel=0.45)
        undeformed = replace(
            tumour, shape=replace(tumour.shape, amplitude=0.0), roughness=0.0, cavity_radii_mm=np.zeros(3)
        )
        assert tumours.volumes_ml(undeformed)[0] == pytest.approx(ellipsoid_ml, rel=0.01)
        assert tumours.volumes_ml(undeformed)[1] == pytest.approx(ellipsoid_ml * (1 - tumour.core**3), rel=0.02)


def test_a_field_is_the_sum_of_its_sine_waves():
    rng = np.random.default_rng(3)
    waves = fields.random_waves(rng, 7, wavelength_mm=20, deviation=2.0)
    plane = fields.Plane(np.array([-9.0, 4.0, 1.0]), np.array([0.1, 0.9, 0]), np.array([0.8, 0, -0.3]), 11, 13)
    phases = np.tensordot(waves.vectors, plane.points.astype(float), axes=1) + waves.phases[:, None, None]
    np.testing.assert_allclose(waves.on(plane), waves.amplitude * np.sin(phases).sum(axis=0), atol=1e-4)


def test_the_days_to_progression_are_the_published_ones(truth):
    days = truth[truth["collection"] == "Brain-Tumor-Progression"].dropna(subset=["days"])
    assert days["days"].tolist() == [135, 157, 202]
    dates = truth[truth["PatientID"] == "PGBM-001"]["date"].tolist()
    assert dates == ["1991-11-19", "1992-04-02"]
    rng = np.random.default_rng(0)
    published = [plan.days_to_progression(number, rng) for number in range(20)]
    assert (min(published), max(published), np.median(published)) == (27, 966, 82.5)
    drawn = [plan.days_to_progression(number, rng) for number in range(20, 1020)]
    assert np.mean(np.log(drawn)) == pytest.approx(np.mean(np.log(published)), abs=0.1)
    assert np.std(np.log(drawn)) == pytest.approx(np.std(np.log(published)), abs=0.1)


def test_faster_progression_means_a_larger_first_tumour_and_faster_growth():
    patients = [plan.plan_patient("progression", number, shape=SMALL, seed=0) for number in range(60)]
    days = [(patient.studies[1].day - patient.studies[0].day).days for patient in patients]
    first, second = ([patient.studies[index].tumour for patient in patients] for index in (0, 1))
    volumes = [tumours.volumes_ml(tumour)[1] for tumour in first]
    assert stats.spearmanr(days, volumes).statistic < -0.8
    for attribute in ("oedema_mm", "perfusion"):
        assert stats.spearmanr(days, [getattr(tumour, attribute) for tumour in first]).statistic < -0.9
    growth = [after.radii_mm.mean() - before.radii_mm.mean() for before, after in zip(first, second, strict=True)]
    assert min(growth) > 0
    assert stats.spearmanr(days, np.array(growth) / days).statistic < -0.8


def tumour_intensities(grade, seed, sequence):
    """Return noise-free means over rim, core, tumour and healthy white matter."""
    rng = np.random.default_rng(seed)
    head, tumour = anatomy.random_head(rng), tumours.tumour_of_grade(grade, rng)
    across, down = np.array([1.5, 0, 0]), np.array([0, 1.5, 0])
    plane = fields.Plane(np.array([-120, -120, tumour.centre_mm[2]]), down, across, 160, 160)
    painted = phantom.layers(head, tumour, plane)
    signal = phantom.image(head, tumour, sequence=sequence, painted=painted, plane=plane)
    inside = tumours.tumour_mask(tumour, plane)
    rim = tumours.enhancing_mask(tumour, plane)
    diseased = np.maximum.reduce([share for tissue, share in painted if tissue == "oedema"])
    white = next(share for tissue, share in painted if tissue == "white")
    healthy = (white > 0.99) & (diseased == 0) & ~inside
    return {
        "rim": signal[rim].mean(),
        "core": signal[inside & ~rim].mean() if (inside & ~rim).any() else np.nan,
        "inside": signal[inside].mean(),
        "healthy": signal[healthy].mean(),
    }


@pytest.mark.parametrize("seed", range(4))
def test_each_grade_has_its_typical_appearance(seed):
    enhanced = {grade: tumour_intensities(grade, seed, "T1post") for grade in (2, 3, 4)}
    assert enhanced[4]["rim"] > 1.3 * enhanced[4]["healthy"]
    assert enhanced[4]["core"] < 0.6 * enhanced[4]["rim"]
    assert enhanced[2]["inside"] < enhanced[2]["healthy"]
    assert enhanced[3]["inside"] > enhanced[2]["inside"] * 1.05
    for sequence in ("FLAIR", "T2"):
        low = tumour_intensities(2, seed, sequence)
        assert low["inside"] > 1.3 * low["healthy"]


def middle_image(number):
    """Return the grade of a patient and a noisy T1post slice through the centre of the tumour."""
    patient = plan.plan_patient("graded", number, shape=SMALL, seed=0)
    tumour, rng = patient.studies[0].tumour, np.random.default_rng(number)
    across, down = np.array([4.0, 0, 0]), np.array([0, 4.0, 0])
    plane = fields.Plane(np.array([-120, -120, tumour.centre_mm[2]]), down, across, 60, 60)
    painted = phantom.layers(patient.head, tumour, plane)
    signal = phantom.image(patient.head, tumour, sequence="T1post", painted=painted, plane=plane)
    return patient.grade, phantom.received(signal, phantom.random_receiver(rng), rng, sequence="T1post", plane=plane)


def test_the_overall_brightness_of_an_image_does_not_indicate_the_grade():
    images = [middle_image(number) for number in range(60)]
    for summary in (np.mean, np.std, np.median):
        by_grade = [[summary(image) for grade, image in images if grade == wanted] for wanted in (2, 3, 4)]
        assert stats.kruskal(*by_grade).pvalue > 0.01


def test_the_marker_contains_seed_and_shape(cohort):
    marker = json.loads((cohort / plan.SYNTHETIC).read_text())
    assert marker["seed"] == 0
    assert marker["shape"]["series_slices"] == SHAPE.series_slices
