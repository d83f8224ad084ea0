import os
import signal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.distributed import session
from tumorprog.distributed.settings import Cluster
from tumorprog.distributed.shards import num_tasks, ray
from tumorprog.errors import InputError


@given(shards=st.integers(1, 10_000), cores=st.integers(1, 400))
def test_every_core_gets_the_same_number_of_tasks_and_no_task_exceeds_the_shard_limit(shards, cores):
    tasks = num_tasks(shards, cores)
    assert 1 <= tasks <= shards
    assert tasks == shards or tasks % cores == 0
    assert -(-shards // tasks) <= 8


@pytest.mark.parametrize(("shards", "cores", "tasks"), [(16, 2, 2), (16, 4, 4), (3, 4, 3), (54, 2, 8), (1, 1, 1)])
def test_num_tasks_for_typical_sizes(shards, cores, tasks):
    assert num_tasks(shards, cores) == tasks


@pytest.fixture
def connect_recorded(monkeypatch):
    """A function that calls `connect` with a fake Ray of the given nodes and environment, and returns its calls."""
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="local"))
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options["address"]))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))

    def connect(cluster, *hosts, gpu=False, gpus=0.0, train_workers=0, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "NodeManagerAddress": host} for host in hosts])
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": gpus} if gpus else {})
        session.connect(cluster, gpu=gpu, train_workers=train_workers)
        return calls

    return connect


def test_local_ray_starts_only_with_token_authentication(connect_recorded):
    assert connect_recorded(Cluster()) == ["local"]
    assert connect_recorded(Cluster(), RAY_AUTH_MODE="token") == ["local", "local"]
    with pytest.raises(InputError, match="Ray would start without token authentication"):
        connect_recorded(Cluster(), RAY_AUTH_MODE="disabled")


def test_a_cluster_outside_the_loopback_is_joined_only_with_token_authentication(connect_recorded):
    joined = Cluster(address="auto")
    assert connect_recorded(joined, "127.0.0.1", "127.0.0.1") == ["auto"]
    with pytest.raises(InputError, match=r"the Ray cluster on 127.0.0.1, 192.0.2.1 runs without token authentication"):
        connect_recorded(joined, "127.0.0.1", "192.0.2.1")
    assert connect_recorded(joined, "192.0.2.1", RAY_AUTH_MODE="token")[-2:] == ["shutdown", "auto"]


def test_a_missing_gpu_is_refused_on_one_machine_and_waited_for_on_a_cluster(connect_recorded, caplog):
    assert connect_recorded(Cluster(), gpu=True, gpus=1.0) == ["local"]
    with pytest.raises(InputError, match=r"Ray finds no GPU on this machine .*--grader.gpu false"):
        connect_recorded(Cluster(), gpu=True)
    assert not caplog.records
    assert connect_recorded(Cluster(address="auto"), "127.0.0.1", gpu=True)[-1] == "auto"
    assert "the cluster has no GPU yet" in caplog.text


def test_only_a_training_with_workers_starts_a_dashboard_and_ray_is_restarted_for_it(connect_recorded, monkeypatch):
    runs = []
    monkeypatch.setattr(ray, "init", lambda **options: runs.append(options["include_dashboard"]))
    monkeypatch.setattr(ray, "is_initialized", lambda: bool(runs) and runs[-1] != "ended")
    monkeypatch.setattr(ray, "shutdown", lambda: runs.append("ended"))
    for workers in (0, 0, 1, 1, 0):
        connect_recorded(Cluster(), train_workers=workers)
    assert runs == [False, "ended", True]


def test_a_ray_started_by_the_caller_is_not_restarted(connect_recorded, monkeypatch):
    connect_recorded(Cluster())
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="the user's own"))
    assert connect_recorded(Cluster(), train_workers=1) == ["local"]


@pytest.mark.parametrize("before", [None, "http://head:8265"])
def test_processes_started_with_a_dashboard_get_its_address(connect_recorded, monkeypatch, before):
    """They must not query another Ray on the machine, or a cluster to which jobs are submitted, instead."""
    calls, name = [], "RAY_API_SERVER_ADDRESS"
    monkeypatch.setenv(name, before) if before else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append((os.environ[name], options)))
    connect_recorded(Cluster(), train_workers=1)
    ((address, options),) = calls
    assert address == f"http://{options['dashboard_host']}:{options['dashboard_port']}"
    assert options["dashboard_host"] == "127.0.0.1"
    assert os.environ.get(name) == before


def test_a_job_joins_the_cluster_that_it_was_submitted_to(connect_recorded, monkeypatch):
    """Ray reads the cluster's address from its own environment variables."""
    monkeypatch.setattr(session.address, "check_reachable", lambda _: None)
    assert connect_recorded(Cluster(), "127.0.0.1", RAY_ADDRESS="127.0.0.1:6379") == [None]
    assert session.joins_existing_cluster(Cluster())


def test_sigterm_keeps_its_handler_when_ray_starts(connect_recorded, monkeypatch):
    """The command line ends with its own exit code, also after `ray.init`, which sets a handler of its own."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    connect_recorded(Cluster())
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_empty_ray_address_is_ignored(connect_recorded):
    assert connect_recorded(Cluster(), RAY_ADDRESS="") == ["local"]
    assert not session.joins_existing_cluster(Cluster())


def test_an_unreachable_cluster_is_reported_immediately(connect_recorded):
    with pytest.raises(InputError, match=r"cluster.address 127.0.0.1:9: .*\(.*refused\).* --cluster.address local$"):
        connect_recorded(Cluster(address="127.0.0.1:9"))
    with pytest.raises(InputError, match=r"RAY_ADDRESS 127.0.0.1:9: .*\(.*refused\).* unset RAY_ADDRESS$"):
        connect_recorded(Cluster(), RAY_ADDRESS="127.0.0.1:9")


def test_an_unreachable_ray_address_is_reported_by_the_name_of_its_variable(connect_recorded):
    with pytest.raises(InputError, match=r"RAY_ADDRESS 127.0.0.1:9: cannot join the Ray cluster .*unset RAY_ADDRESS"):
        connect_recorded(Cluster(), RAY_ADDRESS="127.0.0.1:9")


def test_a_refused_connection_is_reported_as_an_input_error(connect_recorded, monkeypatch):
    def refuses(**options):
        raise ConnectionError("wrong token")

    monkeypatch.setattr(ray, "init", refuses)
    with pytest.raises(
        InputError, match=r"cluster.address auto: cannot join the Ray cluster \(wrong token\).*RAY_AUTH_TOKEN"
    ):
        connect_recorded(Cluster(address="auto"))
