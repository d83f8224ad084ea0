"""The command `tumorprog`: words in, one exit code out. It alone talks to the terminal.

What a command needs is imported when it runs: pandas alone would make `--help` three times as slow.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tumorprog import __version__, options, storage, terminal
from tumorprog.errors import InputError, SettingsError, TumorprogError
from tumorprog.options import Command, save_config
from tumorprog.settings import Settings, with_values

if TYPE_CHECKING:
    from tumorprog.run import Stage

log = logging.getLogger("tumorprog")

DEMO = {
    "grader.weights": "none",
    "grader.epochs": 3,
    "grader.batch_size": 8,
    "grader.workers": 0,
    "protocol": "both",
    "report.bootstrap": 500,
    "synthetic.progression_patients": 10,
    "synthetic.series_slices": 4,
}
"""What makes the demonstration small; everything else is as always."""

RAY = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # short trainings end sooner
    "RAY_COLOR_PREFIX": "0",  # which process a line is from, in plain letters
    "RAY_DEDUP_LOGS_SKIP_REGEX": "|".join(  # false alarms of every training (2.60)
        (
            r"PYTHON worker processes have been started on node",
            r"has constructor arguments in the object store and max_restarts > 0",
        )
    ),
}
"""What Ray reads from the environment when it is imported; what the user has set stays."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after `tumorprog`; those of the process if None.

    Returns:
        0 if it did what it was asked, 2 for a mistake that the user can mend, 130 after Ctrl-C, 143 after SIGTERM;
        that of the job for `submit`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        _say(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        _say(f"tumorprog {__version__}")
        return 0
    _listen()
    try:
        return _command(words[0], words[1:])
    except TumorprogError as error:
        sys.stderr.write(f"tumorprog: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("tumorprog: stopped; what was finished is kept, the same command goes on from there\n")
        return 130


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())


def _command(name: str, words: list[str]) -> int:
    command = COMMANDS.get(name)
    if command is None:
        raise SettingsError(f"there is no command {name!r}; choose from {', '.join(COMMANDS)}")
    if command.passes_on:
        _say(command.act(*options.split(name, command, words)))
        return 0
    small = [f"--{setting}={value}" for setting, value in DEMO.items()] if name == "demo" else []
    _say(command.act(*options.parse(name, command, small + words)))
    return 0


def _say(text: str) -> None:
    _show(text + "\n")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _listen() -> None:
    """Log lines to stderr; SIGTERM (`ray job stop`) ends as Ctrl-C does, with its own exit code."""
    logging.basicConfig(level=logging.WARNING, handlers=[terminal.handler(sys.stderr)])
    logging.getLogger("tumorprog").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name, value in RAY.items():
        os.environ.setdefault(name, value)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tumorprog COMMAND [options]",
            "",
            "Brain-tumour grading and months to progression, from DICOM archives of MRI, on Ray.",
            "For research; not a medical device.",
            "",
            "commands:",
            *lines,
            "",
            "`tumorprog COMMAND --help` shows a command's settings and examples; `tumorprog --version` the version.",
        ]
    )


def _run_stages(folder: Path, settings: Settings, stages: Sequence["Stage"]) -> str:
    from tumorprog import run

    run.check_places(folder, settings)
    if not (folder / "config.yaml").exists():
        save_config(folder, settings)
    worked = run.run_stages(folder, settings, stages)
    save_config(folder, settings)
    if not worked:
        return f"{folder}: nothing to do"
    told = f"{folder}: {worked} of {len(stages)} stages had work to do"
    behind = [stage.command for stage in run.that_read(folder, stages)]
    return f"{told}\nout of date now: {', '.join(behind)}; `tumorprog run` brings them up" if behind else told


def _run(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder = storage.place(parsed.out)
    told = _run_stages(folder, settings, run.with_what_they_need(settings))
    return "\n".join([told, *_headline(folder)])


def _headline(folder: Path) -> list[str]:
    from tumorprog.report import headline

    metrics = json.loads((folder / "metrics.json").read_text())
    return [*headline.lines(metrics), f"report: {folder / 'report.html'}"]


def _stage(name: str) -> Callable[[argparse.Namespace, Settings], str]:
    def act(parsed: argparse.Namespace, settings: Settings) -> str:
        from tumorprog import run

        return _run_stages(storage.place(parsed.out), settings, [run.stage_named(name)])

    return act


def _report(parsed: argparse.Namespace, settings: Settings) -> str:
    return "\n".join([_stage("report")(parsed, settings), *_headline(storage.place(parsed.out))])


def _catalogue(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run, tables
    from tumorprog.cohort import inventory

    folder = storage.place(parsed.out)
    told = _run_stages(folder, settings, [run.stage_named("catalogue")])
    lines = [inventory.describe(tables.read_summary(folder / "catalogue")), told]
    if parsed.check:
        from tumorprog.stages import catalogue

        findings = catalogue.check(folder, settings)
        tables.write_csv(folder / "check.csv", findings, inventory.FINDINGS)
        lines += ["", inventory.tell(findings), f"each of them: {folder / 'check.csv'}"]
    return "\n".join(lines)


def _features(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder = storage.place(parsed.out)
    if not parsed.show:
        return _run_stages(folder, settings, [run.stage_named("features")])
    from tumorprog.stages import features

    return f"picture: {features.show(folder, parsed.show, settings, order=parsed.slice)}"


def _synthesize(parsed: argparse.Namespace, settings: Settings) -> str:
    folder = storage.place(parsed.out)
    _write_cohort(folder, settings)
    options = " ".join(f"--{name.removeprefix('archive.')} '{path}'" for name, path in _trees(folder).items())
    return f"synthetic cohort: {folder}\nrun everything on it with: tumorprog run {options} --out RUN"


def _write_cohort(folder: Path, settings: Settings) -> None:
    from tumorprog.synthetic.archive import write_cohort

    processes = settings.cluster.cores or os.cpu_count() or 1
    for done, total in write_cohort(folder, settings.synthetic, seed=settings.seed, processes=processes):
        if done == total or done % max(1, total // 5) == 0:
            log.info("  synthesize: %d of %d patients", done, total)


def _trees(folder: Path) -> dict[str, str]:
    from tumorprog.synthetic import archive, plan

    return {
        "archive.grading": str(folder / plan.GRADING),
        "archive.grades": str(folder / archive.CLINICAL_TABLE),
        "archive.progression": str(folder / plan.PROGRESSION),
        "archive.outcomes": str(folder / archive.OUTCOMES_TABLE),
    }


def _demo(parsed: argparse.Namespace, settings: Settings) -> str:
    cohort = Path(parsed.out).absolute() / "cohort"
    log.info("synthetic cohort in %s; initial weights: %s (random)", cohort, settings.grader.weights)
    _write_cohort(cohort, settings)
    return _run(parsed, with_values(settings, _trees(cohort)))


def _predict(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder, out = storage.place(parsed.run), storage.place(parsed.out)
    images = with_values(settings, {"archive.grading": "", "archive.grades": "", "archive.progression": parsed.images})
    run.check_places(out, images)
    for name in ("grader", "progression"):
        (out / name).mkdir(parents=True, exist_ok=True)
        for file in ("model.safetensors", "model.json"):
            if not (folder / name / file).is_file():
                raise InputError(f"{folder / name / file}: missing; --run takes a finished run with both models")
            storage.copy(folder / name / file, out / name / file)
    return "\n".join([_run_stages(out, images, run.PREDICT), f"predictions: {out / 'predictions.csv'}"])


def _tune(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder = storage.place(parsed.out)
    chosen = with_values(settings, {"tune.model": parsed.model, "tune.sweep": storage.absolute(parsed.sweep)})
    told = _run_stages(folder, chosen, [run.TUNE[parsed.model]])
    return "\n".join([told, f"trials: {folder / 'tune' / 'trials.csv'}", f"best: {folder / 'tune' / 'best.yaml'}"])


def _submit(parsed: argparse.Namespace, words: list[str]) -> str:
    if parsed.command not in COMMANDS or COMMANDS[parsed.command].passes_on:
        raise SettingsError(f"there is no command {parsed.command!r} to submit; choose from {', '.join(COMMANDS)}")
    options.parse(parsed.command, COMMANDS[parsed.command], words)  # a mistake is told here and now
    from tumorprog.stages import submit

    there = options.from_here(words, ("--out", "--run", "--images"))
    code = submit.run([parsed.command, *there], address=parsed.address, python=parsed.python, show=_show)
    if code:
        sys.exit(code)
    return f"{parsed.command}: the job has succeeded"


_OUT = (
    "--out",
    {
        "required": True,
        "metavar": "DIR",
        "help": "the run directory; it remembers the settings, so that each is given once",
    },
)
_ALWAYS = ("seed", "cluster")
_TRAINING = (
    *_ALWAYS,
    "protocol",
    "archive",
    "cohort",
    "slices",
    "grader",
    "grade",
    "roi",
    "features",
    "progression",
    "report",
)

COMMANDS = {
    "run": Command(
        does="Everything, from DICOM files to the report; a second time, only what has changed.",
        act=_run,
        shows=_TRAINING,
        words=(_OUT,),
        examples=(
            "tumorprog run --grading REMBRANDT --grades clinical_2014-01-16.xlsx \\",
            "    --progression Brain-Tumor-Progression --out runs/tcia",
            "tumorprog run --out runs/tcia --features.wavelet db2    # the features, and what depends on them, again",
        ),
    ),
    "demo": Command(
        does="A synthetic cohort and everything on it, in minutes, without data, network or GPU.",
        act=_demo,
        shows=(*_TRAINING, "synthetic"),
        words=(_OUT,),
        examples=("tumorprog demo --out runs/demo",),
    ),
    "synthesize": Command(
        does="Write a synthetic cohort: DICOM in the layouts of the two TCIA collections, and a clinical table.",
        act=_synthesize,
        shows=("seed", "cluster", "synthetic"),
        words=(("--out", {"required": True, "metavar": "DIR", "help": "folder of the cohort"}),),
        examples=(
            "tumorprog synthesize --out cohort",
            "tumorprog synthesize --out large --synthetic.graded_patients 600 --synthetic.series_slices 50",
        ),
    ),
    "catalogue": Command(
        does="Read the headers of all files: a row per slice, and a reason for each file that is not used.",
        act=_catalogue,
        shows=("cluster", "archive", "cohort"),
        words=(
            _OUT,
            ("--check", {"action": "store_true", "help": "say what is wrong with the data"}),
        ),
        examples=(
            "tumorprog catalogue --progression Brain-Tumor-Progression --out runs/btp",
            "tumorprog catalogue --grading REMBRANDT --grades clinical_2014-01-16.xlsx --out runs/tcia --check",
            "tumorprog catalogue --progression s3://bucket/BTP --out s3://bucket/runs/btp",
        ),
    ),
    "slices": Command(
        does="Make the grader's 224 x 224 images of the graded patients.",
        act=_stage("slices"),
        shows=(*_ALWAYS, "archive", "cohort", "slices"),
        words=(_OUT,),
        examples=("tumorprog slices --grades clinical_2014-01-16.xlsx --out runs/tcia",),
    ),
    "train-grader": Command(
        does="Split by patients, audit for leaks, train the ResNet-18, predict every slice with it.",
        act=_stage("train_grader"),
        shows=(*_ALWAYS, "protocol", "grader"),
        words=(_OUT,),
        examples=(
            "tumorprog train-grader --out runs/tcia --grader.epochs 20",
            "tumorprog train-grader --out runs/tcia --grader.workers 4 --grader.gpu true",
            "tumorprog train-grader --out runs/tcia --folds 5 --grader.null_control true",
        ),
    ),
    "grade": Command(
        does="Grade every series of the progression cohort and make the reference sheet.",
        act=_stage("grade"),
        shows=("cluster", "cohort", "slices", "grader", "grade"),
        words=(_OUT,),
        examples=(
            "tumorprog grade --out runs/tcia",
            "tumorprog grade --out runs/tcia --grade.sequences '[T1post, T2]'    # whose slices vote for a patient",
        ),
    ),
    "features": Command(
        does="Compute the 100 ROI, wavelet and DCT features of every slice of the progression cohort.",
        act=_features,
        shows=("cluster", "roi", "features"),
        words=(
            _OUT,
            (
                "--show",
                {
                    "nargs": "+",
                    "metavar": "SERIES",
                    "help": "draw the features of one series instead: its UID, or PatientID, date and Type",
                },
            ),
            (
                "--slice",
                {"type": int, "metavar": "N", "help": "which slice to draw, from 0; the middle one if not given"},
            ),
        ),
        examples=(
            "tumorprog features --out runs/tcia --features.wavelet db2",
            "tumorprog features --out runs/tcia --show PGBM-001 1991-11-19 T1post",
            "tumorprog features --out runs/tcia --show PGBM-001 1991-11-19 T1post --slice 12 --roi.method component",
        ),
    ),
    "train-progression": Command(
        does="Train and judge the LSTM, leaving one patient out in turn, and as in the paper.",
        act=_stage("train_progression"),
        shows=(*_ALWAYS, "archive", "progression"),
        words=(_OUT,),
        examples=(
            "tumorprog train-progression --out runs/tcia --progression.hidden 64",
            "tumorprog train-progression --out runs/tcia --outcomes outcomes.csv --progression.target survival",
        ),
    ),
    "report": Command(
        does="Judge the predictions of whatever the run directory holds; make metrics.json and report.html.",
        act=_report,
        shows=("seed", "report"),
        words=(_OUT,),
        examples=("tumorprog report --out runs/tcia --report.bootstrap 5000",),
    ),
    "predict": Command(
        does="Apply a finished run's models to new patients: grades and months to progression.",
        act=_predict,
        shows=("cluster",),
        words=(
            ("--run", {"required": True, "metavar": "DIR", "help": "a finished run directory"}),
            ("--images", {"required": True, "metavar": "DIR", "help": "DICOM files of the new patients"}),
            ("--out", {"required": True, "metavar": "DIR", "help": "folder of the predictions"}),
        ),
        examples=("tumorprog predict --run runs/tcia --images new_patients --out runs/new",),
    ),
    "tune": Command(
        does="Sweep settings of one of the two models with Ray Tune, judged by patients who are not the test part's.",
        act=_tune,
        shows=(*_ALWAYS, "grader", "progression", "tune"),
        words=(
            (
                "model",
                {
                    "choices": ["grader", "progression"],
                    "help": "whose settings; it needs the run's slices, or its features and grades",
                },
            ),
            ("sweep", {"metavar": "SWEEP.yaml", "help": "what to try of which settings, and how"}),
            _OUT,
        ),
        examples=(
            "tumorprog tune progression tune_configs/smoke_progression.yaml --out runs/demo",
            "tumorprog tune grader tune_configs/grader.yaml --out runs/tcia",
            "tumorprog run --config runs/tcia/tune/best.yaml --out runs/tcia    # everything, with the best settings",
        ),
    ),
    "submit": Command(
        does="Run another command as a job of a Ray cluster; shows its log and ends with its exit code.",
        act=_submit,
        shows=(),
        words=(
            ("command", {"help": "which; its own words follow, and its places are those of the cluster"}),
            (
                "--address",
                {
                    "default": "",
                    "metavar": "URL",
                    "help": "the cluster's dashboard, http://127.0.0.1:8265 if not given",
                },
            ),
            ("--python", {"default": "python", "help": "the interpreter on the cluster; %(default)s if not given"}),
        ),
        passes_on=True,
        examples=(
            "tumorprog submit run --address http://127.0.0.1:8265 --grading /data/REMBRANDT \\",
            "    --grades /data/clinical_2014-01-16.xlsx --out /data/runs/tcia --grader.workers 4",
        ),
    ),
}

if __name__ == "__main__":
    entry()
