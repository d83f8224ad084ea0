"""Participants, methods, limitations, guidelines, provenance and cards: every statement follows from the data."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from tumorprog.cohort.columns import COHORT, TIMELINE
from tumorprog.report.grading import sections as grading_sections
from tumorprog.report.page import Section
from tumorprog.report.study import cards, checklist, limitations, methods, participants
from tumorprog.report.study.checklist_items import CLAIM, GRADER_RESULTS, RESULTS, TRIPOD_AI
from tumorprog.report.study.environment import environment
from tumorprog.report.study.facts import Facts, Training
from tumorprog.report.study.figures import flow as flow_figure
from tumorprog.report.study.phrases import listed, spread, tallied
from tumorprog.report.study.sections import arranged
from tumorprog.report.study.settings import Study
from tumorprog.report.study.statement import statement
from tumorprog.settings import Settings, with_values

GRADES = {"SECRET-1": 2, "SECRET-2": 2, "SECRET-3": 3, "SECRET-4": 3, "SECRET-5": 4, "SECRET-6": 4}
SIDES = ("train", "test", "train", "validation", "train", "test")


def catalogue():
    rows = [
        {
            **{"PatientID": patient, "StudyInstanceUID": f"{patient}.s", "SeriesInstanceUID": f"{patient}.1"},
            **{"cohort": cohort, "path": f"/home/jane/{cohort}/{patient}/{number}.dcm", "StudyDate": "2000-01-01"},
            **{"sequence": "T2", "plane": "axial", "Manufacturer": "GE", "ManufacturerModelName": "SIGNA"},
            **{"PatientSex": "F" if patient < "SECRET-4" else "", "PatientAge": 40.0 + number},
            **{"MagneticFieldStrength": 1.5, "RepetitionTime": 4000.0, "EchoTime": 100.0},
            **{"SliceThickness": 5.0, "row_spacing_mm": 0.94},
        }
        for cohort, patients in (("grading", [*GRADES, "SECRET-7"]), ("progression", ["SECRET-P"]))
        for patient in patients
        for number in range(2)
    ]
    return pd.DataFrame(rows)


def training(**model):
    slices = pd.DataFrame(
        [
            (patient, f"{patient}.1", "H", grade, side)
            for (patient, grade), side in zip(GRADES.items(), SIDES, strict=True)
            for _ in range(2)
        ],
        columns=["PatientID", "SeriesInstanceUID", "Institution", "grade", "side"],
    )
    used = {"learning_rate": 0.01, "weight_decay": 0.0, "step_epochs": 5, "step_factor": 0.1, "batch_size": 8}
    description = {
        **{"model": "torchvision resnet18", "classes": [2, 3, 4], "image_size": 224, "scaling": "robust"},
        "selection": {"only": "all"},
        **{"channel_mean": [0.5], "channel_std": [0.2], "protocol": "patient", "initial_weights": "imagenet"},
        **{"training": {**used, "augment": False, "precision": "float32", "split": ""}, "epoch": 2},
        **{"training_slices": {"2": 2, "3": 2, "4": 4}},
    }
    return Training(folder="grader", model=description | model, slices=slices, epochs=3, num_leaks=0)


def metric(value, lower=None, upper=None):
    return {"value": value, "lower": lower, "upper": upper, "n": 2}


@pytest.fixture
def facts():
    cohort = pd.DataFrame(
        [
            *(
                (patient, grade, "H", "graded", "glioma", "mutant", "", "", "WHO 2021")
                for patient, grade in GRADES.items()
            ),
            ("SECRET-7", None, "H", "no grade", "", "", "", "", ""),
            ("SECRET-8", 2, "H", "no images", "", "", "", "", ""),
        ],
        columns=list(COHORT),
    ).astype({"grade": "Int64"})
    timeline = pd.DataFrame([("SECRET-P", 1, "2000-01-01", 1, "one date")], columns=list(TIMELINE))
    quarantine = pd.DataFrame(
        [("/home/jane/grading/x.txt", "not_dicom", ""), ("/home/jane/progression/y.dcm", "truncated_pixels", "")],
        columns=["path", "reason", "detail"],
    )
    settings = with_values(
        Settings(), {"archive.grading": "/home/jane/grading", "archive.progression": "/home/jane/progression"}
    )
    return Facts(
        settings=settings,
        summary={"found": 18, "used": 16, "quarantined": 2, "slices": 16, "series": 8, "patients": 8},
        catalogue=catalogue(),
        quarantine=quarantine,
        synthetic=False,
        cohort=cohort,
        timeline=timeline,
        graders={"patient": training()},
        metrics={
            "grader": {"patient": {"patient": {"accuracy": metric(0.5, 0.1, 0.9), "baselines": {"majority": {}}}}},
        },
    )


def text_of(section):
    cells = [
        str(cell)
        for table in section.tables
        for row in (table.rows if isinstance(table.rows, list) else table.rows.to_dict("records"))
        for cell in row.values()
    ]
    return "\n".join(
        [
            *section.paragraphs,
            *cells,
            *(" ".join([shown.alt, shown.caption, *shown.panels]) for shown in section.pictures),
        ]
    )


def full_report(facts):
    """The sections of a report with every result: those of other packages are only ids and titles."""
    results = [Section(id=name, title=name) for name in (*checklist.RESULT_SECTIONS, "paper")]
    return arranged([Section(id="archive", title="Input data"), Section(id="cohort", title="Patients")], results, facts)


def replace_model(facts, **model):
    return dataclasses.replace(facts, graders={"patient": training(**model)})


def topics(facts):
    return [topic for topic, _, _ in limitations.find(facts)]


def test_the_flow_counts_files_patients_and_sets_with_reasons(facts):
    rows = {(row["Cohort"], row["Step"]): row for row in participants.flow_table(facts).rows}
    assert rows["Grading", "Files found"]["Included"] == "15 files, of which 14 are used"
    assert rows["Grading", "Files found"]["Excluded"] == "not dicom (1)"
    assert rows["Grading", "Images"]["Included"] == "7 patients, 7 series and 14 slices"
    assert (
        rows["Grading", "Patients with a grade"]["Included"] == "6 patients: 2 of grade 2, 2 of grade 3, 2 of grade 4"
    )
    assert rows["Grading", "Patients with a grade"]["Excluded"] == "no grade (1)"
    sets = rows["Grading", "Sets, patient protocol"]["Included"].split("; ")
    assert sets[0] == "Training: 3 patients, 3 series and 6 slices"
    assert sets[1:] == [
        "Validation: 1 patient, 1 series and 2 slices",
        "Test: 2 patients, 2 series and 4 slices",
    ]
    assert rows["Progression", "Patients with two dates or more"]["Included"] == "0 patients"
    assert rows["Progression", "Patients with two dates or more"]["Excluded"] == "one date (1)"


def test_the_sets_of_each_grade_add_up_to_all_patients(facts):
    (table,) = participants.split_tables(facts)
    counts = {row["Set"]: {name: row[name].split(" / ")[0] for name in list(row)[1:]} for row in table.rows}
    assert counts["Training"] == {"Grade 2": "1", "Grade 3": "1", "Grade 4": "1", "All": "3"}
    assert sum(int(row["All"]) for row in counts.values()) == len(GRADES)


def test_unknown_demographics_are_counted_and_not_omitted(facts):
    patients, scanners, sequences = (table.rows for table in participants.characteristics(facts).tables)
    by_row = {row[""]: row for row in [*patients, *scanners]}
    assert by_row["Sex"]["Training"] == "F (2), unknown (1)"
    assert by_row["Age (years)"]["Test"] == "40"
    assert by_row["Field strength"]["Progression cohort"] == "1.5 T (1)"
    assert sequences[0]["TR (ms)"] == "4000"


def test_methods_follow_from_the_recorded_training(facts):
    text = " ".join(methods.paragraphs(facts))
    assert "initial weights are torchvision's weights for ImageNet" in text
    assert "trained for 3 epochs with Adam (learning rate 0.01, multiplied by 0.1 every 5 epochs" in text
    assert "grade 2: 1.33, grade 3: 1.33, grade 4: 0.67" in text
    assert "Images were not augmented" in text
    assert "the sources are: grading cohort: grading; progression cohort: progression" in text.lower()
    assert "0.5th" in text
    changed = replace_model(facts, initial_weights="/home/jane/w.pth", scaling="minmax")
    changed.graders["patient"].model["training"]["augment"] = True
    text = " ".join(methods.paragraphs(changed))
    assert "those of the file w.pth" in text
    assert "0.5th" not in text
    assert "not augmented" not in text
    assert "LSTM" not in text  # no progression model in this run


def test_methods_state_the_settings_of_the_stage_and_not_of_the_report(facts):
    recorded = {"grade": {"settings": {"cohort.min_gap_days": 30}}}
    assert "fewer than 30 days" in " ".join(methods.paragraphs(dataclasses.replace(facts, stages=recorded)))
    assert "fewer than 14 days" in " ".join(methods.paragraphs(facts))


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        ("Synthetic patients", {"synthetic": True}),
        ("Random initial weights", {"graders": {"patient": training(initial_weights="none")}}),
        (
            "Leakage under the paper's protocol",
            {"graders": {"paper": dataclasses.replace(training(), num_leaks=4)}},
        ),
        (
            "Shared identities under the patient protocol",
            {"graders": {"patient": dataclasses.replace(training(), num_leaks=1)}},
        ),
        ("Missing dates", {"catalogue": catalogue().assign(StudyDate="")}),
    ],
)
def test_a_limitation_is_stated_exactly_if_the_data_have_it(facts, topic, change):
    assert topic not in topics(facts)
    assert topic in topics(dataclasses.replace(facts, **change))


def test_limitations_state_the_numbers(facts):
    found = {topic: text for topic, text, _ in limitations.find(facts)}
    assert found["Few test patients"].startswith("2 patients in the test set of the grader (grade 2: 1, grade 3: 0, ")
    assert "1p/19q status of 6 and MGMT status of 6" in found["Missing histology or molecular status"]
    assert "Edition of the WHO classification" not in found  # every row states WHO 2021
    assert "One institution" in found
    assert found["Damaged files"] == "1 file could not be read completely."
    known = with_values(facts.settings, {"study.reference_standard": "two neuropathologists"})
    assert "Unknown reference standard" in found
    assert "Unknown reference standard" not in topics(dataclasses.replace(facts, settings=known))


def test_grades_that_coincide_with_institutions_are_reported(facts):
    several = facts.cohort.assign(Institution=["A", "A", "B", "B", "C", "C", "A", "A"])
    assert "Grades are associated with institutions" in topics(dataclasses.replace(facts, cohort=several))
    mixed = facts.cohort.assign(Institution=["A", "B", "A", "B", "A", "B", "A", "A"])
    assert "Grades are associated with institutions" not in topics(dataclasses.replace(facts, cohort=mixed))


def test_the_guidelines_are_complete():
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    assert list(dict.fromkeys(re.sub("[a-z]", "", item.number) for item in TRIPOD_AI)) == [
        str(number) for number in range(1, 28)
    ]
    assert len(TRIPOD_AI) == len({item.number for item in TRIPOD_AI}) == 52


def test_every_section_and_setting_of_the_guidelines_exists(facts):
    ids = {section.id for section in full_report(facts)}
    names = {field.name for field in dataclasses.fields(Study)}
    for item in (*CLAIM, *TRIPOD_AI):
        assert set(item.sections) - {RESULTS, GRADER_RESULTS} <= ids, item
        assert set(item.settings) <= names, item
        assert item.sections or item.settings or item.remark, item
    known = {f"grader-{protocol}" for protocol in grading_sections._TITLES} | {"progression", "survival"}
    assert set(checklist.RESULT_SECTIONS) <= known
    used = {name for item in (*CLAIM, *TRIPOD_AI) for name in item.settings}
    assert names - used == {"contact"}


def test_the_status_of_an_item_changes_with_the_report_and_the_settings():
    by_number = {item.number: item for item in CLAIM}
    titles = {"methods": "Methods", "study": "Statements"}
    assert checklist.status(by_number["44"], titles, Study()) == "only the authors can fill: set study.funding"
    told = checklist.status(by_number["44"], titles, Study(funding="none"))
    assert told == "in this report: Statements (study.funding)"
    assert checklist.status(by_number["9"], titles, Study()) == "in this report: Methods"
    assert checklist.status(by_number["38"], titles, Study()).startswith("not in this report")
    leaking = {**titles, "grader-paper": "Leakage"}
    assert "Leakage" not in checklist.status(by_number["38"], leaking, Study())
    assert "set study.sample_size" in checklist.status(by_number["21"], titles, Study())


def test_empty_settings_are_named_and_texts_are_printed():
    section = statement(Study(ethics="approved, 12/2020"))
    assert section.tables[0].rows == [{"": "Ethics", "Stated by the authors": "approved, 12/2020"}]
    assert "study.ethics" not in section.paragraphs[1]
    assert "study.funding" in section.paragraphs[1]


def test_stages_of_an_earlier_version_are_not_recorded_and_new_ones_are(facts):
    machine = {"python": "3.12.1", "system": "Linux 6", "cpu": "X", "cores": 4, "memory_gib": 8.0, "gpus": []}
    new = {
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 1.5,
        "command": "tumorprog run --out x",
        "machine": machine,
    }
    stages = {"catalogue": {}, "slices": {**new, "commit": "0123456789abcdef with uncommitted changes"}}
    table, machines, versions = environment(dataclasses.replace(facts, stages=stages)).tables
    assert set(table.rows[0].values()) == {"catalogue", "not recorded"}
    assert list(table.rows[1].values()) == [
        *("slices", "2026-01-02 03:04:05", 1.5, "tumorprog run --out x", "0123456789 with uncommitted changes"),
    ]
    assert machines.rows[1] == {
        **{"Stages": "slices", "System": "Linux 6", "Python": "3.12.1", "CPU": "X", "Cores": 4},
        **{"Memory": "8 GiB", "GPU": "none found"},
    }
    assert {"tumorprog", "Python", "numpy"} <= {row["Software"] for row in versions.rows}


def test_no_section_and_no_card_contains_a_patient_id_or_a_folder(facts):
    texts = [text_of(section) for section in full_report(facts)]
    for text in (*texts, cards.model_card(facts), cards.data_card(facts)):
        assert "SECRET" not in text
        assert "/home" not in text


@pytest.mark.parametrize("card", [cards.model_card, cards.data_card])
def test_the_front_matter_of_a_card_is_yaml(facts, card):
    _, front, body = card(facts).split("---\n", 2)
    assert "medical" in yaml.safe_load(front)["tags"]
    assert body.startswith("\n# ")
    assert "None" not in body


def test_the_model_card_has_the_results_with_their_intervals(facts):
    front = yaml.safe_load(cards.model_card(facts).split("---\n")[1])
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"] == [
        {"type": "accuracy", "name": "Accuracy", "value": 0.5, "args": {"lower_95": 0.1, "upper_95": 0.9, "n": 2}}
    ]
    bare = dataclasses.replace(facts, metrics={})
    assert "model-index" not in yaml.safe_load(cards.model_card(bare).split("---\n")[1])
    assert all(sentence in cards.model_card(facts) for sentence in limitations.sentences(facts))
    assert all(paragraph in cards.model_card(facts) for paragraph in methods.paragraphs(facts))


def test_the_data_card_has_the_sizes_of_the_sets(facts):
    front = yaml.safe_load(cards.data_card(facts).split("---\n")[1])
    assert front["size_categories"] == ["n<1K"]
    assert {split["name"]: split["num_examples"] for split in front["dataset_info"]["splits"]} == {
        **{"train": 6, "validation": 2, "test": 4}
    }


def test_a_run_with_only_a_catalogue_has_a_report_on_the_study(facts):
    bare = Facts(
        settings=Settings(),
        summary=facts.summary,
        catalogue=facts.catalogue,
        quarantine=facts.quarantine,
        synthetic=False,
    )
    assert [section.id for section in arranged([], [], bare)][-3:] == ["limitations", "checklists", "provenance"]
    assert "grader" not in " ".join(methods.paragraphs(bare))
    assert cards.model_card(bare)


def test_the_flow_is_drawn_for_each_cohort(facts):
    assert len(flow_figure(participants._flows(facts))) == 2
    grading, progression = participants.flow(facts).pictures[0].panels
    assert "Validation: 1 patient, 1 series and 2 slices" in grading
    assert "excluded: one date (1)" in progression


def test_phrases():
    assert tallied(["b", "a", "", None, "b"]) == "b (2), a (1), unknown (2)"
    assert tallied(["x" * 99 + f" {number}" for number in range(20)]).endswith("other (8)")
    assert len(tallied(["word " * 30])) < 70
    assert spread([1.0, 3.0, np.nan]) == "2 (1 to 3); 1 unknown"
    assert spread([np.nan]) == "1 unknown"
    assert spread([]) == "none"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
