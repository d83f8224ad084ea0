"""submit: the arguments of a command -> a Ray job with a copy of the package, its log and its exit code."""

import asyncio
import contextlib
import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

import tumorprog
from tumorprog.errors import InputError

log = logging.getLogger(__name__)

_LOCAL_DASHBOARD = "http://127.0.0.1:8265"
"""Dashboard of a cluster on this machine, or of one whose port is forwarded to it."""
_ANSWER_S = 10.0
_CONFIG_SUFFIXES = (".yaml", ".yml")


def run(arguments: Sequence[str], *, address: str, python: str, show: Callable[[str], None]) -> int:
    """Submit a command to a cluster, show its log until it ends, and return its exit code.

    The local copy of this package and every configuration file among the arguments are sent along: the nodes need the
    packages of `requirements.lock`, but not tumorprog. Ctrl-C leaves the job running.

    Args:
        arguments: the command and its arguments; paths are those of the cluster.
        address: of the dashboard; "" for the variable RAY_API_SERVER_ADDRESS, or else port 8265 of this machine.
        python: the interpreter on the cluster.
        show: receives the log, some lines at a time.

    Returns:
        The exit code of the job; 130 after Ctrl-C.

    Raises:
        InputError: if no cluster answers, it stops answering, or it rejects the token or the job.
    """
    for module in ("job.sdk", "dashboard_sdk"):
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
    client = connect(address or os.environ.get("RAY_API_SERVER_ADDRESS", _LOCAL_DASHBOARD))
    with tempfile.TemporaryDirectory(prefix="tumorprog-submit-") as folder:
        packed = pack(arguments, Path(folder))
        entrypoint = shlex.join([python, "-m", "tumorprog.cli", *packed])
        try:
            job = client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": folder})
        except RuntimeError as error:
            raise InputError(f"{client.get_address()}: the cluster rejected the job ({error})") from error
    log.info("submitted as job %s: %s", job, entrypoint)
    try:
        asyncio.run(_follow(client, job, show))
        return asyncio.run(_exit_code(client, job))
    except KeyboardInterrupt:
        log.info("job %s keeps running; stop it with: ray job stop %s", job, job)
        return 130
    except requests.RequestException as error:
        raise InputError(
            f"{client.get_address()}: the cluster stopped answering; job {job} is either lost or still running. Submit "
            "it again to resume from what is finished"
        ) from error


def connect(address: str) -> JobSubmissionClient:
    """Return a client of the cluster whose dashboard is at the address.

    Raises:
        InputError: if no cluster answers within seconds, or it rejects the token.
    """
    address = address if "://" in address else f"http://{address}"
    if urlsplit(address).scheme not in {"http", "https"}:
        raise InputError(f"{address}: jobs are submitted to a cluster's dashboard, whose address is http://HOST:8265")
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray prefers its variable to the argument
    try:
        requests.get(address, timeout=_ANSWER_S)  # Ray itself would wait indefinitely
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise InputError(
            f"{address}: the cluster rejected the token; export RAY_AUTH_MODE=token and the RAY_AUTH_TOKEN of its head"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, requests.RequestException) as error:
        raise InputError(
            f"{address}: no Ray cluster answers there ({_reason(error)}); start one, or forward its "
            "port 8265 to this machine (cluster/README.md)"
        ) from error


def _reason(error: Exception) -> str:
    """Return the operating system's message of an error, if it has one; otherwise the whole message."""
    message = " ".join(str(error).split())
    system_error = re.search(r"\[Errno -?\d+\] ([\w ,-]+)", message)
    return system_error[1] if system_error else message


def pack(arguments: Sequence[str], folder: Path) -> list[str]:
    """Copy the package and the configuration files among the arguments into a folder.

    Args:
        arguments: of the command; local YAML files among them, such as those of `--config` or a sweep, are copied.
        folder: receives the copies; the working directory of the job.

    Returns:
        The arguments with the names of the copies in the folder.
    """
    package = Path(tumorprog.__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    packed = []
    for number, argument in enumerate(arguments):
        option, equals, value = argument.rpartition("=")
        if Path(value).suffix in _CONFIG_SUFFIXES and Path(value).is_file():
            value = Path(shutil.copy(value, folder / f"{number}-{Path(value).name}")).name
        packed.append(option + equals + value)
    return packed


async def _follow(client: JobSubmissionClient, job: str, show: Callable[[str], None]) -> None:
    """Show the log as it grows; returns early if the connection is lost, and the job's status is polled instead."""
    with contextlib.suppress(RuntimeError, aiohttp.ClientError):
        async for lines in client.tail_job_logs(job):
            show(lines)


async def _exit_code(client: JobSubmissionClient, job: str) -> int:
    while not (info := client.get_job_info(job)).status.is_terminal():
        await asyncio.sleep(0.5)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    log.info("job %s: %s, %s", job, info.status, str(info.message).partition(", last available logs")[0])
    return info.driver_exit_code or 1
