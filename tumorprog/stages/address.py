"""Where Ray is, or may be: an address that must answer in seconds, and a folder that its sockets fit into."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from tumorprog import storage
from tumorprog.errors import InputError

_ANSWER_S = 10.0
_AS_RAY_DOES = (("grpc.enable_http_proxy", 0),)
_LONGEST_SOCKET = 107
"""Bytes of the name of a Unix socket, by Linux."""
_SOCKET = "/session_2026-11-27_20-36-10_601704_4194304/sockets/plasma_store"
"""The longest name that Ray makes below its folder."""


def knock(address: str) -> None:
    """Finds out in seconds whether a cluster answers; Ray itself would try for ten minutes.

    Args:
        address: HOST:PORT or ray://HOST:PORT; `auto`, the cluster that was last started on this machine; `local`.

    Raises:
        OSError: if nobody answers there, or not as Ray does.
    """
    if address == "local":
        return
    if address == "auto":
        _knock_at_the_last()
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConnectionError(f"no HOST:PORT: {error}") from error
    if not host or not port:
        raise ConnectionError("no HOST:PORT, and neither auto nor local")
    if os.environ.get("RAY_USE_TLS", "0") != "0":  # its certificates are Ray's to show
        return
    try:
        socket.create_connection((host, port), timeout=_ANSWER_S).close()  # a refusal comes at once
    except UnicodeError as error:  # of a name that can be no host's
        raise ConnectionError(f"no host can be called {host}") from error
    with grpc.insecure_channel(parts.netloc, _AS_RAY_DOES) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
        except grpc.FutureTimeoutError as error:
            raise ConnectionError(f"no Ray answers there within {_ANSWER_S:.0f} s") from error


def _knock_at_the_last() -> None:
    """Ray keeps its address in a file, which outlives a cluster that was not ended by `ray stop`."""
    noted = Path(os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp")), "ray", "ray_current_cluster")  # noqa: S108
    if not noted.is_file() or _runs("raylet"):
        return  # Ray finds what runs on this machine, or sees at once that there is nothing
    try:
        knock(noted.read_text().strip())
    except OSError as error:
        raise ConnectionError(f"the cluster that {noted} names has ended: {error}") from error


def _runs(program: str) -> bool:
    """Whether a process of that name runs on this machine."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "comm").read_bytes().strip() == program.encode():
                return True
        except OSError:  # it has ended meanwhile
            continue
    return False


def free_port(host: str) -> int:
    """A port at which nobody listens now."""
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


def session_folder(environment: Mapping[str, str], *, user: int, temporary: Path = Path("/tmp")) -> Path | None:  # noqa: S108
    """Where Ray is to keep its sockets and logs.

    Args:
        environment: of the process: RAY_TMPDIR, or else TMPDIR, is where Ray would go.
        user: id of the user.
        temporary: where there is room for everyone.

    Returns:
        None where Ray's own choice will do, which an empty or a relative name is not; else a folder: `ray` below the
        one that was named, or below `temporary`, or there `ray-USER` where that is another user's.

    Raises:
        InputError: if none of them will do.
    """
    named = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    told = environment.get(named)
    chosen = Path(told or temporary).absolute() / "ray"
    if _fits(chosen) and storage.may_write(chosen):
        return None if told is None or Path(told).is_absolute() else chosen
    for folder in (temporary / "ray", temporary / f"ray-{user}"):
        if _fits(folder) and storage.may_write(folder):
            return folder
    raise InputError(
        f"{named} {chosen.parent}: Ray cannot keep its sockets there (their names may have {_LONGEST_SOCKET} bytes, "
        f"and the folder must be yours to write), nor below {temporary}; set RAY_TMPDIR to a short folder of your own"
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(f"{folder}{_SOCKET}")) <= _LONGEST_SOCKET
