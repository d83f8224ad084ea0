"""The stage regions without Ray: studies of small stacks, whose slices are stored as plain values in files."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorprog import queries, tables
from tumorprog.cohort.volumes import MEASURED
from tumorprog.errors import InputError
from tumorprog.formats.columns import CATALOGUE
from tumorprog.imaging import intensity
from tumorprog.regions import transfer
from tumorprog.regions.columns import LESIONS, REGIONS, SCORES
from tumorprog.regions.methods import REGIONS as IMAGE_METHODS
from tumorprog.segmenters import apply
from tumorprog.settings import Settings, with_values
from tumorprog.stages import regions

SIDE = intensity.SIDE
STUDY = {"cohort": "progression", "PatientID": "P1", "date": "2001-02-03"}


@pytest.fixture
def stack(tmp_path):
    """Return a function that writes a stack of (N, H, W) values of 1 mm, 5 mm apart, and returns its slices."""
    count = 0

    def write(values, *, sequence="T1post", series="1", origin=(-100.0, -90.0, 0.0), **changes):
        nonlocal count
        slices = []
        for number, image in enumerate(np.asarray(values, np.uint16)):
            path, count = tmp_path / f"{count}.bin", count + 1
            path.write_bytes(image.tobytes())
            one = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in CATALOGUE}
            one |= {"path": str(path), "pixel_bytes": image.nbytes, "file_bytes": image.nbytes, "pixel_dtype": "<u2"}
            one |= {"Rows": image.shape[0], "Columns": image.shape[1], "PhotometricInterpretation": "MONOCHROME2"}
            one |= {"RescaleSlope": 1.0, "RescaleIntercept": 0.0, "sequence": sequence, "Type": sequence}
            one |= {"SeriesInstanceUID": series, "order": number, "position_mm": origin[2] + 5.0 * number}
            one |= {"SliceThickness": 5.0, "slice_spacing_mm": 5.0, "row_spacing_mm": 1.0, "column_spacing_mm": 1.0}
            corner = f"{origin[0]:g},{origin[1]:g},{origin[2] + 5 * number:g}"
            slices.append({**one, "orientation": "1,0,0,0,1,0", "ImagePositionPatient": corner, **changes})
        return slices

    return write


def options(**changes):
    known = {"methods": {"progression": "auto", "grading": "auto"}, "fallback": "component", "labels": ()}
    return regions.Options(**{**known, "margin_mm": 0.0, "sequences": ("T1post", "FLAIR"), **changes})


def find(*stacks, study=STUDY, **changes):
    """Return the rows of the regions of a study as a data frame, with the masks unpacked, and the notes."""
    row = {**study, "slices": [one for slices in stacks for one in slices]}
    table, notes = regions.find(pa.Table.from_pylist([row], regions.WORK), options=options(**changes))
    assert table.schema == REGIONS
    rows = table.to_pandas()
    unpacked = [
        None if bits is None else np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(SIDE, SIDE).astype(bool)
        for bits in rows["region"]
    ]
    return rows.assign(region=pd.Series(unpacked, dtype=object)), notes


def square(value=1, *, size=64, slices=3):
    """Return a mask with a square of 20 x 20 pixels on the middle slice."""
    mask = np.zeros((slices, size, size), int)
    mask[slices // 2, 10:30, 20:40] = value
    return mask


def image(*, size=64, slices=3, seed=0):
    blocks = np.random.default_rng(seed).integers(0, 500, (slices, size // 8, size // 8))
    return np.kron(blocks, np.ones((1, 8, 8), int))


def resized(pixels):
    """Return masks as they are on the slices of 256 x 256 pixels."""
    return np.stack([transfer.on_side(one > 0) for one in pixels])


@pytest.fixture
def segmenter(monkeypatch):
    """A segmenter whose region is the intensities above 400; the list of what it was called with."""
    calls = []

    def segment(folder, model, volumes, spacing_mm):
        calls.append({"folder": str(folder), "model": model, "spacing": spacing_mm, **volumes})
        return np.stack(volumes["T1post"]) > 400

    monkeypatch.setattr(apply, "segment", segment)
    return calls


LEARNED = {"segmenter": "segmenter", "models": {"P1": "fold-2"}}


def test_the_mask_is_the_region_of_every_series_of_its_date(stack):
    rows, notes = find(
        stack(image(), series="1"),
        stack(image(size=128), series="2", sequence="FLAIR", row_spacing_mm=0.5, column_spacing_mm=0.5),
        stack(square(), series="3", sequence="mask"),
    )
    assert rows["SeriesInstanceUID"].tolist() == ["1"] * 3 + ["2"] * 3
    assert set(rows["method"]) == {"mask"}
    assert (rows["region"][1] == resized(square())[1]).all()
    assert [region.any() for region in rows["region"]] == [False, True, False] * 2
    assert rows["area_mm2"].tolist()[:3] == pytest.approx([0, 400, 0], rel=0.001)
    assert rows["area_mm2"][4] == pytest.approx(400, rel=0.06)  # their first pixels are half a pixel apart
    assert not notes["rejected"]


def test_without_a_mask_or_a_segmenter_no_slice_is_read(stack):
    missing = stack(image(), path="missing.dcm")
    rows, notes = find(missing, fallback="brightest")
    assert set(rows["method"]) == {"brightest"}
    assert rows["region"].isna().all()
    assert rows["area_mm2"].isna().all()
    assert not any(notes.values())
    rows, _ = find(missing, methods={"progression": "component"}, **LEARNED)
    assert set(rows["method"]) == {"component"}


def test_a_date_without_a_mask_is_segmented_by_the_model_that_has_not_seen_the_patient(stack, segmenter):
    pixels = image()
    rows, notes = find(stack(pixels), stack(image(seed=1), sequence="T2", series="2"), **LEARNED)
    assert set(rows["method"]) == {"learned"}
    assert set(rows["model"]) == {"fold-2"}
    assert [call["model"] for call in segmenter] == ["fold-2"]
    for series in ("1", "2"):
        found = rows[rows["SeriesInstanceUID"] == series]["region"]
        for region, one in zip(found, pixels, strict=True):
            assert (region == transfer.on_side(one > 400)).all()
    (volume,) = notes["volumes"]
    assert (volume["method"], volume["date"]) == ("learned", "2001-02-03")
    assert volume["volume_ml"] == pytest.approx((pixels > 400).sum() * 5 / 1000)
    assert set(volume) == {"PatientID", "date", "method", "volume_ml"}
    assert not notes["scores"]


def test_the_input_of_the_segmenter_is_the_largest_stack_and_what_is_registered_with_it(stack, segmenter):
    small, large, flair = image(slices=2, seed=1), image(slices=4, seed=2), image(slices=4, seed=3)
    slices = stack(flair, sequence="FLAIR", series="3")
    other = stack(image(slices=4), sequence="FLAIR", series="2", origin=(0, 0, 0))
    find(stack(small, series="0"), stack(large, series="1"), other, slices, **LEARNED)
    (call,) = segmenter
    assert np.array_equal(call["T1post"], large)
    assert np.array_equal(call["FLAIR"], flair)
    assert call["spacing"] == (1.0, 1.0)
    segmenter.clear()
    find(stack(large, series="1"), other, **LEARNED)
    assert "FLAIR" not in segmenter[0]


def test_a_slice_that_cannot_be_decoded_is_not_segmented(stack, segmenter):
    slices = stack(image())
    slices[1]["file_bytes"] = 1
    rows, notes = find(slices, **LEARNED)
    assert len(segmenter[0]["T1post"]) == 2
    assert [region.any() for region in rows["region"]] == [True, False, True]
    assert [row["path"] for row in notes["rejected"]] == [slices[1]["path"]]


@pytest.mark.parametrize(
    ("method", "dated", "undated"),
    [
        ("auto", "mask", "learned"),
        ("mask", "mask", "component"),
        ("learned", "learned", "learned"),
        ("component", "component", "component"),
    ],
)
def test_the_setting_chooses_the_source(stack, segmenter, method, dated, undated):
    methods = {"progression": method}
    with_mask, measured = find(stack(image()), stack(square(), series="2", sequence="mask"), methods=methods, **LEARNED)
    without, alone = find(stack(image()), methods=methods, **LEARNED)
    assert (set(with_mask["method"]), set(without["method"])) == ({dated}, {undated})
    assert [row["method"] for row in measured["volumes"]] == ["learned" if method == "learned" else "mask"]
    assert [row["method"] for row in alone["volumes"]] == ["learned"] * (undated == "learned")
    assert {row["method"] for row in measured["scores"]} == {"brightest", "component", "learned"}


def test_a_series_that_the_mask_does_not_reach_gets_the_next_source(stack, segmenter):
    frame = {"FrameOfReferenceUID": "1.2"}
    mask = stack(square(), series="3", sequence="mask", **frame)
    near = stack(image(), **frame)
    far = stack(image(), series="2", sequence="T2", origin=(-100, -90, 2.5), FrameOfReferenceUID="1.3")
    unknown = stack(image(), series="4", sequence="T2", ImagePositionPatient="")
    rows, _ = find(near, far, unknown, mask)
    methods = rows.groupby("SeriesInstanceUID")["method"].unique().map(list).to_dict()
    assert methods == {"1": ["mask"], "2": ["component"], "4": ["component"]}
    own = stack(image(), FrameOfReferenceUID="1.4", ImagePositionPatient="")
    rows, _ = find(own, mask, **LEARNED)
    assert set(rows["method"]) == {"learned"}  # its own segmentation needs no coordinates


def test_labels_are_measured_apart_and_chosen_by_the_setting(stack):
    mask = np.zeros((3, 64, 64), int)
    for label, start in ((1, 0), (2, 10), (4, 20), (9, 30)):
        mask[1, start : start + label, :10] = label
    rows, notes = find(stack(image()), stack(mask, series="2", sequence="mask"), labels=(1, 4))
    assert rows["area_mm2"].tolist() == pytest.approx([0, 50, 0], rel=0.01)
    (volume,) = notes["volumes"]
    assert {name: round(volume[name], 6) for name in MEASURED} == {
        "volume_ml": 0.25,
        "label_1_ml": 0.05,
        "label_2_ml": 0.1,
        "label_3_ml": 0,
        "label_4_ml": 0.2,
        "other_labels_ml": 0.45,
    }
    _, notes = find(stack(image()), stack(mask, series="2", sequence="mask"))
    assert notes["volumes"][0]["volume_ml"] == pytest.approx(0.8)


def test_the_largest_of_several_masks_is_the_region_and_every_mask_is_measured(stack):
    small, large = square(), np.rot90(square(), axes=(1, 2)).copy()
    large[0] = 1
    rows, notes = find(
        stack(image()), stack(small, series="2", sequence="mask"), stack(large, series="3", sequence="mask")
    )
    assert (np.stack(rows["region"]) == resized(large)).all()
    assert sorted(row["volume_ml"] for row in notes["volumes"]) == pytest.approx([2.0, 2.0 + 64 * 64 * 5 / 1000])


def test_the_margin_is_in_millimetres_and_not_part_of_volumes_and_scores(stack):
    changes = {"row_spacing_mm": 2.0}
    rows, notes = find(
        stack(image(), **changes), stack(square(), series="2", sequence="mask", **changes), margin_mm=4.0
    )
    found = rows["region"][1]
    assert (np.flatnonzero(found.any(axis=1)).size, np.flatnonzero(found.any(axis=0)).size) == (80 + 16, 80 + 32)
    assert rows["area_mm2"][1] == pytest.approx(20 * 40 + 2 * 4 * (20 + 40) + math.pi * 16, rel=0.02)
    assert notes["volumes"][0]["volume_ml"] == pytest.approx(4.0)
    assert {row["mask"] for row in notes["scores"]} == {np.count_nonzero(resized(square()))}


def test_every_method_is_compared_with_the_mask_on_every_series(stack, segmenter):
    pixels = image()
    first, flair = stack(pixels), stack(image(seed=1), series="2", sequence="FLAIR")
    mask = stack(square(), series="3", sequence="mask")
    _, notes = find(first, flair, mask, **LEARNED)
    scores = pd.DataFrame(notes["scores"], columns=list(SCORES)).set_index(["sequence", "method"])
    assert sorted(scores.index) == [(s, m) for s in ("FLAIR", "T1post") for m in ("brightest", "component", "learned")]
    truth = resized(square())
    for name, method in IMAGE_METHODS.items():
        region = np.stack([method(intensity.prepare(one.astype(np.float32))) for one in pixels])
        row = scores.loc["T1post", name]
        counts = [np.count_nonzero(pixels) for pixels in (region & truth, region, truth)]
        assert row[["both", "region", "mask"]].tolist() == counts
        assert row["mask_ml"] == pytest.approx(2.0, rel=0.001)
        assert row["region_ml"] == pytest.approx(counts[1] / 16 * 5 / 1000)
    assert scores["model"].tolist() == ["", "", "fold-2"] * 2
    assert (scores.loc["T1post", "hd95_mm"].notna() == (scores.loc["T1post", "region"] > 0)).all()
    assert scores.loc["T1post", "lesions"].eq(1).all()
    assert scores.loc["FLAIR", ["hd95_mm", "lesions"]].isna().all(axis=None)
    lesions = pd.DataFrame(notes["lesions"], columns=list(LESIONS))
    assert set(lesions["sequence"]) == {"T1post"}
    assert lesions["volume_ml"].tolist() == pytest.approx([2.0] * 3, rel=0.001)


def test_the_grading_cohort_has_regions_but_no_scores_and_volumes(stack):
    study = {**STUDY, "cohort": "grading"}
    rows, notes = find(stack(image()), stack(square(), series="2", sequence="mask"), study=study)
    assert set(rows["method"]) == {"mask"}
    assert not notes["scores"]
    assert not notes["volumes"]


def catalogue(folder, rows):
    path = folder / "catalogue" / "part-00000.parquet"
    path.parent.mkdir()
    empty = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in CATALOGUE}
    tables.write_shard(path, pa.Table.from_pylist([{**empty, **row} for row in rows], CATALOGUE), CATALOGUE)
    return [path]


def test_a_study_is_what_a_patient_has_on_a_date(tmp_path):
    one = {"cohort": "progression", "PatientID": "P1", "StudyDate": "2001-01-01", "sequence": "T1post"}
    catalogue(
        tmp_path,
        [
            {**one, "SeriesInstanceUID": "2", "StudyInstanceUID": "a", "order": 1},
            {**one, "SeriesInstanceUID": "2", "StudyInstanceUID": "a", "order": 0},
            {**one, "SeriesInstanceUID": "1", "StudyInstanceUID": "b", "sequence": "mask"},
            {**one, "SeriesInstanceUID": "3", "StudyInstanceUID": "b", "sequence": "localizer"},
            {**one, "SeriesInstanceUID": "4", "StudyInstanceUID": "c", "StudyDate": "2001-02-01"},
            {**one, "SeriesInstanceUID": "5", "StudyInstanceUID": "d", "StudyDate": ""},
            {**one, "SeriesInstanceUID": "6", "StudyInstanceUID": "e", "StudyDate": ""},
            {**one, "SeriesInstanceUID": "7", "cohort": "grading"},
        ],
    )
    paths = regions.plan([tmp_path / "catalogue" / "part-00000.parquet"], ["progression"], tmp_path / "work")
    rows = tables.read_shards(tmp_path / "work", regions.WORK).to_pylist()
    assert len(paths) == len(rows) == 4  # one study per file: each may become a task
    found = [(row["date"], [(one["SeriesInstanceUID"], one["order"]) for one in row["slices"]]) for row in rows]
    assert found == [
        ("", [("5", 0)]),
        ("", [("6", 0)]),
        ("2001-01-01", [("1", 0), ("2", 0), ("2", 1)]),
        ("2001-02-01", [("4", 0)]),
    ]


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 20])
def test_studies_are_complete_however_the_stream_is_cut(batch):
    sizes = [3, 1, 5, 2, 4]
    defaults = {field.name: {"string": "", "double": 0.0}.get(str(field.type), 0) for field in regions.sources.SLICE}
    rows = [
        {**defaults, "cohort": "progression", "PatientID": f"P{study}", "date": "", "study": f"{study}", "order": k}
        for study, size in enumerate(sizes)
        for k in range(size)
    ]
    flat = pa.Table.from_pylist(rows, queries.flat_schema(regions.WORK, by="study"))
    nested = pa.concat_tables(
        queries.nest((flat.slice(k, batch) for k in range(0, len(rows), batch)), regions.WORK, by="study")
    )
    assert nested.schema == regions.WORK
    assert nested["PatientID"].to_pylist() == [f"P{study}" for study in range(5)]
    assert [[one["order"] for one in study] for study in nested["slices"].to_pylist()] == [[*range(n)] for n in sizes]


def settings(**values):
    return with_values(Settings(), {name.replace("__", "."): value for name, value in values.items()})


def test_the_options_are_those_of_the_trained_segmenter(trained_segmenter, tmp_path):
    paths = catalogue(tmp_path, [{"cohort": "progression", "PatientID": "P1", "sequence": "T1post"}])
    assert regions.options_of(tmp_path, paths, settings()).segmenter == ""
    trained_segmenter()
    found = regions.options_of(tmp_path, paths, settings(roi__method="learned", slices__only="tumour"))
    assert (found.sequences, found.models) == (("FLAIR",), {"P1": "fold-1"})
    assert found.methods == {"progression": "learned", "grading": "learned"}
    found = regions.options_of(tmp_path, paths, settings(roi__method="brightest", slices__only="tumour"))
    assert found.methods == {"progression": "brightest", "grading": "auto"}
    assert found.fallback == "brightest"


def test_settings_that_need_a_segmenter_are_refused_without_one(trained_segmenter, tmp_path):
    rows = [{"cohort": "grading", "PatientID": "P1", "sequence": "T1post"}]
    paths = catalogue(tmp_path, rows)
    for values in ({"roi__method": "learned"}, {"slices__only": "tumour"}):
        with pytest.raises(InputError, match="tumorprog train-segmenter"):
            regions.options_of(tmp_path, paths, settings(**values))
    tables.write_json(trained_segmenter() / tables.SUMMARY, {"trained": False})
    with pytest.raises(InputError, match="contains no trained segmenter"):
        regions.options_of(tmp_path, paths, settings(roi__method="learned"))


def test_masks_of_the_grading_cohort_suffice_for_its_slices_with_tumour(tmp_path):
    paths = catalogue(tmp_path, [{"cohort": "grading", "PatientID": "P1", "sequence": "mask"}])
    assert regions.options_of(tmp_path, paths, settings(slices__only="tumour")).methods["grading"] == "auto"
