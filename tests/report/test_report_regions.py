"""The section on the region of interest, from made-up tables of the stage `regions` and a segmenter that marks all."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from torch import nn

from tumorprog import model_files, tables
from tumorprog.formats.columns import CATALOGUE
from tumorprog.imaging import intensity
from tumorprog.regions.columns import LESIONS, REGIONS, SCORES
from tumorprog.regions.methods import REGIONS as IMAGE_METHODS
from tumorprog.report import headline, verdicts
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.page import table_rows
from tumorprog.report.regions import agreement, figures, sections
from tumorprog.report.regions.outlines import ranked
from tumorprog.segmenters import unet
from tumorprog.settings import Settings, with_values

SIZE, DATE = 64, "2001-02-03"
PATIENTS = {"Doe-1": 0.9, "Doe-2": 0.6, "Doe-3": 0.2, "Doe-4": 0.5, "Doe-5": 0.7}
"""The Dice coefficient of the segmenter."""
IDENTIFIERS = Identifiers(PATIENTS, dict.fromkeys(PATIENTS, DATE), shown=False, seed=0)
SETTINGS = with_values(Settings(), {"report.bootstrap": 200})


def image(patient):
    generator = np.random.default_rng(int(patient[-1]))
    return np.kron(generator.integers(1, 500, (3, 8, 8)), np.ones((1, 8, 8), int))


def mask():
    """A mask whose area is largest on the last slice."""
    values = np.zeros((3, SIZE, SIZE), int)
    values[1, 10:20, 20:30] = values[2, 10:30, 20:50] = 1
    return values


def slices_of(folder, patient, sequence, values):
    empty = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in CATALOGUE}
    common = {
        **{"cohort": "progression", "PatientID": patient, "StudyDate": DATE, "StudyInstanceUID": f"1.{patient[-1]}"},
        **{"sequence": sequence, "Type": sequence, "SeriesInstanceUID": f"{sequence}-{patient}", "plane": "axial"},
        **{"pixel_dtype": "<u2", "PhotometricInterpretation": "MONOCHROME2", "RescaleSlope": 1.0},
        **{"RescaleIntercept": 0.0, "Rows": SIZE, "Columns": SIZE, "SliceThickness": 5.0, "slice_spacing_mm": 5.0},
        **{"row_spacing_mm": 1.0, "column_spacing_mm": 1.0, "orientation": "1,0,0,0,1,0"},
    }
    rows = []
    for number, one in enumerate(values.astype(np.uint16)):
        path = folder / f"{sequence}-{patient}-{number}.bin"
        path.write_bytes(one.tobytes())
        known = {"path": str(path), "pixel_bytes": one.nbytes, "file_bytes": one.nbytes, "order": number}
        known |= {"position_mm": 5.0 * number, "ImagePositionPatient": f"0,0,{5 * number}"}
        rows.append({**empty, **common, **known})
    return rows


def scores_of(patient, dice):
    series = {"PatientID": patient, "date": DATE, "SeriesInstanceUID": f"T1post-{patient}", "stack": 0}
    full = {"sequence": "T1post", "mask": 1000, "mask_ml": 12.0, "lesions": 2, "lesions_found": 1, "hd95_mm": 9.0}
    large = {"region": 9000, "region_ml": 108.0, "both": 100, "false_lesions": 7}
    equal = {"region": 1000, "region_ml": 12.0, "both": int(1000 * dice), "false_lesions": 1}
    return [
        {**series, **full, **large, "method": "brightest", "model": ""},
        {**series, **full, **equal, "both": 300, "method": "component", "model": ""},
        {**series, **full, **equal, "method": "learned", "model": "fold-1"},
        {**series, **large, "sequence": "T2", "method": "component", "model": "", "mask": 1000, "mask_ml": 12.0},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run directory of five patients, with regions of two methods and the models of one fold."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("catalogue", "regions", "archive"):
        (folder / name).mkdir()
    rows = [
        row
        for patient in PATIENTS
        for sequence, values in (("T1post", image(patient)), ("mask", mask()))
        for row in slices_of(folder / "archive", patient, sequence, values)
    ]
    tables.write_shard(folder / "catalogue" / "part.parquet", pa.Table.from_pylist(rows, CATALOGUE), CATALOGUE)
    scores = pd.DataFrame([row for patient, dice in PATIENTS.items() for row in scores_of(patient, dice)])
    tables.write_csv(folder / "regions" / "_scores.csv", scores, SCORES)
    lesions = pd.DataFrame([("Doe-1", DATE, "T1post-Doe-1", "T1post", "learned", 1, 11.0, 4.0)], columns=list(LESIONS))
    tables.write_csv(folder / "regions" / "_lesions.csv", lesions, LESIONS)
    empty = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in REGIONS}
    used = [
        {**empty, "cohort": "progression", "PatientID": patient, "date": DATE, "method": method, "region": None}
        for patient, method in (
            ("Doe-1", "learned"),
            ("Doe-1", "learned"),
            ("Doe-2", "learned"),
            ("Doe-3", "component"),
        )
    ]
    tables.write_shard(folder / "regions" / "part.parquet", pa.Table.from_pylist(used, REGIONS), REGIONS)
    network = unet.build(2, seed=0)
    nn.init.constant_(list(network.parameters())[-1], 50.0)  # so that everything is tumour
    description = {**unet.DESCRIPTION, "sequences": ["T1post"], "neighbours": 0, "training_patients": []}
    for name in ("segmenter", "segmenter/folds/fold-1"):
        model_files.save(folder / name, network, description)
    return folder


@pytest.fixture(scope="module")
def known(folder):
    return agreement.read(folder, IDENTIFIERS, SETTINGS)


def counts(folder):
    return agreement.used(tables.shards(folder / "regions"))


def test_the_best_the_median_and_the_worst_patient_are_shown(known):
    order = [(one.title.split(":")[0], one.title[-4:]) for one in known.outlined]
    assert order == [("best", "0.90"), ("median", "0.60"), ("worst", "0.20")]
    assert known.outlined[0].title == f"best: {IDENTIFIERS.patient('Doe-1')}, day 0\nDice 0.90"


def test_the_outlines_are_those_of_the_slice_with_the_largest_mask(known):
    one = known.outlined[0]
    np.testing.assert_array_equal(one.image, image("Doe-1")[2])
    large = np.kron(mask()[2], np.ones((4, 4), int)) > 0
    assert np.count_nonzero(one.regions["mask"] != large) < 0.1 * large.sum()  # corners are rounded
    assert one.regions["learned"].all()  # what this segmenter finds
    paper = IMAGE_METHODS["brightest"](intensity.prepare(image("Doe-1")[2].astype(np.float32)))
    np.testing.assert_array_equal(one.regions["brightest"], paper)
    assert one.regions.keys() == {"mask", "learned", "brightest"}


def test_with_few_patients_the_median_or_the_worst_is_not_shown(known):
    for number, expected in ((0, []), (1, ["best"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])):
        some = known.scores[known.scores["PatientID"].isin(list(PATIENTS)[:number])]
        assert list(ranked(some, "learned", "T1post")) == expected


def test_of_a_patient_the_scan_closest_to_the_mean_is_shown():
    rows = pd.DataFrame([scores_of("Doe-1", dice)[2] | {"stack": stack} for stack, dice in enumerate((0.1, 0.6, 0.8))])
    assert ranked(rows, "learned", "T1post")["best"]["stack"] == 1


def test_a_scan_that_can_no_longer_be_decoded_is_not_shown(folder):
    for path in folder.glob("archive/T1post-Doe-1-*"):
        path.rename(path.with_suffix(".gone"))
    try:
        shown = agreement.read(folder, IDENTIFIERS, SETTINGS).outlined
    finally:
        for path in folder.glob("archive/*.gone"):
            path.rename(path.with_suffix(".bin"))
    assert [one.title.split(":")[0] for one in shown] == ["median", "worst"]


def test_the_section_states_what_was_used_and_how_well_it_agrees(folder, known):
    section = sections.rois([], None, counts(folder), known, method="auto")
    text = " ".join(section.paragraphs)
    assert "segmenter on 3 slices (75%); largest bright component on 1 slice (25%)" in text
    assert "trained without this patient" in text
    assert "On T1post, 5 scans of 5 patients with a mask, the mean Dice coefficient of the segmenter is 0.58" in text
    assert [len(table_rows(table)[1]) for table in section.tables] == [2, 14, 2, 5, 6]
    assert len(section.pictures) == 3
    used, methods, by_sequence, by_patient, _ = (table_rows(table) for table in section.tables)
    assert used[1][0] == ["segmenter", 3, 1, 2, 2]
    assert methods[0][1:] == ["segmenter", "largest bright component", "brightest cluster (paper)"]
    assert methods[1][0][3]["value"] == pytest.approx(0.02)
    assert by_sequence[1][1][2:] == [None, known.metrics["component"]["T2"]["dice"], None]
    assert by_patient[-1][0][0] == "patient 01"
    assert sorted(row[1] for row in by_patient[-1]) == sorted(PATIENTS.values())


def test_patients_have_pseudonyms_in_the_section(folder, known):
    section = sections.rois([], None, counts(folder), known, method="auto")
    text = str([table_rows(table) for table in section.tables]) + str(section.paragraphs)
    text += "".join(picture.caption + picture.alt + "".join(picture.panels) for picture in section.pictures)
    assert not [name for name in (*PATIENTS, DATE) if name in text]


def test_without_masks_the_section_has_no_metrics(folder):
    section = sections.rois([], None, counts(folder), None, method="brightest")
    assert "There are no tumour masks" in section.paragraphs[-1]
    assert len(section.tables) == 1
    assert not section.pictures


def test_without_scores_there_is_no_agreement(tmp_path):
    (tmp_path / "regions").mkdir()
    for name, columns in (("scores", SCORES), ("lesions", LESIONS)):
        tables.write_csv(tmp_path / "regions" / f"_{name}.csv", pd.DataFrame(columns=list(columns)), columns)
    assert agreement.read(tmp_path, IDENTIFIERS, SETTINGS) is None


def test_without_a_segmenter_the_image_methods_are_shown(folder, tmp_path):
    scores = tables.read_csv(folder / "regions" / "_scores.csv", SCORES).query("method != 'learned'")
    (tmp_path / "regions").mkdir()
    (tmp_path / "catalogue").symlink_to(folder / "catalogue")
    tables.write_csv(tmp_path / "regions" / "_scores.csv", scores, SCORES)
    tables.write_csv(tmp_path / "regions" / "_lesions.csv", pd.DataFrame(columns=list(LESIONS)), LESIONS)
    known = agreement.read(tmp_path, IDENTIFIERS, SETTINGS)
    assert list(known.on_sequence()) == ["component", "brightest"]
    assert known.outlined[0].regions.keys() == {"mask", "component", "brightest"}
    section = sections.rois([], None, counts(folder), known, method="component")
    assert "cross-fitted" not in " ".join(section.paragraphs)
    assert "the mean Dice coefficient of the largest bright component is 0.30" in " ".join(section.paragraphs)


def test_the_limits_of_agreement_and_every_scan_are_drawn(known):
    scores = known.scores[known.scores["sequence"] == "T1post"]
    panels = figures.volume_agreement(scores, known.on_sequence())
    axes = [figure.axes[0] for figure in panels]
    assert [one.get_title(loc="left") for one in axes] == [
        *("segmenter", "largest bright component", "brightest cluster (paper)")
    ]
    assert axes[2].collections[0].get_offsets().data.tolist() == [[60.0, 96.0]] * 5
    heights = [line.get_ydata()[0] for line in axes[2].lines]
    limits = [known.metrics["brightest"]["T1post"][f"volume_error_{side}ml"]["value"] for side in ("", "lower_limit_")]
    assert heights[1:3] == limits
    (one,) = figures.dice_by_volume(scores)
    assert sorted(one.axes[0].collections[0].get_offsets()[:, 1]) == pytest.approx(sorted(PATIENTS.values()))


def test_the_verdict_compares_the_segmenter_with_the_other_methods(known):
    (verdict,) = verdicts.summary({"roi": known.metrics})
    assert verdict.startswith("Region of interest: on T1post, 5 patients with tumour masks, the Dice coefficient of")
    assert "it cannot be distinguished from that of the largest bright component" in verdict
    assert "it is better than that of the brightest cluster (paper) (difference +0.56" in verdict
    assert verdicts.summary({"roi": {"brightest": known.metrics["brightest"]}}) == []
    assert verdicts.summary({"roi": {}}) == []


def test_a_warning_names_regions_that_hardly_match_the_masks(known):
    slices = {"mask": 50, "learned": 20, "component": 30}
    (alert,) = verdicts.alerts({"roi": known.metrics, "roi_slices": slices})
    assert "the features of 30% of the slices were computed inside the largest bright component" in alert
    assert "on T1post is 0.30" in alert
    assert verdicts.alerts({"roi": known.metrics, "roi_slices": {"mask": 50, "learned": 20}}) == []
    assert verdicts.alerts({"roi": {}, "roi_slices": slices}) == []


def test_the_headline_is_the_segmenter_beside_the_paper(known):
    (tile,) = headline.tiles({"roi": known.metrics})
    assert tile.metric == known.metrics["learned"]["T1post"]["dice"]
    assert tile.note == "brightest cluster (paper) 0.02; 5 patients"
    assert headline.tiles({"roi": {"component": known.metrics["component"]}}) == []
