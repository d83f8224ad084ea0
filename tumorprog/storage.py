"""File access on this machine and in object stores (s3://, gs:// ...) through one set of functions.

A path is a `pathlib.Path`, or, for an address with "://", a universal_pathlib path with the same methods on top of
fsspec, whose drivers (s3fs, gcsfs) are optional extras. This module holds only what the two do differently: listing
files with their sizes, atomic writes, moving folders and locking.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from tumorprog.errors import InputError

_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")
_LEASE_S = 60.0
"""How long a lock in an object store outlasts a process that was killed."""


class Found(NamedTuple):
    r"""A file of a folder tree. `path` is always text: bytes that are not UTF-8 are written as `\xNN`.

    Its repr is part of the fingerprints in existing run directories, so the class and its fields keep their names.
    """

    path: str
    num_bytes: int  # -1 if the file cannot be examined
    modified: int  # differs after every change: ns since 1970 if local, else a hash of the store's ETag or date


def is_remote(text: str) -> bool:
    """Return whether a path is an address in an object store."""
    return "://" in text


def as_path(text: str | Path) -> Path:
    """Return the path or address as an object with pathlib's methods.

    Raises:
        InputError: if no driver for this kind of address is installed.
    """
    if not is_remote(str(text)):
        return Path(text)
    from upath import UPath

    scheme = str(text).partition("://")[0]
    try:
        found = UPath(text)
        _ = found.fs
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{text}: cannot be reached ({error}); `pip install 'tumorprog[{scheme}]'` installs the s3 and gs drivers"
        ) from error
    return cast("Path", found)


def absolute(text: str) -> str:
    """Return the absolute path; an address is absolute already."""
    return text.rstrip("/") if is_remote(text) else str(Path(text).absolute())


def file_system(path: Path) -> tuple[Any, str]:
    """Return the fsspec file system of a remote path, and the path within that file system."""
    remote = cast("Any", path)
    return remote.fs, remote.path


def open_binary(text: str) -> BinaryIO:
    """Open a file for reading, by the path that `walk` returned for it.

    Raises:
        OSError: as raised by the operating system or the driver.
    """
    if is_remote(text):
        fs, name = file_system(as_path(text))
        return cast("BinaryIO", fs.open(name, "rb", block_size=2**20))
    return Path(local_name(text)).open("rb")


def read_range(text: str, start: int, length: int) -> tuple[bytes, int]:
    """Read a range of bytes, shorter if the file ends first, and the file's size; faster than opening the file.

    Raises:
        OSError: as raised by the operating system or the driver.
    """
    if is_remote(text):
        with open_binary(text) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(start)
            return file.read(length), size
    descriptor = open_local(text)
    try:
        return os.pread(descriptor, length, start), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def open_local(text: str) -> int:
    """Open a local file by the path that `walk` returned and return its descriptor; faster than pathlib.

    Raises:
        OSError: as raised by the operating system.
    """
    return os.open(local_name(text), os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for a writer otherwise


def local_name(text: str) -> str:
    """Return the name in the local file system of a path that `walk` returned as text."""
    if "\\x" not in text or Path(text).exists():
        return text
    return os.fsdecode(_ESCAPED.sub(lambda hit: chr(0xDC00 + int(hit[1], 16)), text).encode("utf-8", "surrogateescape"))


def walk(root: Path) -> Iterator[Found]:
    """Yield all files below a folder, or the file itself, in any order; each folder once, even if links form a loop."""
    if is_remote(str(root)):
        yield from _walk_remote(root)
    elif root.is_dir():
        yield from _walk_local(str(root))
    elif root.exists():
        yield _local_entry(str(root), root.stat())


def _walk_local(root: str) -> Iterator[Found]:
    visited: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        try:
            entries = os.scandir(folder)
        except OSError:  # a folder that cannot be listed is yielded as unreadable
            yield Found(_as_text(folder), -1, 0)
            continue
        subfolders = []
        with entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        subfolders.append(entry.path)
                    else:
                        yield _local_entry(entry.path, entry.stat())
                except OSError:  # a broken link or a loop of links
                    yield Found(_as_text(entry.path), -1, 0)
        pending += sorted(subfolders, reverse=True)


def _local_entry(path: str, status: os.stat_result) -> Found:
    # a change of permissions leaves mtime as it is, and a copy can set it back; ctime shows both
    return Found(_as_text(path), status.st_size, max(status.st_mtime_ns, status.st_ctime_ns))


def _as_text(path: str) -> str:
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk_remote(root: Path) -> Iterator[Found]:
    fs, top = file_system(root)
    fs.invalidate_cache()
    scheme = str(root).partition("://")[0]
    if fs.isfile(top):
        yield _remote_entry(scheme, top, fs.info(top))
        return
    for _, _, files in fs.walk(top, detail=True):
        for info in files.values():
            if not _is_folder_marker(info["name"]):
                yield _remote_entry(scheme, info["name"], info)


def _is_folder_marker(name: str) -> bool:
    """Return whether an object only represents a folder, as written by Arrow and the web consoles of stores."""
    return name.endswith("/")


def _remote_entry(scheme: str, name: str, info: dict[str, Any]) -> Found:
    # the key differs between drivers; its value, a text or a date, changes with the object
    version = next((info[key] for key in ("ETag", "etag", "LastModified", "updated", "mtime") if info.get(key)), "")
    stamp = int.from_bytes(hashlib.sha256(str(version).encode()).digest()[:7])
    return Found(f"{scheme}://{name}", int(info["size"] or 0), stamp)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends, and not at all if the block fails."""
    if is_remote(str(path)):
        with tempfile.TemporaryFile() as buffer:
            yield cast("BinaryIO", buffer)
            buffer.seek(0)
            fs, name = file_system(path)
            with fs.open(name, "wb") as target:
                shutil.copyfileobj(buffer, target, 2**22)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def nearest_existing(path: Path) -> Path:
    """Return the path itself if it exists, even as a broken link, else its nearest parent that exists.

    Anything inside a folder that cannot be accessed counts as missing, so that the result is the folder whose
    permissions are insufficient.
    """

    def exists(candidate: Path) -> bool:
        try:
            return candidate.is_symlink() or candidate.exists()
        except PermissionError:
            return False

    return next(candidate for candidate in (path, *path.absolute().parents) if exists(candidate))


def may_write(folder: Path) -> bool:
    """Return whether files may be created in a folder, or the folder itself if it does not exist."""
    existing = nearest_existing(folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def remove(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if is_remote(str(path)):
        fs, name = file_system(path)
        fs.invalidate_cache()
        if fs.exists(name):
            fs.rm(name, recursive=True)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder, replacing the target; in an object store this copies it."""
    remove(target)
    if is_remote(str(source)):
        (fs, name), (_, new) = file_system(source), file_system(target)
        # not mv, which treats folders as objects although a store has none
        files = [file for file in fs.find(name) if not _is_folder_marker(file)]
        fs.copy(files, [new + file.removeprefix(name) for file in files])
        remove(source)
    else:
        source.replace(target)


def copy(source: Path, target: Path) -> None:
    """Copy a file unless the target has the same bytes, so that whatever depends on the target sees no change."""
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    with atomic_write(target) as file:
        file.write(content)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two commands cannot overwrite each other's results.

    On this machine the lock ends with the process. In an object store it is a file that its holder renews; it expires
    when it has not been renewed for a minute.

    Raises:
        InputError: if another process holds the lock.
    """
    if is_remote(str(folder)):
        with _lease(folder / ".lock"):
            yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _locked_error(folder, "") from error
        yield


def _locked_error(folder: Path, holder: str) -> InputError:
    return InputError(
        f"{folder}: another tumorprog command is using this folder{holder}; wait until it ends or choose another --out"
    )


@contextmanager
def _lease(path: Path) -> Iterator[None]:
    fs, name = file_system(path)
    owner = f"{socket.gethostname()} process {os.getpid()}"
    _take_lease(path, owner)
    released = threading.Event()

    def renew() -> None:
        while not released.wait(_LEASE_S / 3):
            fs.pipe_file(name, _lease_text(owner))

    renewer = threading.Thread(target=renew, daemon=True)
    renewer.start()
    try:
        yield
    finally:
        released.set()
        renewer.join()
        remove(path)


def _take_lease(path: Path, owner: str) -> None:
    fs, name = file_system(path)
    fs.invalidate_cache()
    with contextlib.suppress(FileNotFoundError):
        holder = json.loads(fs.cat_file(name))
        if time.time() - holder["renewed"] < _LEASE_S:
            raise _locked_error(path.parent, f" ({holder['by']})")
        fs.rm(name)
    try:
        fs.pipe_file(name, _lease_text(owner), mode="create")
    except FileExistsError as error:  # another command took it at the same moment
        raise _locked_error(path.parent, "") from error


def _lease_text(owner: str) -> bytes:
    return json.dumps({"by": owner, "renewed": time.time()}).encode()
