import subprocess
import sys
from dataclasses import replace

import pytest

from tumorprog import cli, options
from tumorprog.settings import Settings, with_values


@pytest.fixture
def parsed(monkeypatch):
    """The arguments and settings that each command receives, instead of running it."""
    received = []

    def record(arguments, settings):
        received.append((arguments, settings))
        return ""

    for name, command in list(cli.COMMANDS.items()):
        monkeypatch.setitem(cli.COMMANDS, name, replace(command, run=record))
    return received


def test_every_command_has_help_with_examples(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert f"examples:\n  tumorprog {name}" in capsys.readouterr().out


def test_help_imports_nothing_slow():
    code = "import sys; from tumorprog.cli import main; main(['--help']); print([m for m in sys.modules if m in %r])"
    slow = ["ray", "torch", "torchvision", "matplotlib", "pandas", "pyarrow"]
    done = subprocess.run([sys.executable, "-c", code % slow], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_inputs_have_short_forms_and_become_absolute_paths(parsed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "run",
        "--grading",
        "G",
        "--grades=T.xlsx",
        "--progression",
        "P",
        "--progression.hidden",
        "8",
        "--out",
        "O",
    ]
    assert cli.main(arguments) == 0
    settings = parsed[0][1]
    given = (settings.archive.grading, settings.archive.grades, settings.archive.progression)
    assert given == tuple(str(tmp_path / name) for name in ("G", "T.xlsx", "P"))
    assert settings.progression.hidden == 8


def test_a_config_file_overrides_defaults_and_options_override_the_file(parsed, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 3\ngrader: {epochs: 4, batch_size: 8}\n")
    cli.main(["run", "--out", "O", "--config", str(file), "--grader.epochs", "5"])
    settings = parsed[0][1]
    assert (settings.seed, settings.grader.epochs, settings.grader.batch_size) == (3, 5, 8)


def test_a_run_directory_remembers_its_settings(parsed, tmp_path):
    made_with = with_values(Settings(), {"grader.epochs": 4, "slices.sequences": ("T2", "ADC")})
    options.save_config(tmp_path, made_with)
    cli.main(["report", "--out", str(tmp_path)])
    cli.main(["report", "--out", str(tmp_path), "--grader.epochs", "6"])
    assert parsed[0][1] == made_with
    assert parsed[1][1] == with_values(made_with, {"grader.epochs": 6})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--out", "O", "--grader.epoch", "2"], "did you mean grader.epochs?"),
        (["run", "--out", "O", "--grader.epochs", "two"], "grader.epochs"),
        (["run", "--out", "O", "--grader.epochs", "0"], "grader.epochs is 0; it must be 1 or more"),
        (["run", "--out", "O", "--protocol", "none"], "protocol"),
        (["run"], "missing --out"),
        (["tune", "--out", "O"], "missing model, sweep"),
        (["train"], "unknown command 'train'"),
        (["run", "--out", "O", "--config", "/no/such.yaml"], "/no/such.yaml"),
        (["catalogue", "--out", "O"], "--grading DIR"),
        (["tune", "graders", "x.yaml", "--out", "O"], "model"),
        (["submit", "run", "--out", "O", "--grader.epoch", "2"], "did you mean grader.epochs?"),
        (["submit", "train", "--out", "O"], "submit cannot run 'train'; choose from run, demo"),
        (["submit", "submit", "run"], "submit cannot run 'submit'"),
        (["submit", "--out"], "command"),
        (["run", "--out"], "--out"),
        (["run", "--out", "O", "--grader.folds", "1"], "grader.folds is 1; it must be 0 (none), or 2 or more"),
        (["predict", "--run", "R", "--images", "none", "--out", "O"], "--images none: no such folder"),
        (["predict", "--run", "R", "--images", ".", "--out", "./R"], "--out R: is the run itself"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("tumorprog: error: ")
    assert expected in message
    assert message.count("\n") == 1


def test_an_unknown_name_in_a_config_file_gets_the_nearest_suggestion(capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("progression: {hiden: 4}\n")
    assert cli.main(["run", "--out", "O", "--config", str(file)]) == 2
    assert "did you mean progression.hidden?" in capsys.readouterr().err


def test_a_config_file_with_a_value_for_a_group_is_a_mistake_of_one_line(capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("grader: 3\n")
    assert cli.main(["run", "--out", "O", "--config", str(file)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("tumorprog: error: ")
    assert "grader" in message
    assert message.count("\n") == 1


def test_ctrl_c_explains_how_to_resume(parsed, monkeypatch, capsys):
    def interrupted(arguments, settings):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "run", replace(cli.COMMANDS["run"], run=interrupted))
    assert cli.main(["run", "--out", "O"]) == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_a_submitted_command_gets_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--grading",
        "G",
        "--grades=T.xlsx",
        "--out",
        "O",
        "--show",
        "P",
        "--grader.epochs",
        "2",
        "--run=s3://b/r",
    ]
    assert options.with_absolute_paths(arguments, ("--out", "--run")) == [
        *("--grading", f"{tmp_path}/G", f"--grades={tmp_path}/T.xlsx", "--out", f"{tmp_path}/O"),
        *("--show", "P", "--grader.epochs", "2", "--run=s3://b/r"),
    ]


def test_submit_returns_the_exit_code_of_a_failed_job(monkeypatch, capsys):
    from tumorprog.distributed import jobs

    calls = []

    def fails(arguments, *, address, python, show):
        calls.append((arguments, address, python))
        return 7

    monkeypatch.setattr(jobs, "run", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main(["submit", "report", "--out", "/data/run", "--address", "http://head:8265", "--python", "/env/python"])
    assert ended.value.code == 7
    assert calls == [(["report", "--out", "/data/run"], "http://head:8265", "/env/python")]
