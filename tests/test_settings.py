import dataclasses

import pytest

from tumorprog.errors import SettingsError
from tumorprog.settings import Settings, check_name, dotted, lookup, with_values


def test_changing_a_setting_changes_no_other():
    changed = with_values(Settings(), {"grader.epochs": 3, "seed": 7})
    before, after = dotted(Settings()), dotted(changed)
    assert {name for name in before if before[name] != after[name]} == {"grader.epochs", "seed"}
    assert lookup(changed, "grader.epochs") == 3


def test_changed_values_are_validated():
    with pytest.raises(SettingsError, match=r"grader\.epochs is 0"):
        with_values(Settings(), {"grader.epochs": 0})


def test_indivisible_batches_and_single_folds_are_refused():
    with pytest.raises(SettingsError, match=r"grader\.batch_size is 65; .* multiple of grader\.workers \(2\)"):
        with_values(Settings(), {"grader.batch_size": 65, "grader.workers": 2})
    with pytest.raises(SettingsError, match=r"grader\.folds is 1.* 2 or more"):
        with_values(Settings(), {"grader.folds": 1})


def test_patients_may_not_be_shared_between_sets():
    assert with_values(Settings(), {"cohort.allow_shared": ("study", "image")}).cohort.allow_shared == (
        "study",
        "image",
    )
    with pytest.raises(
        SettingsError, match=r"allow_shared is \['patient'\]; choose from study, series, instance, image"
    ):
        with_values(Settings(), {"cohort.allow_shared": ("patient",)})


def test_an_unknown_name_gets_the_nearest_suggestion():
    with pytest.raises(SettingsError, match=r"did you mean progression\.learning_rate"):
        check_name("progression.learningrate")


def test_every_setting_has_help():
    """jsonargparse shows the docstring under each field as its help."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser()
    parser.add_class_arguments(Settings)
    shown = " ".join(parser.format_help().split())
    for name in dotted(Settings()):
        assert f"--{name} " in shown
    assert shown.count("(type:") == len(dotted(Settings())) == shown.count(". (type:")


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().seed = 1
