from pathlib import Path

import pytest

from tumorprog import storage
from tumorprog.settings import Cluster
from tumorprog.stages import nodes, streaming


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(nodes, "_PATIENCE_S", 0.0)


@pytest.fixture
def probe(tmp_path):
    """What the driver has just written into the run directory."""
    folder = tmp_path / ".nodes-1"
    folder.mkdir()
    (folder / "asked").write_text(folder.name)
    return folder


def sample(path):
    path.write_bytes(b"1234")
    (found,) = storage.walk(path)
    return found


def test_a_node_that_sees_everything_misses_nothing_and_leaves_an_answer(probe, tmp_path):
    assert nodes.not_seen(str(probe), {"tree": sample(tmp_path / "a.dcm")}) == []
    assert len(list(probe.iterdir())) == 2


def test_a_node_without_the_folder_or_with_another_one_misses_the_run_directory(probe, tmp_path):
    assert nodes.not_seen(str(tmp_path / ".nodes-2"), {}) == [str(tmp_path / ".nodes-2")]
    (probe / "asked").write_text("another")
    assert nodes.not_seen(str(probe), {}) == [str(probe)]


def test_a_folder_that_may_not_be_written_counts_as_missing(probe, monkeypatch):
    def refuses(path, text):
        raise PermissionError(path)

    monkeypatch.setattr(storage, "write_text", refuses)
    assert nodes.not_seen(str(probe), {}) == [str(probe)]


def test_an_archive_is_missed_without_its_file_and_not_for_a_copy_of_it(probe, tmp_path):
    found = sample(tmp_path / "a.dcm")
    Path(found.path).unlink()
    assert nodes.not_seen(str(probe), {"tree": found}) == ["tree"]
    Path(found.path).write_bytes(b"4321")
    assert nodes.not_seen(str(probe), {"tree": found}) == []
    Path(found.path).write_bytes(b"other")
    assert nodes.not_seen(str(probe), {"tree": found}) == ["tree"]


def test_one_machine_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def never(cluster):
        pytest.fail("Ray was started")

    monkeypatch.setattr(streaming, "connect", never)
    nodes.check_shared(tmp_path, ["nowhere"], Cluster())
