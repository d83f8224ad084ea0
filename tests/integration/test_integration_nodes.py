"""The check of the nodes before a stage, with real Ray; the only node of the test acts as another node."""

import importlib
import shutil
import sys
from types import SimpleNamespace

import pytest
import ray

from tumorprog.distributed import nodes
from tumorprog.distributed.settings import Cluster
from tumorprog.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

JOINED = Cluster(address="auto")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """Let this process appear to run on a separate node."""
    monkeypatch.setattr(nodes.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "another"))


def test_a_node_that_sees_everything_passes_and_no_file_remains(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.dcm").write_bytes(b"1")
    (tmp_path / "run" / ".nodes-1").mkdir(parents=True)  # from a command that was killed
    nodes.check_shared(tmp_path / "run", [str(tmp_path / "tree"), str(tmp_path / "gone")], JOINED)
    assert not list((tmp_path / "run").iterdir())


def test_a_node_that_does_not_see_the_run_directory_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "find_missing", lambda probe, samples: [probe])
    (node,) = ray.nodes()
    with pytest.raises(InputError, match=f"--out {tmp_path}: not the same folder on node {node['NodeManagerAddress']}"):
        nodes.check_shared(tmp_path, [], JOINED)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_of_a_node_is_reported(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "only_here.py").write_text("def look(probe, samples): return []\n")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    module = importlib.import_module("only_here")
    shutil.rmtree(tmp_path / "lib")  # the other node cannot import it
    monkeypatch.setattr(nodes, "find_missing", module.look)
    with pytest.raises(InputError, match=r"node .* has no only_here; nodes need the packages"):
        nodes.check_shared(tmp_path, [], JOINED)
    del sys.modules["only_here"]
