import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from ray.job_submission import JobStatus

from tumorprog.errors import InputError
from tumorprog.stages import submit


@pytest.fixture
def answering(monkeypatch):
    """An address at which everything is answered with one status."""
    servers = []
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # so that it is taken back

    def answer(status):
        class Always(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *words):
                """Says nothing."""

        server = HTTPServer(("127.0.0.1", 0), Always)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_told_as_such(answering, status):
    with pytest.raises(InputError, match=r"refuses the token; export RAY_AUTH_MODE=token and the RAY_AUTH_TOKEN"):
        submit.connect(answering(status))


@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_answers_and_is_no_ray_is_told_as_such(answering, status):
    with pytest.raises(InputError, match="no Ray cluster answers there"):
        submit.connect(answering(status))


def test_nobody_there_is_told_as_such(answering):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9: no Ray cluster answers there \(Connection refused\)"):
        submit.connect("http://127.0.0.1:9")


def test_who_listens_and_says_nothing_is_told_as_such(monkeypatch):
    monkeypatch.setattr(submit, "_ANSWER_S", 0.3)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for address in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"):
            with pytest.raises(InputError, match=f"http://127.0.0.1:{port}: no Ray cluster answers there"):
                submit.connect(address)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "ftp://host"])
def test_an_address_that_is_no_dashboards_is_told_as_such(address):
    with pytest.raises(InputError, match="a cluster's dashboard, which is at http://HOST:8265"):
        submit.connect(address)


def test_the_package_and_local_files_of_settings_go_along(tmp_path):
    (tmp_path / "there").mkdir()
    mine = tmp_path / "mine.yaml"
    mine.write_text("seed: 3")
    words = ["run", "--config", str(mine), f"--config={mine}", "--out", "/data/run", "--grader.split", "no/such.yaml"]
    told = submit.pack(words, tmp_path / "there")
    names = [told[2], told[3].removeprefix("--config=")]
    assert [told[0], told[1], *told[4:]] == [words[0], words[1], *words[4:]]
    assert not any("/" in name for name in names)
    assert [(tmp_path / "there" / name).read_text() for name in names] == ["seed: 3", "seed: 3"]
    assert (tmp_path / "there" / "tumorprog" / "report" / "page.html").is_file()
    assert not list((tmp_path / "there").rglob("__pycache__"))


class Client:
    """A cluster that takes a job, or not, says two lines and ends it in some way."""

    def __init__(self, ends, takes=True):
        self._ends, self._takes = ends, takes

    def get_address(self):
        return "http://head:8265"

    def submit_job(self, *, entrypoint, runtime_env):
        if not self._takes:
            raise RuntimeError("Request failed with status code 500")
        self.entrypoint = entrypoint
        self.sent = sorted(path.name for path in Path(runtime_env["working_dir"]).iterdir())
        return "raysubmit_1"

    async def tail_job_logs(self, job):
        yield "one\n"
        yield "two\n"
        if isinstance(self._ends, KeyboardInterrupt):
            raise self._ends
        raise RuntimeError("the connection is closed")

    def get_job_info(self, job):
        if isinstance(self._ends, Exception):
            raise self._ends
        return self._ends


def ended(status, code=None):
    return SimpleNamespace(status=status, driver_exit_code=code, message="")


def outcome(client, monkeypatch):
    shown = []
    monkeypatch.setattr(submit, "connect", lambda address: client)
    code = submit.run(["report", "--out", "/data/two words"], address="", python="/env/python", show=shown.append)
    return code, "".join(shown)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (ended(JobStatus.SUCCEEDED, 0), 0),
        (ended(JobStatus.FAILED, 2), 2),
        (ended(JobStatus.STOPPED), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=["succeeded", "failed", "stopped", "interrupted"],
)
def test_a_job_shows_its_log_and_gives_its_exit_code(monkeypatch, ends, code):
    client = Client(ends)
    assert outcome(client, monkeypatch) == (code, "one\ntwo\n")
    assert client.entrypoint == "/env/python -m tumorprog.cli report --out '/data/two words'"
    assert client.sent == ["tumorprog"]


def test_a_cluster_that_is_lost_or_takes_no_job_is_told_as_such(monkeypatch):
    with pytest.raises(InputError, match=r"http://head:8265: the cluster takes no job \(Request failed"):
        outcome(Client(None, takes=False), monkeypatch)
    with pytest.raises(InputError, match=r"the cluster answers no more; job raysubmit_1 is lost"):
        outcome(Client(requests.ConnectionError("reset")), monkeypatch)
