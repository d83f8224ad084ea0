import os
import shutil
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tumorprog.distributed import address
from tumorprog.errors import InputError

LONG = "x" * 90


@pytest.fixture
def answering():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def test_a_server_that_answers_as_ray_does_is_reachable(answering):
    address.check_reachable(f"127.0.0.1:{answering}")
    address.check_reachable(f"ray://127.0.0.1:{answering}")


def test_proxy_variables_are_ignored(answering, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    address.check_reachable(f"127.0.0.1:{answering}")


def test_local_and_auto_without_an_address_file_are_left_to_ray(short, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    address.check_reachable("local")
    address.check_reachable("auto")


def test_a_cluster_that_ended_without_ray_stop_is_reported_within_seconds(short, monkeypatch, answering):
    """Its address is still recorded in Ray's file."""
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.setattr(address, "_is_running", lambda program: False)
    address_file = short / "ray" / "ray_current_cluster"
    address_file.parent.mkdir()
    address_file.write_text("127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"recorded in .*ray_current_cluster has ended: .*refused"):
        address.check_reachable("auto")
    monkeypatch.setattr(address, "_is_running", lambda program: program == "raylet")
    address.check_reachable("auto")  # Ray uses the running cluster
    address_file.write_text(f"127.0.0.1:{answering}")
    monkeypatch.setattr(address, "_is_running", lambda program: False)
    address.check_reachable("auto")


def test_running_programs_are_recognised():
    assert address._is_running(Path("/proc/self/comm").read_text().strip())
    assert not address._is_running("no such program")


def test_a_port_on_which_another_program_listens_is_not_a_cluster(monkeypatch):
    monkeypatch.setattr(address, "_ANSWER_S", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConnectionError, match="no Ray cluster answers"),
    ):
        address.check_reachable(f"127.0.0.1:{other.getsockname()[1]}")


@pytest.mark.parametrize("name", ["127.0.0.1:1", "no.such.host.invalid:6379", "ray://127.0.0.1:1"])
def test_an_unreachable_address_is_reported_within_seconds(name):
    with pytest.raises(OSError, match=r"refused|Name or service|name resolution|not known"):
        address.check_reachable(name)


@pytest.mark.parametrize("host", ["host..local", "x" * 64])
def test_an_invalid_host_name_is_reported(host):
    with pytest.raises(ConnectionError, match="is not a valid host name"):
        address.check_reachable(f"{host}:6379")


@pytest.mark.parametrize("name", ["", "here", "host:port", "host:99999", "http://"])
def test_an_invalid_address_is_reported(name):
    with pytest.raises(ConnectionError, match="HOST:PORT"):
        address.check_reachable(name)


def test_rays_own_folder_is_used_if_it_is_suitable(short):
    assert address.session_folder({}, user=7, temporary=short) is None
    assert address.session_folder({"TMPDIR": str(short)}, user=7) is None


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_an_empty_or_relative_folder_becomes_absolute(name, short, monkeypatch):
    monkeypatch.chdir(short)
    assert address.session_folder({name: ""}, user=7, temporary=short) == short / "ray"
    assert address.session_folder({name: "mine"}, user=7, temporary=short / "other") == short / "mine" / "ray"


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_sockets_go_to_a_short_path_if_their_folder_is_too_long(name, short):
    assert address.session_folder({name: f"/{LONG}"}, user=7, temporary=short) == short / "ray"


def test_the_folder_of_another_user_is_not_used(short, monkeypatch):
    (short / "ray").mkdir()
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != short / "ray" and writable(path, mode))
    assert address.session_folder({"TMPDIR": f"/{LONG}"}, user=7, temporary=short) == short / "ray-7"
    assert address.session_folder({"TMPDIR": str(short)}, user=7, temporary=short) == short / "ray-7"


def test_without_a_suitable_folder_the_error_names_the_variable(short, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="set RAY_TMPDIR to a writable folder"):
        address.session_folder({"TMPDIR": str(short)}, user=7, temporary=short)


@pytest.fixture
def short():
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)
