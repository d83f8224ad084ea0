"""Places of files, on this machine or in an object store (s3://, gs:// ...), by one set of verbs.

A place is a `pathlib.Path`, or for an address with "://" universal_pathlib's path of the same methods over fsspec,
whose drivers (s3fs, gcsfs) are extras. Only what the two do differently stands here: listing with sizes, writing whole
or not at all, moving folders, locking.
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
"""How long a lock in an object store outlives a process that was killed."""


class Found(NamedTuple):
    r"""A file of a tree. `path` is text, whatever its bytes: those that are no UTF-8 stand as `\xNN`."""

    path: str
    num_bytes: int  # -1 if the file cannot be examined
    modified: int  # another number after each change: ns since 1970 here, a hash of the store's own mark elsewhere


def is_remote(text: str) -> bool:
    """Whether a path is an address in an object store."""
    return "://" in text


def place(text: str | Path) -> Path:
    """The path or address as an object with pathlib's methods.

    Raises:
        InputError: if no driver for such addresses is installed.
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
            f"{text}: cannot be reached ({error}); `pip install 'tumorprog[{scheme}]'` brings the drivers of s3 and gs"
        ) from error
    return cast("Path", found)


def absolute(text: str) -> str:
    """The same place from any folder; an address is one already."""
    return text.rstrip("/") if is_remote(text) else str(Path(text).absolute())


def file_system(path: Path) -> tuple[Any, str]:
    """The fsspec file system of a remote place, and its name there."""
    remote = cast("Any", path)
    return remote.fs, remote.path


def open_binary(text: str) -> BinaryIO:
    """A file of a tree, open for reading, by the path that `walk` gave it.

    Raises:
        OSError: as the operating system or the driver has it.
    """
    if is_remote(text):
        fs, name = file_system(place(text))
        return cast("BinaryIO", fs.open(name, "rb", block_size=2**20))
    return Path(local_name(text)).open("rb")


def read_range(text: str, start: int, length: int) -> tuple[bytes, int]:
    """Some bytes of a file, fewer where it ends before, and the size of the whole; quicker than to open it.

    Raises:
        OSError: as the operating system or the driver has it.
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
    """A descriptor of a file of this machine, for reading, by the path that `walk` gave it; quicker than pathlib.

    Raises:
        OSError: as the operating system has it.
    """
    return os.open(local_name(text), os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer


def local_name(text: str) -> str:
    """The name of a file of this machine that `walk` gave as text."""
    if "\\x" not in text or Path(text).exists():
        return text
    return os.fsdecode(_ESCAPED.sub(lambda hit: chr(0xDC00 + int(hit[1], 16)), text).encode("utf-8", "surrogateescape"))


def walk(root: Path) -> Iterator[Found]:
    """All files below a folder, or the file itself, in any order; each folder once, also where links go round."""
    if is_remote(str(root)):
        yield from _walk_remote(root)
    elif root.is_dir():
        yield from _walk_local(str(root))
    elif root.exists():
        yield _found(str(root), root.stat())


def _walk_local(root: str) -> Iterator[Found]:
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        about = Path(folder).stat()
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        try:
            entries = os.scandir(folder)
        except OSError:  # a folder that may not be listed is itself what could not be read
            yield Found(_as_text(folder), -1, 0)
            continue
        deeper = []
        with entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        deeper.append(entry.path)
                    else:
                        yield _found(entry.path, entry.stat())
                except OSError:  # a dangling link, a loop of links
                    yield Found(_as_text(entry.path), -1, 0)
        waiting += sorted(deeper, reverse=True)


def _found(path: str, about: os.stat_result) -> Found:
    # rights do not change the time of the last write, and a copy can set it back
    return Found(_as_text(path), about.st_size, max(about.st_mtime_ns, about.st_ctime_ns))


def _as_text(path: str) -> str:
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk_remote(root: Path) -> Iterator[Found]:
    fs, top = file_system(root)
    fs.invalidate_cache()
    scheme = str(root).partition("://")[0]
    if fs.isfile(top):
        yield _found_remote(scheme, top, fs.info(top))
        return
    for _, _, files in fs.walk(top, detail=True):
        for about in files.values():
            if not _is_marker(about["name"]):
                yield _found_remote(scheme, about["name"], about)


def _is_marker(name: str) -> bool:
    """Whether an object only stands for a folder, as Arrow and the web consoles of stores make them."""
    return name.endswith("/")


def _found_remote(scheme: str, name: str, about: dict[str, Any]) -> Found:
    # each driver has its own word for it; text or a date, whatever tells one state from another
    changed = next((about[key] for key in ("ETag", "etag", "LastModified", "updated", "mtime") if about.get(key)), "")
    stamp = int.from_bytes(hashlib.sha256(str(changed).encode()).digest()[:7])
    return Found(f"{scheme}://{name}", int(about["size"] or 0), stamp)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing that appears under its name when the block ends, and not at all if it fails."""
    if is_remote(str(path)):
        with tempfile.TemporaryFile() as beside:
            yield cast("BinaryIO", beside)
            beside.seek(0)
            fs, name = file_system(path)
            with fs.open(name, "wb") as target:
                shutil.copyfileobj(beside, target, 2**22)
        return
    beside_path = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside_path.open("wb") as beside:
            yield beside
        beside_path.replace(path)
    finally:
        beside_path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8, whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


def nearest(path: Path) -> Path:
    """The path itself if there is something, a broken link among others; else the nearest of its parents that is there.

    What may not be looked into counts as empty, so that the answer is the folder whose rights are wanting.
    """

    def there(one: Path) -> bool:
        try:
            return one.is_symlink() or one.exists()
        except PermissionError:
            return False

    return next(one for one in (path, *path.absolute().parents) if there(one))


def may_write(folder: Path) -> bool:
    """Whether files may be made in a folder, or the folder be made first."""
    there = nearest(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def remove(path: Path) -> None:
    """Takes a file or a folder away, if it is there."""
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
    """Gives a file or a folder another name, in place of what stood there; an object store copies it."""
    remove(target)
    if is_remote(str(source)):
        (fs, name), (_, new) = file_system(source), file_system(target)
        # not mv: it takes folders, which a store has none of, for objects
        files = [file for file in fs.find(name) if not _is_marker(file)]
        fs.copy(files, [new + file.removeprefix(name) for file in files])
        remove(source)
    else:
        source.replace(target)


def copy(source: Path, target: Path) -> None:
    """Copies a file, unless the same bytes stand there already: what depends on it then finds it unchanged."""
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    with whole(target) as file:
        file.write(content)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder, where two commands would tear each other's results.

    On this machine the lock goes with the process. In an object store it is a file that its holder renews; it counts
    no more when it has not been renewed for a minute.

    Raises:
        InputError: if another process holds it.
    """
    if is_remote(str(folder)):
        with _lease(folder / ".lock"):
            yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _held(folder, "") from error
        yield


def _held(folder: Path, by: str) -> InputError:
    return InputError(f"{folder}: another tumorprog command works there{by}; wait for it or choose --out")


@contextmanager
def _lease(path: Path) -> Iterator[None]:
    fs, name = file_system(path)
    mine = f"{socket.gethostname()} process {os.getpid()}"
    _take_lease(path, mine)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_LEASE_S / 3):
            fs.pipe_file(name, _lease_text(mine))

    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        remove(path)


def _take_lease(path: Path, mine: str) -> None:
    fs, name = file_system(path)
    fs.invalidate_cache()
    with contextlib.suppress(FileNotFoundError):
        holder = json.loads(fs.cat_file(name))
        if time.time() - holder["renewed"] < _LEASE_S:
            raise _held(path.parent, f" ({holder['by']})")
        fs.rm(name)
    try:
        fs.pipe_file(name, _lease_text(mine), mode="create")
    except FileExistsError as error:  # two started at once
        raise _held(path.parent, "") from error


def _lease_text(mine: str) -> bytes:
    return json.dumps({"by": mine, "renewed": time.time()}).encode()
