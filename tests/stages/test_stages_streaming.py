import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.errors import InputError
from tumorprog.settings import Cluster
from tumorprog.stages import streaming


@given(shards=st.integers(1, 10_000), cores=st.integers(1, 400))
def test_every_core_gets_as_many_tasks_and_no_task_too_many_shards(shards, cores):
    tasks = streaming.num_tasks(shards, cores)
    assert 1 <= tasks <= shards
    assert tasks == shards or tasks % cores == 0
    assert -(-shards // tasks) <= 8


@pytest.mark.parametrize(("shards", "cores", "tasks"), [(16, 2, 2), (16, 4, 4), (3, 4, 3), (54, 2, 8), (1, 1, 1)])
def test_tasks_of_some_sizes(shards, cores, tasks):
    assert streaming.num_tasks(shards, cores) == tasks


@pytest.fixture
def ray_told(monkeypatch):
    """How Ray was started or joined, without either; the nodes that it then has, and the environment are given."""
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    told = []
    monkeypatch.setattr(streaming.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(streaming.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="here"))
    monkeypatch.setattr(streaming.ray, "init", lambda **words: told.append(words["address"]))
    monkeypatch.setattr(streaming.ray, "shutdown", lambda: told.append("shutdown"))

    def connect(cluster, *hosts, gpu=False, gpus=0.0, train_workers=0, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(
            streaming.ray, "nodes", lambda: [{"Alive": True, "NodeManagerAddress": host} for host in hosts]
        )
        monkeypatch.setattr(streaming.ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": gpus} if gpus else {})
        streaming.connect(cluster, gpu=gpu, train_workers=train_workers)
        return told

    return connect


def test_ray_starts_on_this_machine_with_a_token_only(ray_told):
    assert ray_told(Cluster()) == ["local"]
    assert ray_told(Cluster(), RAY_AUTH_MODE="token") == ["local", "local"]
    with pytest.raises(InputError, match="Ray would start without token authentication"):
        ray_told(Cluster(), RAY_AUTH_MODE="disabled")


def test_a_cluster_beyond_the_loopback_is_joined_with_a_token_only(ray_told):
    joined = Cluster(address="auto")
    assert ray_told(joined, "127.0.0.1", "127.0.0.1") == ["auto"]
    with pytest.raises(InputError, match=r"the Ray cluster on 127.0.0.1, 192.0.2.1 runs without token authentication"):
        ray_told(joined, "127.0.0.1", "192.0.2.1")
    assert ray_told(joined, "192.0.2.1", RAY_AUTH_MODE="token")[-2:] == ["shutdown", "auto"]


def test_a_gpu_that_cannot_come_is_refused_at_once_and_one_that_may_join_a_cluster_is_waited_for(ray_told, caplog):
    assert ray_told(Cluster(), gpu=True, gpus=1.0) == ["local"]
    with pytest.raises(InputError, match=r"Ray finds no GPU on this machine .*--grader.gpu false"):
        ray_told(Cluster(), gpu=True)
    assert not caplog.records
    assert ray_told(Cluster(address="auto"), "127.0.0.1", gpu=True)[-1] == "auto"
    assert "the cluster has no GPU yet" in caplog.text


def test_only_a_training_with_workers_has_a_dashboard_and_ray_is_started_again_for_it(ray_told, monkeypatch):
    runs = []
    monkeypatch.setattr(streaming.ray, "init", lambda **words: runs.append(words["include_dashboard"]))
    monkeypatch.setattr(streaming.ray, "is_initialized", lambda: bool(runs) and runs[-1] != "ended")
    monkeypatch.setattr(streaming.ray, "shutdown", lambda: runs.append("ended"))
    for workers in (0, 0, 1, 1, 0):
        ray_told(Cluster(), train_workers=workers)
    assert runs == [False, "ended", True]


def test_a_ray_that_was_started_elsewhere_is_left_alone(ray_told, monkeypatch):
    ray_told(Cluster())
    monkeypatch.setattr(streaming.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(streaming.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="the user's own"))
    assert ray_told(Cluster(), train_workers=1) == ["local"]


@pytest.mark.parametrize("before", [None, "http://head:8265"])
def test_what_is_started_with_a_dashboard_knows_where_it_is(ray_told, monkeypatch, before):
    """Another Ray on the machine, or a cluster that jobs are submitted to, must not be asked in its stead."""
    told, name = [], "RAY_API_SERVER_ADDRESS"
    monkeypatch.setenv(name, before) if before else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(streaming.ray, "init", lambda **words: told.append((os.environ[name], words)))
    ray_told(Cluster(), train_workers=1)
    ((address, words),) = told
    assert address == f"http://{words['dashboard_host']}:{words['dashboard_port']}"
    assert words["dashboard_host"] == "127.0.0.1"
    assert os.environ.get(name) == before


def test_a_job_joins_the_cluster_that_it_was_submitted_to(ray_told, monkeypatch):
    """Ray knows which, by its own variables."""
    monkeypatch.setattr(streaming.address, "knock", lambda _: None)
    assert ray_told(Cluster(), "127.0.0.1", RAY_ADDRESS="127.0.0.1:6379") == [None]
    assert streaming.joins(Cluster())


def test_an_empty_address_is_none(ray_told):
    assert ray_told(Cluster(), RAY_ADDRESS="") == ["local"]
    assert not streaming.joins(Cluster())


def test_a_cluster_that_is_not_there_is_told_at_once(ray_told):
    with pytest.raises(InputError, match=r"cluster.address 127.0.0.1:9: .*\(.*refused\).* --cluster.address local$"):
        ray_told(Cluster(address="127.0.0.1:9"))
    with pytest.raises(InputError, match=r"RAY_ADDRESS 127.0.0.1:9: .*\(.*refused\).* unset RAY_ADDRESS$"):
        ray_told(Cluster(), RAY_ADDRESS="127.0.0.1:9")


def test_an_address_of_ray_that_answers_nobody_is_told_at_once_by_its_name(ray_told):
    with pytest.raises(InputError, match=r"RAY_ADDRESS 127.0.0.1:9: cannot be joined .*unset RAY_ADDRESS"):
        ray_told(Cluster(), RAY_ADDRESS="127.0.0.1:9")


def test_a_cluster_that_refuses_is_a_mistake_that_can_be_mended(ray_told, monkeypatch):
    def refuses(**words):
        raise ConnectionError("wrong token")

    monkeypatch.setattr(streaming.ray, "init", refuses)
    with pytest.raises(InputError, match=r"cluster.address auto: cannot be joined \(wrong token\).*RAY_AUTH_TOKEN"):
        ray_told(Cluster(address="auto"))
