"""Pictures of slices: to scale, turned, with their outlines where they belong; slices are read from DICOM files."""

import math
from itertools import count

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tumorprog import tables
from tumorprog.conventions import SEQUENCES
from tumorprog.errors import InputError
from tumorprog.formats import reading
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders.columns import SLICES
from tumorprog.imaging import orientation
from tumorprog.report import drawing, slices
from tumorprog.report.geometry import Geometry, geometry, place
from tumorprog.report.grading import examples as grading_examples
from tumorprog.report.grading import figures as grading_figures
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.regions import examples as feature_examples
from tumorprog.report.regions import figures as regions_figures
from tumorprog.report.regions.level import level
from tumorprog.sequences.glossary import GLOSSARY

IDENTIFIERS = Identifiers("PQ", {"P": "2000-01-01"}, shown=False, seed=0)
AXIAL = [1, 0, 0, 0, 1, 0]
NUMBERS = count(1)


@pytest.fixture
def write(tmp_path, write_dicom):
    def write_next(stored, *, cosines=AXIAL, corner=(0, 0, 0), spacing=(1, 1), **elements):
        number = next(NUMBERS)
        place = {"ImageOrientationPatient": list(cosines), "ImagePositionPatient": list(corner)}
        place |= {"PixelSpacing": list(spacing), "InstanceNumber": number}
        return write_dicom(tmp_path / f"{number}.dcm", stored, **{**place, **elements})

    return write_next


def rows_of(*paths):
    """Return catalogue rows of files, each series being one stack in the order of the files."""
    rows = pd.DataFrame([row for path in paths for row in reading.read_rows(path)])
    series = rows.groupby("SeriesInstanceUID")
    return rows.assign(stack=0, order=series.cumcount())[list(feature_examples.COLUMNS)]


def test_the_pixel_at_the_right_front_of_a_patient_is_drawn_at_the_top_left(write):
    """The slice is stored mirrored and upside down: from left to right and from back to front of the patient."""
    stored = np.zeros((4, 6))
    stored[-1, -1] = 7
    (row,) = reading.read_rows(write(stored, cosines=[-1, 0, 0, 0, -1, 0], spacing=(2, 0.5)))
    shape = geometry(row)
    axes = Figure().subplots()
    drawn = slices.draw(axes, reading.read_frame(row["path"]), shape)
    assert np.argwhere(drawn.get_array() == 7).tolist() == [[0, 0]]
    assert tuple(drawn.get_extent()) == (0, 3, 8, 0)  # mm: 6 columns of 0.5 mm, 4 rows of 2 mm
    assert axes.get_aspect() == 1
    slices.letter(axes, shape)
    where = {text.get_text(): text.get_position() for text in axes.texts}
    assert where["R"][0] < where["L"][0]
    assert where["A"][1] < where["P"][1]  # y is downwards


def test_a_transposed_slice_has_the_width_of_its_height():
    shape = Geometry(height_mm=200, width_mm=120, display=orientation.display((0, 1, 0, 1, 0, 0)))
    assert (shape.shown_width_mm, shape.shown_height_mm) == (200, 120)


def test_an_outline_surrounds_the_pixels_of_the_mask_at_any_resolution():
    shape = Geometry(height_mm=80, width_mm=40, display=orientation.display((-1, 0, 0, 0, 1, 0)))
    for scale in (1, 4):
        mask = np.kron(np.pad(np.ones((2, 1), bool), ((3, 3), (0, 3))), np.ones((scale, scale), bool))
        axes = Figure().subplots()
        slices.outline(axes, mask, shape, colour="red")
        (line,) = axes.collections[0].get_paths()
        # mirrored: the first of four columns of 10 mm is the last one in the picture
        assert (line.vertices[:, 1].min(), line.vertices[:, 1].max()) == pytest.approx((30, 50), abs=5 / scale + 0.01)
        assert line.vertices[:, 0].min() == pytest.approx(30, abs=5 / scale + 0.01)


@pytest.mark.parametrize("mask", [np.zeros((4, 4), bool), np.ones((4, 4), bool)])
def test_a_mask_without_an_edge_has_no_outline(mask):
    axes = Figure().subplots()
    slices.outline(axes, mask, Geometry(height_mm=4, width_mm=4), colour="red")
    assert not axes.collections


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "axial, slice 3 of 4, z = 12 mm"),
        ({"position_mm": -0.04}, "axial, slice 3 of 4, z = 0 mm"),
        ({"position_mm": math.nan}, "axial, slice 3 of 4"),
        ({"orientation": "1,0,0,0,0.94,0.34"}, "axial, slice 3 of 4, position = 12 mm"),
        ({"orientation": "", "plane": ""}, "orientation unknown, slice 3 of 4, position = 12 mm"),
    ],
)
def test_the_place_of_a_slice(changes, expected):
    row = {"plane": "axial", "position_mm": 12.0, "orientation": "1,0,0,0,1,0", **changes}
    assert place(row, 3, 4) == expected


def test_a_slice_without_spacing_and_orientation_has_square_pixels():
    row = {"Rows": 4, "Columns": 6, "row_spacing_mm": math.nan, "column_spacing_mm": math.nan, "orientation": ""}
    assert geometry(row) == Geometry(height_mm=4, width_mm=6)
    axes = Figure().subplots()
    slices.letter(axes, geometry(row))
    assert "".join(text.get_text() for text in axes.texts) == ""


HEAD = 100 * np.pad(np.ones((32, 24)), 4) + np.pad(np.linspace(0, 20, 32 * 24).reshape(32, 24), 4)
TUMOUR = np.pad(np.ones((6, 5)), ((8, 26), (9, 18)))


@pytest.fixture
def study(write):
    """A study of three sequences, two of them axial at different positions, with a mask of the tumour in one slice."""
    masks = {"SeriesDescription": "MaskTumor", "SeriesInstanceUID": "1.2.6"}
    post = {"SeriesDescription": "T1post"}
    map_ = {"SeriesDescription": "ADCreg", "SeriesInstanceUID": "1.2.7"}
    sagittal = {"SeriesDescription": "T2reg", "SeriesInstanceUID": "1.2.8", "cosines": [0, 1, 0, 0, 0, -1]}
    other = {
        "PatientID": "Q",
        "StudyInstanceUID": "1.2.9",
        "SeriesInstanceUID": "1.2.10",
        **{"SeriesDescription": "FLAIR"},
    }
    paths = [write(HEAD, **other)]
    for number in range(4):
        corner = (0, 0, 5 * number)
        paths += [
            write(HEAD + 300 * TUMOUR * (number == 2), corner=corner, **post),
            write(TUMOUR * (number == 2), corner=corner, **masks),
            write(HEAD * (number + 1), corner=(0, 0, 5 * number + 1), **map_),
            write(HEAD, corner=corner, **sagittal),
        ]
    return rows_of(*paths)


@pytest.fixture
def regions(study, write_regions):
    return write_regions(study[study["sequence"] != "mask"])


def test_a_level_shows_the_largest_area_of_the_mask_in_the_sequences_of_the_same_plane(study, regions):
    shown = level(study, IDENTIFIERS, regions=regions)
    assert shown.name == f"{IDENTIFIERS.patient('P')}, day 0"
    assert shown.choice == "the level of the largest area of the tumour mask"
    assert [view.title for view in shown.views] == [
        "T1post\naxial, slice 3 of 4, z = 10 mm",
        "ADC\naxial, slice 3 of 4, z = 11 mm",
    ]
    np.testing.assert_array_equal(shown.views[0].tumour, TUMOUR > 0)
    assert shown.views[1].tumour is None  # 1 mm beside the mask
    assert [view.region.sum() for view in shown.views] == [50 * 70] * 2  # the region of the table
    assert [view.is_map for view in shown.views] == [False, True]


def test_the_window_of_a_map_is_that_of_its_stack_and_the_window_of_an_image_that_of_the_slice(study, regions):
    image, map_ = level(study, IDENTIFIERS, regions=regions).views
    assert image.window[1] == pytest.approx(420, abs=15)  # the tumour of the slice
    assert map_.window[1] == pytest.approx(4 * 120, abs=15)  # the last slice; the one that is shown has up to 360


def test_a_study_with_a_mask_comes_before_one_with_more_sequences(study, regions):
    flair = study[study["sequence"] == "FLAIR"]
    more = pd.concat([flair.assign(PatientID="A", sequence=name) for name in ("T1pre", "T2", "FLAIR", "dT1")])
    named = Identifiers("AP", {}, shown=True, seed=0)
    assert level(pd.concat([more, study]), named, regions=regions).name == "P, 2000-01-01"
    assert level(pd.concat([more, flair]), named, regions=regions).name == "A, 2000-01-01"


def test_without_masks_the_level_is_the_middle_of_a_series(study, regions):
    shown = level(study[study["sequence"] != "mask"], IDENTIFIERS, regions=regions)
    assert shown.choice == "the middle of a series"
    assert not shown.has_tumour
    assert shown.views[0].title == "T1post\naxial, slice 3 of 4, z = 10 mm"


def test_a_slice_that_cannot_be_decoded_is_not_shown(study, regions):
    broken = study.assign(path=study["path"].where(study["sequence"] != "ADC", "absent.dcm"))
    assert [view.title[:6] for view in level(broken, IDENTIFIERS, regions=regions).views] == ["T1post"]
    assert level(study.assign(path="absent.dcm"), IDENTIFIERS, regions=regions) is None
    assert level(study[study["sequence"] == "mask"], IDENTIFIERS, regions=regions) is None


def test_the_panel_of_a_level_draws_the_region_and_the_mask_in_two_styles(study, regions):
    figures = regions_figures.level_panel(level(study, IDENTIFIERS, regions=regions))
    first = next(iter(figures if isinstance(figures, list) else [figures])).axes[0]
    colours = {to_hex(lines.get_edgecolor()[0]).upper() for lines in first.collections}
    assert colours == {drawing.ORANGE, drawing.SKY}
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["ROI", "MaskTumor"]


def shards(folder, name, rows, schema):
    (folder / name).mkdir()
    empty = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in schema}
    empty |= {"image": bytes(224 * 224)} if "image" in schema.names else {}
    table = pa.Table.from_pylist([{**empty, **row} for row in rows], schema)
    tables.write_shard(folder / name / "part.parquet", table, schema)
    return tables.shards(folder / name)


@pytest.fixture
def graded(tmp_path):
    """Shards of slices and of a catalogue; the file with the number 7 has two frames of one series."""
    stored = {"cohort": "grading", "SOPInstanceUID": "1.7", "SeriesInstanceUID": "1.6", "Rows": 64, "Columns": 48}
    stored |= {"row_spacing_mm": 4.0, "column_spacing_mm": 2.0, "plane": "axial", "orientation": "1,0,0,0,1,0"}
    rows = [{**stored, "frame": frame, "order": frame, "position_mm": 5.0 * frame} for frame in (0, 1)]
    progression = {**rows[1], "cohort": "progression", "Rows": 1}
    images = [{"slice": 10 + frame, "SOPInstanceUID": "1.7", "frame": frame} for frame in (0, 1)]
    return shards(tmp_path, "slices", images, SLICES), shards(tmp_path, "catalogue", [*rows, progression], CATALOGUE)


def test_the_size_and_place_of_a_graders_image_are_those_of_its_frame(graded):
    found = grading_examples.acquired([11], *graded)
    assert found.index.tolist() == [11]
    assert grading_examples.place(found.loc[11]) == "axial, slice 2 of 2, z = 5 mm"
    assert geometry(found.loc[11]) == Geometry(
        height_mm=256, width_mm=96, display=orientation.display((1, 0, 0, 0, 1, 0))
    )


def test_a_slice_that_is_not_in_the_catalogue_is_an_error(graded):
    with pytest.raises(InputError, match="slice 12 is not in it"):
        grading_examples.acquired([10, 12], *graded)


def test_a_heat_map_lies_on_its_slice():
    shape = Geometry(height_mm=200, width_mm=100)
    example = {"title": "", "image": np.ones((4, 4)), "heat_map": np.eye(4), "geometry": shape}
    figures = grading_figures.grad_cam_panel([example])
    axes = next(iter(figures if isinstance(figures, list) else [figures])).axes[0]
    plain, below, heat = axes.images
    assert tuple(heat.get_extent()) == tuple(below.get_extent()) == (103, 203, 200, 0)
    assert tuple(plain.get_extent()) == (0, 100, 200, 0)
    assert axes.get_xlim() == (0, 203)


def test_the_glossary_has_a_line_for_each_sequence():
    assert set(GLOSSARY) == {*SEQUENCES, "mask"}
    assert all(text.endswith(".") for text in GLOSSARY.values())
