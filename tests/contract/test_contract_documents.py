"""What README, docs and the cluster's files name must exist."""

import re
from pathlib import Path

import pytest
import yaml

from tumorprog import cli
from tumorprog.settings import check_name

ROOT = Path(cli.__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "cluster").iterdir())]
OWN_OPTIONS = {"out", "config", "run", "images", "help", "version", *(word.strip("-") for word in cli.ALIASES)}


@pytest.fixture(scope="module")
def job():
    return yaml.safe_load((ROOT / "cluster" / "kuberay-job.yaml").read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_a_document_names_exists(path):
    text = path.read_text()
    for option in re.findall(r"(?<![\w-])--([a-z_]+\.[a-z_0-9]+)", text):
        check_name(option)
    for line in re.findall(r"tumorprog ([a-z-]+) .*", text):
        assert line in cli.COMMANDS or f"`tumorprog {line}" not in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_links_to_exists(path):
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_job_names_a_script_and_options_that_exist(job):
    words = job["spec"]["entrypoint"].split()
    assert words[0] == "python"
    assert (ROOT / words[1]).is_file()
    for word in words[2:]:
        if word.startswith("--"):
            name = word.removeprefix("--")
            assert name in OWN_OPTIONS or check_name(name) is None


def test_the_job_runs_the_ray_that_the_lock_pins(job):
    (pinned,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned


def test_the_head_does_no_work_and_every_node_sees_the_data(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_the_lock_names_no_registry():
    assert "://" not in (ROOT / "requirements.lock").read_text()
