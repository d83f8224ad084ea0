"""submit: run another command as a job of a Ray cluster."""

import argparse
import sys

from tumorprog import options, terminal
from tumorprog.options import Command


def _submit(parsed: argparse.Namespace, arguments: list[str]) -> str:
    from tumorprog.distributed import jobs

    absolute = options.with_absolute_paths(arguments, ("--out", "--run", "--images"))
    code = jobs.run([parsed.command, *absolute], address=parsed.address, python=parsed.python, show=terminal.write)
    if code:
        sys.exit(code)
    return f"{parsed.command}: the job succeeded"


COMMAND = Command(
    summary="Run another command as a job of a Ray cluster; shows its log and returns its exit code.",
    run=_submit,
    groups=(),
    arguments=(
        ("command", {"help": "the command to run; its own arguments follow, with paths as the cluster sees them"}),
        (
            "--address",
            {
                "default": "",
                "metavar": "URL",
                "help": "the cluster's dashboard, by default http://127.0.0.1:8265",
            },
        ),
        ("--python", {"default": "python", "help": "the interpreter on the cluster, by default %(default)s"}),
    ),
    forwards=True,
    examples=(
        "tumorprog submit run --address http://127.0.0.1:8265 --grading /data/REMBRANDT \\",
        "    --grades /data/clinical_2014-01-16.xlsx --out /data/runs/tcia --grader.workers 4",
    ),
)
