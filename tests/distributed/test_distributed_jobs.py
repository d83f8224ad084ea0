import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from ray.job_submission import JobStatus

from tumorprog.distributed import jobs
from tumorprog.errors import InputError


@pytest.fixture
def answering(monkeypatch):
    """Return addresses of servers that answer every request with a given status."""
    servers = []
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # so that it is restored afterwards

    def answer(status):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments):
                """Log nothing."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_token_is_reported(answering, status):
    with pytest.raises(InputError, match=r"rejected the token; export RAY_AUTH_MODE=token and the RAY_AUTH_TOKEN"):
        jobs.connect(answering(status))


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_server_other_than_ray_is_reported(answering, status):
    with pytest.raises(InputError, match="no Ray cluster answers there"):
        jobs.connect(answering(status))


def test_a_closed_port_is_reported(answering):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9: no Ray cluster answers there \(Connection refused\)"):
        jobs.connect("http://127.0.0.1:9")


def test_a_server_that_does_not_answer_is_reported(monkeypatch):
    monkeypatch.setattr(jobs, "_ANSWER_S", 0.3)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for address in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"):
            with pytest.raises(InputError, match=f"http://127.0.0.1:{port}: no Ray cluster answers there"):
                jobs.connect(address)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "ftp://host"])
def test_an_address_other_than_a_dashboards_is_reported(address):
    with pytest.raises(InputError, match="a cluster's dashboard, whose address is http://HOST:8265"):
        jobs.connect(address)


def test_the_package_and_local_configuration_files_are_sent_along(tmp_path):
    (tmp_path / "sent").mkdir()
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 3")
    given = ["run", "--config", str(file), f"--config={file}", "--out", "/data/run", "--grader.split", "no/such.yaml"]
    packed = jobs.pack(given, tmp_path / "sent")
    names = [packed[2], packed[3].removeprefix("--config=")]
    assert [packed[0], packed[1], *packed[4:]] == [given[0], given[1], *given[4:]]
    assert not any("/" in name for name in names)
    assert [(tmp_path / "sent" / name).read_text() for name in names] == ["seed: 3", "seed: 3"]
    assert (tmp_path / "sent" / "tumorprog" / "report" / "page.html").is_file()
    assert not list((tmp_path / "sent").rglob("__pycache__"))


class Client:
    """A cluster that accepts a job or not, logs two lines and then returns or raises a given end."""

    def __init__(self, end, accepts=True):
        self._end, self._accepts = end, accepts

    def get_address(self):
        return "http://head:8265"

    def submit_job(self, *, entrypoint, runtime_env):
        if not self._accepts:
            raise RuntimeError("Request failed with status code 500")
        self.entrypoint = entrypoint
        self.sent = sorted(path.name for path in Path(runtime_env["working_dir"]).iterdir())
        return "raysubmit_1"

    async def tail_job_logs(self, job):
        yield "one\n"
        yield "two\n"
        if isinstance(self._end, KeyboardInterrupt):
            raise self._end
        raise RuntimeError("the connection is closed")

    def get_job_info(self, job):
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


def ended(status, code=None):
    return SimpleNamespace(status=status, driver_exit_code=code, message="")


def outcome(client, monkeypatch):
    shown = []
    monkeypatch.setattr(jobs, "connect", lambda address: client)
    code = jobs.run(["report", "--out", "/data/two words"], address="", python="/env/python", show=shown.append)
    return code, "".join(shown)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (ended(JobStatus.SUCCEEDED, 0), 0),
        (ended(JobStatus.FAILED, 2), 2),
        (ended(JobStatus.STOPPED), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=["succeeded", "failed", "stopped", "interrupted"],
)
def test_a_job_shows_its_log_and_returns_its_exit_code(monkeypatch, end, code):
    client = Client(end)
    assert outcome(client, monkeypatch) == (code, "one\ntwo\n")
    assert client.entrypoint == "/env/python -m tumorprog.cli report --out '/data/two words'"
    assert client.sent == ["tumorprog"]


def test_a_lost_cluster_and_a_rejected_job_are_reported(monkeypatch):
    with pytest.raises(InputError, match=r"http://head:8265: the cluster rejected the job \(Request failed"):
        outcome(Client(None, accepts=False), monkeypatch)
    with pytest.raises(InputError, match=r"the cluster stopped answering; job raysubmit_1 is either lost"):
        outcome(Client(requests.ConnectionError("reset")), monkeypatch)
