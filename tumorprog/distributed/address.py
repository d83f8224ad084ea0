"""Ray's addresses: a check that a cluster answers within seconds, and a session folder that its sockets fit into."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from tumorprog import storage
from tumorprog.errors import InputError

_ANSWER_S = 10.0
_CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)  # as Ray does
_MAX_SOCKET_BYTES = 107
"""Longest path of a Unix socket on Linux, in bytes."""
_SOCKET_PATH = "/session_2026-11-27_20-36-10_601704_4194304/sockets/plasma_store"
"""Longest socket path that Ray creates below its folder."""


def check_reachable(address: str) -> None:
    """Check within seconds that a cluster answers; Ray itself would try for ten minutes.

    Args:
        address: HOST:PORT or ray://HOST:PORT; `auto`, the cluster last started on this machine; `local`,
            which is not checked.

    Raises:
        OSError: if nothing answers at the address, or something other than Ray.
    """
    if address == "local":
        return
    if address == "auto":
        _check_last_cluster()
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConnectionError(f"not of the form HOST:PORT: {error}") from error
    if not host or not port:
        raise ConnectionError("must be HOST:PORT, auto or local")
    if os.environ.get("RAY_USE_TLS", "0") != "0":  # only Ray can present its certificates
        return
    try:
        socket.create_connection((host, port), timeout=_ANSWER_S).close()  # a refusal is immediate
    except UnicodeError as error:  # the name is not a valid host name
        raise ConnectionError(f"{host} is not a valid host name") from error
    with grpc.insecure_channel(parts.netloc, _CHANNEL_OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
        except grpc.FutureTimeoutError as error:
            raise ConnectionError(f"no Ray cluster answers there within {_ANSWER_S:.0f} s") from error


def _check_last_cluster() -> None:
    """Check the cluster whose address Ray left in a file, which remains if the cluster did not end by `ray stop`."""
    address_file = Path(os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp")), "ray", "ray_current_cluster")  # noqa: S108
    if not address_file.is_file() or _is_running("raylet"):
        return  # Ray finds a cluster on this machine, or notices immediately that none exists
    try:
        check_reachable(address_file.read_text().strip())
    except OSError as error:
        raise ConnectionError(f"the cluster recorded in {address_file} has ended: {error}") from error


def _is_running(program: str) -> bool:
    """Return whether a process of that name runs on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_bytes().strip() == program.encode():
                return True
        except OSError:  # the process has ended in the meantime
            continue
    return False


def free_port(host: str) -> int:
    """Return a port on which no process is listening."""
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


def session_folder(environment: Mapping[str, str], *, user: int, temporary: Path = Path("/tmp")) -> Path | None:  # noqa: S108
    """Choose the folder for Ray's sockets and logs.

    Args:
        environment: environment variables of the process; Ray itself would use RAY_TMPDIR or else TMPDIR.
        user: id of the user.
        temporary: folder for temporary files of all users.

    Returns:
        None if Ray's own choice is suitable, which an empty or a relative path is not; otherwise a folder: `ray` below
        the folder of the variable, `ray` below `temporary`, or `ray-USER` there if the former belongs to another user.

    Raises:
        InputError: if none of these folders is suitable.
    """
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    value = environment.get(variable)
    chosen = Path(value or temporary).absolute() / "ray"
    if _fits(chosen) and storage.may_write(chosen):
        return None if value is None or Path(value).is_absolute() else chosen
    for folder in (temporary / "ray", temporary / f"ray-{user}"):
        if _fits(folder) and storage.may_write(folder):
            return folder
    raise InputError(
        f"{variable} {chosen.parent}: Ray cannot create its sockets there (a path has at most {_MAX_SOCKET_BYTES} "
        f"bytes, and the folder must be writable) or below {temporary}; set RAY_TMPDIR to a writable folder "
        "with a short path"
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(f"{folder}{_SOCKET_PATH}")) <= _MAX_SOCKET_BYTES
