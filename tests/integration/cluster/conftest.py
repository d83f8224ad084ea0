"""A Ray cluster of several nodes on this machine: own ports, own folder, a token; ended by process id, whatever fails.

The nodes run a Python that has every package of this one but tumorprog: what they run must have been sent to them.
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
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    except OSError as error:
        pytest.skip(f"no ports to be had on the loopback: {error}")
    finally:
        for one in sockets:
            one.close()


def processes(leader):
    """The processes of a node by what they call themselves: its session, and what that has started elsewhere."""
    parents, names, found = {}, {}, set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            _, _, told = (place / "stat").read_text().rpartition(")")
            names[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        state, parent, _, session = told.split()[:4]
        parents[int(place.name)] = int(parent)
        if int(session) == leader and state != "Z":
            found.add(int(place.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found}


def end(leader):
    """Kills the processes of a node, and those that they started meanwhile."""
    while there := processes(leader):
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


class LocalCluster:
    """A head that takes no work, and nodes of two logical cores."""

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
        """What a client must have in its environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return {**kept, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def add(self, num_cpus=2):
        """Starts another node; its process."""
        node = self._start(f"--address=127.0.0.1:{self.port}", f"--num-cpus={num_cpus}")
        self.nodes.append(node)
        return node

    def _start(self, *words):
        grpc, listen, runtime_env = free_ports(3)
        line = [
            *(self.python, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"),
            *("--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=150000000", "--disable-usage-stats"),
            *(f"--dashboard-agent-grpc-port={grpc}", f"--dashboard-agent-listen-port={listen}"),
            *(f"--runtime-env-agent-port={runtime_env}", *words),
            f"--temp-dir={self.folder / str(listen)}",
        ]
        # a lost node is noticed after five seconds, not after thirty
        health = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}
        env = {**self.env, **health, "PATH": f"{Path(self.python).parent}:{os.environ['PATH']}"}
        with (self.folder / f"{listen}.log").open("w") as told:
            return subprocess.Popen(line, env=env, stdout=told, stderr=told, start_new_session=True)

    def alive(self):
        """How many nodes with cores the head knows, or -1 before it answers."""
        told = subprocess.run(
            [self.python, "-c", _COUNT, f"127.0.0.1:{self.port}"],
            check=False,
            env=self.env,
            capture_output=True,
            text=True,
        )
        return int(told.stdout.split()[0]) if told.returncode == 0 else -1

    def wait(self, nodes, seconds=90):
        """Until so many nodes with cores have joined."""
        deadline = time.monotonic() + seconds
        while self.alive() != nodes:
            logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, logs

    def processes(self, node):
        """What runs on a node, by process id."""
        return processes(node.pid)

    def kill(self, node):
        """SIGKILL for a node and all that runs on it."""
        end(node.pid)
        node.wait()
        self.nodes.remove(node)

    def close(self):
        """Ends every process of every node, and removes their folder."""
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
    """An interpreter with all the packages of this one, but not tumorprog."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    paths = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # the path files of that folder are not followed, and an editable installation is one
    (Path(paths) / "packages.pth").write_text(sysconfig.get_paths()["purelib"])
    missing = subprocess.run([python, "-c", "import tumorprog"], check=False, cwd=folder, capture_output=True)
    if missing.returncode == 0:
        pytest.skip("tumorprog is installed as a copy, so no interpreter lacks it")
    return str(python)


@pytest.fixture(scope="module")
def store():
    """The address of an empty bucket of an S3 on this machine, which the nodes' environment names too."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        S3FileSystem.clear_instance_cache()  # another module's store has gone
        fs, bucket = storage.file_system(storage.place("s3://runs"))
        fs.mkdir(bucket)
        yield "s3://runs"
    server.stop()


@pytest.fixture(scope="module")
def cluster(bare_python, store):
    """A head and two nodes."""
    del store  # its address is in the environment that the nodes inherit
    folder = Path(tempfile.mkdtemp(prefix="tp-"))  # short: a socket's name has at most 107 characters
    made = LocalCluster(folder, bare_python)
    try:
        made.wait(0)
        made.add()
        made.add()
        made.wait(2)
        yield made
    finally:
        made.close()
