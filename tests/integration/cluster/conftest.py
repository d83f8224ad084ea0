"""A Ray cluster of several nodes on this machine, with its own ports, folder and token; always ended by process id.

The nodes run a Python with every package of this one except tumorprog, which therefore must be sent to them.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from tumorprog import storage


def free_ports(number):
    """Return ports that are currently free."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    except OSError as error:
        pytest.skip(f"no free ports on the loopback: {error}")
    finally:
        for opened in sockets:
            opened.close()


def processes(leader):
    """Return the processes of a node with their command lines: those of its session, and all their descendants."""
    parents, names, members = {}, {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            _, _, fields = (process / "stat").read_text().rpartition(")")
            names[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # the process has ended in the meantime
            continue
        state, parent, _, session = fields.split()[:4]
        parents[int(process.name)] = int(parent)
        if int(session) == leader and state != "Z":
            members.add(int(process.name))
    while children := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= children
    return {pid: names[pid] for pid in members}


def end(leader):
    """Kill the processes of a node, and those that they start in the meantime."""
    while remaining := processes(leader):
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


class LocalCluster:
    """A head node without cores, and worker nodes with two logical cores each."""

    def __init__(self, folder, python):
        self.folder, self.python = folder, python
        self.port, self.dashboard = free_ports(2)
        self.address = f"http://127.0.0.1:{self.dashboard}"
        self.token = secrets.token_hex(32)
        self.nodes = []
        self.head = self._start(
            *("--head", f"--port={self.port}", f"--dashboard-port={self.dashboard}", "--dashboard-host=127.0.0.1"),
            *("--num-cpus=0", f"--ray-client-server-port={free_ports(1)[0]}"),
        )

    @property
    def env(self):
        """The environment of a client of the cluster."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return {**inherited, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def add(self, num_cpus=2):
        """Start another node and return its process."""
        node = self._start(f"--address=127.0.0.1:{self.port}", f"--num-cpus={num_cpus}")
        self.nodes.append(node)
        return node

    def _start(self, *arguments):
        grpc, listen, runtime_env = free_ports(3)
        line = [
            *(self.python, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"),
            *("--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=150000000", "--disable-usage-stats"),
            *(f"--dashboard-agent-grpc-port={grpc}", f"--dashboard-agent-listen-port={listen}"),
            *(f"--runtime-env-agent-port={runtime_env}", *arguments),
            f"--temp-dir={self.folder / str(listen)}",
        ]
        # a lost node is detected after five seconds instead of thirty
        health = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}
        env = {**self.env, **health, "PATH": f"{Path(self.python).parent}:{os.environ['PATH']}"}
        with (self.folder / f"{listen}.log").open("w") as output:
            return subprocess.Popen(line, env=env, stdout=output, stderr=output, start_new_session=True)

    def alive(self):
        """Return the number of nodes with cores registered with the head, or -1 before it answers."""
        result = subprocess.run(
            [self.python, "-c", _COUNT, f"127.0.0.1:{self.port}"],
            check=False,
            env=self.env,
            capture_output=True,
            text=True,
        )
        return int(result.stdout.split()[0]) if result.returncode == 0 else -1

    def wait(self, nodes, seconds=90):
        """Wait until the given number of nodes with cores have joined."""
        deadline = time.monotonic() + seconds
        while self.alive() != nodes:
            logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, logs

    def processes(self, node):
        """Return the processes of a node, by process id."""
        return processes(node.pid)

    def kill(self, node):
        """Send SIGKILL to a node and all its processes."""
        end(node.pid)
        node.wait()
        self.nodes.remove(node)

    def close(self):
        """Kill every process of every node, and remove their folder."""
        for node in (*self.nodes, self.head):
            end(node.pid)
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


_COUNT = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes()))
"""


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """An interpreter with all the packages of this one except tumorprog."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    paths = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # path files inside the added folder are not followed, so an editable installation of tumorprog is not found
    (Path(paths) / "packages.pth").write_text(sysconfig.get_paths()["purelib"])
    missing = subprocess.run([python, "-c", "import tumorprog"], check=False, cwd=folder, capture_output=True)
    if missing.returncode == 0:
        pytest.skip("tumorprog is not installed in editable mode, so the bare interpreter would find it")
    return str(python)


@pytest.fixture(scope="module")
def store():
    """The address of an empty bucket on a local S3 server, which the nodes' environment also names."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()  # the store of another test module no longer exists
        fs, bucket = storage.file_system(storage.as_path("s3://runs"))
        fs.mkdir(bucket)
        yield "s3://runs"
    server.stop()


@pytest.fixture(scope="module")
def cluster(bare_python, store):
    """A cluster of a head and two worker nodes."""
    del store  # its address is in the environment that the nodes inherit
    folder = Path(tempfile.mkdtemp(prefix="tp-"))  # short: a socket's name has at most 107 characters
    local_cluster = LocalCluster(folder, bare_python)
    try:
        local_cluster.wait(0)
        local_cluster.add()
        local_cluster.add()
        local_cluster.wait(2)
        yield local_cluster
    finally:
        local_cluster.close()
