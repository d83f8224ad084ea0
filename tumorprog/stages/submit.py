"""submit: the words of a command -> a job of a Ray cluster, its log and its exit code; the package travels with it."""

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

_HERE = "http://127.0.0.1:8265"
"""Where a cluster of this machine, or one that is forwarded to it, has its dashboard."""
_ANSWER_S = 10.0
_SETTINGS = (".yaml", ".yml")


def run(words: Sequence[str], *, address: str, python: str, show: Callable[[str], None]) -> int:
    """Submits a command, shows its log until it ends, and says how it ended.

    This package, as it is here, and every file of settings among the words are sent along: the nodes need what
    `requirements.lock` names, and not tumorprog. Ctrl-C leaves the job running.

    Args:
        words: the command and its own words; places are those of the cluster.
        address: of the dashboard; "" takes the variable RAY_API_SERVER_ADDRESS, or else port 8265 of this machine.
        python: the interpreter on the cluster.
        show: gets the log, some lines at a time.

    Returns:
        The exit code of the job; 130 after Ctrl-C.

    Raises:
        InputError: if no cluster answers there, or no more; if it refuses the token, or the job.
    """
    for module in ("job.sdk", "dashboard_sdk"):
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
    client = connect(address or os.environ.get("RAY_API_SERVER_ADDRESS", _HERE))
    with tempfile.TemporaryDirectory(prefix="tumorprog-submit-") as folder:
        told = pack(words, Path(folder))
        entrypoint = shlex.join([python, "-m", "tumorprog.cli", *told])
        try:
            job = client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": folder})
        except RuntimeError as error:
            raise InputError(f"{client.get_address()}: the cluster takes no job ({error})") from error
    log.info("submitted as job %s: %s", job, entrypoint)
    try:
        asyncio.run(_follow(client, job, show))
        return asyncio.run(_exit_code(client, job))
    except KeyboardInterrupt:
        log.info("job %s goes on; stop it with: ray job stop %s", job, job)
        return 130
    except requests.RequestException as error:
        raise InputError(
            f"{client.get_address()}: the cluster answers no more; job {job} is lost with it, or goes on. Submitted "
            "again, it goes on from what is finished"
        ) from error


def connect(address: str) -> JobSubmissionClient:
    """A client of the cluster whose dashboard is at the address.

    Raises:
        InputError: if none answers there within seconds, or it refuses the token.
    """
    address = address if "://" in address else f"http://{address}"
    if urlsplit(address).scheme not in {"http", "https"}:
        raise InputError(f"{address}: jobs go to a cluster's dashboard, which is at http://HOST:8265")
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray prefers its variables to what it is told
    try:
        requests.get(address, timeout=_ANSWER_S)  # Ray itself would wait for ever
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise InputError(
            f"{address}: the cluster refuses the token; export RAY_AUTH_MODE=token and the RAY_AUTH_TOKEN of its head"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, requests.RequestException) as error:
        raise InputError(
            f"{address}: no Ray cluster answers there ({_reason(error)}); start one, or forward its "
            "port 8265 to this machine (cluster/README.md)"
        ) from error


def _reason(error: Exception) -> str:
    """What the operating system said, if it is that; else all that the error says."""
    told = " ".join(str(error).split())
    of_system = re.search(r"\[Errno -?\d+\] ([\w ,-]+)", told)
    return of_system[1] if of_system else told


def pack(words: Sequence[str], folder: Path) -> list[str]:
    """Puts the package and the files of settings that the words name into a folder.

    Args:
        words: of the command; a local YAML file among them, as of `--config` or of a sweep, goes along.
        folder: receives them; the job starts in it.

    Returns:
        The words with the names that the files have there.
    """
    package = Path(tumorprog.__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    told = []
    for number, word in enumerate(words):
        option, equals, value = word.rpartition("=")
        if Path(value).suffix in _SETTINGS and Path(value).is_file():
            value = Path(shutil.copy(value, folder / f"{number}-{Path(value).name}")).name
        told.append(option + equals + value)
    return told


async def _follow(client: JobSubmissionClient, job: str, show: Callable[[str], None]) -> None:
    """Shows the log as it grows; after a lost connection it ends early, and the job's state is asked for instead."""
    with contextlib.suppress(RuntimeError, aiohttp.ClientError):
        async for lines in client.tail_job_logs(job):
            show(lines)


async def _exit_code(client: JobSubmissionClient, job: str) -> int:
    while not (found := client.get_job_info(job)).status.is_terminal():
        await asyncio.sleep(0.5)
    if found.status == JobStatus.SUCCEEDED:
        return 0
    log.info("job %s: %s, %s", job, found.status, str(found.message).partition(", last available logs")[0])
    return found.driver_exit_code or 1
