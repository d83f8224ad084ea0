"""What the report says about regions, segmenter and the selection of slices follows from what the run recorded."""

from dataclasses import replace

import pandas as pd
import pytest

from tumorprog.regions.methods import options
from tumorprog.regions.settings import Roi
from tumorprog.report.study import limitations, methods
from tumorprog.report.study.facts import Facts
from tumorprog.settings import Settings, with_values


@pytest.fixture
def facts():
    return Facts(
        settings=with_values(Settings(), {"segmenter.epochs": 7, "segmenter.folds": 3}),
        summary={},
        catalogue=pd.DataFrame({"PatientID": [], "StudyDate": []}),
        quarantine=pd.DataFrame(),
        synthetic=False,
    )


def features(facts, roi):
    return methods._features(replace(facts, progression={"wavelet": "haar", "roi": options(roi)}))


def test_the_papers_region_is_named_as_such(facts):
    text = features(facts, Roi(method="brightest"))
    assert "region of interest: the brightest of three clusters of intensities, as in the paper. A one-level" in text
    assert "component" in features(facts, Roi(method="component"))


@pytest.mark.parametrize("method", ["auto", "mask", "learned"])
def test_a_region_is_described_with_its_fallback_labels_and_margin(facts, method):
    text = features(facts, Roi(method=method, fallback="brightest"))
    assert "where there is none, the brightest of three clusters of intensities" in text
    assert ("mask" in text.split(";")[0]) == (method != "learned")
    assert "patient coordinates" in text
    assert "enlarged" not in text
    text = features(facts, Roi(method=method, labels=(1, 3), margin_mm=2.5))
    assert "(labels 1 and 3), enlarged by 2.5 mm; where there is none, the largest connected component" in text


def test_the_segmenter_is_described_from_its_model(facts):
    model = {"model": "monai BasicUNet", "side": 160, "spacing_mm": 1.5}
    model |= {"sequences": ["T1post", "FLAIR"], "neighbours": 1, "training_patients": ["A", "B", "C"]}
    text = " ".join(methods._segmenter(replace(facts, segmenter=model)))
    assert "monai BasicUNet" in text
    assert "slices of T1post and FLAIR with 1 adjacent slice on either side, resampled to 1.5 mm" in text
    assert "tumour masks of 3 patients for 7 epochs" in text
    assert "one of 3 folds" in text
    assert "A" not in text.replace("A ", " ").split()


def test_the_selection_of_slices_is_stated(facts):
    assert methods._shown({"only": "all"}) == ""
    assert "at least 50 mm2 of tumour" in methods._shown({"only": "tumour", "min_tumour_mm2": 50.0})
    assert "shows tumour" not in methods._votes(facts)
    only = replace(facts, settings=with_values(facts.settings, {"slices.only": "tumour"}))
    assert "every slice of the progression cohort that shows tumour, and to all slices" in methods._votes(only)


def found(facts, **regions):
    return {topic: text for topic, text, _ in limitations._regions(replace(facts, regions=regions))}


def test_regions_from_intensities_and_from_a_network_are_limitations(facts):
    none = found(facts, mask=5)
    assert not {"Regions without mask or segmenter", "Learned regions"} & set(none)
    some = found(facts, mask=5, learned=3, component=2)
    assert (
        "2 of 10 slices is computed from the intensities of the slice alone (component)"
        in (some["Regions without mask or segmenter"])
    )
    assert "3 of 10 slices is found by a network" in some["Learned regions"]
    assert "Regions without mask or segmenter" in found(facts, brightest=4)
