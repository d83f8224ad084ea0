import dataclasses

import pytest

from tumorprog.errors import SettingsError
from tumorprog.settings import Settings, check_name, dotted, lookup, with_values


def test_a_changed_setting_changes_nothing_else():
    changed = with_values(Settings(), {"grader.epochs": 3, "seed": 7})
    before, after = dotted(Settings()), dotted(changed)
    assert {name for name in before if before[name] != after[name]} == {"grader.epochs", "seed"}
    assert lookup(changed, "grader.epochs") == 3


def test_a_change_is_checked_like_any_value():
    with pytest.raises(SettingsError, match=r"grader\.epochs is 0"):
        with_values(Settings(), {"grader.epochs": 0})


def test_what_cannot_be_shared_out_or_parted_is_refused():
    with pytest.raises(SettingsError, match=r"grader\.batch_size is 65; .* multiple of grader\.workers \(2\)"):
        with_values(Settings(), {"grader.batch_size": 65, "grader.workers": 2})
    with pytest.raises(SettingsError, match=r"grader\.folds.* 2 or more"):
        with_values(Settings(), {"grader.folds": 1})


def test_only_what_identifies_nobody_may_be_shared():
    assert with_values(Settings(), {"cohort.allow_shared": ("study", "image")}).cohort.allow_shared == (
        "study",
        "image",
    )
    with pytest.raises(
        SettingsError, match=r"allow_shared is \['patient'\]; choose from study, series, instance, image"
    ):
        with_values(Settings(), {"cohort.allow_shared": ("patient",)})


def test_a_wrong_name_is_refused_with_the_nearest_right_one():
    with pytest.raises(SettingsError, match=r"did you mean progression\.learning_rate"):
        check_name("progression.learningrate")


def test_every_setting_says_what_it_is():
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
