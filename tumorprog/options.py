"""Arguments of a command -> its settings (defaults, config.yaml of the run, --config, arguments), and back to YAML.

Slow imports happen only where they are needed: pandas alone would make `--help` take three times as long.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
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
"""Short forms of the settings that users give most often."""

PATHS = ("archive.grading", "archive.grades", "archive.progression", "archive.outcomes", "grader.split")
"""Settings that are made absolute, so that config.yaml means the same from any working directory."""

_UNKNOWN = (
    r"unrecognized arguments: --([\w.]+)",
    r"Option '([\w.]+)' is not accepted",
    r"Group '([\w.]+)' does not accept option '([\w.]+)'",
)
"""How the parser reports an unknown setting."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line.

    Attributes:
        summary: one line for `tumorprog --help`.
        run: takes the parsed arguments and the resolved settings; returns the last lines to print.
        groups: groups of settings that `--help` lists; all settings are accepted.
        examples: for `--help`.
        arguments: the command's own arguments, each with the keywords of `argparse.add_argument`.
        defaults: settings whose defaults differ for this command, by dotted name.
        forwards: whether the remaining arguments belong to another command; `run` gets them instead of settings.
    """

    summary: str
    run: Callable[[argparse.Namespace, Any], str]
    groups: tuple[str, ...]
    examples: tuple[str, ...]
    arguments: tuple[tuple[str, dict[str, Any]], ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    forwards: bool = False


def parse(name: str, command: Command, arguments: list[str]) -> tuple[argparse.Namespace, Settings]:
    """Parse the arguments of a command and resolve its settings.

    Later sources override earlier ones: defaults, the run directory's config.yaml, the command's own defaults, --config
    and the arguments.

    Raises:
        SettingsError: if an argument, the name of a setting or a value is wrong.
    """
    import jsonargparse

    parser = _settings_parser(
        prog=f"tumorprog {name}", description=command.summary, epilog=_format_examples(command.examples)
    )
    for argument, keywords in command.arguments:
        parser.add_argument(argument, **keywords)
    parser.add_argument("--config", action="config", help="a YAML file of settings; options override it")
    for action in parser._actions:
        group = action.dest.split(".")[0]
        if group in Settings.__dataclass_fields__ and group not in command.groups:
            action.help = argparse.SUPPRESS
    try:
        defaults = [f"--{name}={value}" for name, value in command.defaults.items()]
        parsed = parser.parse_args([*_run_config(arguments), *defaults, *map(_expand_alias, arguments)])
        _check_groups(parsed)
        values = parser.instantiate(parsed)
    except (jsonargparse.ArgumentError, ValueError) as error:
        raise _settings_error(str(error), name, command) from error
    settings = Settings(**{group: getattr(values, group) for group in Settings.__dataclass_fields__})
    given = {name: lookup(settings, name) for name in PATHS if lookup(settings, name)}
    return parsed, with_values(settings, {name: storage.absolute(path) for name, path in given.items()})


def split(name: str, command: Command, arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separate the arguments of a forwarding command from those that it forwards.

    Raises:
        SettingsError: if its own arguments are wrong.
    """

    class Parser(argparse.ArgumentParser):
        """Raises instead of exiting."""

        def error(self, message: str) -> NoReturn:
            raise SettingsError(message)

    parser = Parser(
        f"tumorprog {name}",
        description=command.summary,
        epilog=_format_examples(command.examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for argument, keywords in command.arguments:
        parser.add_argument(argument, **keywords)
    return parser.parse_known_args(arguments)


def with_absolute_paths(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Make paths absolute, for a command that starts in another working directory.

    Args:
        arguments: of a command.
        options: options whose values are paths, in addition to the settings `PATHS`.
    """
    path_options = {*options, *(f"--{name}" for name in PATHS)}
    absolute: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals and ALIASES.get(option, option) in path_options:
            absolute.append(f"{option}={storage.absolute(value)}")
        elif absolute and ALIASES.get(absolute[-1], absolute[-1]) in path_options:
            absolute.append(storage.absolute(argument))
        else:
            absolute.append(argument)
    return absolute


def _settings_parser(**keywords: str) -> Any:
    import jsonargparse

    class Formatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Keeps the line breaks of the examples."""

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True, config_read_mode_fsspec_enabled=True)
    parser = jsonargparse.ArgumentParser(formatter_class=Formatter, exit_on_error=False, allow_abbrev=False, **keywords)
    parser.add_class_arguments(Settings)
    return parser


def _format_examples(examples: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  {example}" for example in examples)])


def _expand_alias(argument: str) -> str:
    option, equals, value = argument.partition("=")
    return ALIASES.get(option, option) + equals + value


def _run_config(arguments: list[str]) -> list[str]:
    """Return the arguments that load the settings of the run directory, if it has any."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--out", "--run"):  # without a value, the main parser reports it
        finder.add_argument(option, nargs="?", const="", default="")
    known, _ = finder.parse_known_args(arguments)
    folder = known.run or known.out
    config = storage.as_path(folder) / "config.yaml"
    return ["--config", str(config)] if folder and config.is_file() else []


def _check_groups(parsed: Any) -> None:
    """Check that a configuration file has settings, and not a value, where a group is expected."""
    for group, default in vars(Settings()).items():
        if is_dataclass(default) and not hasattr(parsed[group], "__dict__"):
            first = fields(default)[0].name
            raise SettingsError(f"{group} is {parsed[group]}; expected its settings, such as {group}: {{{first}: ...}}")


def _settings_error(message: str, name: str, command: Command) -> SettingsError:
    """Return the parser's message as one line, with the names of missing options; for an unknown name, a suggestion."""
    line = " ".join(message.split())
    missing = re.search(r"arguments are required: ([\w, ]+)$", line)
    if missing:
        options = {option.removeprefix("--"): option for option, _ in command.arguments}
        absent = ", ".join(options.get(one, one) for one in missing[1].split(", "))
        return SettingsError(f"missing {absent}; `tumorprog {name} --help` shows examples")
    for pattern in _UNKNOWN:
        found = re.search(pattern, line)
        if found:
            try:
                check_name(".".join(found.groups()))
            except SettingsError as error:
                return error
    return SettingsError(line)


def save_config(folder: Path, settings: Settings) -> None:
    """Write config.yaml: all settings with their descriptions, below the versions and the fingerprint of the data."""
    from tumorprog import provenance, tables

    parser = _settings_parser()
    summary = folder / "catalogue" / tables.SUMMARY
    header = provenance.versions()
    if summary.is_file():
        header["data fingerprint"] = json.loads(summary.read_text())["fingerprint"]
    comments = "".join(f"# {name}: {value}\n" for name, value in header.items())
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_text(
        folder / "config.yaml", comments + parser.dump(parser.parse_object(asdict(settings)), with_comments=True)
    )
