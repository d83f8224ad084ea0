from pathlib import Path

import pytest

from tumorprog import storage
from tumorprog.distributed import nodes, session
from tumorprog.distributed.settings import Cluster


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    monkeypatch.setattr(nodes, "_PATIENCE_S", 0.0)


@pytest.fixture
def probe(tmp_path):
    """The folder that the driver has just written into the run directory."""
    folder = tmp_path / ".nodes-1"
    folder.mkdir()
    (folder / "asked").write_text(folder.name)
    return folder


def sample(path):
    path.write_bytes(b"1234")
    (found,) = storage.walk(path)
    return found


def test_a_node_that_sees_everything_reports_nothing_and_writes_an_answer(probe, tmp_path):
    assert nodes.find_missing(str(probe), {"tree": sample(tmp_path / "a.dcm")}) == []
    assert len(list(probe.iterdir())) == 2


def test_a_node_without_the_folder_or_with_another_one_reports_the_run_directory(probe, tmp_path):
    assert nodes.find_missing(str(tmp_path / ".nodes-2"), {}) == [str(tmp_path / ".nodes-2")]
    (probe / "asked").write_text("another")
    assert nodes.find_missing(str(probe), {}) == [str(probe)]


def test_a_folder_that_is_not_writable_counts_as_missing(probe, monkeypatch):
    def refuses(path, text):
        raise PermissionError(path)

    monkeypatch.setattr(storage, "write_text", refuses)
    assert nodes.find_missing(str(probe), {}) == [str(probe)]


def test_an_archive_is_missing_without_its_file_but_not_with_a_copy_of_the_file(probe, tmp_path):
    found = sample(tmp_path / "a.dcm")
    Path(found.path).unlink()
    assert nodes.find_missing(str(probe), {"tree": found}) == ["tree"]
    Path(found.path).write_bytes(b"4321")
    assert nodes.find_missing(str(probe), {"tree": found}) == []
    Path(found.path).write_bytes(b"other")
    assert nodes.find_missing(str(probe), {"tree": found}) == ["tree"]


def test_on_a_single_machine_ray_is_not_started(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def never(cluster):
        pytest.fail("Ray was started")

    monkeypatch.setattr(session, "connect", never)
    nodes.check_shared(tmp_path, ["nowhere"], Cluster())
