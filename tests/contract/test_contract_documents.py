"""Options, commands and files that README, docs and the files in cluster/ mention must exist."""

import re
from pathlib import Path

import pytest

from tumorprog import cli
from tumorprog.settings import check_name

ROOT = Path(cli.__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
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


def test_the_lock_names_no_registry():
    assert "://" not in (ROOT / "requirements.lock").read_text()
