"""The command `tumorprog`: arguments in, an exit code out. What it prints goes through `terminal`.

A command imports what it needs when it runs: pandas alone would make `--help` take three times as long.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from tumorprog import __version__, options, terminal
from tumorprog.commands import catalogue, features, pipeline, predict, stage, submit, synthesize, tune
from tumorprog.errors import SettingsError, TumorprogError

COMMANDS = {
    "run": pipeline.RUN,
    "demo": pipeline.DEMO,
    "synthesize": synthesize.COMMAND,
    "catalogue": catalogue.COMMAND,
    "train-segmenter": stage.TRAIN_SEGMENTER,
    "regions": stage.REGIONS,
    "slices": stage.SLICES,
    "train-grader": stage.TRAIN_GRADER,
    "grade": stage.GRADE,
    "features": features.COMMAND,
    "train-progression": stage.TRAIN_PROGRESSION,
    "report": pipeline.REPORT,
    "predict": predict.COMMAND,
    "tune": tune.COMMAND,
    "submit": submit.COMMAND,
}
"""Every command, in the order of `tumorprog --help`."""

RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # short trainings end sooner
    "RAY_COLOR_PREFIX": "0",  # no colour codes before the lines of workers
    "RAY_DEDUP_LOGS_SKIP_REGEX": "|".join(  # false alarms of every training (2.60)
        (
            r"PYTHON worker processes have been started on node",
            r"has constructor arguments in the object store and max_restarts > 0",
        )
    ),
}
"""Environment variables that Ray reads when it is imported; values that the user has set take precedence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after `tumorprog`; those of the process if None.

    Returns:
        0 on success, 2 for an error that the user can fix, 130 after Ctrl-C, 143 after SIGTERM; for `submit`, the exit
        code of the job.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help"}:
        _print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        _print(f"tumorprog {__version__}")
        return 0
    _configure_process()
    try:
        return _run_command(arguments[0], arguments[1:])
    except TumorprogError as error:
        sys.stderr.write(f"tumorprog: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("tumorprog: interrupted; finished work is kept, and the same command resumes from it\n")
        return 130


def entry() -> NoReturn:
    """Run the console script."""
    sys.exit(main())


def _run_command(name: str, arguments: list[str]) -> int:
    command = COMMANDS.get(name)
    if command is None:
        raise SettingsError(f"unknown command {name!r}; choose from {', '.join(COMMANDS)}")
    if command.forwards:
        parsed, forwarded = options.split(name, command, arguments)
        _check_forwarded(name, parsed.command, forwarded)
        _print(command.run(parsed, forwarded))
    else:
        _print(command.run(*options.parse(name, command, arguments)))
    return 0


def _check_forwarded(name: str, forwarded_name: str, arguments: list[str]) -> None:
    """Report a mistake in a forwarded command here and now, and not where it runs later."""
    if forwarded_name not in COMMANDS or COMMANDS[forwarded_name].forwards:
        others = ", ".join(other for other, command in COMMANDS.items() if not command.forwards)
        raise SettingsError(f"{name} cannot run {forwarded_name!r}; choose from {others}")
    options.parse(forwarded_name, COMMANDS[forwarded_name], arguments)


def _print(text: str) -> None:
    terminal.write(text + "\n")


def _configure_process() -> None:
    """Send log lines to stderr, make SIGTERM (`ray job stop`) end the process as Ctrl-C does, and configure Ray."""
    logging.basicConfig(level=logging.WARNING, handlers=[terminal.handler(sys.stderr)])
    logging.getLogger("tumorprog").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tumorprog COMMAND [options]",
            "",
            "Glioma grading and prediction of months to progression, from DICOM archives of brain MRI, on Ray.",
            "For research; not a medical device.",
            "",
            "commands:",
            *lines,
            "",
            "`tumorprog COMMAND --help` shows a command's settings and examples; `tumorprog --version` the version.",
        ]
    )


if __name__ == "__main__":
    entry()
