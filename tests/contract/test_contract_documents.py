"""Options, commands and files that README, docs and the files in cluster/ mention must exist."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from tumorprog import cli, columns
from tumorprog.formats.columns import REASONS
from tumorprog.settings import check_name

ROOT = Path(cli.__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for path in (ROOT / "cluster").rglob("*") if path.is_file()),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_mentioned_in_a_document_exists(path):
    text = path.read_text()
    for option in re.findall(r"(?<![\w-])--([a-z_]+\.[a-z_0-9]+)", text):
        check_name(option)
    for command in re.findall(r"tumorprog ([a-z-]+) .*", text):
        assert command in cli.COMMANDS or f"`tumorprog {command}" not in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_linked_from_a_document_exists(path):
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_import_rules_of_the_architecture_page_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = "".join(f"    {layer.replace(' | ', ', ')}\n" for layer in layers)
    assert f"\n\n{block}\n" in text


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_module_that_is_named_exists(name):
    packages = {path.stem for path in (ROOT / "tumorprog").iterdir()}
    for path in re.findall(r"`([a-z_]+(?:\.[a-zA-Z_]+)*)`", (ROOT / name).read_text()):
        top, *rest = path.split(".")
        if top not in packages or (rest and rest[0] in {"py", "html", "method"}):
            continue
        parts = path.split(".")
        modules = [".".join(["tumorprog", *parts[:end]]) for end in range(1, len(parts) + 1)]
        found = [module for module in modules if _exists(module)]
        module = importlib.import_module(found[-1])
        assert len(found) == len(parts) or hasattr(module, parts[len(found)]), path


def _exists(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is a module and not a package
        return False


def test_every_package_is_on_the_architecture_page():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = {path.stem for path in (ROOT / "tumorprog").iterdir() if not path.name.startswith("__")}
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_every_table_and_every_reason_is_documented():
    text = (ROOT / "docs" / "run-directory.md").read_text()
    for path in columns.FILES:
        name = path if "." in path else f"{path}/*.parquet"
        assert f"`{name}`" in text, name
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in text


def test_the_lock_names_no_registry():
    assert "://" not in (ROOT / "requirements.lock").read_text()
