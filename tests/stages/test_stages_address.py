import os
import shutil
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tumorprog.errors import InputError
from tumorprog.stages import address

LONG = "x" * 90
NOBODY = 65534


@pytest.fixture
def answering():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def test_who_answers_as_ray_does_is_found(answering):
    address.knock(f"127.0.0.1:{answering}")
    address.knock(f"ray://127.0.0.1:{answering}")


def test_a_proxy_of_the_site_is_not_asked(answering, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    address.knock(f"127.0.0.1:{answering}")


def test_what_ray_looks_up_itself_is_left_to_it(short, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    address.knock("local")
    address.knock("auto")


def test_a_cluster_that_has_ended_without_saying_so_is_found_in_seconds(short, monkeypatch, answering):
    """Its address still stands in Ray's note."""
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.setattr(address, "_runs", lambda program: False)
    note = short / "ray" / "ray_current_cluster"
    note.parent.mkdir()
    note.write_text("127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"ray_current_cluster names has ended: .*refused"):
        address.knock("auto")
    monkeypatch.setattr(address, "_runs", lambda program: program == "raylet")
    address.knock("auto")  # Ray takes what runs
    note.write_text(f"127.0.0.1:{answering}")
    monkeypatch.setattr(address, "_runs", lambda program: False)
    address.knock("auto")


def test_programs_that_run_are_found():
    assert address._runs(Path("/proc/self/comm").read_text().strip())
    assert not address._runs("no such program")


def test_a_port_where_another_program_listens_is_no_cluster(monkeypatch):
    monkeypatch.setattr(address, "_ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConnectionError, match="no Ray answers"):
        address.knock(f"127.0.0.1:{other.getsockname()[1]}")


@pytest.mark.parametrize("told", ["127.0.0.1:1", "no.such.host.invalid:6379", "ray://127.0.0.1:1"])
def test_nobody_is_found_in_seconds(told):
    with pytest.raises(OSError, match=r"refused|Name or service|name resolution|not known"):
        address.knock(told)


@pytest.mark.parametrize("host", ["host..local", "x" * 64])
def test_a_name_that_no_host_can_have_is_told(host):
    with pytest.raises(ConnectionError, match="no host can be called"):
        address.knock(f"{host}:6379")


@pytest.mark.parametrize("told", ["", "here", "host:port", "host:99999", "http://"])
def test_what_is_no_address_is_told(told):
    with pytest.raises(ConnectionError, match="HOST:PORT"):
        address.knock(told)


def test_rays_own_choice_stands_where_it_will_do(short):
    assert address.session_folder({}, user=7, temporary=short) is None
    assert address.session_folder({"TMPDIR": str(short)}, user=7) is None


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_name_that_ray_would_take_for_a_relative_one_is_made_absolute(name, short, monkeypatch):
    monkeypatch.chdir(short)
    assert address.session_folder({name: ""}, user=7, temporary=short) == short / "ray"
    assert address.session_folder({name: "mine"}, user=7, temporary=short / "other") == short / "mine" / "ray"


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_sockets_go_to_a_short_place_where_their_folder_is_too_long(name, short):
    assert address.session_folder({name: f"/{LONG}"}, user=7, temporary=short) == short / "ray"


def test_another_users_folder_is_left_alone(short, monkeypatch):
    (short / "ray").mkdir()
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != short / "ray" and writable(path, how))
    assert address.session_folder({"TMPDIR": f"/{LONG}"}, user=7, temporary=short) == short / "ray-7"
    assert address.session_folder({"TMPDIR": str(short)}, user=7, temporary=short) == short / "ray-7"


def test_without_any_place_the_setting_is_named(short, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(InputError, match="set RAY_TMPDIR to a short folder"):
        address.session_folder({"TMPDIR": str(short)}, user=7, temporary=short)


@pytest.fixture
def short():
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)
