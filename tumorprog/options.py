"""Words of a command -> its settings: defaults, the run's config.yaml, --config, then the words; and back to a file.

What is slow to import is imported when it is needed: pandas alone would make `--help` three times as slow.
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from tumorprog import storage
from tumorprog.errors import SettingsError
from tumorprog.settings import Settings, check_name, lookup, with_values

ALIASES = {
    "--grading": "--archive.grading",
    "--grades": "--archive.grades",
    "--progression": "--archive.progression",
    "--outcomes": "--archive.outcomes",
    "--folds": "--grader.folds",
}
"""What a user names most, without its group."""

PATHS = ("archive.grading", "archive.grades", "archive.progression", "archive.outcomes", "grader.split")
"""Settings that are made absolute, so that config.yaml means the same from any folder."""

_UNKNOWN = (
    r"unrecognized arguments: --([\w.]+)",
    r"Option '([\w.]+)' is not accepted",
    r"Group '([\w.]+)' does not accept option '([\w.]+)'",
)
"""How the parser says that there is no such setting."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the table below.

    Attributes:
        does: a line for `tumorprog --help`.
        act: gets the parsed words and the resolved settings; returns the last lines to print.
        passes_on: whether its other words are those of another command; `act` gets them in place of settings.
        shows: groups of settings that `--help` lists; all can be given.
        examples: for `--help`.
        words: options of its own, each with its help.
    """

    does: str
    act: Callable[[argparse.Namespace, Any], str]
    shows: tuple[str, ...]
    examples: tuple[str, ...]
    words: tuple[tuple[str, dict[str, Any]], ...] = ()
    passes_on: bool = False


def parse(name: str, command: Command, words: list[str]) -> tuple[argparse.Namespace, Settings]:
    """The words and settings of one command: defaults, then the run's config.yaml, then --config, then the words.

    Raises:
        SettingsError: if a word, a name or a value is wrong.
    """
    import jsonargparse

    parser = _settings_parser(prog=f"tumorprog {name}", description=command.does, epilog=_told(command.examples))
    for word, about in command.words:
        parser.add_argument(word, **about)
    parser.add_argument("--config", action="config", help="a YAML file of settings; options override it")
    for action in parser._actions:
        group = action.dest.split(".")[0]
        if group in Settings.__dataclass_fields__ and group not in command.shows:
            action.help = argparse.SUPPRESS
    try:
        parsed = parser.parse_args([*_remembered(words), *map(_without_alias, words)])
        made = parser.instantiate(parsed)
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise _mendable(str(error)) from error
    settings = Settings(**{group: getattr(made, group) for group in Settings.__dataclass_fields__})
    given = {name: lookup(settings, name) for name in PATHS if lookup(settings, name)}
    return parsed, with_values(settings, {name: storage.absolute(path) for name, path in given.items()})


def split(name: str, command: Command, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The words of a command that passes others on, and those others.

    Raises:
        SettingsError: if its own are wrong.
    """

    class Parser(argparse.ArgumentParser):
        """Leaves it to the caller to tell a mistake."""

        def error(self, message: str) -> NoReturn:
            raise SettingsError(message)

    parser = Parser(
        f"tumorprog {name}",
        description=command.does,
        epilog=_told(command.examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for word, how in command.words:
        parser.add_argument(word, **how)
    return parser.parse_known_args(words)


def from_here(words: Sequence[str], places: Sequence[str]) -> list[str]:
    """The same words for a command that starts in another folder: places of files are made absolute.

    Args:
        words: of a command.
        places: options whose values are places, besides the settings `PATHS`.
    """
    named = {*places, *(f"--{name}" for name in PATHS)}
    told: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if equals and ALIASES.get(option, option) in named:
            told.append(f"{option}={storage.absolute(value)}")
        elif told and ALIASES.get(told[-1], told[-1]) in named:
            told.append(storage.absolute(word))
        else:
            told.append(word)
    return told


def _settings_parser(**about: str) -> Any:
    import jsonargparse

    class Formatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Keeps the examples as they are written."""

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True, config_read_mode_fsspec_enabled=True)
    parser = jsonargparse.ArgumentParser(formatter_class=Formatter, exit_on_error=False, allow_abbrev=False, **about)
    parser.add_class_arguments(Settings)
    return parser


def _told(examples: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  {example}" for example in examples)])


def _without_alias(word: str) -> str:
    option, equals, value = word.partition("=")
    return ALIASES.get(option, option) + equals + value


def _remembered(words: list[str]) -> list[str]:
    """The settings that the run directory was made with, if it was made."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--out", default="")
    finder.add_argument("--run", default="")
    known, _ = finder.parse_known_args(words)
    folder = known.run or known.out
    config = storage.place(folder) / "config.yaml"
    return ["--config", str(config)] if folder and config.is_file() else []


def _mendable(message: str) -> SettingsError:
    """The parser's message in one line; where a name is wrong, ours, which offers the nearest."""
    told = " ".join(message.split())
    for pattern in _UNKNOWN:
        found = re.search(pattern, told)
        if found:
            try:
                check_name(".".join(found.groups()))
            except SettingsError as error:
                return error
    return SettingsError(told)


def save_config(folder: Path, settings: Settings) -> None:
    """config.yaml: every setting with its meaning, and above them what else the results rest on."""
    from tumorprog import run, tables

    parser = _settings_parser()
    summary = folder / "catalogue" / tables.SUMMARY
    rests_on = run.versions()
    if summary.is_file():
        rests_on["data fingerprint"] = json.loads(summary.read_text())["fingerprint"]
    above = "".join(f"# {name}: {value}\n" for name, value in rests_on.items())
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_text(
        folder / "config.yaml", above + parser.dump(parser.parse_object(asdict(settings)), with_comments=True)
    )
